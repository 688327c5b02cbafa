"""Training: samples that agree with their pictures, runs that go on exactly, and data that is wrong."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.geometry.affine import transform
from centertrack_ros.geometry.gaussian import render
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import read_image
from centertrack_ros.network import checkpoints
from centertrack_ros.network.heads import gather_cells
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build, weights_path
from centertrack_ros.training.annotations import read_coco_video, read_yolo, size_of
from centertrack_ros.training.augmentation import (
    NONE,
    Augmentation,
    Crop,
    jittered,
    mapped_boxes,
    mirrored_alpha,
    noisy_prior,
    random_crop,
    vary_color,
)
from centertrack_ros.training.feature_cache import RememberedSamples, padded
from centertrack_ros.training.losses import head_losses
from centertrack_ros.training.module import TrackingModule, features_of, freeze, outputs_at_objects, parameter_groups
from centertrack_ros.training.recipe import from_mapping, read_recipe
from centertrack_ros.training.run import Data, SafeCheckpoints, start_network, train
from centertrack_ros.training.samples import Draw, ResumableBatches, TrackingSamples, normalised
from centertrack_ros.training.sources import street_configs
from centertrack_ros.training.targets import GridObjects, make_targets

HEADS = {"hm": 2, "reg": 2, "wh": 2, "tracking": 2}
PROFILE = ModelProfile("test", "mobilenetv3_centernet", ("car", "person"), HEADS, input_height=64, input_width=96)


def write_video(folder: Path, frames: int = 6, size=(60, 90), extra: dict | None = None) -> Path:
    """A bright square of 14 px on dark ground that moves 4 px to the right per frame."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for k in range(frames):
        picture = np.full((*size, 3), 40, np.uint8)
        picture[20:34, 10 + 4 * k : 24 + 4 * k] = 220
        cv2.imwrite(str(folder / "images" / f"{k}.png"), picture)
        images.append(
            {"id": k, "file_name": f"{k}.png", "width": size[1], "height": size[0], "video_id": 1, "frame_id": k + 1}
        )
        annotations.append(
            {
                "id": k,
                "image_id": k,
                "category_id": 1,
                "track_id": 5,
                "bbox": [10 + 4 * k, 20, 14, 14],
                "iscrowd": 0,
                **(extra or {}),
            }
        )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "car"}],
        "videos": [{"id": 1, "file_name": "v"}],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def read(folder: Path):
    return read_coco_video(folder / "annotations.json", folder / "images", PROFILE.classes)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video")


def bright_center(pixels):
    y, x = np.nonzero(normalised(pixels[None], PROFILE)[0].numpy().mean(axis=0) > 0.5)
    return np.array([x.mean(), y.mean()])


def test_targets_lie_on_the_object_in_the_cropped_and_mirrored_picture(video):
    samples = TrackingSamples([read(video)], PROFILE, Augmentation(color=0, lighting=0))
    seen = 0
    for seed in range(40):
        sample = samples[Draw(2, (seed,))]
        if not sample["mask"][0] or (sample["wh"][0] * 4 < 5).any():
            continue
        cell = np.array(divmod(int(sample["index"][0]), 24)[::-1])
        found = bright_center(sample["image"])
        told = (cell + sample["reg"][0].numpy()) * 4
        inside = np.all(told > 8) and np.all(told < (88, 56))
        if inside:
            np.testing.assert_allclose(told, found, atol=2.5)
            if sample["tracking_mask"][0, 0] and sample["prior"].max() > 0:
                before = (cell + sample["tracking"][0].numpy()) * 4
                if np.all(before > 8) and np.all(before < (88, 56)):
                    np.testing.assert_allclose(before, bright_center(sample["previous"]), atol=3.0)
                    seen += 1
    assert seen >= 8


def test_prior_heatmap_peaks_where_the_object_was(video):
    samples = TrackingSamples([read(video)], PROFILE, NONE)
    sample = samples[3]
    y, x = np.unravel_index(int(sample["prior"].argmax()), (64, 96))
    np.testing.assert_allclose((x, y), bright_center(sample["previous"]), atol=1.5)
    moved = sample["tracking"][0] - sample["reg"][0]
    np.testing.assert_allclose(moved, (-4 * 96 / 90 / 4, 0), atol=0.02)  # it was 4 image px further left


def test_prior_noise_has_the_rates_it_says():
    rng = np.random.default_rng(0)
    boxes = np.tile([[30.0, 20.0, 50.0, 40.0]], (4000, 1))
    how = Augmentation(heatmap_jitter=0.05, lost=0.4, false_peaks=0.1)
    prior = noisy_prior(rng, boxes, (64, 96), how)
    assert abs(len(prior.peaks) / 4000 - 0.6 * 1.1) < 0.03
    assert abs(prior.peaks[:, 0].std() - 1.0) < 0.15  # 0.05 of 20 px
    true = (prior.centers == (40, 30)).all(axis=1)
    assert abs(true.mean() - 0.6) < 0.03  # a lost object's displacement leads to the disturbed centre
    clean = noisy_prior(rng, boxes[:1], (64, 96), NONE)
    assert clean.peaks[0, :2].tolist() == [40, 30] and render(clean.peaks, (64, 96))[30, 40] == 1


def test_previous_crop_differs_within_its_bounds_and_mirrors_alike():
    rng = np.random.default_rng(1)
    crop = Crop((50.0, 40.0), 100.0, 1.0, True, 100)
    for _ in range(200):
        other = jittered(rng, crop, Augmentation(shift=0.05, scale=0.05))
        assert (
            np.all(np.abs(np.subtract(other.center, crop.center)) <= 10 + 1e-9)
            and 95 <= other.span <= 105
            and other.mirrored
        )
    for _ in range(200):
        crop = random_crop(rng, (300, 500), Augmentation())
        assert 0.59 * 500 <= crop.span <= 1.31 * 500 and 128 <= crop.center[0] <= 372


