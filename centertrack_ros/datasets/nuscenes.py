# SPDX-License-Identifier: Apache-2.0
"""nuScenes: recordings as sequences of one camera each, from the database or from a single file; tracking result files.

The database is read by nuscenes-devkit. `sample_info.json` is the form of MMDetection3D's info files: `data_list` of
samples with `images`, `ego2global` and `cam_instances`. Result files: https://www.nuscenes.org/tracking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import (
    box_quaternions,
    matrix_to_quaternion,
    multiply_quaternions,
    quaternion_to_matrix,
)
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json
from centertrack_ros.io.whole_files import write_text
from centertrack_ros.tracking.attributes import attribute

CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
# The classes that the tracking benchmark evaluates.
TRACKED = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
_ALIASES = {"person": "pedestrian", "motorbike": "motorcycle"}  # COCO's and Pascal VOC's names
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
SAMPLE_LIMIT = 500  # boxes per sample that the benchmark accepts
RATE = 2.0  # annotated frames per s
_IMAGE_SIZE = (900, 1600)


def devkit() -> Any:
    """The devkit's package. Raises ImportError in one sentence when it cannot be used."""
    try:
        import nuscenes
    except ImportError as error:
        raise ImportError(
            f"nuScenes needs nuscenes-devkit, installed without its outdated pins: "
            f"pip install --no-deps nuscenes-devkit==1.2.0 motmetrics==1.4.0, "
            f"and pip install pyquaternion cachetools xmltodict scikit-learn pandas ({error})"
        ) from None
    return nuscenes


def read_sample_info(path: Path | str) -> tuple[VideoSequence, ...]:
    """One sequence for each camera of a `sample_info.json`; ids count the objects of each frame, there are no tracks.

    Raises DataError naming what is missing.
    """
    path = Path(path)
    document = load_json(path)
    try:
        names = {number: name for name, number in document["metainfo"]["categories"].items()}
        classes = tuple(names[number] for number in range(len(names)))
        cameras = sorted({camera for sample in document["data_list"] for camera in sample["images"]})
        return tuple(
            VideoSequence(
                camera,
                classes,
                tuple(_info_frame(path, index, sample, camera) for index, sample in enumerate(document["data_list"])),
                0,
                len(document["data_list"]),
                RATE,
                _info_size(document["data_list"][0]["images"].get(camera, {})),
            )
            for camera in cameras
        )
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(path, f"not an info file with metainfo and data_list: {error!r} is missing") from None


def _info_size(image: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) px where the file has them, else those of every nuScenes image."""
    return int(image.get("height", _IMAGE_SIZE[0])), int(image.get("width", _IMAGE_SIZE[1]))


def _info_frame(path: Path, index: int, sample: Mapping[str, Any], name: str) -> AnnotatedFrame:
    image = sample["images"][name]
    image_file = path.parent / image["img_path"]
    objects = [entry for entry in sample["cam_instances"][name] if entry["bbox_3d_isvalid"]]
    table = np.array([entry["bbox_3d"] for entry in objects], np.float64).reshape(-1, 7)
    sizes = table[:, [4, 5, 3]]  # length, height, width -> height, width, length
    bottoms = table[:, :3] + np.stack([np.zeros(len(table)), sizes[:, 0] / 2, np.zeros(len(table))], axis=1)
    velocities = np.array([entry["velocity"] for entry in objects], np.float64).reshape(-1, 2)
    tracks = tracks_of(
        np.arange(1, len(objects) + 1),
        np.array([entry["bbox_label_3d"] for entry in objects], np.int64),
        np.ones(len(objects)),
        np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4),
        depths=table[:, 2],
        dimensions=sizes,
        locations=bottoms,
        rotations_y=table[:, 6],
        velocities=np.stack([velocities[:, 0], np.zeros(len(table)), velocities[:, 1]], axis=1),
        amodal_centers=np.array([entry["center_2d"] for entry in objects], np.float64).reshape(-1, 2),
    )
    return AnnotatedFrame(
        index=index,
        stamp=float(image.get("timestamp", sample["timestamp"])),
        tracks=tracks,
        flags={"attribute": np.array([entry.get("attr_label", -1) for entry in objects], np.int64)},
        image=image_file if image_file.is_file() else None,
        camera=Camera.from_matrix(*_info_size(image)[::-1], image["cam2img"]),
        pose=_info_pose(sample, image),
        token=sample["token"],
    )


def _info_pose(sample: Mapping[str, Any], image: Mapping[str, Any]) -> NDArray[np.float64]:
    """(4, 4) camera -> world. The way over the LiDAR allows for the ego vehicle's motion between the two exposures."""
    ego = np.array(sample["ego2global"], np.float64)
    if "lidar2cam" in image and "lidar_points" in sample:
        lidar = ego @ np.array(sample["lidar_points"]["lidar2ego"], np.float64)
        return lidar @ np.linalg.inv(np.array(image["lidar2cam"], np.float64))
    return ego @ np.array(image["cam2ego"], np.float64)


