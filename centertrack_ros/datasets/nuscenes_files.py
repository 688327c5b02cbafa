# SPDX-License-Identifier: Apache-2.0
"""nuScenes as single JSON files: `sample_info.json`, the form of MMDetection3D, and tracking results."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import (
    NO_IDENTITY,
    AnnotatedFrame,
    VideoSequence,
    checked,
    identity_numbers,
    tracks_of,
)
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import matrix_to_quaternion
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import JsonValue, load_json, read_document
from centertrack_ros.typed_records import shown

_LOG = logging.getLogger(__name__)
# The classes that the tracking benchmark evaluates.
TRACKED = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
SAMPLE_LIMIT = 500  # boxes per sample that the benchmark accepts
RATE = 2.0  # annotated frames per s
IMAGE_SIZE = (900, 1600)
_LENGTHS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}

_NOT_ROTATED = 0.01  # rounding of a rotation matrix in a file


def read_sample_info(path: Path | str) -> tuple[VideoSequence, ...]:
    """One sequence for each camera of a `sample_info.json`.

    The objects' ids are by their `instance_token` or `track_id`, which MMDetection3D does not write. Without one, those
    of a file of one sample are counted; in several samples they are NO_IDENTITY, which is logged.

    Raises:
        DataError: Something is missing or of a wrong type; the text names it.
    """
    path = Path(path)
    document = read_document(path)
    samples, names = _info(document)
    classes = tuple(names[number] for number in sorted(names))
    if sorted(names) != list(range(len(names))):
        raise document["metainfo"]["categories"].error(f"expected the numbers 0 to {len(names) - 1}, each once")
    cameras = sorted({camera for sample in samples for camera, _ in sample["images"].entries()})
    if not cameras:
        raise DataError(path, "no sample has an image")
    ids = _identities(path, samples)
    sequences = []
    for camera in cameras:
        chosen = [(index, sample) for index, sample in enumerate(samples) if camera in sample["images"]]
        frames = tuple(_info_frame(path, index, sample, camera, len(classes), ids) for index, sample in chosen)
        size = frames[0].image_size
        sequences.append(checked(VideoSequence(camera, classes, frames, 0, len(samples), RATE, size), path))
    return tuple(sequences)


def _info(document: JsonValue) -> tuple[list[JsonValue], dict[int, str]]:
    """The samples of an info file, and its classes: number -> name."""
    if not isinstance(document.value, dict) or not {"metainfo", "data_list"} <= set(document.value):
        raise document.error("not an info file with metainfo and data_list: one of them is missing")
    names = {number.integer(0): name for name, number in document["metainfo"]["categories"].entries()}
    samples = list(document["data_list"].items())
    if not samples:
        raise document["data_list"].error("no samples")
    return samples, names


def _label(entry: JsonValue) -> int | str | None:
    for key in ("instance_token", "track_id"):
        if key in entry:
            return entry[key].label()
    return None


def _identity(entry: JsonValue, ids: Mapping[int | str, int]) -> int:
    label = _label(entry)
    return NO_IDENTITY if label is None else ids[label]


def _identities(path: Path, samples: Sequence[JsonValue]) -> dict[int | str, int] | None:
    """Label of an object -> its id; None: a single sample without labels, whose objects may be counted."""
    labels = [
        _label(entry)
        for sample in samples
        for _, entries in sample["cam_instances"].entries()
        for entry in entries.items()
    ]
    lost = labels.count(None)
    if len(samples) == 1 and lost == len(labels):
        return None
    if lost:
        _LOG.warning(
            "%s: %d of %d objects have no instance_token or track_id: who they are in other samples is unknown",
            path, lost, len(labels),
        )  # fmt: skip
    return identity_numbers(label for label in labels if label is not None)


def _info_size(image: JsonValue) -> tuple[int, int]:
    """(height, width) px where the file has them, else those of every nuScenes image."""
    height, width = image.get("height"), image.get("width")
    return (
        IMAGE_SIZE[0] if height is None else height.integer(1),
        IMAGE_SIZE[1] if width is None else width.integer(1),
    )


def _info_frame(
    path: Path, index: int, sample: JsonValue, name: str, classes: int, ids: Mapping[int | str, int] | None
) -> AnnotatedFrame:
    image = sample["images"][name]
    image_file = path.parent / image["img_path"].text()
    objects = [entry for entry in sample["cam_instances"][name].items() if entry["bbox_3d_isvalid"].flag()]
    for entry in objects:
        if entry["bbox_label_3d"].integer(0) >= classes:
            raise entry["bbox_label_3d"].error(f"{entry['bbox_label_3d'].value} is no class of the file")
    table = _table(objects, "bbox_3d", 7)
    sizes = table[:, [4, 5, 3]]  # length, height, width -> height, width, length
    bottoms = table[:, :3] + np.stack([np.zeros(len(table)), sizes[:, 0] / 2, np.zeros(len(table))], axis=1)
    velocities = _table(objects, "velocity", 2)
    tracks = tracks_of(
        np.arange(1, len(objects) + 1) if ids is None else np.array([_identity(e, ids) for e in objects], np.int64),
        np.array([entry["bbox_label_3d"].integer() for entry in objects], np.int64),
        np.ones(len(objects)),
        _table(objects, "bbox", 4, finite=True),
        depths=table[:, 2],
        dimensions=sizes,
        locations=bottoms,
        rotations_y=table[:, 6],
        velocities=np.stack([velocities[:, 0], np.zeros(len(table)), velocities[:, 1]], axis=1),
        amodal_centers=_table(objects, "center_2d", 2),
    )
    time = image.get("timestamp")
    size = _info_size(image)
    attributes = [entry["attr_label"].integer() if "attr_label" in entry else -1 for entry in objects]
    try:
        camera = Camera.from_matrix(size[1], size[0], image["cam2img"].numbers(3, 3))
    except DataError:
        raise
    except ValueError as error:
        raise image["cam2img"].error(str(error)) from None
    return AnnotatedFrame(
        index=index,
        stamp=(sample["timestamp"] if time is None else time).number(),
        tracks=tracks,
        flags={"attribute": np.array(attributes, np.int64)},
        image=image_file if image_file.is_file() else None,
        camera=camera,
        pose=_info_pose(sample, image),
        token=sample["token"].text(),
        image_size=size,
    )


def _table(objects: Sequence[JsonValue], key: str, width: int, finite: bool = False) -> NDArray[np.float64]:
    return np.array([entry[key].numbers(width, finite=finite) for entry in objects], np.float64).reshape(-1, width)


def _info_pose(sample: JsonValue, image: JsonValue) -> NDArray[np.float64]:
    """(4, 4) camera -> world. The way over the LiDAR allows for the ego vehicle's motion between the two exposures."""
    ego = _motion(sample["ego2global"])
    if "lidar2cam" in image and "lidar_points" in sample:
        lidar = ego @ _motion(sample["lidar_points"]["lidar2ego"])
        return np.asarray(lidar @ np.linalg.inv(_motion(image["lidar2cam"])), np.float64)
    return np.asarray(ego @ _motion(image["cam2ego"]), np.float64)