def test_a_centred_crop_keeps_every_pixels_direction_of_view():
    """What the camera sees straight ahead stays in the middle; a zoom is another focal length."""
    rng, zooms = np.random.default_rng(3), set()
    for _ in range(50):
        crop = random_crop(rng, (300, 500), Augmentation(scales=(0.7, 1.0), centred=True))
        np.testing.assert_allclose(
            transform(crop.affine((96, 160)), np.array([[249.5, 150.0]])), [[80.0, 48.0]], atol=0.5
        )
        zooms.add(round(crop.zoom, 1))
    assert zooms == {0.7, 0.8, 0.9, 1.0}


def test_mirroring_twice_is_nothing():
    crop = Crop((48.0, 32.0), 96.0, 1.0, True, 96)
    affine = crop.affine((64, 96))
    box = np.array([[10.0, 5.0, 30.0, 25.0]])
    mirrored = mapped_boxes(affine, box)
    np.testing.assert_allclose(mirrored, [[65, 5, 85, 25]], atol=1e-4)
    alpha = np.array([-3.0, -1.0, 0.5, 2.0])
    np.testing.assert_allclose(mirrored_alpha(mirrored_alpha(alpha)), alpha)


def test_color_changes_stay_colors():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    assert vary_color(rng, image, NONE) is image
    different = [vary_color(np.random.default_rng(k), image, Augmentation()) for k in range(5)]
    assert all(d.dtype == np.uint8 and d.shape == image.shape and not np.array_equal(d, image) for d in different)
    grey = np.full((4, 4, 3), 100, np.uint8)
    saturated = vary_color(np.random.default_rng(3), grey, Augmentation(lighting=0))
    assert np.ptp(saturated.astype(int), axis=2).max() <= 1  # grey has no colour to change


def test_depth_follows_the_crop_and_the_focal_length(tmp_path):
    folder = write_video(
        tmp_path / "v", extra={"depth": 20.0, "dim": [1.5, 1.6, 4.0], "alpha": 0.3, "amodel_center": [20.0, 27.0]}
    )
    document = json.loads((folder / "annotations.json").read_text())
    for image in document["images"]:
        image["calib"] = [[80.0, 0, 45, 0], [0, 80.0, 30, 0], [0, 0, 1, 0]]
    (folder / "annotations.json").write_text(json.dumps(document))
    profile = replace(PROFILE, heads={"hm": 2, "dep": 1}, trained_focal_length=80 * 96 / 90)
    assert TrackingSamples([read(folder)], profile, NONE)[0]["dep"][0, 0] == pytest.approx(20.0, rel=1e-3)
    nearer = replace(profile, trained_focal_length=80 * 96 / 90 / 2)
    assert TrackingSamples([read(folder)], nearer, NONE)[0]["dep"][0, 0] == pytest.approx(10.0, rel=1e-3)


def _moving_video(folder: Path) -> Path:
    """`write_video` with a velocity, and half a second between frames."""
    write_video(folder, extra={"velocity": [3.0, 0.5, -2.0]})
    document = json.loads((folder / "annotations.json").read_text())
    for image in document["images"]:
        image["stamp"] = 100.0 + 0.5 * image["frame_id"]
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_metres_per_frame_are_those_since_the_previous_image_in_the_mirror_too(tmp_path):
    data = [read(_moving_video(tmp_path / "v"))]
    heads = {"hm": 2, "wh": 2, "velocity": 3}
    per_frame = replace(PROFILE, heads=heads, velocity_per_frame=True)
    for flip, sign in ((0.0, 1.0), (1.0, -1.0)):
        how = replace(NONE, flip=flip, mirrored_velocity=True)
        samples = TrackingSamples(data, per_frame, how)
        assert samples[2]["velocity"][0].tolist() == [1.5 * sign, 0.25, -1.0]
        assert samples[0]["velocity"][0].tolist() == [0, 0, 0]  # the first frame is its own previous one
        per_second = TrackingSamples(data, replace(PROFILE, heads=heads), how)[2]
        assert per_second["velocity"][0].tolist() == [3.0 * sign, 0.5, -2.0]
        official = TrackingSamples(data, per_frame, replace(NONE, flip=flip))[2]
        assert official["velocity_mask"][0].any() != bool(flip)
    told = [
        TrackingSamples(data, per_frame, Augmentation(flip=0, crop=True, scales=(1.0, 1.0)))[Draw(2, (seed,))]
        for seed in range(40)
    ]
    assert {float(sample["velocity"][0, 0]) for sample in told if sample["mask"][0]} == {-3.0, -1.5, 0.0, 1.5, 3.0}


