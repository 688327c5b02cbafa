# SPDX-License-Identifier: Apache-2.0
"""One small scene with ground truth, written in the form of every dataset that can be trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from centertrack_ros.datasets import coco_video, kitti, mot
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.geometry.boxes3d import alphas_from_rotation, centers, projected_boxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.training.recipe import DataEntry

HEIGHT, WIDTH, FRAMES = 128, 192, 3
CAMERA = Camera.from_focal(WIDTH, HEIGHT, 160.0)
CLASSES = ("car", "pedestrian")
IDS, SIZES, ROTATIONS = np.array([7, 9]), np.array([[1.5, 1.7, 4.0], [1.7, 0.6, 0.7]]), np.array([0.3, -1.2])
DGP_CLASSES = (2, 5)  # numbers in its ontology
KINDS_3D = ("coco_video", "kitti", "nuscenes", "dgp", "bag", "street")
KINDS_2D = ("mot", "crowdhuman", "yolo")


def truth(folder: Path) -> VideoSequence:
    """A car that drives to the right, a pedestrian who walks to the left, on grey; images are in `folder`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    frames = []
    for k in range(FRAMES):
        places = np.array([[-1.5 + 0.5 * k, 1.3, 9.0], [1.8 - 0.2 * k, 1.3, 7.0]])
        boxes = projected_boxes(SIZES, places, ROTATIONS, CAMERA)
        middles = CAMERA.project(centers(SIZES, places))
        image = rng.integers(90, 110, (HEIGHT, WIDTH, 3), np.uint8)
        for (x1, y1, x2, y2), color in zip(boxes.round().astype(int), ((40, 60, 220), (220, 180, 30)), strict=True):
            image[y1:y2, x1:x2] = color
        path = folder / f"{k + 1:06d}.png"
        cv2.imwrite(str(path), image)
        tracks = tracks_of(
            IDS, np.array([0, 1]), np.ones(2), boxes, depths=places[:, 2], dimensions=SIZES, locations=places,
            rotations_y=ROTATIONS, amodal_centers=middles,
            alphas=alphas_from_rotation(ROTATIONS, middles[:, 0], CAMERA.projection[0, 2], CAMERA.focal[0]),
        )  # fmt: skip
        frames.append(AnnotatedFrame(k + 1, k * 0.1, tracks, image=path, camera=CAMERA))
    return VideoSequence("scene", CLASSES, tuple(frames), 1, FRAMES, 10.0, (HEIGHT, WIDTH))


def _coco_video(scene: VideoSequence, folder: Path) -> DataEntry:
    coco_video.write_videos(folder / "annotations.json", [scene])
    images = str(folder / "images")
    return DataEntry("coco_video", annotations=str(folder / "annotations.json"), images=images)


def _kitti(scene: VideoSequence, folder: Path) -> DataEntry:
    for name in ("image_02", "label_02", "calib"):
        (folder / name).mkdir()
    (folder / "images").rename(folder / "image_02" / "0007")
    (folder / "label_02" / "0007.txt").write_text(kitti.labels_text(scene))
    numbers = " ".join(map(str, CAMERA.projection.ravel().tolist()))
    (folder / "calib" / "0007.txt").write_text(f"P2: {numbers}\n")
    return DataEntry("kitti", folder=str(folder))


def _mot(scene: VideoSequence, folder: Path) -> DataEntry:
    sequence = folder / "MOT17-99"
    (sequence / "gt").mkdir(parents=True)
    (folder / "images").rename(sequence / "img1")
    info = f"[Sequence]\nimExt=.png\nframeRate=10\nseqLength={FRAMES}\nimWidth={WIDTH}\nimHeight={HEIGHT}\n"
    (sequence / "seqinfo.ini").write_text(info)
    numbers = np.array([mot.CLASSES.index(name) for name in CLASSES])
    frames = []
    for frame in scene:
        found = frame.tracks.detections
        found = replace(found, class_ids=numbers[found.class_ids])
        frames.append(replace(frame, tracks=replace(frame.tracks, detections=found)))
    (sequence / "gt" / "gt.txt").write_text(mot.truth_text(replace(scene, frames=tuple(frames), classes=mot.CLASSES)))
    return DataEntry("mot", folder=str(folder))


