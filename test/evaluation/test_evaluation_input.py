# SPDX-License-Identifier: Apache-2.0
"""What can be scored is scored by the official code; what cannot is said in a sentence or a note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trackeval")

from centertrack_ros.cli.main import main

CAR = "{frame} {identity} {kind} 0 0 -1.5 {box} 1.5 1.6 4 1 1.6 12 -1.4 {score}\n"
LARGE = 2**53


def _kitti(score: str = "", frames: int = 4, ids: tuple[object, ...] = (1, 2), box: str = "", kind: str = "Car") -> str:
    return "".join(
        CAR.format(frame=f, identity=i, kind=kind, box=box or f"{100 * n} 100 {100 * n + 60} 140", score=score)
        for f in range(frames)
        for n, i in enumerate(ids)
    )


def _mot(frames: Any = range(1, 5), ids: tuple[object, ...] = (1, 2), end: str = "1,1,1") -> str:
    return "".join(f"{f},{i},{100 * n},100,40,80,{end}\n" for f in frames for n, i in enumerate(ids))


def _evaluate(folder: Path, form: str, truth: str, results: str) -> int:
    """The exit status; the document is in out.json."""
    for name, text in (("truth", truth), ("results", results)):
        (folder / name).mkdir(parents=True)
        (folder / name / "0001.txt").write_text(text)
        (folder / name / "._0001.txt").write_bytes(b"\0\5of macOS\xff")
    options = ["--truth" if form == "mot" else "--labels", str(folder / "truth"), "--json", str(folder / "out.json")]
    return main(["evaluate", form, "--results", str(folder / "results"), *options])


def _document(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return document


@pytest.mark.parametrize("ids", [(LARGE, LARGE + 1), (300_000_000, 2**62), (7, 0)])
def test_ids_of_any_size_are_labels(tmp_path: Path, ids: tuple[int, int]) -> None:
    """A table as large as the largest id would not fit in memory, and float64 joins the first two."""
    assert _evaluate(tmp_path / "m", "mot", _mot(ids=ids), _mot(ids=ids[::-1], end="0.9,-1,-1,-1")) == 0
    assert _evaluate(tmp_path / "k", "kitti", _kitti(ids=ids), _kitti("0.9", ids=ids)) == 0
    for folder, kind in (("m", "pedestrian"), ("k", "car")):
        figures = _document(tmp_path / folder)["combined"][kind]
        assert (figures["HOTA"], figures["IDF1"], figures["IDSW"]) == (100.0, 100.0, 0)


@pytest.mark.parametrize("frames", [range(4), range(8, 12), [1, 5, 9]])
def test_frames_match_by_their_numbers(tmp_path: Path, frames: Any) -> None:
    assert _evaluate(tmp_path, "mot", _mot(frames), _mot(frames, end="0.9")) == 0
    assert _document(tmp_path)["combined"]["pedestrian"]["HOTA"] == 100.0


@pytest.mark.parametrize(
    ("form", "truth", "results", "words"),
    [
        ("kitti", _kitti(), _kitti("0.9", box="160 100 100 140"), "0001.txt:1: negative width or height"),
        ("kitti", _kitti(), _kitti("0.9", ids=(-1,)), "4 of 4 objects of the results have no id"),
        ("kitti", _kitti(), _kitti("0.9", ids=(-7,)), "id -7, expected 0 or more"),
        ("kitti", _kitti(), _kitti("0.9", box="0 0 0 0"), "no box of the results has an area"),
        ("kitti", _kitti(), _kitti("nan"), "'nan' is not a finite number"),
        ("kitti", _kitti(), _kitti("0.9", box="0 0 inf 9"), "'inf' is not a finite number"),
        ("kitti", _kitti(), _kitti("0.9", ids=(1, 1)), "id 1 appears twice in frame 0"),
        ("kitti", "", _kitti("0.9"), "no object in the ground truth"),
        ("kitti", _kitti(), CAR.format(frame=10**9, identity=1, kind="Car", box="0 0 1 1", score=1), "at most 1000000"),
        ("mot", _mot(), _mot(ids=(-1,)), "4 of 4 objects of the results have no id"),
        ("mot", _mot(ids=(-1,)), _mot(), "4 of 4 objects of the ground truth have no id"),
        ("mot", "", _mot(), "no object in the ground truth"),
        ("mot", _mot(), _mot(ids=(2**64,)), "is too large; expected an id of at most"),
        ("mot", _mot(), _mot(ids=("a7",)), "'a7' is not a finite number; expected an id"),
        ("mot", _mot([1, 10**9]), _mot(), "at most 1000000"),
    ],
)
def test_what_cannot_be_scored_is_said(
    tmp_path: Path, capsys: Any, form: str, truth: str, results: str, words: str
) -> None:
    assert _evaluate(tmp_path, form, truth, results) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("form", "truth", "results", "words"),
    [
        ("mot", _mot(), "", "0001: the results have no object"),
        ("mot", _mot(range(8, 12)), _mot(), "no frame has both truth (from 8) and results (from 1)"),
        ("mot", _mot(range(5)), _mot(range(1, 5)), "the ground truth begins at frame 0, the results later"),
        ("kitti", _kitti(), _kitti("0.9"), "the ground truth has no pedestrian"),
    ],
)
def test_scores_that_say_little_have_a_note(tmp_path: Path, form: str, truth: str, results: str, words: str) -> None:
    assert _evaluate(tmp_path, form, truth, results) == 0
    assert words in " ".join(_document(tmp_path)["notes"])


def test_results_of_unknown_sequences_are_named(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "0002.txt").write_text(_mot())
    (tmp_path / "results" / "0001.txt").write_text(_mot())
    (tmp_path / "truth" / "0001" / "gt").mkdir(parents=True)
    (tmp_path / "truth" / "0001" / "gt" / "gt.txt").write_text(_mot())
    out = tmp_path / "out.json"
    options = ["--truth", str(tmp_path / "truth"), "--json", str(out)]
    assert main(["evaluate", "mot", "--results", str(tmp_path / "results"), *options]) == 0
    assert json.loads(out.read_text())["notes"] == ["0002: no ground truth, left out"]


def _box(identity: object, x: float, **changes: Any) -> dict[str, Any]:
    return {
        "sample_token": "s0", "translation": [x, 5.0, 1.0], "size": [1.8, 4.5, 1.6], "rotation": [1.0, 0, 0, 0],
        "velocity": [1.0, 0.0], "ego_translation": [x, 5.0, 1.0], "num_pts": 10, "tracking_id": identity,
        "tracking_name": "car", "tracking_score": 0.9, **changes,
    }  # fmt: skip


def _nuscenes(folder: Path, truth: Any, results: Any, samples: Any = None, mark: bytes = b"") -> int:
    for name, boxes in (("t", truth), ("r", results)):
        document = {"meta": {}, "results": {"s0": boxes}} | ({"samples": samples} if samples and name == "t" else {})
        (folder / f"{name}.json").write_bytes(mark + json.dumps(document).encode())
    return main(["evaluate", "nuscenes", "--results", str(folder / "r.json"), "--truth", str(folder / "t.json")])


@pytest.mark.parametrize(
    ("truth", "results", "words"),
    [
        ([_box("1", 1)], [_box("1", 1), _box(1, 9)], "sample s0: boxes 0 and 1 both have the tracking_id '1'"),
        ([_box("1", 1), _box("1", 9)], [_box("1", 1)], "t.json: sample s0: boxes 0 and 1 both have"),
        ([_box("1", 1)], [_box("1", 1, tracking_score=None)], "'tracking_score' must be a number"),
        ([_box("1", 1)], [_box("1", 1, tracking_score=float("nan"))], "tracking_score: expected a number, got NaN"),
        ([_box("1", 1, ego_translation=None)], [_box("1", 1)], "'ego_translation' must be 3 finite numbers"),
        ([_box("1", 1)], [_box("1", 1, size=[1, -1, 1])], "'size' is [1, -1, 1], expected sizes above 0"),
        ([_box("1", 1)], [_box("1", 1, rotation=[0, 0, 0, 0])], "'rotation' is [0, 0, 0, 0]"),
        ([_box("1", 1)], [_box(None, 1)], "tracking_id: expected a whole number or text, got null"),
        ([_box("1", 1)], [_box("1", 1, sample_token="s9")], "'sample_token' is 's9', of another sample"),
        ([_box("1", 1)], [_box("1", 1, tracking_name=["car"])], "is not one of bicycle"),
        ([], [_box("1", 1)], "no object in any sample"),
        ([_box("1", 1)], 7, "sample s0: expected a list of boxes, got 7"),
    ],
)
def test_what_cannot_be_scored_of_nuscenes_is_said(
    tmp_path: Path, capsys: Any, truth: Any, results: Any, words: str
) -> None:
    pytest.importorskip("nuscenes")
    assert _nuscenes(tmp_path, truth, results) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ({"s1": {"scene": "a", "timestamp": 0}}, "is missing in"),
        ({"s0": {"scene": "a"}}, "samples.s0: 'timestamp' is missing"),
        ({"s0": {"scene": "a", "timestamp": 1}, "s1": {"scene": "a", "timestamp": 1}}, "both have the timestamp 1"),
    ],
)
def test_samples_of_the_truth_must_fit(tmp_path: Path, capsys: Any, samples: Any, words: str) -> None:
    pytest.importorskip("nuscenes")
    assert _nuscenes(tmp_path, [_box("1", 1)], [_box("1", 1)], samples) == 1
    assert words in capsys.readouterr().err


def test_a_byte_order_mark_of_nuscenes_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("nuscenes")
    pytest.importorskip("motmetrics")
    assert _nuscenes(tmp_path, [_box("1", 1)], [_box(7, 1)], mark=b"\xef\xbb\xbf") == 0