def test_a_velocity_of_two_parts_is_judged_in_metres_per_second_at_any_interval(tmp_path):
    data = [read(_moving_video(tmp_path / "v"))]
    profile = replace(PROFILE, heads={"hm": 2, "wh": 2, "velocity": 6}, velocity_per_frame=True)
    samples = TrackingSamples(data, profile, replace(NONE, max_frame_distance=3))
    intervals = set()
    for seed in range(60):
        sample = samples[Draw(2, (seed,))]
        batch = torch.utils.data.default_collate([sample])
        step = float(batch["velocity_interval"][0, 0, 0])
        truth = torch.tensor([3.0, 0.5, -2.0])
        if not sample["velocity_mask"][0].all():
            assert step == 1.0  # its own previous image: no motion to be seen, and none asked for
            continue
        intervals.add(step)
        for share in (0.0, 0.3, 1.0):
            said = torch.cat([share * truth * step, (1 - share) * truth]).expand(1, len(sample["mask"]), 6)
            assert float(head_losses({"velocity": said}, batch)["velocity"]) == pytest.approx(0, abs=1e-6)
            wrong = head_losses({"velocity": said + torch.tensor([step, 0, 0, 0, 0, 0])}, batch)["velocity"]
            assert float(wrong) == pytest.approx(1 / 3, rel=1e-3)
    assert intervals == {-1.0, -0.5, 0.5, 1.0}
    # Remembered objects come with slots of zeros where an image has fewer than another.
    told = TrackingSamples(data, profile, NONE)[3]
    rows = [{name: values[:n] for name, values in told.items() if values.dim()} for n in (1, 3)]
    batch = padded([{n: v for n, v in row.items() if n.startswith(("velocity", "index", "mask"))} for row in rows])
    said = torch.full((2, 3, 6), 0.5)
    wanted = (said[0, 0, :3] * 2 + 0.5 - torch.tensor([3.0, 0.5, -2.0])).abs().mean()
    assert float(head_losses({"velocity": said}, batch)["velocity"]) == pytest.approx(float(wanted), rel=1e-3)


@pytest.mark.parametrize("stamp", [{}, {"stamp": None}, {"stamp": "2011-09-26 13:02:25"}], ids=["none", "null", "text"])
def test_the_motion_of_frames_without_a_stamp_is_unknown(tmp_path, stamp):
    folder = write_video(tmp_path / "v", extra={"velocity": [3.0, 0.5, -2.0]})
    document = json.loads((folder / "annotations.json").read_text())
    for image in document["images"]:
        image.update(stamp)
    (folder / "annotations.json").write_text(json.dumps(document))
    data = [read(folder)]
    for channels in (3, 6):
        profile = replace(PROFILE, heads={"hm": 2, "velocity": channels}, velocity_per_frame=True)
        assert not TrackingSamples(data, profile, NONE)[2]["velocity_mask"].any()


@pytest.mark.parametrize(("backwards", "reached"), [(True, {0, 1, 2, 3, 4}), (False, {0, 1, 2})])
def test_the_previous_frame_is_near_and_in_the_past_if_so_wished(video, backwards, reached):
    samples = TrackingSamples([read(video)], PROFILE, Augmentation(backwards=backwards))
    rng = np.random.default_rng(0)
    assert {samples.previous_of(2, rng) for _ in range(100)} == reached


def test_whole_pictures_still_have_the_previous_frames_that_were_asked_for(video):
    samples = TrackingSamples([read(video)], PROFILE, Augmentation(crop=False, backwards=False))
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


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": [500, 20, 5, 5]}, "box outside the image"),
        ({"bbox": [10, 20, float("nan"), 5]}, "box that is not a number"),
        ({"bbox": [10, 20, 0, 5]}, "box without area"),
        ({"category_id": 77}, "unknown category"),
        ({"bbox": [10, 20, 1.7e308, 5]}, "box that is not a number"),
        ({"bbox": None}, "annotation without a box of four numbers or a category"),
        ({"bbox": [10, 20, 5]}, "annotation without a box of four numbers or a category"),
        ({"bbox": [10, 20, "wide", 5]}, "annotation without a box of four numbers or a category"),
        ({"category_id": [1]}, "annotation without a box of four numbers or a category"),
        ({"category_id": None, "iscrowd": 1}, "annotation without a box of four numbers or a category"),
        ({"image_id": 1234}, "annotation of an unknown image"),
        ({"image_id": [2]}, "annotation of an unknown image"),
    ],
)
def test_a_bad_annotation_is_left_out_and_counted(tmp_path, change, problem):
    folder = write_video(tmp_path / "v")
    document = json.loads((folder / "annotations.json").read_text())
    document["annotations"][2].update(change)
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read(folder)
    assert found.problems == {problem: 1}
    sample = TrackingSamples([found], PROFILE, NONE)[2]
    assert sample["mask"].sum() == 0 and all(torch.isfinite(value.float()).all() for value in sample.values())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"depth": 1.7976931348623157e308}, "depth that is not a positive number"),
        ({"depth": "n/a"}, "depth that is not a positive number"),
        ({"dim": [[1.0], [1.0, 2.0]]}, "dim that is not a positive number"),
        ({"velocity": [1e39, 0, 0]}, "velocity that is not a number"),
        ({"alpha": "left"}, "alpha that is not a number"),
        ({"track_id": "car_7"}, "track_id that is not a number"),
        ({"track_id": 2**70}, "track_id that is not a number"),
        ({"depth": 10**400}, "depth that is not a positive number"),
        ({"keypoints": "none"}, "keypoints that are not numbers"),
        ({"velocity": None, "alpha": float("nan")}, ""),
    ],
)
def test_an_unusable_value_is_unknown_and_the_box_is_kept(tmp_path, change, problem):
    folder = write_video(tmp_path / "v", extra={"depth": 10.0, "dim": [1.5, 1.6, 4.0], "velocity": [1, 0, 2]})
    document = json.loads((folder / "annotations.json").read_text())
    document["annotations"][2].update(change)
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read(folder)
    assert found.problems == ({problem: 1} if problem else {})
    profile = replace(PROFILE, heads={**HEADS, "dep": 1, "dim": 3, "velocity": 3, "rot": 8})
    sample = TrackingSamples([found], profile, NONE)[2]
    assert sample["mask"].sum() == 1 and all(torch.isfinite(value.float()).all() for value in sample.values())
    (key,) = list(change)[:1]
    head = {"depth": "dep", "track_id": "tracking"}.get(key, key)
    if f"{head}_mask" in sample:
        assert not sample[f"{head}_mask"].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["images"][1].update(id=0), "two images have the id 0"),
        (lambda d: d.update(images=None), "not a COCO annotation file"),
        (lambda d: d["annotations"].append(7), "not a COCO annotation file"),
        (lambda d: [image.pop("height") for image in d["images"]], "no image has a file_name"),
    ],
)
def test_a_file_that_cannot_be_understood_is_an_error_with_its_name(tmp_path, change, said):
    folder = write_video(tmp_path / "v")
    document = json.loads((folder / "annotations.json").read_text())
    change(document)
    (folder / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"annotations\.json: {said}"):
        read(folder)