def _xywh(box: Any) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return [x1, y1, x2 - x1, y2 - y1]


def _crowdhuman(scene: VideoSequence, folder: Path) -> DataEntry:
    """The pedestrian; the car becomes a crowd."""
    lines = []
    for frame in scene:
        rows = []
        for class_id, box in zip(frame.tracks.detections.class_ids, frame.tracks.detections.boxes, strict=True):
            x, y, w, h = _xywh(box)
            row = {"tag": "person" if class_id else "mask", "fbox": [x, y, w, h], "vbox": [x, y, w, h / 2]}
            rows.append(row | {"extra": {"ignore": int(not class_id)}})
        lines.append(json.dumps({"ID": f"{frame.index:06d}", "gtboxes": rows}))
    (folder / "annotation.odgt").write_text("\n".join(lines) + "\n")
    return DataEntry("crowdhuman", annotations=str(folder / "annotation.odgt"), images=str(folder / "images"))


def _yolo(scene: VideoSequence, folder: Path) -> DataEntry:
    (folder / "labels").mkdir()
    for frame in scene:
        rows = []
        for number, box in enumerate(frame.tracks.detections.boxes):
            x, y, w, h = _xywh(box)
            rows.append(f"{number} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}")
        (folder / "labels" / f"{frame.index:06d}.txt").write_text("\n".join(rows))
    return DataEntry("yolo", images=str(folder / "images"), labels=str(folder / "labels"), names=CLASSES)


def _nuscenes(scene: VideoSequence, folder: Path) -> DataEntry:
    samples = []
    for frame in scene:
        found, objects = frame.tracks.detections, []
        for row, class_id in enumerate(found.class_ids.tolist()):
            h, w, length = found.dimensions[row].tolist()
            x, y, z = found.locations[row].tolist()
            objects.append(
                {
                    "bbox": found.boxes[row].tolist(), "bbox_label_3d": class_id, "bbox_3d_isvalid": True,
                    "bbox_3d": [x, y - h / 2, z, length, h, w, float(found.rotations_y[row])], "velocity": [1.0, -0.5],
                    "center_2d": found.amodal_centers[row].tolist(), "track_id": int(frame.tracks.ids[row]),
                }
            )  # fmt: skip
        image = {
            "img_path": f"images/{frame.index:06d}.png", "cam2img": CAMERA.matrix.tolist(),
            "cam2ego": np.eye(4).tolist(), "height": HEIGHT, "width": WIDTH,
        }  # fmt: skip
        samples.append(
            {
                "token": f"t{frame.index}", "timestamp": frame.stamp, "images": {"CAM_FRONT": image},
                "cam_instances": {"CAM_FRONT": objects}, "ego2global": np.eye(4).tolist(),
            }
        )  # fmt: skip
    document = {"metainfo": {"categories": {"car": 0, "pedestrian": 1}}, "data_list": samples}
    (folder / "sample_info.json").write_text(json.dumps(document))
    return DataEntry("nuscenes", annotations=str(folder / "sample_info.json"))


