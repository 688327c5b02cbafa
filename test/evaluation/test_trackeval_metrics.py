# SPDX-License-Identifier: Apache-2.0
"""Scores of result files against truth: the official code's numbers, reached through our readers and writers."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import kitti, mot
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.matching import match_kitti, match_mot
from centertrack_ros.evaluation.trackeval_metrics import (
    SequencePair,
    combine,
    metric_classes,
    score_kitti,
    score_mot,
    summary,
)

pytest.importorskip("trackeval")

TRUTH = """\
1,1,100,100,40,80,1,1,1
1,2,300,100,40,80,1,1,0.5
1,3,500,100,40,80,0,8,1
2,1,104,100,40,80,1,1,1
2,2,304,100,40,80,1,1,0.5
3,1,108,100,40,80,1,1,1
"""
PERCENT = (
    "HOTA",
    "DetA",
    "AssA",
    "DetRe",
    "DetPr",
    "AssRe",
    "AssPr",
    "LocA",
    "OWTA",
    "MOTA",
    "MOTP",
    "MODA",
    "sMOTA",
    "IDF1",
    "IDR",
    "IDP",
)


def _files(folder: Path, results: str, truth: str = TRUTH) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tracks.txt").write_text(results)
    (folder / "gt.txt").write_text(truth)
    return folder / "tracks.txt", folder / "gt.txt"


def truth_as_results(truth: VideoSequence) -> VideoSequence:
    """The considered objects as a perfect tracker would report them."""
    frames = tuple(frame.select(frame.flags["considered"]) if "considered" in frame.flags else frame for frame in truth)
    return replace(truth, frames=frames)


def _official(raw: dict, title: str) -> dict:
    return {field: np.array(value) if isinstance(value, list) else value for field, value in raw[title].items()}


def test_truth_given_as_results_is_perfect(tmp_path):
    truth = mot.read_truth(_files(tmp_path, "")[1], "one")
    figures = summary(score_mot([SequencePair(truth, truth_as_results(truth))]).combined["pedestrian"])
    assert [figures[name] for name in PERCENT] == [100.0] * len(PERCENT)
    assert (figures["IDSW"], figures["Frag"], figures["CLR_FP"], figures["CLR_FN"]) == (0, 0, 0, 0)


def test_two_ids_swapped_are_two_switches(tmp_path):
    results = (
        "1,1,100,100,40,80,1\n1,2,300,100,40,80,1\n2,2,104,100,40,80,1\n2,1,304,100,40,80,1\n3,2,108,100,40,80,1\n"
    )
    paths = _files(tmp_path, results)
    figures = summary(score_mot(match_mot(*paths).pairs).combined["pedestrian"])
    assert figures["IDSW"] == 2
    assert figures["MOTA"] == pytest.approx(100 * (5 - 2) / 5)


def test_a_detection_of_a_distractor_costs_nothing_in_mot17_but_does_in_mot15(tmp_path):
    results = "1,1,100,100,40,80,1\n1,9,500,100,40,80,1\n"
    pairs = match_mot(*_files(tmp_path, results)).pairs
    assert summary(score_mot(pairs).combined["pedestrian"])["CLR_FP"] == 0
    assert summary(score_mot(pairs, "MOT15").combined["pedestrian"])["CLR_FP"] == 1


def test_frames_restrict_what_is_evaluated(tmp_path, capsys):
    results, truth = _files(tmp_path, "1,1,100,100,40,80,1\n1,2,300,100,40,80,1\n4,1,0,0,9,9,1\n")
    assert main(["evaluate", "mot", "--results", str(results), "--truth", str(truth), "--frames", "1-1"]) == 0
    assert "100.00" in capsys.readouterr().out
    assert main(["evaluate", "mot", "--results", str(results), "--truth", str(truth)]) == 0
    assert "the ground truth covers frames 1 to 3; 1 later frames" in capsys.readouterr().out


def test_json_holds_full_precision_and_is_the_same_twice(tmp_path):
    results, truth = _files(tmp_path, "1,1,101.25,100,40,80,1\n2,1,104,100,41,80,0.5\n")
    for name in ("a.json", "b.json"):
        command = ["evaluate", "mot", "--results", str(results), "--truth", str(truth), "--json", str(tmp_path / name)]
        assert main(command) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    document = json.loads((tmp_path / "a.json").read_text())
    raw = document["raw"][tmp_path.name]["pedestrian"]
    assert document["combined"]["pedestrian"]["MOTP"] == 100 * raw["CLEAR"]["MOTP_sum"] / raw["CLEAR"]["CLR_TP"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("1,1,100,100,40,80,1\n1,two,0,0,1,1,1\n", "tracks.txt:2: 'two' is not a finite number"),
        ("1,1,100,100,40\n", "tracks.txt:1: 5 columns"),
        ("\n0,1,100,100,40,80,1\n", "tracks.txt:2: frame 0, expected frames counted from 1"),
        ("1,1,1,1,4,8,1\n1,1,9,9,4,8,1\n", "tracks.txt:2: id 1 appears twice in frame 1"),
        ("1,1,1,1,-4,8,1\n", "tracks.txt:1: negative width"),
        ("1,1,1,nan,4,8,1\n", "tracks.txt:1: 'nan' is not a finite number"),
    ],
)
def test_a_broken_line_is_named(tmp_path, capsys, results, message):
    paths = _files(tmp_path, results)
    assert main(["evaluate", "mot", "--results", str(paths[0]), "--truth", str(paths[1])]) == 1
    output = capsys.readouterr().err
    assert message in output and output.count("\n") == 1


def test_missing_files_are_named(tmp_path, capsys):
    results, _truth = _files(tmp_path, "")
    assert main(["evaluate", "mot", "--results", str(results), "--truth", str(tmp_path / "none")]) == 1
    assert "none: no such file or folder with ground truth" in capsys.readouterr().err
    folder = tmp_path / "labels"
    folder.mkdir()
    assert main(["evaluate", "kitti", "--results", str(tmp_path), "--labels", str(folder)]) == 1
    assert "no label files" in capsys.readouterr().err
    (folder / "0001.txt").write_text("")
    assert main(["evaluate", "kitti", "--results", str(tmp_path), "--labels", str(folder)]) == 1
    assert "no results of sequence 0001" in capsys.readouterr().err
    assert main(["evaluate", "kitti", "--results", str(tmp_path), "--labels", str(folder), "--sequences", "0016"]) == 1
    assert "no ground truth of sequence 0016; there is 0001" in capsys.readouterr().err


@pytest.mark.parametrize(("sequence", "mota", "idf1"), [("TUD-Campus", 52.6, 55.8), ("TUD-Stadtmitte", 56.4, 64.5)])
def test_published_scores_of_tud(shared_data, sequence, mota, idf1):
    folder = shared_data / "motmetrics_tud"
    figures = summary(score_mot(match_mot(folder, folder, (sequence,)).pairs).combined["pedestrian"])
    assert (round(figures["MOTA"], 1), round(figures["IDF1"], 1)) == (mota, idf1)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["CIWT", "YOLOX-SORT"])
def test_published_scores_of_kitti_to_the_digit(shared_data, tracker):
    """0016 has no labels here: its published line takes part in the sum, all others are computed."""
    folder = shared_data / "kitti_track_results" / tracker
    found = match_kitti(folder, shared_data / "kitti_tracking_labels")
    assert found.notes == ("0016: no label file, left out",)
    scores = score_kitti(found.pairs, ("car",))
    with (folder / "car_detailed.csv").open() as file:
        published = {row.pop("seq"): {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)}
    for name, classes in scores.sequences.items():
        for title, metric in metric_classes().items():
            for field, value in metric.detailed_results({"x": _official(classes["car"], title)})["x"].items():
                assert value == pytest.approx(published[name].get(field, value), abs=1e-12), (name, field)
    together = combine({**scores.sequences, "0016": {"car": _published_raw(published["0016"])}})["car"]
    heading, values = (folder / "car_summary.txt").read_text().splitlines()[:2]
    ours: dict[str, str] = {}
    for title, metric in metric_classes().items():
        ours |= metric.summary_results({"COMBINED_SEQ": _official(together, title)})
    expected = dict(zip(heading.split(), values.split(), strict=True))
    assert {field: ours[field] for field in expected} == expected


def _published_raw(row: dict[str, float]) -> dict[str, dict]:
    raw: dict[str, dict] = {}
    for title, metric in metric_classes().items():
        raw[title] = {field: row.get(field, 0.0) for field in metric.float_fields + metric.integer_fields}
        for field in metric.float_array_fields + metric.integer_array_fields:
            raw[title][field] = [row[f"{field}___{int(100 * alpha)}"] for alpha in metric.array_labels]
    return raw


def test_kitti_truth_given_as_results_is_perfect(shared_data):
    labels = shared_data / "kitti_tracking_labels" / "label_02"
    figures = {
        name: summary(raw)
        for name, raw in score_kitti(match_kitti(labels, labels, ("0012", "0013")).pairs).combined.items()
    }
    assert [figures[name][field] for name in ("car", "pedestrian") for field in PERCENT] == [100.0] * 2 * len(PERCENT)


def test_kitti_evaluates_only_its_classes():
    empty = VideoSequence("x", kitti.CLASSES, (), 0, 1)
    with pytest.raises(ValueError, match="'car' and 'pedestrian', got 'tram'"):
        score_kitti([SequencePair(empty, empty)], ("tram",))


def test_other_classes_of_the_results_are_left_out_and_said(tmp_path):
    (tmp_path / "gt.txt").write_text("1,1,0,0,10,10,1,1,1\n2,1,0,0,10,10,1,1,1\n")
    (tmp_path / "r.txt").write_text(
        "1,1,0,0,10,10,0.9,1,-1,-1\n1,2,50,0,10,10,0.9,3,-1,-1\n2,1,0,0,10,10,0.9,1,-1,-1\n"
    )
    matches = match_mot(tmp_path / "r.txt", tmp_path / "gt.txt")
    assert [len(frame.tracks) for frame in matches.pairs[0].results] == [1, 1]
    assert any("left out: 1 of car" in note for note in matches.notes)
    (tmp_path / "r.txt").write_text("1,2,50,0,10,10,0.9,3,-1,-1\n")  # no pedestrian at all: not MOT17's classes
    matches = match_mot(tmp_path / "r.txt", tmp_path / "gt.txt")
    assert len(matches.pairs[0].results.frames[0].tracks) == 1