def test_an_image_of_no_video_is_a_still_one(tmp_path):
    folder = write_video(tmp_path / "v")
    document = json.loads((folder / "annotations.json").read_text())
    document["images"][2].update(video_id=None, frame_id=None)
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read(folder)
    assert [image.video for image in found.images] == [0, 0, -1, 0, 0, 0] and not found.problems


@pytest.mark.parametrize("focal", [-700.0, 0.0, float("nan"), "long", [700.0]])
def test_a_camera_without_a_focal_length_is_not_calibrated(tmp_path, focal):
    folder = write_video(tmp_path / "v", extra={"depth": 10.0})
    document = json.loads((folder / "annotations.json").read_text())
    document["images"][2]["calib"] = [[focal, 0, 45, 0], [0, 700, 30, 0], [0, 0, 1, 0]]
    (folder / "annotations.json").write_text(json.dumps(document))
    found = read(folder)
    assert found.images[2].focal is None
    assert found.problems == {"calib that does not begin with a focal length": 1}


def test_names_of_classes_are_those_that_the_page_says(tmp_path):
    folder = write_video(tmp_path / "v")
    text = (folder / "annotations.json").read_text()
    for name, wanted in (("Car", 0), ("Pedestrian", 1), ("PERSON", 1)):
        (folder / "annotations.json").write_text(text.replace('"car"', f'"{name}"'))
        found = read(folder)
        assert found.images[0].class_ids.tolist() == [wanted] and found.unlabelled.tolist() == [1 - wanted]


@pytest.mark.parametrize("ids", [{"track_id": -1}, {"track_id": None}])
def test_objects_without_a_track_have_no_displacement_but_in_their_own_image(tmp_path, ids):
    folder = write_video(tmp_path / "v", extra=ids)
    found = read(folder)
    assert len({int(image.track_ids[0]) for image in found.images}) == len(found.images)
    moving = TrackingSamples([found], PROFILE, NONE)[2]
    assert moving["mask"].sum() == 1 and not moving["tracking_mask"].any()
    standing = TrackingSamples([found], PROFILE, NONE, still=True)[2]
    assert standing["tracking_mask"].sum() == 2


def test_a_picture_that_its_annotations_do_not_describe_is_passed_over(tmp_path):
    folder = write_video(tmp_path / "v")
    cv2.imwrite(str(folder / "images" / "3.png"), np.zeros((30, 45, 3), np.uint8))
    sample = TrackingSamples([read(folder)], PROFILE, NONE)[3]
    assert sample["skipped"] == 2  # itself, and the next one, whose previous frame it is


def test_a_jpeg_that_was_cut_short_is_no_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), noise)
    assert read_image(tmp_path / "a.jpg").shape == (60, 90, 3)
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "padded.jpg").write_bytes(raw + b"\0" * 100)
    assert read_image(tmp_path / "padded.jpg") is not None
    for share in (0.0, 0.3, 0.9):
        (tmp_path / "b.jpg").write_bytes(raw[: int(share * len(raw))])
        assert read_image(tmp_path / "b.jpg") is None


def test_a_picture_taken_upright_has_the_size_that_it_is_read_with(tmp_path):
    image = pytest.importorskip("PIL.Image")
    header = image.Exif()
    header[0x0112] = 6
    image.new("RGB", (90, 60)).save(tmp_path / "a.jpg", exif=header)
    assert size_of(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").shape[:2] == (90, 60)


def test_joints_do_not_trouble_a_model_that_has_none(tmp_path):
    folder = write_video(tmp_path / "v", extra={"keypoints": [20, 25, 2] * 14})
    samples = TrackingSamples([read(folder)], PROFILE, Augmentation(flip=1.0))
    assert samples[Draw(2, (1,))]["image"].shape == (64, 96, 3)


def test_unusable_3d_is_unknown_not_poison(tmp_path):
    folder = write_video(tmp_path / "v", extra={"depth": float("nan"), "dim": [0.0, 1.0, 1.0], "alpha": "none" and 0.2})
    image = read(folder).images[0]
    assert np.isnan(image.depths).all() and np.isnan(image.dimensions).all() and image.alphas[0] == 0.2


def test_a_missing_image_is_passed_over_and_counted(video):
    samples = TrackingSamples([read(video)], PROFILE, NONE)
    (video / "images" / "0.png").unlink()
    sample = samples[0]
    assert sample["skipped"] > 0 and sample["mask"].sum() == 1
    for path in (video / "images").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="cannot be read"):
        samples[0]


