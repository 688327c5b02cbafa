# SPDX-License-Identifier: Apache-2.0
"""The synthetic street: its ground truth agrees with its own images."""

import gc
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from support.memory import resident_mb

pytest.importorskip("panda3d", reason="the street needs Panda3D")

import itertools

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.geometry import boxes3d
from centertrack_ros.io.bag_transforms import pose_in_world, read_transforms
from centertrack_ros.synthetic import CLASSES, Street, StreetConfig
from centertrack_ros.synthetic.actors import pool
from centertrack_ros.synthetic.coco_video import write_streets
from centertrack_ros.synthetic.config import RIGS, optical_rotation
from centertrack_ros.synthetic.meshes import box
from centertrack_ros.synthetic.renderer import Renderer
from centertrack_ros.synthetic.road import make_road
from centertrack_ros.synthetic.traffic import make_drive

SMALL = StreetConfig(seed=5, frames=6, rate=5.0, width=320, height=192)


@pytest.fixture(scope="module")
def drive():
    return list(Street(SMALL))


def digest(config):
    sums = hashlib.sha256()
    for frame in Street(config):
        for array in (frame.image, frame.tracks.detections.boxes, frame.tracks.detections.locations, frame.visibility):
            sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    short = replace(SMALL, frames=2)
    assert digest(short) == digest(short)
    assert digest(short) != digest(replace(short, seed=6))


def test_looks_share_no_road_user():
    first, second = pool(0), pool(6)
    for models, others in zip(first, second, strict=True):
        sizes = {tuple(model.dimensions) for model in models}
        assert sizes.isdisjoint({tuple(model.dimensions) for model in others})


def test_every_class_has_plausible_sizes():
    low = {
        "car": (1.3, 1.6, 3.5),
        "truck": (2.3, 2.1, 5.5),
        "bus": (2.8, 2.4, 9),
        "pedestrian": (1.0, 0.3, 0.5),
        "cyclist": (1.4, 0.4, 1.6),
    }
    high = {
        "car": (2.2, 2.1, 5.6),
        "truck": (4.0, 2.6, 11),
        "bus": (3.4, 2.7, 13),
        "pedestrian": (2.0, 0.9, 1.5),
        "cyclist": (2.1, 0.9, 2.0),
    }
    for name, models in zip(CLASSES, pool(1), strict=True):
        for model in models:
            assert np.all(model.dimensions >= low[name]) and np.all(model.dimensions <= high[name]), (
                name,
                model.dimensions,
            )


def test_a_label_comes_back_from_the_object_image():
    with Renderer.acquire(48, 32) as renderer:
        for label in (1, 2, 127, 149, 150, 151, 299, 300, 1000, 4000):
            node = renderer.add(box((5, -0.5, -0.5), (6, 0.5, 0.5), (1, 1, 1)), label=label)
            _, labels = renderer.render(optical_rotation(0.0), np.zeros(3), 40.0)
            assert set(np.unique(labels)) == {0, label}
            node.removeNode()


def test_the_image_is_that_of_the_camera_in_the_ground_truth():
    """A small box at a known place appears where `projection` puts it."""
    with Renderer.acquire(320, 192) as renderer:
        renderer.add(box((9.9, -2.1, 0.9), (10.1, -1.9, 1.1), (1, 1, 1)), label=7)
        rotation, position = optical_rotation(0.2, 0.05), np.array([1.0, 0.5, 1.4])
        _, labels = renderer.render(rotation, position, 250.0)
    y, x = np.nonzero(labels == 7)
    point = (np.array([10.0, -2.0, 1.0]) - position) @ rotation
    expected = point[:2] / point[2] * 250.0 + (160, 96)
    np.testing.assert_allclose((x.mean() + 0.5, y.mean() + 0.5), expected, atol=1.0)


def test_renderers_are_used_again_one_for_each_street_that_is_drawn_at_a_time():
    with Renderer.acquire(64, 48) as one, Renderer.acquire(64, 48) as other:
        assert one is not other
        one.add(box((5, -0.5, -0.5), (6, 0.5, 0.5), (1, 1, 1)), label=1)
        assert other.render(optical_rotation(0.0), np.zeros(3), 40.0)[1].max() == 0
    with Renderer.acquire(64, 48) as again:
        assert again in (one, other)
        assert again.render(optical_rotation(0.0), np.zeros(3), 40.0)[1].max() == 0


def test_many_streets_take_no_more_memory_than_one():
    config = StreetConfig(seed=11, frames=1, width=160, height=96)

    def drawn(count: int) -> float:
        for _ in range(count):
            list(Street(config))
        gc.collect()
        return resident_mb(os.getpid())

    before = drawn(3)
    assert drawn(8) - before < 5.7  # each street would keep 3 MB of textures


