# SPDX-License-Identifier: Apache-2.0
"""nuScenes: recordings of the database as sequences of one camera each, and what becomes a tracking result file.

The database is read by nuscenes-devkit, single files by `nuscenes_files`. Result files:
https://www.nuscenes.org/tracking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from centertrack_ros.datasets.nuscenes_files import (
    IMAGE_SIZE,
    RATE,
    SAMPLE_LIMIT,
    TRACKED,
    read_results,
    read_sample_info,
    sample_info_truth,
)
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, checked, tracks_of
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import (
    box_quaternions,
    matrix_to_quaternion,
    multiply_quaternions,
    quaternion_to_matrix,
)
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import read_document
from centertrack_ros.io.whole_files import write_text
from centertrack_ros.network.same_names import find_class
from centertrack_ros.tracking.attributes import attribute

__all__ = ["SAMPLE_LIMIT", "TRACKED", "read_results", "read_sample_info", "sample_info_truth"]
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
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")


def devkit() -> Any:
    """The devkit's package. Raises ImportError in one sentence when it cannot be used."""
    limit = Image.MAX_IMAGE_PIXELS
    try:
        import nuscenes
        import nuscenes.utils.map_mask  # takes Pillow's protection from images of absurd sizes away
    except ImportError as error:
        raise ImportError(
            f"nuScenes needs nuscenes-devkit, installed without its outdated pins: "
            f"pip install --no-deps nuscenes-devkit==1.2.0 motmetrics==1.4.0, "
            f"and pip install pyquaternion cachetools xmltodict scikit-learn pandas ({error})"
        ) from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return nuscenes


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
    tables = Path(dataroot) / version
    sequences = []
    try:
        for scene in database.scene:
            if not requested or scene["name"] in requested:
                samples = _samples(database, scene)
                sequences += [_database_sequence(database, scene["name"], samples, camera) for camera in cameras]
    except DataError:
        raise
    except Exception as error:  # whatever unfitting tables make the devkit raise
        raise DataError(tables, f"its tables do not fit together ({_words(error)})") from None
    return tuple(checked(sequence, tables) for sequence in sequences if sequence.frames)


def open_database(dataroot: Path | str, version: str) -> Any:
    """The devkit's NuScenes object. Raises DataError when there is no such database."""
    devkit()
    if not (Path(dataroot) / version).is_dir():
        raise DataError(dataroot, f"no nuScenes database {version}: expected the folder {version} with its tables")
    from nuscenes.nuscenes import NuScenes

    try:
        return NuScenes(version=version, dataroot=str(dataroot), verbose=False)
    except Exception as error:  # whatever a broken table makes the devkit raise
        tables = Path(dataroot) / version
        _check_tables(tables)
        raise DataError(tables, f"not a complete nuScenes database ({_words(error)})") from None


def _check_tables(tables: Path) -> None:
    """Raises DataError for the first table that is no list of objects with tokens: the devkit does not say which."""
    for file in sorted(tables.glob("*.json")):
        for row in read_document(file).items():
            row["token"].text()


def _words(error: Exception) -> str:
    """What the devkit says, in one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def _samples(database: Any, scene: Mapping[str, Any]) -> list[dict[str, Any]]:
    samples, token = [], scene["first_sample_token"]
    seen: set[str] = set()
    while token:
        if token in seen:
            raise ValueError(f"sample {token} follows on itself")
        seen.add(token)
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
    return VideoSequence(f"{scene}/{camera}", CLASSES, frames, 0, len(samples), RATE, IMAGE_SIZE)


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
    projection = Camera.from_matrix(record["width"] or IMAGE_SIZE[1], record["height"] or IMAGE_SIZE[0], intrinsic)
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
    known = [find_class(name, CLASSES) for name in classes]
    names = ["" if known[kind] < 0 else CLASSES[known[kind]] for kind in detections.class_ids.tolist()]
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