def test_yolo_stills_and_the_classes_that_they_do_not_label(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((60, 90, 3), np.uint8))
    (tmp_path / "labels" / "a.txt").write_text("2 0.5 0.5 0.2 0.4\n9 0.5 0.5 0.1 0.1\n")
    found = read_yolo(tmp_path / "images", tmp_path / "labels", ("x", "y", "Car"), PROFILE.classes, {"Car": "car"})
    np.testing.assert_allclose(found.images[0].boxes, [[36, 18, 54, 42]])
    assert found.problems == {"unknown category": 1} and found.unlabelled.tolist() == [1]
    sample = TrackingSamples([found], PROFILE, Augmentation(color=0, lighting=0, lost=0, crop=False))[0]
    assert torch.all(sample["hm"][1] == 1) and sample["hm"][0].min() == 0
    assert sample["tracking_mask"].sum() == 2  # a still image is its own previous frame
    for row in ("2 0.5 0.5 wide 0.4", "2 0.5 0.5 0.4", "inf 0.5 0.5 0.2 0.4", "2 .1 .1 .2 .2 .3 .3 .4"):
        (tmp_path / "labels" / "a.txt").write_text(f"{row}\n")
        with pytest.raises(DataError, match=r"a\.txt:1"):
            read_yolo(tmp_path / "images", tmp_path / "labels", ("x", "y", "Car"), PROFILE.classes, {"Car": "car"})


def test_yolo_rows_may_have_a_score_or_be_polygons_and_count_from_0(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((100, 100, 3), np.uint8))
    rows = ("0 .5 .5 .2 .4 .9", "0 .1 .1 .9 .1 .9 .2 .1 .2", "-1 .5 .5 .2 .4")
    (tmp_path / "labels" / "a.txt").write_text("\n".join(rows))
    found = read_yolo(tmp_path / "images", tmp_path / "labels", ("Car", "Person"), PROFILE.classes)
    np.testing.assert_allclose(found.images[0].boxes, [[40, 30, 60, 70], [10, 10, 90, 20]])
    assert found.problems == {"unknown category": 1}


def test_heads_read_at_the_objects_are_the_whole_maps_there():
    """Values and gradients, for both kinds of heads, at the border too."""
    torch.manual_seed(0)
    network = build(replace(PROFILE, heads={"hm": 2, "ltrb": 4, "tracking": 2, "rot": 8}))
    for head in network.heads.values():
        torch.nn.init.normal_(list(head.parameters())[-2], std=0.1)
    features = torch.randn(2, 128, 16, 24, requires_grad=True)
    index, mask = torch.tensor([[0, 23, 200, 0], [383, 5, 0, 0]]), torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    sparse = outputs_at_objects(network, features, index, mask)
    for name in ("ltrb", "tracking", "rot"):
        whole = gather_cells(network.heads[name](features), index) * mask[..., None]
        torch.testing.assert_close(sparse[name], whole, rtol=1e-4, atol=1e-5)
        gradients = [torch.autograd.grad((v**2).sum(), features, retain_graph=True)[0] for v in (sparse[name], whole)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sparse["hm"], network.heads["hm"](features))


def recipe(folder: Path, video: Path, **changes):
    data = [{"kind": "coco_video", "annotations": str(video / "annotations.json"), "images": str(video / "images")}]
    profile = {
        "architecture": "mobilenetv3_centernet",
        "classes": ["car", "person"],
        "heads": HEADS,
        "input_height": 64,
        "input_width": 96,
        "head_options": {"head_conv": 16, "batch_norm": True},
    }
    values = {
        "name": "tiny",
        "train": data,
        "val": data,
        "profile": profile,
        "batch": 2,
        "steps": 6,
        "validate_every": 2,
        "workers": 0,
        "threads": 1,
        "accelerator": "cpu",
        "ema": 0.9,
        "drop_at": [4],
    }
    return from_mapping({**values, **changes})


def weights(path: Path):
    return checkpoints.load(path)[0].state_dict()


@pytest.mark.slow
def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights_to_the_bit(tmp_path, video):
    whole = weights(train(recipe(tmp_path, video), tmp_path / "whole", progress=False))
    train(recipe(tmp_path, video), tmp_path / "parts", progress=False, stop_after=3)
    resumed = weights(train(recipe(tmp_path, video), tmp_path / "parts", progress=False))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    start = weights(train(recipe(tmp_path, video, steps=1), tmp_path / "short", progress=False))
    assert any(not torch.equal(whole[name], start[name]) for name in whole)
    assert (tmp_path / "whole" / "csv" / "from_step_0" / "metrics.csv").read_text().count("\n") > 3
    assert list((tmp_path / "whole" / "tensorboard").glob("events*"))


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path, video, monkeypatch, step):
    """From what lay on the disk then: weights, their average, the best of the validations, frozen statistics."""
    made = recipe(tmp_path, video, freeze=["blocks."], learning_rate=1e-2)
    # Validations get worse and worse, so that the best is the one before the kill.
    log = TrackingModule.log

    def ever_worse(self, name, value, *args, **kwargs):
        log(self, name, -float(self.global_step) if name == "val/score" else value, *args, **kwargs)

    monkeypatch.setattr(TrackingModule, "log", ever_worse)
    whole = weights(train(made, tmp_path / "whole", progress=False))
    asked = TrackingModule.training_step

    def killed(self, batch, index):
        if self.global_step == step:
            raise InterruptedError("killed")
        return asked(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrackingModule, "training_step", killed)
        with pytest.raises(InterruptedError):
            train(made, tmp_path / "parts", progress=False)
    resumed = weights(train(made, tmp_path / "parts", progress=False))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    last = [torch.load(tmp_path / part / "last.ckpt", weights_only=False) for part in ("whole", "parts")]
    assert last[0]["global_step"] == last[1]["global_step"] == 6
    assert all(torch.equal(value, last[1]["state_dict"][name]) for name, value in last[0]["state_dict"].items())
    best = [torch.load(tmp_path / part / "best.ckpt", weights_only=False)["global_step"] for part in ("whole", "parts")]
    assert best == [2, 2]


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path, video):
    one = recipe(
        tmp_path,
        video,
        steps=2,
        batch=4,
        ema=0.0,
        val=[],
        profile={**recipe(tmp_path, video).profile, "head_options": {"head_conv": 16}},
    )
    two = replace(one, batch=2, devices=2, strategy="ddp_spawn")
    begin = start_network(one)[0].state_dict()
    alone = weights(train(one, tmp_path / "one", progress=False))
    together = weights(train(two, tmp_path / "two", progress=False))
    names = [name for name, value in begin.items() if value.dtype.is_floating_point and "running" not in name]
    steps = [torch.cat([(end[name] - begin[name]).flatten() for name in names]) for end in (alone, together)]
    # Each process divides by its own number of objects, and Adam's first steps are all of one size: alike, not equal.
    assert float(torch.cosine_similarity(*steps, dim=0)) > 0.8


