# SPDX-License-Identifier: Apache-2.0
"""The nuScenes tracking benchmark: poses in the world, result files, and the devkit's scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import nuscenes
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of

POSE = np.array([[0, 0, 1, 100.0], [-1, 0, 0, 200.0], [0, -1, 0, 1.5], [0, 0, 0, 1]])  # looks along the world's x


def _sequence(
    name: str, places: list[tuple[float, float, float]], scores: list[float], token: str = "s0"
) -> VideoSequence:
    """Cars whose bottom centres are at `places` (optical frame)."""
    count = len(places)
    tracks = tracks_of(
        np.arange(1, count + 1),
        np.zeros(count, np.int64),
        np.array(scores),
        np.tile([0.0, 0, 10, 10], (count, 1)),
        dimensions=np.tile([1.5, 1.8, 4.5], (count, 1)),
        locations=np.array(places).reshape(-1, 3),
        rotations_y=np.full(count, -np.pi / 2),
        velocities=np.tile([0.0, 0, 3.0], (count, 1)),
    )
    return VideoSequence(name, nuscenes.CLASSES, (AnnotatedFrame(0, 0.0, tracks, pose=POSE, token=token),), 0, 1)


def test_a_car_straight_ahead_stands_upright_in_the_world_and_drives_away():
    box = nuscenes.results_document([_sequence("CAM_FRONT", [(2.0, 1.5, 20.0)], [0.9])])["results"]["s0"][0]
    assert box["translation"] == pytest.approx([120.0, 198.0, 0.75])
    assert box["size"] == [1.8, 4.5, 1.5]
    assert box["velocity"] == pytest.approx([3.0, 0.0])
    pyquaternion = pytest.importorskip("pyquaternion")
    turn = pyquaternion.Quaternion(box["rotation"]).rotation_matrix
    assert turn[:, 0] == pytest.approx([1, 0, 0], abs=1e-12)
    assert turn[:, 2] == pytest.approx([0, 0, 1], abs=1e-12)


def test_a_sample_keeps_its_strongest_500_boxes():
    places = [(0.0, 1.5, 5.0 + i) for i in range(600)]
    sequences = [_sequence("A", places, np.linspace(0.1, 0.7, 600).tolist()), _sequence("B", places[:5], [0.9] * 5)]
    boxes = nuscenes.results_document(sequences)["results"]["s0"]
    assert len(boxes) == nuscenes.SAMPLE_LIMIT
    assert len({box["tracking_id"] for box in boxes}) == len(boxes)
    assert min(box["tracking_score"] for box in boxes) == pytest.approx(np.linspace(0.1, 0.7, 600)[105])


def test_an_object_of_two_cameras_can_be_merged_and_two_of_one_camera_never_are():
    one = _sequence("A", [(0.0, 1.5, 20.0), (0.3, 1.5, 20.0)], [0.9, 0.8])
    other = _sequence("B", [(0.1, 1.5, 20.0)], [0.95])
    assert len(nuscenes.results_document([one, other])["results"]["s0"]) == 3
    kept = nuscenes.results_document([one, other], merge_distance=0.15)["results"]["s0"]
    assert sorted(box["tracking_id"] for box in kept) == ["A/2", "B/1"]


def test_results_do_not_change_what_they_are_written_from(tmp_path):
    sequence = _sequence("A", [(0.0, 1.5, 20.0)], [0.9])
    before = sequence.frames[0].tracks.detections.locations.copy()
    nuscenes.write_results(tmp_path / "r.json", [sequence])
    assert (sequence.frames[0].tracks.detections.locations == before).all()
    assert nuscenes.read_results(tmp_path / "r.json")["s0"][0]["tracking_name"] == "car"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"results": {"s0": [{"translation": [1, 2]}]}}', "'size' is missing"),
        ('{"results": \n {"s0" []}}', ":2: not JSON"),
        ('{"boxes": 1}', "expected an object with 'results'"),
    ],
)
def test_a_broken_result_file_is_named(tmp_path, capsys, text, message):
    (tmp_path / "r.json").write_text(text)
    good = nuscenes.results_document([_sequence("A", [(0.0, 1.5, 20.0)], [0.9])])
    (tmp_path / "t.json").write_text(json.dumps(good))
    command = ["evaluate", "nuscenes", "--results", str(tmp_path / "r.json"), "--truth", str(tmp_path / "t.json")]
    assert main(command) == 1
    assert message in capsys.readouterr().err


def _track(token: int, x: float, identity: str, score: float = 0.9) -> dict:
    return {
        "sample_token": f"s{token}",
        "translation": [x, 10.0, 0.0],
        "size": [1.8, 4.5, 1.5],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [1.0, 0.0],
        "tracking_id": identity,
        "tracking_name": "car",
        "tracking_score": score,
        "ego_translation": [x, 10.0, 0.0],
        "num_pts": 5,
    }


def _file(path, boxes: list[list[dict]]) -> str:
    samples = {f"s{i}": {"scene": "one", "timestamp": 500000 * i} for i in range(len(boxes))}
    path.write_text(json.dumps({"meta": {}, "samples": samples, "results": {f"s{i}": b for i, b in enumerate(boxes)}}))
    return str(path)


def test_truth_given_as_results_is_perfect_and_a_switched_id_is_counted(tmp_path, capsys):
    pytest.importorskip("motmetrics")
    truth = [[_track(i, 3.0 * i, "a"), _track(i, 3.0 * i - 20, "b")] for i in range(6)]
    switched = [
        [{**box, "tracking_id": box["tracking_id"] + ("!" if i > 2 else "")} for box in t] for i, t in enumerate(truth)
    ]
    path = _file(tmp_path / "truth.json", truth)
    for name, boxes, switches in (("same", truth, 0), ("switched", switched, 2)):
        out = tmp_path / f"{name}.json.out"
        results = _file(tmp_path / f"{name}.json", boxes)
        assert main(["evaluate", "nuscenes", "--results", results, "--truth", path, "--json", str(out)]) == 0
        car = json.loads(out.read_text())["classes"]["car"]
        assert car["ids"] == switches
        assert (car["amota"] == 1.0) == (switches == 0)
        assert (car["recall"], car["fp"], car["fn"]) == (1.0, 0, 0)
    assert "AMOTA" in capsys.readouterr().out


def _scenes(path, switched: bool = False) -> str:
    """Six scenes of five samples, each with two cars; in all but one the first changes its id if `switched`."""
    samples, results = {}, {}
    for scene in range(6):
        for index in range(5):
            token = f"{scene}-{index}"
            samples[token] = {"scene": f"scene{scene}", "timestamp": 500000 * index}
            boxes = [_track(0, 2.0 * index - 20 * number, f"{scene}{number}", 0.9 - 0.1 * number) for number in (0, 1)]
            boxes[0]["tracking_id"] += "!" if switched and scene and index > 2 else ""
            results[token] = [{**box, "sample_token": token} for box in boxes]
    path.write_text(json.dumps({"meta": {}, "samples": samples, "results": results}))
    return str(path)


def test_scenes_by_themselves_a_report_and_a_comparison(tmp_path, capsys):
    pytest.importorskip("motmetrics")
    pytest.importorskip("matplotlib")
    truth, switched = _scenes(tmp_path / "truth.json"), _scenes(tmp_path / "switched.json", switched=True)
    command = ["evaluate", "nuscenes", "--truth", truth, "--finished", str(tmp_path / "done"), "--scenes"]
    a, b, again, page = (str(tmp_path / name) for name in ("a.json", "b.json", "again.json", "page.html"))
    assert main([*command, "--results", truth, "--json", a]) == 0
    assert main([*command, "--results", switched, "--json", b, "--report", page]) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "done").iterdir()}
    assert main([*command, "--results", switched, "--json", again]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "done").iterdir()} == before
    assert len(before) == 2 * (1 + 6) - 1  # the first scene is the same in both
    assert Path(again).read_text() == Path(b).read_text() == (tmp_path / "page.json").read_text()
    document = json.loads(Path(b).read_text())
    assert document["combined"]["ids"] == 5
    assert [scene["combined"]["ids"] for scene in document["scenes"].values()] == [0, 1, 1, 1, 1, 1]
    assert document["curves"]["car"]["recall"][0] == 1.0
    text = Path(page).read_text()
    assert text.count("<svg") == 2 and "scene5" in text and "<script" not in text
    capsys.readouterr()
    assert main(["compare", a, b]) == 0
    rows = {row.split()[3]: row.split()[4:] for row in capsys.readouterr().out.splitlines() if "mean" in row}
    assert rows["IDS"][:3] == ["0.000", "0.833", "+0.833"] and rows["IDS"][-1] == "clear"
    assert rows["AMOTA"][2].startswith("-") and rows["FP"] == ["0.000", "0.000", "+0.000", "+0.000", "+0.000"]
    assert main(["evaluate", "nuscenes", "--truth", truth, "--results", truth, "--json", b]) == 0
    assert main(["compare", a, b]) == 1
    assert "nuscenes --scenes" in capsys.readouterr().err


def test_samples_that_are_missing_are_named(tmp_path, capsys):
    pytest.importorskip("motmetrics")
    truth = _file(tmp_path / "truth.json", [[_track(0, 1.0, "a")], [_track(1, 2.0, "a")]])
    results = _file(tmp_path / "results.json", [[_track(0, 1.0, "a")]])
    assert main(["evaluate", "nuscenes", "--results", results, "--truth", truth]) == 1
    assert "no entry for sample s1" in capsys.readouterr().err


def test_the_real_sample_scores_perfectly_through_six_cameras(shared_data, tmp_path):
    """Boxes go from each camera's frame into the world, the truth's go there from the LiDAR's."""
    pytest.importorskip("motmetrics")
    from centertrack_ros.evaluation.nuscenes_metrics import score_files

    info = shared_data / "nuscenes_sample_6cam" / "sample_info.json"
    sequences = nuscenes.read_sample_info(info)
    assert sum(len(sequence.frames[0].tracks) for sequence in sequences) == 84
    document = nuscenes.results_document(sequences, merge_distance=0.1)
    unseen = [
        b["translation"] for t in nuscenes.sample_info_truth(info)["results"].values() for b in t if not b["num_pts"]
    ]
    for token, boxes in document["results"].items():  # the benchmark drops objects without a LiDAR point from the truth
        away = [np.linalg.norm(np.subtract(unseen, box["translation"]), axis=1).min() > 0.1 for box in boxes]
        document["results"][token] = [box for box, keep in zip(boxes, away, strict=True) if keep]
    (tmp_path / "r.json").write_text(json.dumps(document))
    figures = score_files(tmp_path / "r.json", info)["combined"]
    assert (figures["amota"], figures["recall"], figures["mota"]) == (1.0, 1.0, 1.0)
    assert figures["amotp"] < 1e-4