def _motion(value: JsonValue) -> NDArray[np.float64]:
    """(4, 4) a rotation and a translation. Raises DataError for another matrix."""
    matrix = value.numbers(4, 4)
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_NOT_ROTATED) or np.linalg.det(rotation) < 0:
        raise value.error("expected a rotation and a translation, got a matrix that distorts")
    return matrix


def sample_info_truth(path: Path | str) -> dict[str, Any]:
    """The ground truth of a `sample_info.json` in the form of a result file.

    It has every object once, from the LiDAR's list, with its distance and number of points; `samples` has each sample's
    scene and time. There are no tracks: an object has another id in each sample.

    Raises:
        DataError: Something is missing or of a wrong type; the text names it.
    """
    samples, names = _info(read_document(path))
    results: dict[str, list[dict[str, Any]]] = {}
    times: dict[str, dict[str, Any]] = {}
    for place, sample in enumerate(samples):
        token = sample["token"].text()
        if token in results:
            raise sample.error(f"the token {token} is there twice")
        times[token] = {"scene": "scene", "timestamp": round(sample["timestamp"].number() * 1e6)}
        boxes = [_info_box(sample, entry, names, number) for number, entry in enumerate(sample["instances"].items())]
        results[token] = [box for box in boxes if box is not None]
        if len(samples) > 1:
            for box in results[token]:
                box["tracking_id"] = f"{place}/{box['tracking_id']}"
    return {"meta": {}, "samples": times, "results": results}


def _info_box(sample: JsonValue, entry: JsonValue, names: Mapping[int, str], number: int) -> dict[str, Any] | None:
    """One entry of `instances` (LiDAR frame: centre, length, width, height, yaw) as a box in the world."""
    name = names.get(entry["bbox_label_3d"].integer(), "")
    if name not in TRACKED:
        return None
    ego = _motion(sample["ego2global"])
    lidar = ego @ _motion(sample["lidar_points"]["lidar2ego"])
    x, y, z, length, width, height, yaw = entry["bbox_3d"].numbers(7).tolist()
    rotation = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    location = lidar[:3, :3] @ [x, y, z] + lidar[:3, 3]
    velocity = entry["velocity"].numbers(2, finite=False)
    return {
        "sample_token": sample["token"].text(),
        "translation": location.tolist(),
        "size": [width, length, height],
        "rotation": np.roll(matrix_to_quaternion(lidar[:3, :3] @ rotation), 1).tolist(),
        "velocity": (lidar[:3, :3] @ [*velocity, 0.0])[:2].tolist(),
        "ego_translation": (location - ego[:3, 3]).tolist(),
        "num_pts": entry["num_lidar_pts"].integer() + entry["num_radar_pts"].integer(),
        "tracking_id": str(number),
        "tracking_name": name,
        "tracking_score": 1.0,
    }