def read_database(
    dataroot: Path | str,
    version: str = "v1.0-mini",
    scenes: Iterable[str] = (),
    cameras: Iterable[str] = CAMERAS,
) -> tuple[VideoSequence, ...]:
    """Reads the annotated frames of a database.

    Args:
        dataroot: The database's folder.
        version: Of the database, the name of the folder with its tables.
        scenes: Names; empty: all.
        cameras: Names.

    Returns:
        One sequence for each scene and camera that has frames, named SCENE/CAMERA.

    Raises:
        DataError: The database or a scene is missing.
        ImportError: The devkit is missing.
    """
    database = open_database(dataroot, version)
    requested, cameras = set(scenes), tuple(cameras)
    if missing := sorted(requested - {scene["name"] for scene in database.scene}):
        raise DataError(dataroot, f"{version} has no scene '{missing[0]}'")
    sequences = []
    for scene in database.scene:
        if not requested or scene["name"] in requested:
            samples = _samples(database, scene)
            sequences += [_database_sequence(database, scene["name"], samples, camera) for camera in cameras]
    return tuple(sequence for sequence in sequences if sequence.frames)


def open_database(dataroot: Path | str, version: str) -> Any:
    """The devkit's NuScenes object. Raises DataError when there is no such database."""
    devkit()
    if not (Path(dataroot) / version).is_dir():
        raise DataError(dataroot, f"no nuScenes database {version}: expected the folder {version} with its tables")
    from nuscenes.nuscenes import NuScenes

    try:
        return NuScenes(version=version, dataroot=str(dataroot), verbose=False)
    except (AssertionError, FileNotFoundError, KeyError, IndexError, json.JSONDecodeError) as error:
        raise DataError(Path(dataroot) / version, f"not a complete nuScenes database: {error}") from None


def _samples(database: Any, scene: Mapping[str, Any]) -> list[dict[str, Any]]:
    samples, token = [], scene["first_sample_token"]
    while token:
        samples.append(database.get("sample", token))
        token = samples[-1]["next"]
    return samples


def _database_sequence(database: Any, scene: str, samples: list[dict[str, Any]], camera: str) -> VideoSequence:
    numbers: dict[str, int] = {}
    frames = tuple(
        _database_frame(database, index, sample, camera, numbers)
        for index, sample in enumerate(samples)
        if camera in sample["data"]
    )
    return VideoSequence(f"{scene}/{camera}", CLASSES, frames, 0, len(samples), RATE, _IMAGE_SIZE)


def _database_frame(
    database: Any, index: int, sample: Mapping[str, Any], camera: str, numbers: dict[str, int]
) -> AnnotatedFrame:
    """Reads one camera's image of one sample; `numbers` maps each instance to its id, and grows."""
    from nuscenes.eval.detection.utils import category_to_detection_name
    from nuscenes.utils.geometry_utils import BoxVisibility

    token = sample["data"][camera]
    record = database.get("sample_data", token)
    image_file, boxes, intrinsic = database.get_sample_data(token, box_vis_level=BoxVisibility.ANY)
    pose = _sensor_pose(database, record)
    projection = Camera.from_matrix(record["width"] or _IMAGE_SIZE[1], record["height"] or _IMAGE_SIZE[0], intrinsic)
    rows = []
    for box in boxes:
        annotation = database.get("sample_annotation", box.token)
        name = category_to_detection_name(annotation["category_name"])
        if name is None:
            continue
        identity = numbers.setdefault(annotation["instance_token"], len(numbers) + 1)
        forward = box.orientation.rotation_matrix[:, 0]
        velocity = pose[:3, :3].T @ np.nan_to_num(database.box_velocity(box.token))
        width, length, height = box.wlh
        outline = projection.project(box.corners().T[box.corners()[2] > 0.1])
        rows.append(
            [identity, CLASSES.index(name), *outline.min(axis=0), *outline.max(axis=0), height, width, length]
            + [box.center[0], box.center[1] + height / 2, box.center[2], np.arctan2(-forward[2], forward[0]), *velocity]
            + [annotation["num_lidar_pts"] + annotation["num_radar_pts"]]
        )
    table = np.array(rows, np.float64).reshape(-1, 17)
    tracks = tracks_of(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        np.ones(len(table)),
        table[:, 2:6],
        depths=table[:, 11],
        dimensions=table[:, 6:9],
        locations=table[:, 9:12],
        rotations_y=table[:, 12],
        velocities=table[:, 13:16],
    )
    return AnnotatedFrame(
        index=index,
        stamp=record["timestamp"] * 1e-6,
        tracks=tracks,
        flags={"points": table[:, 16]},
        image=Path(image_file) if Path(image_file).is_file() else None,
        camera=projection,
        pose=pose,
        token=sample["token"],
    )


