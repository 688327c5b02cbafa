# SPDX-License-Identifier: Apache-2.0
"""Datasets as bags, and bags against each other."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import bag_tracks, mot
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.bag_scores import match_bags
from centertrack_ros.evaluation.box3d_errors import box3d_errors
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.rosbag import BagReader

pytest.importorskip("rosbags")


def _recording(
    folder: Path, classes: tuple[str, ...] = ("car", "person"), frames: int = 5, shift: float = 0.0
) -> VideoSequence:
    """Two objects that come nearer, with images of noise; `shift` m moves the 3D boxes away from the camera."""
    rng = np.random.default_rng(3)
    made = []
    for index in range(frames):
        path = folder / f"{index:06d}.jpg"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (96, 160, 3), np.uint8))
        places = np.array([[1.0, 1.5, 30.0 - index + shift], [-2.0, 1.4, 12.0 - index + shift]])
        boxes = np.array([[60.0 + index, 40, 90 + index, 60], [10.5 + index, 30, 20.5 + index, 60.25]])
        tracks = tracks_of(
            np.array([7, 12]),
            np.array([0, 1]),
            np.array([0.9, 0.75]),
            boxes,
            locations=places,
            dimensions=np.array([[1.5, 1.8, 4.4], [1.75, 0.6, 0.7]]),
            rotations_y=np.array([0.3, -2.0]),
            depths=places[:, 2],
        )
        made.append(AnnotatedFrame(index, index / 10, tracks, image=path, camera=Camera.from_focal(160, 96, 120.0)))
    return VideoSequence("drive", classes, tuple(made), 0, frames, 10.0, (96, 160))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("raw", [False, True])
def test_a_recording_comes_back_out_of_its_bag(tmp_path, storage, raw):
    recording = _recording(tmp_path / "images")
    assert write_bag(tmp_path / "bag", {"front": recording}, storage=storage, raw=raw) == 5
    [again] = bag_tracks.read_tracks(tmp_path / "bag").values()
    assert again.classes == recording.classes and again.name == "front"
    for one, two in zip(recording, again, strict=True):
        assert two.tracks.ids.tolist() == [12, 7] or two.tracks.ids.tolist() == [7, 12]
        order = np.argsort(two.tracks.ids)
        found = two.tracks.detections.select(order)
        for field in ("boxes", "locations", "dimensions", "rotations_y", "scores"):
            np.testing.assert_allclose(getattr(found, field), getattr(one.tracks.detections, field), atol=1e-9)
    with BagReader(tmp_path / "bag") as reader:
        infos = [m for _, m in reader.messages(["/front/camera_info"])]
        assert infos[0].k[0] == 120.0 and infos[0].width == 160
        assert infos[1].header.stamp.nanosec - infos[0].header.stamp.nanosec == 100_000_000
        [(_, static)] = reader.messages(["/tf_static"])
        assert static.transforms[0].child_frame_id == infos[0].header.frame_id == "front_optical"


def test_the_same_recording_gives_the_same_bytes(tmp_path):
    recording = _recording(tmp_path / "images")
    for name in ("a", "b"):
        write_bag(tmp_path / name / "bag", {"front": recording})
    files = [sorted(p for p in (tmp_path / name / "bag").iterdir()) for name in ("a", "b")]
    assert [p.name for p in files[0]] == [p.name for p in files[1]]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_truth_against_itself_is_perfect_in_2d_and_3d(tmp_path, capsys):
    pytest.importorskip("trackeval")
    pytest.importorskip("nuscenes")
    write_bag(tmp_path / "bag", {"front": _recording(tmp_path / "images")})
    bag, out = str(tmp_path / "bag"), tmp_path / "out.json"
    assert main(["evaluate", "bag", "--results", bag, "--truth", bag, "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    for name in ("car", "person"):
        figures = document["combined"][name]
        assert [figures[key] for key in ("HOTA", "MOTA", "MOTP", "IDF1", "IDSW")] == [100, 100, 100, 100, 0]
        total = document["errors_3d"][name]["all"]
        assert (total["objects"], total["found"]) == (5, 5)
        assert max(total[key] for key in ("translation", "depth", "size", "yaw")) < 1e-6
    assert "person, at m" in capsys.readouterr().out


def test_errors_in_3d_are_those_that_were_made(tmp_path):
    pytest.importorskip("nuscenes")
    write_bag(tmp_path / "truth", {"front": _recording(tmp_path / "images")})
    write_bag(tmp_path / "far", {"front": _recording(tmp_path / "images", shift=1.25)})
    errors = box3d_errors(match_bags(tmp_path / "far", tmp_path / "truth").pairs)
    assert errors["car"]["all"]["translation"] == pytest.approx(1.25)
    assert errors["car"]["all"]["depth"] == pytest.approx(1.25)
    assert errors["car"]["all"]["yaw"] == pytest.approx(0.0, abs=1e-6)
    assert set(errors["person"]) == {"0-10", "10-20", "all"}


def test_classes_are_joined_across_spellings(tmp_path):
    write_bag(tmp_path / "truth", {"front": _recording(tmp_path / "images", ("Car", "Pedestrian"))})
    write_bag(tmp_path / "results", {"front": _recording(tmp_path / "images", ("car", "person"))})
    [pair] = match_bags(tmp_path / "results", tmp_path / "truth").pairs
    assert pair.results.classes == pair.truth.classes == ("Car", "Pedestrian")


def test_frames_without_a_stamp_of_the_truth_are_left_out_with_a_note(tmp_path):
    recording = _recording(tmp_path / "images")
    less = replace(recording, frames=recording.frames[1:3])
    write_bag(tmp_path / "truth", {"front": less})
    write_bag(tmp_path / "results", {"front": recording})
    found = match_bags(tmp_path / "results", tmp_path / "truth")
    assert found.notes == ("front: 3 frames of the results have no stamp of the ground truth, left out",)
    assert [frame.index for frame in found.pairs[0].results] == [1, 2]  # their numbers in the data set


def test_figures_without_truth_count_tracks_and_gaps(tmp_path, capsys):
    recording = _recording(tmp_path / "images")
    only_first = recording.frames[2].select(np.array([0]))
    broken = replace(recording, frames=(*recording.frames[:2], only_first, *recording.frames[3:]))
    write_bag(tmp_path / "bag", {"front": broken})
    out = tmp_path / "out.json"
    assert main(["evaluate", "bag", "--results", str(tmp_path / "bag"), "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    figures = document["cameras"]["front"]
    assert (figures["tracks"], figures["gaps"], figures["mean_length_frames"]) == (2, 1, 4.5)
    assert document["drops"]["/front/image_raw/compressed"] == {"images": 5, "without_result": 0}
    assert "gaps_per_track" in capsys.readouterr().out


def test_a_dataset_becomes_a_bag_whose_truth_scores_100(tmp_path, capsys):
    pytest.importorskip("trackeval")
    folder = tmp_path / "walk"
    _recording(folder / "img1")
    for path in sorted((folder / "img1").iterdir(), reverse=True):
        path.rename(path.with_name(f"{int(path.stem) + 1:06d}.jpg"))
    (folder / "gt").mkdir()
    rows = [f"{frame},1,{10 * frame},50,30,40,1,1,1\n{frame},2,100,10,9,9,0,8,1\n" for frame in range(1, 6)]
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    assert main(["bag", "from-mot", str(folder), str(tmp_path / "bag")]) == 0
    [recording] = bag_tracks.read_tracks(tmp_path / "bag").values()
    assert [len(frame.tracks) for frame in recording] == [1] * 5
    assert main(["evaluate", "bag", "--results", str(tmp_path / "bag"), "--truth", str(tmp_path / "bag")]) == 0
    assert main(["bag", "from-mot", str(folder), str(tmp_path / "bag")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert mot.read_sequence(folder).length == 5


def test_broken_and_unfit_bags_are_named(tmp_path, capsys):
    recording = _recording(tmp_path / "images")
    write_bag(tmp_path / "bag", {"front": recording})
    mcap = next((tmp_path / "bag").glob("*.mcap"))
    (tmp_path / "cut.mcap").write_bytes(mcap.read_bytes()[: mcap.stat().st_size // 2])
    (tmp_path / "file.mcap").write_text("nothing")
    for name in ("cut.mcap", "file.mcap", "none"):
        assert main(["evaluate", "bag", "--results", str(tmp_path / name)]) == 1
        message = capsys.readouterr().err
        assert name in message and message.count("\n") == 1
    assert main(["evaluate", "bag", "--results", str(tmp_path / "bag"), "--results-prefix", "/output"]) == 1
    assert "no detections" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_named_and_an_empty_recording_too(tmp_path):
    recording = _recording(tmp_path / "images")
    recording.frames[2].image.write_text("no image")
    with pytest.raises(ValueError, match=r"000002.jpg: not an image"):
        write_bag(tmp_path / "bag", {"front": recording}, raw=True)
    with pytest.raises(ValueError, match="no frames"):
        write_bag(tmp_path / "other", {"front": replace(recording, frames=())})


@pytest.mark.parametrize(
    "command",
    [
        ["from-kitti", "kitti_tracking_mini/training", "--sequence", "0001"],
        ["from-nuscenes", "nuscenes_sample_6cam/sample_info.json"],
        ["from-mot", "mot17/images/MOT17-05-FRCNN"],
    ],
)
def test_truth_of_real_datasets_scores_100_through_a_bag(shared_data, tmp_path, command):
    pytest.importorskip("trackeval")
    form, source, *others = command
    bag, out = str(tmp_path / "bag"), tmp_path / "out.json"
    assert main(["bag", form, str(shared_data / source), bag, *others]) == 0
    assert main(["evaluate", "bag", "--results", bag, "--truth", bag, "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    assert document["combined"]
    for figures in document["combined"].values():
        percent = [value for key, value in figures.items() if key in ("HOTA", "MOTA", "MOTP", "IDF1", "AssA", "DetA")]
        assert percent == [100.0] * len(percent)
