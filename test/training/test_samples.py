# SPDX-License-Identifier: Apache-2.0
"""Training samples agree with their images, and their order is a function of the seed."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from centertrack_ros.training.augmentation import NO_AUGMENTATION, Augmentation
from centertrack_ros.training.samples import Draw, ResumableBatches, TrackingSamples, normalised
from support.moving_square import PROFILE, read_images, write_moving_square


def bright_center(pixels):
    y, x = np.nonzero(normalised(pixels[None], PROFILE)[0].numpy().mean(axis=0) > 0.5)
    return np.array([x.mean(), y.mean()])


def test_targets_lie_on_the_object_in_the_cropped_and_mirrored_image(video):
    samples = TrackingSamples([read_images(video)], PROFILE, Augmentation(color=0, lighting=0))
    seen = 0
    for seed in range(40):
        sample = samples[Draw(2, (seed,))]
        if not sample["mask"][0] or (sample["wh"][0] * 4 < 5).any():
            continue
        cell = np.array(divmod(int(sample["index"][0]), 24)[::-1])
        bright = bright_center(sample["image"])
        place = (cell + sample["reg"][0].numpy()) * 4
        inside = np.all(place > 8) and np.all(place < (88, 56))
        if inside:
            np.testing.assert_allclose(place, bright, atol=2.5)
            if sample["tracking_mask"][0, 0] and sample["prior"].max() > 0:
                before = (cell + sample["tracking"][0].numpy()) * 4
                if np.all(before > 8) and np.all(before < (88, 56)):
                    np.testing.assert_allclose(before, bright_center(sample["previous"]), atol=3.0)
                    seen += 1
    assert seen >= 8


def test_prior_heatmap_peaks_where_the_object_was(video):
    samples = TrackingSamples([read_images(video)], PROFILE, NO_AUGMENTATION)
    sample = samples[3]
    y, x = np.unravel_index(int(sample["prior"].argmax()), (64, 96))
    np.testing.assert_allclose((x, y), bright_center(sample["previous"]), atol=1.5)
    moved = sample["tracking"][0] - sample["reg"][0]
    np.testing.assert_allclose(moved, (-4 * 96 / 90 / 4, 0), atol=0.02)  # it was 4 image px further left


def test_depth_follows_the_crop_and_the_focal_length(tmp_path):
    folder = write_moving_square(
        tmp_path / "v", extra={"depth": 20.0, "dim": [1.5, 1.6, 4.0], "alpha": 0.3, "amodel_center": [20.0, 27.0]}
    )
    document = json.loads((folder / "annotations.json").read_text())
    for image in document["images"]:
        image["calib"] = [[80.0, 0, 45, 0], [0, 80.0, 30, 0], [0, 0, 1, 0]]
    (folder / "annotations.json").write_text(json.dumps(document))
    profile = replace(PROFILE, heads={"hm": 2, "dep": 1}, trained_focal_length=80 * 96 / 90)
    assert TrackingSamples([read_images(folder)], profile, NO_AUGMENTATION)[0]["dep"][0, 0] == pytest.approx(
        20.0, rel=1e-3
    )
    nearer = replace(profile, trained_focal_length=80 * 96 / 90 / 2)
    assert TrackingSamples([read_images(folder)], nearer, NO_AUGMENTATION)[0]["dep"][0, 0] == pytest.approx(
        10.0, rel=1e-3
    )


@pytest.mark.parametrize(("backwards", "reached"), [(True, {0, 1, 2, 3, 4}), (False, {0, 1, 2})])
def test_the_previous_frame_is_near_and_in_the_past_if_configured(video, backwards, reached):
    samples = TrackingSamples([read_images(video)], PROFILE, Augmentation(backwards=backwards))
    rng = np.random.default_rng(0)
    assert {samples.previous_of(2, rng) for _ in range(100)} == reached


def test_whole_images_still_have_the_previous_frames_that_are_configured(video):
    samples = TrackingSamples([read_images(video)], PROFILE, Augmentation(crop=False, backwards=False))
    rng = np.random.default_rng(0)
    assert {samples.previous_of(4, rng) for _ in range(100)} == {2, 3, 4}


def test_batches_depend_on_their_number_only_and_ranks_share_them_out():
    def draws(start, ranks=1, rank=0):
        sampler = ResumableBatches(np.ones(7), 6 // ranks, 4, 3, rank, ranks, position=lambda: start)
        return [batch for batch in sampler]

    whole = draws(0)
    assert len(whole) == 4 and draws(2) == whole[2:]
    halves = [draws(0, 2, rank) for rank in range(2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole
    seen = [draw.index for batch in ResumableBatches(np.array([1, 2, 0]), 3, 5, 0) for draw in batch]
    assert sorted(seen) == [0] * 5 + [1] * 10


@pytest.mark.parametrize("ids", [{"track_id": -1}, {"track_id": None}])
def test_objects_without_a_track_have_no_displacement_but_in_their_own_image(tmp_path, ids):
    folder = write_moving_square(tmp_path / "v", extra=ids)
    found = read_images(folder)
    assert len({int(image.track_ids[0]) for image in found.images}) == len(found.images)
    moving = TrackingSamples([found], PROFILE, NO_AUGMENTATION)[2]
    assert moving["mask"].sum() == 1 and not moving["tracking_mask"].any()
    standing = TrackingSamples([found], PROFILE, NO_AUGMENTATION, static=True)[2]
    assert standing["tracking_mask"].sum() == 2


def test_a_image_that_its_annotations_do_not_describe_is_passed_over(tmp_path):
    folder = write_moving_square(tmp_path / "v")
    cv2.imwrite(str(folder / "images" / "3.png"), np.zeros((30, 45, 3), np.uint8))
    sample = TrackingSamples([read_images(folder)], PROFILE, NO_AUGMENTATION)[3]
    assert sample["skipped"] == 2  # itself, and the next one, whose previous frame it is


def test_a_model_without_joint_heads_ignores_joints(tmp_path):
    folder = write_moving_square(tmp_path / "v", extra={"keypoints": [20, 25, 2] * 14})
    samples = TrackingSamples([read_images(folder)], PROFILE, Augmentation(flip=1.0))
    assert samples[Draw(2, (1,))]["image"].shape == (64, 96, 3)


def test_a_missing_image_is_passed_over_and_counted(video):
    samples = TrackingSamples([read_images(video)], PROFILE, NO_AUGMENTATION)
    (video / "images" / "0.png").unlink()
    sample = samples[0]
    assert sample["skipped"] > 0 and sample["mask"].sum() == 1
    for path in (video / "images").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="cannot be read"):
        samples[0]
