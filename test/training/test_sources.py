# SPDX-License-Identifier: Apache-2.0
"""Every kind of training data gives the same annotations for the same scene; what is wrong is counted, not learnt."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.datasets import dgp
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.geometry.boxes3d import projected_boxes
from centertrack_ros.io.errors import DataError
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build
from centertrack_ros.training.augmentation import NO_AUGMENTATION
from centertrack_ros.training.label_mapping import map_by_name
from centertrack_ros.training.losses import head_losses, weighted_sum
from centertrack_ros.training.module import features_of, outputs_at_objects
from centertrack_ros.training.recipe import REQUIRED_KEYS, DataEntry
from centertrack_ros.training.samples import TrackingSamples
from centertrack_ros.training.sources import IMAGES, SEQUENCES, load
from support.training_sets import CLASSES, FRAMES, HEIGHT, KINDS_2D, KINDS_3D, SIZES, WIDTH, make, truth

HEADS = {"hm": 2, "reg": 2, "wh": 2, "tracking": 2, "dep": 1, "dim": 3, "rot": 8, "amodel_offset": 2}
PROFILE = ModelProfile("test", "mobilenetv3_centernet", CLASSES, HEADS, input_height=HEIGHT, input_width=WIDTH)
STREET_CLASSES = ("car", "truck", "bus", "pedestrian", "cyclist")
HEADS_3D = ("dep", "dim", "rot", "amodel_offset")


def test_every_kind_of_data_is_tested():
    assert set(KINDS_2D + KINDS_3D) == set(REQUIRED_KEYS) == {*SEQUENCES, *IMAGES}


@pytest.mark.parametrize("kind", [kind for kind in KINDS_3D if kind != "street"])
def test_a_3d_set_has_all_annotations_of_the_scene(tmp_path, kind):
    scene, entry = make(kind, tmp_path)
    found = load(entry, CLASSES)
    assert len(found.images) == FRAMES and not found.problems and not len(found.unlabelled)
    tolerance = {"atol": 0.02}  # KITTI's labels have two decimals in the box
    for image, frame in zip(found.images, scene, strict=True):
        truth_of_frame = frame.tracks.detections
        assert image.size == (HEIGHT, WIDTH) and image.focal == pytest.approx(160.0)
        np.testing.assert_allclose(image.boxes, truth_of_frame.boxes, **tolerance)
        np.testing.assert_array_equal(image.class_ids, [0, 1])
        np.testing.assert_allclose(image.depths, truth_of_frame.depths, **tolerance)
        np.testing.assert_allclose(image.dimensions, SIZES, **tolerance)
        np.testing.assert_allclose(image.amodal_centers, truth_of_frame.amodal_centers, atol=0.3)
        np.testing.assert_allclose(image.alphas, truth_of_frame.alphas, atol=0.01)
    if kind != "nuscenes":  # one keyframe has no identities
        assert len({tuple(image.track_ids.tolist()) for image in found.images}) == 1
        assert {image.video for image in found.images} == {0} or kind == "coco_video"


@pytest.mark.parametrize("kind", KINDS_2D)
def test_a_2d_set_trains_no_3d_head_and_only_the_classes_that_it_annotates(tmp_path, kind):
    scene, entry = make(kind, tmp_path)
    found = load(entry, CLASSES)
    person = 1
    for image, frame in zip(found.images, scene, strict=True):
        rows = np.flatnonzero(image.class_ids == person)
        np.testing.assert_allclose(image.boxes[rows], frame.tracks.detections.boxes[[1]], atol=0.02)
    sample = TrackingSamples([found], PROFILE, NO_AUGMENTATION)[1]
    assert all(sample[f"{head}_mask"].sum() == 0 for head in HEADS_3D) and sample["wh_mask"].sum() > 0
    assert sample["tracking_mask"].sum() > 0
    if kind != "yolo":  # cars are not annotated throughout: no detection of one is wrong
        assert found.unlabelled.tolist() == [0] and bool((sample["hm"][0] == 1).all())


def test_sets_of_all_kinds_make_one_batch(tmp_path):
    sources = [load(make(kind, tmp_path / kind)[1], CLASSES) for kind in (*KINDS_2D, *KINDS_3D) if kind != "street"]
    samples = TrackingSamples(sources, PROFILE, NO_AUGMENTATION)
    batch = torch.utils.data.default_collate([samples[k * FRAMES] for k in range(len(sources))])
    known = batch["dep_mask"].sum(dim=(1, 2)) > 0
    assert known.tolist() == [False] * len(KINDS_2D) + [True] * (len(sources) - len(KINDS_2D))
    assert all(torch.isfinite(value.float()).all() for value in batch.values())


def test_crowdhuman_has_whole_and_visible_boxes_and_crowds_are_ignored(tmp_path):
    scene, entry = make("crowdhuman", tmp_path)
    whole, visible = load(entry, CLASSES), load(replace(entry, box="vbox"), CLASSES)
    full = scene.frames[0].tracks.detections.boxes
    np.testing.assert_allclose(whole.images[0].boxes, full[[1]], atol=1e-6)
    assert visible.images[0].boxes[0, 3] < whole.images[0].boxes[0, 3] - 5
    np.testing.assert_allclose(whole.images[0].ignored, full[[0]], atol=1e-6)
    (tmp_path / "annotation.odgt").write_text('{"ID": "x", "gtboxes": [{"tag": "person"}]}\n')
    with pytest.raises(DataError, match=r"odgt:1: .*fbox"):
        load(entry, CLASSES)


def test_kittis_regions_and_sitting_people_are_ignored_and_other_classes_are_background(tmp_path):
    _, entry = make("kitti", tmp_path)
    file = tmp_path / "label_02" / "0007.txt"
    rows = (("-1 DontCare", 2), ("31 Person", 50), ("32 Van", 90), ("33 Tram", 130))
    lines = [f"1 {who} -1 -1 -10 {x} 4 {x + 9} 20 -1 -1 -1 -1000 -1000 -1000 -10\n" for who, x in rows]
    file.write_text(file.read_text() + "".join(lines))
    image = load(entry, ("car", "person")).images[0]
    assert image.class_ids.tolist() == [0, 1]  # KITTI's pedestrian is COCO's person; its sitting Person is ignored
    assert sorted(image.ignored[:, 0].tolist()) == [2, 50, 90]


def test_objects_annotated_only_in_3d_get_the_projected_box(tmp_path):
    scene = truth(tmp_path / "images")
    only_3d = [
        replace(f, tracks=replace(f.tracks, detections=replace(f.tracks.detections, boxes=np.full((2, 4), np.nan))))
        for f in scene
    ]
    write_bag(tmp_path / "drive", {"front": replace(scene, frames=tuple(only_3d))})
    entry = DataEntry("bag", folder=str(tmp_path / "drive"), images=str(tmp_path / "images"))
    found = load(entry, CLASSES)
    for image, frame in zip(found.images, scene, strict=True):
        np.testing.assert_allclose(image.boxes, frame.tracks.detections.boxes, atol=0.02)
    again = load(entry, CLASSES)  # the images exist now
    assert [image.path for image in again.images] == [image.path for image in found.images]
    write_bag(tmp_path / "other", {"front": scene})
    with pytest.raises(ValueError, match="images of 'drive'"):
        load(replace(entry, folder=str(tmp_path / "other")), CLASSES)


def without_objects(frame):
    return frame.select(np.zeros(0, np.int64))


def with_a_box_outside(frame):
    found = frame.tracks.detections
    return replace(frame, tracks=replace(frame.tracks, detections=replace(found, boxes=found.boxes + [[0], [5000]])))


def with_no_depth(frame):
    found = frame.tracks.detections
    found = replace(found, locations=found.locations * [[1, 1, np.nan], [1, 1, 1]])
    return replace(frame, tracks=replace(frame.tracks, detections=found))


def without_image(frame):
    frame.image.unlink()
    return replace(frame, image=None)


WRITTEN = [kind for kind in (*KINDS_3D, *KINDS_2D) if kind != "street"]


@pytest.mark.parametrize(
    ("kind", "damage", "problem"),
    [(kind, without_objects, None) for kind in WRITTEN]
    + [(kind, with_a_box_outside, "box outside the image") for kind in WRITTEN]
    + [(kind, without_image, "missing image") for kind in WRITTEN if kind not in ("coco_video", "yolo")]
    + [(kind, with_no_depth, "depth or size that is not a positive number") for kind in ("nuscenes", "dgp")],
)
def test_wrong_annotations_are_counted_and_every_sample_is_finite(tmp_path, kind, damage, problem):
    def change(scene):
        return replace(scene, frames=(scene.frames[0], damage(scene.frames[1]), scene.frames[2]))

    found = load(make(kind, tmp_path, change)[1], CLASSES)
    assert found.problems == ({} if problem is None else {problem: 1})
    assert len(found.images) == (FRAMES - 1 if damage is without_image else FRAMES)
    samples = TrackingSamples([found], PROFILE, NO_AUGMENTATION)
    made = [samples[k] for k in range(len(samples))]
    assert all(torch.isfinite(value.float()).all() for sample in made for value in sample.values())
    if damage is without_objects:
        assert made[1]["mask"].sum() == 0
    if damage is with_no_depth:
        assert [int(sample["dep_mask"].sum()) for sample in made] == [2, 1, 2]


def test_a_depth_that_is_no_number_in_kittis_text_is_an_error_with_its_line(tmp_path):
    _, entry = make("kitti", tmp_path)
    file = tmp_path / "label_02" / "0007.txt"
    lines = file.read_text().splitlines()
    lines[2] = " ".join("nan" if column == 15 else word for column, word in enumerate(lines[2].split()))
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"0007\.txt:3"):
        load(entry, CLASSES)


def test_classes_are_mapped_by_name():
    names = ("Car", "Pedestrian", "Truck", "Tram")
    assert map_by_name(names, ("car", "person"), ("Truck",)) == {"Car": "car", "Pedestrian": "person", "Truck": None}
    assert map_by_name(names, ("car", "truck"), ("Truck",)) == {"Car": "car", "Truck": "truck"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_map": {"Lorry": "car"}}, "no class 'Lorry'"),
        ({"class_map": {"Car": "lorry"}}, "lorry"),
        ({"class_map": {"Car": None}}, "class_map"),
        ({"sequences": ("0099",)}, "0099"),
        ({"folder": "nowhere"}, "nowhere"),
    ],
)
def test_an_impossible_entry_is_refused(tmp_path, change, message):
    _, entry = make("kitti", tmp_path)
    with pytest.raises(DataError, match=message):
        load(replace(entry, **change), CLASSES)


SHARED = {
    "kitti": ({"folder": "kitti_tracking_mini/training"}, 3, 27),
    "mot": ({"folder": "mot17/images"}, 23, 400),
    "nuscenes": ({"annotations": "nuscenes_sample_6cam/sample_info.json"}, 6, 30),
    "dgp": ({"folder": "dgp_ddad"}, 28, 200),
}


@pytest.mark.parametrize("kind", SHARED)
def test_real_recordings_become_training_data(shared_data, kind):
    keys, images, least = SHARED[kind]
    entry = DataEntry(kind, **{key: str(shared_data / value) for key, value in keys.items()})
    found = load(entry, ("car", "truck", "bus", "pedestrian", "cyclist"))
    assert len(found.images) == images and sum(len(image.boxes) for image in found.images) >= least
    heads = {**HEADS, "hm": 5}
    profile = replace(PROFILE, heads=heads, classes=("car", "truck", "bus", "pedestrian", "cyclist"))
    sample = TrackingSamples([found], profile, NO_AUGMENTATION, max_objects=64)[1]
    assert sample["mask"].sum() > 0 and (sample["dep_mask"].sum() > 0) == (kind != "mot")
    assert all(torch.isfinite(value.float()).all() for value in sample.values())


def test_dgps_two_boxes_of_an_object_agree(shared_data):
    """3D boxes cover what the annotated 2D boxes do, in every camera of every scene."""
    overlaps = []
    for scene in dgp.find_scenes(shared_data / "dgp_ddad" / "tests" / "data" / "dgp" / "test_scene"):
        for frame in (frame for camera in dgp.read_scene(scene) for frame in camera):
            found = frame.tracks.detections
            projected = projected_boxes(found.dimensions, found.locations, found.rotations_y, frame.camera)
            rows = np.flatnonzero(np.isfinite(projected).all(axis=1))
            overlaps.append(np.diag(iou(projected[rows], found.boxes[rows])))
    assert np.median(np.concatenate(overlaps)) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", REQUIRED_KEYS)
def test_100_steps_on_one_batch_reach_the_losses_floor(tmp_path, kind):
    """Each head comes down to some hundredths of where it began, above the least that it can be.

    That least is 0 for the heatmap (where the target is Gaussian a peak costs less, but nothing there asks for one, and
    an object's own cell asks for 1) and for every L1. Of the angle it is not: the official loss is a mean over all
    slots, and each one without an angle adds ln 2 for each of the two bins, whatever the network predicts.
    """
    classes = STREET_CLASSES if kind == "street" else CLASSES
    heads = {**HEADS, "hm": len(classes)}
    options = {"head_conv": 32, "batch_norm": True}
    profile = replace(PROFILE, classes=classes, heads=heads, head_options=options)
    samples = TrackingSamples([load(make(kind, tmp_path)[1], classes)], profile, NO_AUGMENTATION, max_objects=16)
    batch = torch.utils.data.default_collate([samples[0], samples[1]])
    losses = overfitted(profile, batch)
    floor = 2 * math.log(2) * (1 - float(batch["rot_mask"].mean()))
    above = [{head: value - floor * (head == "rot") for head, value in step.items()} for step in losses]
    for head in heads:
        share = 0.03 if head in ("hm", "rot") else 0.12
        assert above[-1][head] <= share * above[0][head] + 1e-4, (head, above[0][head], above[-1][head])
    untrained = set() if kind in KINDS_3D else set(HEADS_3D)
    assert {head for head in heads if above[0][head] < 1e-6} == untrained


def overfitted(profile, batch, steps=100):
    """The unweighted losses before and after so many steps of Adam."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build(profile).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    reported = []
    for step in range(steps + 1):
        optimizer.param_groups[0]["lr"] = 3e-3 if step < 0.75 * steps else 3e-4
        features = features_of(network, profile, batch)
        losses = head_losses(outputs_at_objects(network, features, batch["index"], batch["mask"]), batch)
        if step in (0, steps):
            reported.append({head: float(loss.detach()) for head, loss in losses.items()})
        optimizer.zero_grad()
        weighted_sum(losses).backward()
        optimizer.step()
    return reported