@pytest.mark.slow
def test_two_processes_judge_together_what_only_one_of_them_sees(tmp_path, video):
    """Objects in the second process's images only, and a head that does not learn."""
    document = json.loads((video / "annotations.json").read_text())
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] % 2]
    (video / "seen.json").write_text(json.dumps(document))
    seen = [{"kind": "coco_video", "annotations": str(video / "seen.json"), "images": str(video / "images")}]
    profile = {**recipe(tmp_path, video).profile, "head_options": {"head_conv": 16}}
    made = recipe(
        tmp_path, video, steps=2, val=seen, loss_weights={"wh": 0.0}, profile=profile, devices=2, strategy="ddp_spawn"
    )
    train(made, tmp_path / "run", progress=False)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=False)["global_step"] == 2
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "from_step_0" / "metrics.csv").open()))
    (told,) = [row for row in rows if row["val/loss"]]
    figures = {name: float(value) for name, value in told.items() if name.startswith("val/") and value}
    assert figures["val/score"] == pytest.approx(-figures["val/loss"], rel=1e-5)
    assert 0 <= figures["val/recall"] <= 1
    assert np.isnan(figures["val/displacement_px"])  # no object is in two frames that follow each other
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="val has 1 images for 2 processes"):
        train(replace(made, val=(replace(made.val[0], limit=1),)), tmp_path / "few", progress=False)


@pytest.mark.slow
def test_one_batch_is_learnt_by_heart(tmp_path, video):
    """100 steps on the same pictures: what is asked at the objects' cells is answered."""
    still = {
        "flip": 0,
        "crop": False,
        "color": 0,
        "lighting": 0,
        "shift": 0,
        "scale": 0,
        "heatmap_jitter": 0,
        "lost": 0,
        "false_peaks": 0,
        "same_crop": True,
        "max_frame_distance": 0,
    }
    made = recipe(
        tmp_path,
        video,
        steps=100,
        validate_every=50,
        batch=6,
        learning_rate=2e-3,
        drop_at=[80],
        augmentation=still,
        ema=0.5,
    )
    train(made, tmp_path / "run", progress=False)
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "from_step_0" / "metrics.csv").open()))
    last = [float(row["train/loss"]) for row in rows if row["train/loss"]][-1]
    assert last < 0.15  # an untrained network begins near 10


def test_only_what_is_not_frozen_learns(tmp_path, video):
    made = recipe(tmp_path, video, steps=1, freeze=["stem.", "blocks.", "last.", "neck.", "hm"], ema=0.0, val=[])
    before = weights(train(replace(made, learning_rate=1e-12), tmp_path / "a", progress=False))
    after = weights(train(replace(made, learning_rate=1e-2), tmp_path / "b", progress=False))
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed and changed <= {"reg", "wh", "tracking", "previous_stem", "prior_stem"}
    with pytest.raises(ValueError, match="no_such"):
        train(replace(made, freeze=("no_such",)), tmp_path / "c", progress=False)


def test_heads_learn_from_remembered_features_what_they_learn_from_pictures(tmp_path, video):
    """The same answers from the patches as from the pictures, and nothing but the heads changes."""
    frozen = ["stem.", "blocks.", "last.", "neck.", "hm", "reg", "previous_stem", "prior_stem"]
    made = recipe(tmp_path, video, freeze=frozen, remember=6, max_objects=3, steps=60, validate_every=20, val=[])
    made = replace(made, learning_rate=1e-2, drop_at=())
    module = TrackingModule(*start_network(made), made)
    for head in ("wh", "tracking"):
        torch.nn.init.normal_(module.network.heads[head][-1].weight)
    data = Data(made, module.profile)
    data.setup()
    batch = torch.utils.data.default_collate([data.train[Draw(k, (k,))] for k in (2, 3, 4)])
    module.network.eval()
    whole = module._run(module.network, batch)
    look = partial(features_of, module.network, module.profile)
    kept = RememberedSamples(module.network, look, ("wh", "tracking"), 3, [batch])
    count = int((batch["mask"].sum(dim=1) > 0).sum())
    assert len(kept) == count > 0
    small = padded([kept[Draw(k, ())] for k in range(count)])
    from_patches = module._from_patches(small)
    assert set(from_patches) == {"wh", "tracking"}
    there = batch["mask"] > 0
    for head, values in from_patches.items():
        torch.testing.assert_close(values[small["mask"] > 0], whole[head][there], rtol=1e-2, atol=1e-2)  # float16
        assert torch.equal(small[head][small["mask"] > 0], batch[head][there])
    before = weights(train(replace(made, steps=1, learning_rate=1e-12), tmp_path / "a", progress=False))
    after = weights(train(made, tmp_path / "b", progress=False))
    assert {n.partition(".")[0] for n in before if not torch.equal(before[n], after[n])} == {"wh", "tracking"}
    rows = list(csv.DictReader((tmp_path / "b" / "csv" / "from_step_0" / "metrics.csv").open()))
    first, last = (float([row["train/wh"] for row in rows if row["train/wh"]][k]) for k in (0, -1))
    assert last < 0.7 * first
    with pytest.raises(ValueError, match="freeze all but heads"):
        train(replace(made, freeze=("stem.", "blocks.", "last.")), tmp_path / "c", progress=False)


