# SPDX-License-Identifier: Apache-2.0
"""Motion models compared on annotated boxes."""

import json
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import mot
from centertrack_ros.evaluation.ablation import compare_motions, every_nth, true_displacements

pytest.importorskip("trackeval")


def _folder(root: Path, speed: float, frames: int = 24) -> Path:
    """Two people of 40 x 80 px who follow each other at a distance of 60 px, `speed` px per frame."""
    lines = []
    for frame in range(1, frames + 1):
        for identity in (1, 2):
            lines.append(f"{frame},{identity},{60 * identity + speed * frame:g},100,40,80,1,1,1\n")
    folder = root / "walk"
    for name in ("gt", "det"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "gt" / "gt.txt").write_text("".join(lines))
    detections = [",".join([line.split(",")[0], "-1", *line.split(",")[2:6], "1"]) + "\n" for line in lines]
    (folder / "det" / "det.txt").write_text("".join(detections))
    (folder / "seqinfo.ini").write_text(
        "[Sequence]\nname=walk\nframeRate=10\nseqLength=24\nimWidth=2000\nimHeight=300\n"
    )
    return folder


def test_every_nth_frame_keeps_the_time_and_renumbers(tmp_path):
    recording = mot.read_sequence(_folder(tmp_path, 5.0))
    third = every_nth(recording, 3)
    assert [frame.index for frame in third] == list(range(1, 9)) and third.length == 8
    assert np.diff([frame.stamp for frame in third]) == pytest.approx(0.3)
    moved = true_displacements(third.frames[1], third.frames[0])
    assert moved == pytest.approx(np.tile([-15.0, 0.0], (2, 1)))


def test_only_a_model_of_motion_keeps_ids_when_people_step_into_each_others_place(tmp_path):
    """At a third of the frame rate everyone moves by exactly the distance between them."""
    recording = mot.read_sequence(_folder(tmp_path, 20.0))
    cells, notes = compare_motions([recording], every=(1, 3))
    switches = {(cell.motion, cell.every): cell.figures["IDSW"] for cell in cells}
    assert switches[("displacement", 1)] == switches[("displacement", 3)] == 0
    assert switches[("none", 1)] == 0 and switches[("none", 3)] > 0
    assert all(cell.figures["HOTA"] == pytest.approx(100.0) for cell in cells if cell.motion == "displacement")
    assert notes == ["flow: left out, it needs the images of all frames"]


def test_the_command_prints_and_writes_every_cell(tmp_path, capsys):
    _folder(tmp_path, 5.0)
    out = tmp_path / "cells.json"
    command = ["ablate", "mot", "--truth", str(tmp_path), "--public", "--every", "1,2", "--json", str(out)]
    assert main([*command, "--motions", "displacement", "kalman"]) == 0
    cells = json.loads(out.read_text())["cells"]
    assert {(cell["motion"], cell["every"]) for cell in cells} == {
        (m, e) for m in ("displacement", "kalman") for e in (1, 2)
    }
    assert "pedestrian IDF1" in capsys.readouterr().out
    assert main([*command, "--motions", "guess"]) == 1
    assert "no motion model 'guess'" in capsys.readouterr().err