def _sensor_pose(database: Any, record: Mapping[str, Any]) -> NDArray[np.float64]:
    pose = np.eye(4)
    for table in ("ego_pose", "calibrated_sensor"):
        part = database.get(table, record[f"{table}_token"])
        step = np.eye(4)
        step[:3, :3] = quaternion_to_matrix(np.roll(part["rotation"], -1))
        step[:3, 3] = part["translation"]
        pose = pose @ step
    return pose


def global_boxes(frame: AnnotatedFrame, classes: tuple[str, ...], prefix: str = "") -> list[dict[str, Any]]:
    """The frame's objects as the tracking benchmark wants them: global pose, size (width, length, height), velocity.

    Objects of other classes, without 3D box, or that are lost (not seen in this frame) are left out. `prefix` goes
    before each id, since ids of different cameras mean different objects. Raises ValueError without the frame's pose.
    """
    if frame.pose is None:
        raise ValueError(f"frame {frame.index}: nuScenes results need the camera's pose in the world")
    tracks, detections = frame.tracks, frame.tracks.detections
    if detections.locations is None or detections.dimensions is None or detections.rotations_y is None:
        return []
    names = [_ALIASES.get(name := classes[int(kind)].lower(), name) for kind in detections.class_ids]
    centers = detections.locations - np.stack(
        [np.zeros(len(tracks)), detections.dimensions[:, 0] / 2, np.zeros(len(tracks))], 1
    )
    locations = centers @ frame.pose[:3, :3].T + frame.pose[:3, 3]
    rotations = multiply_quaternions(matrix_to_quaternion(frame.pose[:3, :3]), box_quaternions(detections.rotations_y))
    speeds = (
        np.zeros((len(tracks), 3)) if detections.velocities is None else detections.velocities @ frame.pose[:3, :3].T
    )
    boxes = []
    for row, name in enumerate(names):
        if name not in TRACKED or tracks.hits[row] == 0 or not np.isfinite(locations[row]).all():
            continue
        boxes.append(
            {
                "sample_token": frame.token,
                "translation": locations[row].tolist(),
                "size": detections.dimensions[row][[1, 2, 0]].tolist(),
                "rotation": np.roll(rotations[row], 1).tolist(),
                "velocity": np.nan_to_num(speeds[row][:2]).tolist(),
                "tracking_id": f"{prefix}{int(tracks.ids[row])}",
                "tracking_name": name,
                "tracking_score": float(detections.scores[row]),
                "attribute_name": _attribute(
                    name, None if detections.attributes is None else detections.attributes[row]
                ),
            }
        )
    return boxes


def _attribute(name: str, logits: NDArray[Any] | None) -> str:
    return "" if logits is None else attribute(name, logits)[0]