def test_trained_parts_learn_in_proportion_to_their_size(tmp_path, video):
    made = recipe(tmp_path, video, relative_rates={"blocks.": 0.5, "hm": 0.1}, learning_rate=1e-3)
    network, _ = start_network(made)
    rates = {id(p): group["lr"] for group in parameter_groups(network, made) for p in group["params"]}
    assert set(rates) == {id(p) for p in network.parameters()}
    for name, parameter in network.named_parameters():
        factor = {"b": 0.5, "h": 0.1}.get(name[0] if name.startswith(("blocks.", "hm")) else "")
        size = max(float(parameter.detach().square().mean().sqrt()), 1e-3)
        wanted = 1e-3 if factor is None else 1e-3 * factor * size
        assert 0.7 < rates[id(parameter)] / wanted < 1.5
    with pytest.raises(ValueError, match="no_such"):
        parameter_groups(network, replace(made, relative_rates={"no_such": 0.1}))


@pytest.mark.parametrize("wider", [{}, {"hidden": {"tracking": [40]}}])
def test_a_head_that_gets_to_see_more_begins_with_the_answers_it_gave(tmp_path, video, wider):
    made = recipe(tmp_path, video, steps=1, val=[])
    start = train(made, tmp_path / "start", progress=False)
    options = {"head_conv": 16, "batch_norm": True, "motion": True, **wider}
    more, _ = start_network(replace(made, start=str(start), profile={**made.profile, "head_options": options}))
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        before, after = checkpoints.load(start)[0].eval()(image), more.eval()(image, image, torch.rand(1, 1, 64, 96))
    for name in before:
        torch.testing.assert_close(after[name], before[name])


def test_a_head_with_other_layers_begins_anew(tmp_path, video):
    made = recipe(tmp_path, video, steps=1, val=[])
    start = train(made, tmp_path / "start", progress=False)
    options = {"head_conv": 16, "batch_norm": True, "hidden": {"tracking": [32, 32]}}
    wish = replace(made, start=str(start), profile={**made.profile, "head_options": options})
    deeper, fresh = start_network(wish)[0].state_dict(), build(start_network(wish)[1]).state_dict()
    assert deeper["tracking.0.weight"].std() == pytest.approx(float(fresh["tracking.0.weight"].std()), rel=0.1)
    assert not deeper["tracking.4.weight"].any()  # the last layer, as of every added head
    trained = checkpoints.load(start)[0].state_dict()["tracking.0.weight"]
    assert not torch.equal(deeper["tracking.0.weight"][: len(trained)], trained)


@pytest.mark.parametrize(
    ("architecture", "options"), [("dla_34_conv", {}), ("mobilenetv3_centernet", {"head_conv": 16, "batch_norm": True})]
)
def test_all_that_learns_gets_a_gradient(tmp_path, video, architecture, options):
    """Several processes wait for the gradient of every weight that could have one."""
    profile = {**recipe(tmp_path, video).profile, "architecture": architecture, "head_options": options}
    made = recipe(tmp_path, video, profile=profile, loss_weights={"wh": 0.0}, sample_size=[64, 96])
    module = TrackingModule(*start_network(made), made)
    module.log = module.log_dict = lambda *args, **kwargs: None
    module._trainer = SimpleNamespace(global_step=0)
    data = Data(made, module.profile)
    data.setup()
    batch = torch.utils.data.default_collate([data.train[Draw(k, (k,))] for k in (2, 3)])
    module.training_step(batch, 0).backward()
    waited = [name for name, p in module.network.named_parameters() if p.requires_grad and p.grad is None]
    assert not waited
    assert all(not p.requires_grad for name, p in module.network.named_parameters() if name.startswith("wh."))


def test_beginning_anew_keeps_the_old_checkpoints_and_exports_no_other_runs_best(tmp_path, video):
    made = recipe(tmp_path, video, steps=2, ema=0.0)
    train(made, tmp_path / "run", progress=False)
    old = (tmp_path / "run" / "best.ckpt").read_bytes()
    again = train(replace(made, val=(), learning_rate=1e-2), tmp_path / "run", resume=False, progress=False)
    assert (tmp_path / "run" / "best.ckpt.old").read_bytes() == old and not (tmp_path / "run" / "best.ckpt").exists()
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=False)["state_dict"]
    assert all(torch.equal(value, last[f"network.{name}"]) for name, value in weights(again).items())
    with pytest.raises(ValueError, match="learning_rate, relative_rates and freeze stay"):
        train(replace(made, val=(), learning_rate=1e-3, steps=4), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="step 1 or later"):
        train(made, tmp_path / "run", progress=False, stop_after=-1)


def test_what_is_to_begin_anew_does_not_take_the_starts_weights(tmp_path, video):
    made = recipe(tmp_path, video, start="mobilenetv3-coco", profile={}, fresh=["hm.", "last."])
    begun, _ = start_network(made)
    known, _ = checkpoints.load(weights_path("mobilenetv3-coco"))
    same = {name: torch.equal(value, known.state_dict()[name]) for name, value in begun.state_dict().items()}
    assert not same["hm.pointwise.conv.weight"] and not same["last.conv.weight"]
    assert all(equal for name, equal in same.items() if not name.startswith(("hm.", "last.")))
    with pytest.raises(ValueError, match="fresh: no parameter's name begins with 'nothing'"):
        start_network(replace(made, fresh=("nothing",)))