def read_results(path: Path | str, scored: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Reads a tracking result or ground-truth file.

    Args:
        path: The file.
        scored: Each box must have a score, as results do.

    Returns:
        Sample token -> its boxes; `tracking_id` is text.

    Raises:
        DataError: A sample is malformed, or has an id twice; the text names it.
    """
    document = JsonValue(path, "", load_json(path))
    if not isinstance(document.value, dict) or not isinstance(document.value.get("results"), dict):
        raise DataError(path, "not a nuScenes tracking file: expected an object with 'results'")
    results = {}
    for token, boxes in document["results"].entries():
        sample = JsonValue(path, f"sample {token}", boxes.value)
        if not isinstance(sample.value, list):
            raise sample.expected("a list of boxes")
        if len(sample.value) > SAMPLE_LIMIT:
            raise sample.error(f"{len(sample.value)} boxes, at most {SAMPLE_LIMIT} are allowed")
        results[token] = [
            _checked_box(JsonValue(path, f"sample {token}, box {number}", box), token, scored)
            for number, box in enumerate(sample.value)
        ]
        _check_ids(sample, results[token])
    return results


def _checked_box(box: JsonValue, token: str, scored: bool) -> dict[str, Any]:
    """The box with its id as text. Raises DataError naming the key that is wrong."""
    content = box.mapping()
    if missing := [key for key in (*_LENGTHS, "tracking_id", "tracking_name") if key not in content]:
        raise box.error(f"'{missing[0]}' is missing")
    for key, length in _LENGTHS.items():
        if not _is_numbers(content[key], length, unknown=key == "velocity"):
            raise box.error(f"'{key}' must be {length} finite numbers, got {content[key]!r:.60}")
    if min(content["size"]) <= 0 or not any(content["rotation"]):
        key = "rotation" if min(content["size"]) > 0 else "size"
        raise box.error(f"'{key}' is {content[key]}, expected {'a rotation' if key == 'rotation' else 'sizes above 0'}")
    if not isinstance(content["tracking_name"], str) or content["tracking_name"] not in TRACKED:
        raise box.error(f"{shown(content['tracking_name'])} is not one of {', '.join(TRACKED)}")
    if content.get("sample_token", token) != token:
        raise box.error(f"'sample_token' is {content['sample_token']!r:.60}, of another sample")
    _check_figures(box, scored)
    identity = box["tracking_id"].label()
    if identity == "":
        raise box.error("'tracking_id' is empty")
    return {**content, "tracking_id": str(identity)}


def _check_figures(box: JsonValue, scored: bool) -> None:
    """Raises DataError for a score, an `ego_translation` or a `num_pts` that is none."""
    if "tracking_score" in box:
        box["tracking_score"].number()
    elif scored:
        raise box.error("'tracking_score' must be a number, got nothing")
    content = box.mapping()
    if "ego_translation" in content and not _is_numbers(content["ego_translation"], 3):
        raise box.error(f"'ego_translation' must be 3 finite numbers, got {content['ego_translation']!r:.60}")
    if "num_pts" in content:
        box["num_pts"].integer()


def _check_ids(sample: JsonValue, boxes: Sequence[Mapping[str, Any]]) -> None:
    places: dict[str, int] = {}
    for number, box in enumerate(boxes):
        if (other := places.setdefault(box["tracking_id"], number)) != number:
            raise sample.error(f"boxes {other} and {number} both have the tracking_id '{box['tracking_id']}'")


def _is_numbers(value: Any, length: int, unknown: bool = False) -> bool:
    """Whether it is a list of finite numbers, or with `unknown` of numbers that may be NaN."""
    if not isinstance(value, list) or len(value) != length:
        return False
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float):
            return False
        if not (-1e300 < item < 1e300 or (unknown and math.isnan(item))):
            return False
    return True


def read_samples(path: Path | str, boxes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The scene and time of each sample of a ground-truth file: {scene, timestamp}.

    Without `samples` in the file, its samples are one scene in the order of the file.

    Raises:
        DataError: A sample of `boxes` is not among them or the other way round, or two of a scene have the same time.
    """
    document = read_document(path)
    table = document.get("samples")
    if table is None or not table.mapping():
        return {token: {"scene": "scene", "timestamp": number} for number, token in enumerate(boxes)}
    samples: dict[str, dict[str, Any]] = {}
    times: dict[tuple[str, int], str] = {}
    for token, entry in table.entries():
        scene, time = str(entry["scene"].label()), entry["timestamp"].integer()
        other = times.setdefault((scene, time), token)
        if other != token:
            raise table.error(f"{other} and {token} both have the timestamp {time} in {scene}")
        samples[token] = {"scene": scene, "timestamp": time}
    if different := sorted(set(samples) ^ set(boxes)):
        where = "results" if different[0] in samples else "samples"
        raise document.error(f"sample {different[0]} is missing in '{where}'")
    return samples