def _dgp(scene: VideoSequence, folder: Path) -> DataEntry:
    for name in ("calibration", "ontology", "boxes"):
        (folder / name).mkdir()
    lens = {
        "fx": CAMERA.focal[0],
        "fy": CAMERA.focal[1],
        "skew": 0.0,
        "cx": CAMERA.projection[0, 2],
        "cy": CAMERA.projection[1, 2],
    }
    (folder / "calibration" / "k.json").write_text(json.dumps({"names": ["CAMERA_01"], "intrinsics": [lens]}))
    items = [{"id": number, "name": name} for number, name in zip(DGP_CLASSES, ("Car", "Person"), strict=True)]
    (folder / "ontology" / "o.json").write_text(json.dumps({"items": items}))
    data, samples = [], []
    for frame in scene:
        key = f"d{frame.index}"
        for kind, rows in (("boxes2d", _dgp_boxes2d(frame)), ("boxes3d", _dgp_boxes3d(frame))):
            (folder / "boxes" / f"{kind}{frame.index}.json").write_text(json.dumps({"annotations": rows}))
        image = {
            "annotations": {"0": f"boxes/boxes2d{frame.index}.json", "1": f"boxes/boxes3d{frame.index}.json"},
            "filename": f"images/{frame.index:06d}.png", "height": HEIGHT, "width": WIDTH,
            "pose": _dgp_pose(np.eye(3), np.zeros(3)),
        }  # fmt: skip
        stamp = f"2020-01-01T00:00:00.{frame.index}00000Z"
        data.append({"key": key, "id": {"name": "CAMERA_01", "timestamp": stamp}, "datum": {"image": image}})
        samples.append({"calibration_key": "k", "datum_keys": [key]})
    document = {"data": data, "samples": samples, "ontologies": {"0": "o", "1": "o"}}
    (folder / "scene_0a.json").write_text(json.dumps(document))
    return DataEntry("dgp", folder=str(folder))


def _dgp_boxes2d(frame: AnnotatedFrame) -> list[dict[str, Any]]:
    found = frame.tracks.detections
    boxes = [dict(zip("xywh", _xywh(box), strict=True)) for box in found.boxes]
    numbers = zip(found.class_ids.tolist(), frame.tracks.ids.tolist(), boxes, strict=True)
    return [{"class_id": DGP_CLASSES[c], "instance_id": 1000 + i, "box": box} for c, i, box in numbers]


def _dgp_boxes3d(frame: AnnotatedFrame) -> list[dict[str, Any]]:
    found, rows = frame.tracks.detections, []
    for row, (class_id, number) in enumerate(zip(found.class_ids.tolist(), frame.tracks.ids.tolist(), strict=True)):
        turn, (height, width, length) = float(found.rotations_y[row]), found.dimensions[row].tolist()
        forward, up = np.array([np.cos(turn), 0, -np.sin(turn)]), np.array([0, -1.0, 0])
        axes = np.column_stack([forward, np.cross(up, forward), up])
        place = found.locations[row] - [0, height / 2, 0]
        box = {"height": height, "width": width, "length": length, "pose": _dgp_pose(axes, place)}
        rows.append({"class_id": DGP_CLASSES[class_id], "instance_id": 1000 + number, "box": box})
    return rows


def _dgp_pose(axes: np.ndarray, place: np.ndarray) -> dict[str, Any]:
    from centertrack_ros.geometry.transform import matrix_to_quaternion

    turn = dict(zip(("qx", "qy", "qz", "qw"), map(float, matrix_to_quaternion(axes)), strict=True))
    return {"rotation": turn, "translation": dict(zip("xyz", map(float, place), strict=True))}


def _bag(scene: VideoSequence, folder: Path) -> DataEntry:
    write_bag(folder / "drive", {"front": scene})
    return DataEntry("bag", folder=str(folder / "drive"), images=str(folder / "extracted"))


def _street(scene: VideoSequence, folder: Path) -> DataEntry:
    # A drive with few in view: where many stand in neighbouring cells a hundred steps are not enough on every CPU.
    options = {"seed": 4, "frames": FRAMES, "rate": 5.0, "width": WIDTH, "height": HEIGHT}
    return DataEntry("street", folder=str(folder / "street"), street=options)


WRITERS: dict[str, Callable[[VideoSequence, Path], DataEntry]] = {
    "coco_video": _coco_video, "kitti": _kitti, "nuscenes": _nuscenes, "dgp": _dgp, "bag": _bag, "street": _street,
    "mot": _mot, "crowdhuman": _crowdhuman, "yolo": _yolo,
}  # fmt: skip


def make(
    kind: str, folder: Path, change: Callable[[VideoSequence], VideoSequence] = lambda scene: scene
) -> tuple[VideoSequence, DataEntry]:
    """The scene, and the entry of a recipe that reads it in the form of `kind` from `folder`. A street is its own."""
    scene = change(truth(folder / "images"))
    return scene, WRITERS[kind](scene, folder)