def test_a_street_that_is_not_drawn_to_its_end_ends_quietly_with_python():
    code = "from centertrack_ros.synthetic import Street, StreetConfig as C; street = iter(Street(C(frames=9)))"
    result = subprocess.run([sys.executable, "-c", f"{code}; next(street)"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_projected_3d_box_encloses_the_visible_pixels(drive):
    judged = 0
    for frame in drive:
        found = frame.tracks.detections
        corners = boxes3d.corners(found.dimensions, found.locations, found.rotations_y)
        for box2d, points in zip(found.boxes, corners, strict=True):
            if points[:, 2].min() < 0.5:
                continue
            pixels = points[:, :2] / points[:, 2:] * frame.camera.projection[0, 0] + frame.camera.projection[:2, 2]
            assert np.all(pixels.min(axis=0) <= box2d[:2] + 2.0) and np.all(pixels.max(axis=0) >= box2d[2:] - 2.0)
            judged += 1
    assert judged > 20


def test_amodal_boxes_enclose_the_visible_ones(drive):
    for frame in drive:
        near = np.isfinite(frame.amodal_boxes[:, 0]) & (frame.tracks.detections.depths > 4)
        visible, amodal = frame.tracks.detections.boxes[near], frame.amodal_boxes[near]
        assert np.all(amodal[:, :2] <= visible[:, :2] + 2) and np.all(amodal[:, 2:] >= visible[:, 2:] - 2)


def test_an_object_alone_in_view_is_fully_visible():
    """What nothing hides has a visibility near 1, and one outside the image's border is truncated."""
    values = []
    for frame in Street(replace(SMALL, seed=11, frames=3, density=0.35)):
        found, boxes = frame.tracks.detections, frame.tracks.detections.boxes
        nearest = int(np.argmin(found.depths)) if len(boxes) else None
        if nearest is not None and found.depths[nearest] < 30 and boxes[nearest, 3] - boxes[nearest, 1] > 20:
            values.append(frame.visibility[nearest])
        outside = np.any(
            (frame.amodal_boxes[:, :2] < -3) | (frame.amodal_boxes[:, 2:] > (SMALL.width + 3, SMALL.height + 3)), axis=1
        )
        assert np.all(frame.truncation[~outside] < 0.05)
    assert values and min(values) > 0.75


def test_velocity_is_the_difference_of_positions():
    frames = list(Street(replace(SMALL, rate=30.0, frames=6)))
    compared = 0
    for before, after in itertools.pairwise(frames):
        for track, place in zip(after.tracks.ids, world(after), strict=True):
            row = np.flatnonzero(before.tracks.ids == track)
            if len(row):
                moved = (place - world(before)[row[0]]) * 30.0
                reported = after.pose[:3, :3] @ after.tracks.detections.velocities[after.tracks.ids == track][0]
                np.testing.assert_allclose(moved, reported, atol=0.3)
                compared += 1
    assert compared > 20


def world(frame):
    locations = frame.tracks.detections.locations.astype(np.float64)
    return locations @ frame.pose[:3, :3].T + frame.pose[:3, 3]


def test_ids_persist_and_displacements_lead_to_the_previous_frame(drive):
    kept = 0
    for before, after in itertools.pairwise(drive):
        assert len(set(after.tracks.ids)) == len(after.tracks.ids) and np.all(after.tracks.ids >= 1)
        for row, (track, hits) in enumerate(zip(after.tracks.ids, after.tracks.hits, strict=True)):
            old = np.flatnonzero(before.tracks.ids == track)
            assert bool(len(old)) == (hits > 1)
            if len(old):
                found = after.tracks.detections
                np.testing.assert_allclose(
                    found.centers[row] + found.displacements[row], before.tracks.detections.centers[old[0]], atol=1e-3
                )
                assert found.class_ids[row] == before.tracks.detections.class_ids[old[0]]
                kept += 1
    assert kept > 10


def test_six_cameras_see_one_world():
    frames = list(Street(replace(SMALL, rig="six", frames=2, seed=8)))
    assert len(frames) == 12 and len({frame.camera_name for frame in frames}) == 6
    places = {}
    for frame in frames[:6]:
        for track, place in zip(frame.tracks.ids, world(frame), strict=True):
            np.testing.assert_allclose(places.setdefault(track, place), place, atol=1e-3)
    assert len(places) > max(len(frame.tracks) for frame in frames[:6])


def test_motion_blur_changes_the_image_but_not_the_ground_truth(drive):
    blurred = next(iter(Street(replace(SMALL, exposure=0.05))))
    np.testing.assert_array_equal(blurred.tracks.detections.boxes, drive[0].tracks.detections.boxes)
    assert not np.array_equal(blurred.image, drive[0].image)


def test_a_square_is_full_of_people():
    frame = next(iter(Street(StreetConfig(seed=21, frames=1, scenario="fixed", width=320, height=192))))
    people = frame.tracks.detections.class_ids == CLASSES.index("pedestrian")
    assert people.sum() >= 4 and not frame.has_3d


def test_nobody_drives_through_the_vehicle_ahead():
    rng = np.random.default_rng(3)
    lengths = [np.array([model.dimensions[2] for model in models]) for models in pool(0)]
    traffic = make_drive(make_road(rng, 500.0), rng, lengths, 1.5, 20.0)
    for _ in range(150):
        traffic.advance(0.2)
        for lane in range(0, 12):
            rows = np.flatnonzero(traffic.lane == lane)
            rows = rows[np.argsort(traffic.progress[rows])]
            gaps = np.diff(traffic.progress[rows]) - (traffic.length[rows][1:] + traffic.length[rows][:-1]) / 2
            assert np.all(gaps > -0.5)


@pytest.mark.parametrize(
    "wrong", [{"rig": "seven"}, {"frames": 0}, {"width": 5}, {"density": -1.0}, {"look": "other"}, {"rate": 0.0}]
)
def test_impossible_wishes_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StreetConfig(**wrong)


def test_command_writes_images_and_the_official_annotations(tmp_path):
    assert main(["street", str(tmp_path), "--seed", "5", "--frames", "2", "--size", "320x192", "--sequences", "2"]) == 0
    document = json.loads((tmp_path / "annotations.json").read_text())
    assert [video["id"] for video in document["videos"]] == [1, 2]
    assert [(image["video_id"], image["frame_id"]) for image in document["images"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for image in document["images"]:
        assert (tmp_path / "images" / image["file_name"]).is_file() and np.shape(image["calib"]) == (3, 4)
    for entry in document["annotations"]:
        assert entry["track_id"] >= 1 and 1 <= entry["category_id"] <= len(CLASSES) and np.shape(entry["dim"]) == (3,)
        assert np.isfinite(entry["bbox"]).all() and min(entry["bbox"][2:]) > 0


TINY = [replace(SMALL, seed=seed, frames=2, width=128, height=96) for seed in (5, 6, 7)]


def test_two_processes_write_the_same_files_as_one(tmp_path):
    progress = {1: [], 2: []}
    for jobs, images in progress.items():
        assert write_streets(tmp_path / str(jobs), iter(TINY), progress=images.append, jobs=jobs).is_file()
        assert images == [1, 2, 3, 4, 5, 6]
    one, two = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "1", tmp_path / "2")
    )
    assert one == two and len(one) == 7


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_street_that_cannot_be_written_is_an_error_whoever_renders_it(tmp_path, jobs):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{TINY[1].name}_CAM_FRONT").write_text("in the way")
    others = set(multiprocessing.active_children())
    with pytest.raises(OSError, match=f"{TINY[1].name}_CAM_FRONT"):
        write_streets(tmp_path, TINY, jobs=jobs)
    assert not (tmp_path / "annotations.json").exists()
    assert set(multiprocessing.active_children()) <= others


def test_a_number_of_processes_that_cannot_be_is_refused(tmp_path, capsys):
    assert main(["street", str(tmp_path), "--jobs", "0"]) == 1
    assert main(["street", str(tmp_path), "--format", "bag", "--jobs", "2"]) == 1
    error = capsys.readouterr().err
    assert "jobs must be at least 1, got 0" in error and "--jobs is for images and JSON" in error
    assert not list(tmp_path.iterdir())


def test_a_street_is_a_bag_whose_ground_truth_scores_100_and_whose_poses_place_it_in_one_world(tmp_path, capsys):
    options = ["--seed", "5", "--frames", "6", "--size", "320x192", "--rate", "5", "--format", "bag"]
    assert main(["street", str(tmp_path), *options, "--rig", "six"]) == 0
    bag = tmp_path / "train_000005"
    assert main(["evaluate", "bag", "--results", str(bag), "--results-prefix", "/truth", "--truth", str(bag)]) == 0
    printed = capsys.readouterr().out
    mota = [float(line.split()[5]) for line in printed.splitlines() if line.startswith("COMBINED")]
    assert "36 images" in printed and mota and set(mota) == {100.0}
    ground_truths = read_tracks(bag, "/truth")
    assert sorted(ground_truths) == sorted(mount.name.lower() for mount in RIGS["six"])
    frames = {(f.camera_name.lower(), f.index): f for f in Street(replace(SMALL, rig="six"))}
    transforms = read_transforms(bag)
    for camera, sequence in ground_truths.items():
        for annotated in sequence:
            frame = frames[camera, annotated.index]
            assert set(annotated.tracks.ids.tolist()) == set(frame.tracks.ids[frame.clear()].tolist())
            pose = pose_in_world(transforms, f"{camera}_optical", int(annotated.token))
            np.testing.assert_allclose(pose, frame.pose, atol=1e-6)
    assert main(["street", str(tmp_path), *options]) == 1
    assert "not overwritten" in capsys.readouterr().err
