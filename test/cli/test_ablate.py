# SPDX-License-Identifier: Apache-2.0
"""`centertrack ablate`: recordings are found by their files, and what is missing is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trackeval")

from centertrack_ros.cli.main import main
from support.training_sets import WRITERS, truth


def _ablate(*command: object) -> int:
    return main(["ablate", *map(str, command), "--motions", "none", "--every", "1"])


def _walk(folder: Path, name: str = "walk") -> Path:
    (folder / name / "gt").mkdir(parents=True)
    (folder / name / "det").mkdir()
    rows = [f"{frame},1,{10 * frame},50,30,40,1,1,1\n" for frame in range(1, 6)]
    (folder / name / "gt" / "gt.txt").write_text("".join(rows))
    (folder / name / "det" / "det.txt").write_text("".join(row.replace(",1,", ",-1,", 1) for row in rows))
    (folder / f"._{name}").write_text("of macOS")
    return folder


@pytest.mark.parametrize("public", [False, True])
def test_folders_of_mot_with_their_own_boxes_or_public_ones(tmp_path: Path, capsys: Any, public: bool) -> None:
    out = tmp_path / "out.json"
    options = ["--public"] if public else []
    assert _ablate("mot", "--truth", _walk(tmp_path / "mot"), "--json", out, *options) == 0
    [cell, *_] = json.loads(out.read_text())["cells"]
    assert (cell["class"], cell["motion"], cell["every"]) == ("pedestrian", "none", 1)
    assert cell["IDSW"] == 0 and "none" in capsys.readouterr().out


@pytest.mark.parametrize("images", [True, False])
def test_labels_of_kitti_with_and_without_images(tmp_path: Path, images: bool) -> None:
    WRITERS["kitti"](truth(tmp_path / "images"), tmp_path)
    (tmp_path / "label_02" / "._0007.txt").write_bytes(b"\0")
    if not images:
        (tmp_path / "image_02").rename(tmp_path / "other")
    out = tmp_path / "out.json"
    assert _ablate("kitti", "--labels", tmp_path / "label_02", "--json", out) == 0
    assert {cell["class"] for cell in json.loads(out.read_text())["cells"]} == {"car", "pedestrian"}


def test_what_is_missing_is_named(tmp_path: Path, capsys: Any) -> None:
    assert _ablate("mot", "--truth", tmp_path) == 1
    assert "expected NAME/gt/gt.txt" in capsys.readouterr().err
    assert _ablate("kitti", "--labels", tmp_path) == 1
    assert "label_02" in capsys.readouterr().err
    assert main(["ablate", "mot", "--truth", str(_walk(tmp_path / "mot")), "--motions", "magic"]) == 1
    assert "no motion model 'magic'" in capsys.readouterr().err
    (tmp_path / "mot" / "walk" / "gt" / "gt.txt").write_text("")
    assert _ablate("mot", "--truth", tmp_path / "mot") == 1
    assert capsys.readouterr().err.count("\n") == 1
