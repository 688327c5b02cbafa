# SPDX-License-Identifier: Apache-2.0
"""Targets of velocities: metres per second, metres per frame, and both at once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from centertrack_ros.training.augmentation import NO_AUGMENTATION, Augmentation
from centertrack_ros.training.feature_cache import pad_batch
from centertrack_ros.training.losses import head_losses
from centertrack_ros.training.samples import Draw, TrackingSamples
from support.moving_square import PROFILE, read_images, write_moving_square


def _moving_video(folder: Path) -> Path:
    """`write_moving_square` with a velocity, and half a second between frames."""
    write_moving_square(folder, extra={"velocity": [3.0, 0.5, -2.0]})
    document = json.loads((folder / "annotations.json").read_text())
    for image in document["images"]:
        image["stamp"] = 100.0 + 0.5 * image["frame_id"]
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_metres_per_frame_are_those_since_the_previous_image_in_the_mirror_too(tmp_path):
    data = [read_images(_moving_video(tmp_path / "v"))]
    heads = {"hm": 2, "wh": 2, "velocity": 3}
    per_frame = replace(PROFILE, heads=heads, velocity_per_frame=True)
    for flip, sign in ((0.0, 1.0), (1.0, -1.0)):
        how = replace(NO_AUGMENTATION, flip=flip, mirrored_velocity=True)
        samples = TrackingSamples(data, per_frame, how)
        assert samples[2]["velocity"][0].tolist() == [1.5 * sign, 0.25, -1.0]
        assert samples[0]["velocity"][0].tolist() == [0, 0, 0]  # the first frame is its own previous one
        per_second = TrackingSamples(data, replace(PROFILE, heads=heads), how)[2]
        assert per_second["velocity"][0].tolist() == [3.0 * sign, 0.5, -2.0]
        official = TrackingSamples(data, per_frame, replace(NO_AUGMENTATION, flip=flip))[2]
        assert official["velocity_mask"][0].any() != bool(flip)
    samples = [
        TrackingSamples(data, per_frame, Augmentation(flip=0, crop=True, scales=(1.0, 1.0)))[Draw(2, (seed,))]
        for seed in range(40)
    ]
    assert {float(sample["velocity"][0, 0]) for sample in samples if sample["mask"][0]} == {-3.0, -1.5, 0.0, 1.5, 3.0}


def test_a_velocity_of_two_parts_is_trained_in_metres_per_second_at_any_interval(tmp_path):
    data = [read_images(_moving_video(tmp_path / "v"))]
    profile = replace(PROFILE, heads={"hm": 2, "wh": 2, "velocity": 6}, velocity_per_frame=True)
    samples = TrackingSamples(data, profile, replace(NO_AUGMENTATION, max_frame_distance=3))
    intervals = set()
    for seed in range(60):
        sample = samples[Draw(2, (seed,))]
        batch = torch.utils.data.default_collate([sample])
        step = float(batch["velocity_interval"][0, 0, 0])
        truth = torch.tensor([3.0, 0.5, -2.0])
        if not sample["velocity_mask"][0].all():
            assert step == 1.0  # its own previous image: no motion is visible, and none is trained
            continue
        intervals.add(step)
        for share in (0.0, 0.3, 1.0):
            values = torch.cat([share * truth * step, (1 - share) * truth]).expand(1, len(sample["mask"]), 6)
            assert float(head_losses({"velocity": values}, batch)["velocity"]) == pytest.approx(0, abs=1e-6)
            wrong = head_losses({"velocity": values + torch.tensor([step, 0, 0, 0, 0, 0])}, batch)["velocity"]
            assert float(wrong) == pytest.approx(1 / 3, rel=1e-3)
    assert intervals == {-1.0, -0.5, 0.5, 1.0}
    # A batch of cached features has empty slots where an image has fewer objects than another.
    sample = TrackingSamples(data, profile, NO_AUGMENTATION)[3]
    rows = [{name: values[:n] for name, values in sample.items() if values.dim()} for n in (1, 3)]
    batch = pad_batch([{n: v for n, v in row.items() if n.startswith(("velocity", "index", "mask"))} for row in rows])
    values = torch.full((2, 3, 6), 0.5)
    expected = (values[0, 0, :3] * 2 + 0.5 - torch.tensor([3.0, 0.5, -2.0])).abs().mean()
    assert float(head_losses({"velocity": values}, batch)["velocity"]) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("stamp", [{}, {"stamp": None}, {"stamp": "2011-09-26 13:02:25"}], ids=["none", "null", "text"])
def test_the_motion_of_frames_without_a_stamp_is_unknown(tmp_path, stamp):
    folder = write_moving_square(tmp_path / "v", extra={"velocity": [3.0, 0.5, -2.0]})
    document = json.loads((folder / "annotations.json").read_text())
    for image in document["images"]:
        image.update(stamp)
    (folder / "annotations.json").write_text(json.dumps(document))
    data = [read_images(folder)]
    for channels in (3, 6):
        profile = replace(PROFILE, heads={"hm": 2, "velocity": channels}, velocity_per_frame=True)
        assert not TrackingSamples(data, profile, NO_AUGMENTATION)[2]["velocity_mask"].any()