def test_a_head_without_weight_costs_no_time_and_learns_nothing(tmp_path, video):
    made = recipe(tmp_path, video, loss_weights={"wh": 0.0}, steps=1, ema=0.0, val=[])
    before = weights(train(replace(made, learning_rate=1e-12), tmp_path / "a", progress=False))
    after = weights(train(replace(made, learning_rate=1e-2), tmp_path / "b", progress=False))
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert "wh" not in changed and {"hm", "reg", "tracking"} <= changed


def test_images_of_another_size_than_the_models_can_be_learnt_from(tmp_path, video):
    made = recipe(tmp_path, video, sample_size=[32, 64])
    data = Data(made, PROFILE)
    data.setup()
    assert data.train[0]["image"].shape == (32, 64, 3) and data.val[0]["image"].shape == (64, 96, 3)


def test_a_full_disk_costs_the_new_checkpoint_not_the_old(tmp_path, monkeypatch):
    keeper, target = SafeCheckpoints(), tmp_path / "last.ckpt"
    keeper.save_checkpoint({"step": 1}, target)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="untouched"):
        keeper.save_checkpoint({"step": 2}, target)
    assert torch.load(target)["step"] == 1 and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words", "mapping"),
        ("{name: x, train: []}", "train"),
        ("{name: x, train: [{kind: coco_video, images: a}]}", "annotations"),
        ("{name: x, train: [{kind: tapes}]}", "tapes"),
        ("{name: x, colour: red, train: [{kind: street, folder: a}]}", "colour"),
        ("{name: x, batch: 0, train: [{kind: street, folder: a}]}", "batch"),
        ("{name: x, augmentation: {lost: 2}, train: [{kind: street, folder: a}]}", "lost"),
        ("{name: x, sample_size: [100, 100], train: [{kind: street, folder: a}]}", "sample_size"),
        ("{name: x, relative_rates: {hm.: 0}, train: [{kind: street, folder: a}]}", "relative_rates"),
        ("{name: x, freeze: hm, train: [{kind: street, folder: a}]}", "freeze must be a list"),
        ("{name: x, loss_weights: {depth: 5}, train: [{kind: street, folder: a}]}", "no loss 'depth'"),
        ("{name: x, loss_weights: {dep: -1}, train: [{kind: street, folder: a}]}", "dep must not be negative"),
        ("{name: x, steps: 2.5, train: [{kind: street, folder: a}]}", "steps must be a whole number, got 2.5"),
        ("{name: x, still: 'no', train: [{kind: street, folder: a}]}", "still must be true or false"),
        ("{name: x, drop_at: 800, train: [{kind: street, folder: a}]}", "drop_at must be a list"),
        ("{name: x, learning_rate: fast, train: [{kind: street, folder: a}]}", "learning_rate must be a number"),
        ("{name: x, augmentation: {scales: [1]}, train: [{kind: street, folder: a}]}", "scales must be a list of 2"),
        ("{name: x, train: {kind: street}}", "train must be a list of data entries"),
        ("{name: x, train: [{kind: street, folder: a, labelled: car}]}", "labelled must be a list"),
        ("{name: x, train: [{kind: street, folder: a, repeat: 0.5}]}", "repeat must be a whole number"),
        ("{name: [", "YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_reason(tmp_path, text, said):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_recipe(path)


def test_a_change_reaches_into_a_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("{name: x, augmentation: {flip: 0.25, lost: 0.4}, train: [{kind: street, folder: a}]}")
    made = read_recipe(path, {"augmentation.lost": 0, "steps": 7, "loss_weights.hm": 2})
    assert (made.augmentation.lost, made.augmentation.flip, made.steps, made.loss_weights) == (0, 0.25, 7, {"hm": 2})
    assert read_recipe(path, {"learning_rate": "1e-3"}).learning_rate == 1e-3  # text in YAML 1.1
    with pytest.raises(ValueError, match="'name' has no keys inside"):
        read_recipe(path, {"name.first": "y"})


ROOT = Path(__file__).resolve().parents[2]
RECIPES = [*(ROOT / "config" / "training").glob("*.yaml"), *(ROOT / "experiments" / "recipes").glob("*.yaml")]


def first_network(made, folder):
    """The network that a recipe begins with; one that goes on from another recipe's run, with that one's beginning."""
    if made.start.startswith("runs/"):
        before = read_recipe(next(path for path in RECIPES if path.stem == Path(made.start).stem))
        assert made.start == f"runs/{before.name}/{before.name}.safetensors"
        checkpoints.save(folder / f"{before.name}.safetensors", *first_network(before, folder))
        made = replace(made, start=str(folder / f"{before.name}.safetensors"))
    return start_network(made)


@pytest.mark.parametrize("path", sorted(RECIPES), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_sound(path, tmp_path):
    """It reads, its network can be made, every head has targets, and its held-out streets share no seed or look."""
    made = read_recipe(path)
    network, profile = first_network(made, tmp_path)
    nothing = np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 2))
    make_targets(GridObjects(*nothing), profile.heads, (profile.input_height // 4, profile.input_width // 4))
    freeze(network, made.freeze)
    streets = [
        {c.look: c.seed for c in street_configs(e.street)} for e in (*made.train, *made.val) if e.kind == "street"
    ]
    assert len(streets) < 2 or set(streets[0]).isdisjoint(streets[-1])