def results_document(sequences: Iterable[VideoSequence], merge_distance: float = 0.0) -> dict[str, Any]:
    """A tracking submission of sequences of one camera each; the strongest 500 boxes of every sample.

    Ids of different sequences are distinguished by the sequence's name.

    Args:
        sequences: Of one camera each.
        merge_distance: Of two objects of a class that two cameras see closer together than that, m, the stronger stays;
            0: both stay, as in the official code.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for sequence in sequences:
        for frame in sequence:
            boxes = global_boxes(frame, sequence.classes, f"{sequence.name}/")
            results.setdefault(frame.token, []).extend(boxes)
    for token, boxes in results.items():
        strongest = sorted(boxes, key=lambda box: -box["tracking_score"])
        results[token] = _merged(strongest, merge_distance)[:SAMPLE_LIMIT]
    meta = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}
    return {"meta": meta, "results": results}


def _merged(boxes: list[dict[str, Any]], distance: float) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for box in boxes:
        seen_by = box["tracking_id"].rpartition("/")[0]
        twins = (
            np.linalg.norm(np.subtract(box["translation"], other["translation"])) < distance
            for other in merged
            if other["tracking_name"] == box["tracking_name"] and other["tracking_id"].rpartition("/")[0] != seen_by
        )
        if not any(twins):
            merged.append(box)
    return merged


def write_results(path: Path | str, sequences: Iterable[VideoSequence], merge_distance: float = 0.0) -> None:
    """Writes `results_document` as JSON."""
    write_text(path, json.dumps(results_document(sequences, merge_distance)))


def read_results(path: Path | str) -> dict[str, list[dict[str, Any]]]:
    """Reads a tracking result or ground-truth file.

    Returns:
        Sample token -> its boxes.

    Raises:
        DataError: A sample is malformed; the text names it.
    """
    document = load_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("results"), dict):
        raise DataError(path, "not a nuScenes tracking file: expected an object with 'results'")
    lengths = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
    for token, boxes in document["results"].items():
        if not isinstance(boxes, list):
            raise DataError(path, f"sample {token}: expected a list of boxes")
        for number, box in enumerate(boxes):
            where = f"sample {token}, box {number}"
            if missing := [key for key in (*lengths, "tracking_id", "tracking_name") if key not in box]:
                raise DataError(path, f"{where}: '{missing[0]}' is missing")
            for key, length in lengths.items():
                values = np.asarray(box[key], np.float64) if _is_numbers(box[key], length) else None
                if values is None or (key != "velocity" and not np.isfinite(values).all()):
                    raise DataError(path, f"{where}: '{key}' must be {length} finite numbers")
            if box["tracking_name"] not in TRACKED:
                raise DataError(path, f"{where}: '{box['tracking_name']}' is not one of {', '.join(TRACKED)}")
        if len(boxes) > SAMPLE_LIMIT:
            raise DataError(path, f"sample {token}: {len(boxes)} boxes, at most {SAMPLE_LIMIT} are allowed")
    return document["results"]


def _is_numbers(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length and all(isinstance(item, int | float) for item in value)


def sample_info_truth(path: Path | str) -> dict[str, Any]:
    """The ground truth of a `sample_info.json` in the form of a result file.

    It has every object once, from the LiDAR's list, with its distance and number of points; `samples` has each sample's
    scene and time.
    """
    document = load_json(path)
    results, samples = {}, {}
    try:
        names = {number: name for name, number in document["metainfo"]["categories"].items()}
        for sample in document["data_list"]:
            token = sample["token"]
            samples[token] = {"scene": "scene", "timestamp": round(sample["timestamp"] * 1e6)}
            results[token] = [
                box
                for number, entry in enumerate(sample["instances"])
                if (box := _info_box(sample, entry, names.get(entry["bbox_label_3d"], ""), number)) is not None
            ]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(path, f"not an info file with instances: {error!r} is missing") from None
    return {"meta": {}, "samples": samples, "results": results}


def _info_box(sample: Mapping[str, Any], entry: Mapping[str, Any], name: str, number: int) -> dict[str, Any] | None:
    """One entry of `instances` (LiDAR frame: centre, length, width, height, yaw) as a box in the world."""
    if name not in TRACKED:
        return None
    lidar = np.array(sample["ego2global"], np.float64) @ np.array(sample["lidar_points"]["lidar2ego"], np.float64)
    x, y, z, length, width, height, yaw = entry["bbox_3d"]
    rotation = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    location = lidar[:3, :3] @ [x, y, z] + lidar[:3, 3]
    return {
        "sample_token": sample["token"],
        "translation": location.tolist(),
        "size": [width, length, height],
        "rotation": np.roll(matrix_to_quaternion(lidar[:3, :3] @ rotation), 1).tolist(),
        "velocity": (lidar[:3, :3] @ [*entry["velocity"], 0.0])[:2].tolist(),
        "ego_translation": (location - np.array(sample["ego2global"])[:3, 3]).tolist(),
        "num_pts": int(entry["num_lidar_pts"]) + int(entry["num_radar_pts"]),
        "tracking_id": str(number),
        "tracking_name": name,
        "tracking_score": 1.0,
    }
