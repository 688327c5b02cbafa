# SPDX-License-Identifier: Apache-2.0
"""Scenes in the format of TRI's Dataset Governance Policy, as DDAD and the data of github.com/TRI-ML/dgp have it.

A scene is a folder with `scene_HASH.json` (samples of data from several sensors), `calibration/`, `ontology/`, and by
camera `rgb/`, `bounding_box_2d/` and `bounding_box_3d/`. 3D boxes are in the camera's optical frame, their axes are
forward, left and up; 2D boxes are loose, being what the 3D ones cover in the image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.image_names import is_hidden
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, checked, tracks_of
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.geometry.boxes3d import projected_boxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import quaternion_to_matrix
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import JsonValue, read_document
from centertrack_ros.typed_records import shown

_BOXES_2D, _BOXES_3D = "0", "1"  # keys of the annotation types
_NOTHING_3D = (np.nan,) * 7
_AGREE = 0.2  # least overlap of an instance's two boxes; below it, the two files number their instances independently


def find_scenes(folder: Path | str) -> list[Path]:
    """The scene files in a folder and the folders below it. Raises DataError when there is none."""
    files = (path for path in Path(folder).glob("**/scene_*.json") if not is_hidden(path.relative_to(folder)))
    found = sorted(path for path in files if not path.name.startswith("scene_dataset"))
    if not found:
        raise DataError(folder, "no scene_*.json: not a folder of DGP scenes")
    return found


def read_scene(path: Path | str) -> tuple[VideoSequence, ...]:
    """Reads a scene file.

    Ids are the scene's instances, counted from 1; an object that is annotated in 3D alone has NaN as 2D box.

    Returns:
        One sequence for each camera, named SCENE/CAMERA.

    Raises:
        DataError: Something is missing; the text names it.
    """
    path = Path(path)
    document = read_document(path)
    data: dict[str, JsonValue] = {}
    for entry in document["data"].items():
        if data.setdefault(entry["key"].text(), entry) is not entry:
            raise entry.error(f"the key {entry['key'].value} is there twice")
    names = {kind: _names(path.parent, key.text()) for kind, key in document["ontologies"].entries()}
    classes = tuple(sorted({name for table in names.values() for name in table.values()}))
    numbers: dict[int, int] = {}
    frames: dict[str, list[AnnotatedFrame]] = {}
    samples = list(document["samples"].items())
    for index, sample in enumerate(samples):
        calibration = _calibration(path.parent / "calibration" / f"{sample['calibration_key'].text()}.json")
        for key in sample["datum_keys"].items():
            if key.text() not in data:
                raise key.error(f"no datum has the key {key.value}")
            entry = data[key.text()]
            if "image" in entry["datum"]:
                camera = entry["id"]["name"].text()
                if camera not in calibration:
                    raise sample["calibration_key"].error(f"the calibration has no camera {camera}")
                frame = _frame(path.parent, index, entry, calibration[camera], names, classes, numbers)
                frames.setdefault(camera, []).append(frame)
    if not frames:
        raise DataError(path, "no sample has an image")
    return tuple(
        checked(
            VideoSequence(
                f"{path.parent.name}/{camera}", classes, tuple(one), 0, len(samples), None, one[0].image_size
            ),
            path,
        )
        for camera, one in sorted(frames.items())
    )


def _names(scene: Path, key: str) -> dict[int, str]:
    items = read_document(scene / "ontology" / f"{key}.json")["items"]
    return {item["id"].integer(): item["name"].text() for item in items.items()}


def _calibration(path: Path) -> dict[str, JsonValue]:
    document = read_document(path)
    names, intrinsics = list(document["names"].items()), list(document["intrinsics"].items())
    if len(names) != len(intrinsics):
        raise document.error(f"{len(names)} names of {len(intrinsics)} cameras")
    return {name.text(): values for name, values in zip(names, intrinsics, strict=True)}


def _frame(
    scene: Path, index: int, entry: JsonValue, intrinsics: JsonValue,
    names: Mapping[str, Mapping[int, str]], classes: tuple[str, ...], numbers: dict[int, int],
) -> AnnotatedFrame:  # fmt: skip
    """Reads one image; `numbers` maps each instance to its id, and grows."""
    image = entry["datum"]["image"]
    files = image["annotations"]
    boxes2d = _annotations(scene, files.get(_BOXES_2D), names.get(_BOXES_2D, {}))
    boxes3d = _annotations(scene, files.get(_BOXES_3D), names.get(_BOXES_3D, {}))
    camera = _camera(image, intrinsics)
    boxes3d = {
        key: value for key, value in boxes3d.items() if key not in boxes2d or _agree(boxes2d[key][1], value[1], camera)
    }
    crowds = {key for key, (_, row) in boxes2d.items() if "iscrowd" in row and row["iscrowd"].flag()}
    crowd = [_corners(boxes2d[key][1]) for key in boxes2d if key in crowds]
    keys = [key for key in sorted({*boxes2d, *boxes3d}) if key not in crowds]
    table = np.array([_box3d(boxes3d[key][1]) if key in boxes3d else _NOTHING_3D for key in keys], np.float64).reshape(
        -1, 7
    )
    boxes = np.array([_corners(boxes2d[key][1]) if key in boxes2d else (np.nan,) * 4 for key in keys], np.float64)
    tracks = tracks_of(
        np.array([numbers.setdefault(key, len(numbers) + 1) for key in keys], np.int64),
        np.array([classes.index((boxes2d.get(key) or boxes3d[key])[0]) for key in keys], np.int64),
        np.ones(len(keys)),
        boxes.reshape(-1, 4),
        depths=table[:, 5], dimensions=table[:, :3], locations=table[:, 3:6], rotations_y=table[:, 6],
    )  # fmt: skip
    image_file = scene / image["filename"].text()
    return AnnotatedFrame(
        index=index,
        stamp=_seconds(entry["id"]["timestamp"]),
        tracks=tracks,
        ignore=np.array(crowd, np.float64).reshape(-1, 4),
        image=image_file if os.path.isfile(image_file) else None,
        camera=camera,
        pose=_pose(image["pose"]),
        token=entry["key"].text(),
        image_size=(camera.height, camera.width),
    )


def _camera(image: JsonValue, intrinsics: JsonValue) -> Camera:
    fx, fy, cx, cy = (intrinsics[key].number() for key in ("fx", "fy", "cx", "cy"))
    try:
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        return Camera.from_matrix(image["width"].integer(1), image["height"].integer(1), matrix)
    except DataError:
        raise
    except ValueError as error:
        raise intrinsics.error(str(error)) from None


def _annotations(scene: Path, name: JsonValue | None, names: Mapping[int, str]) -> dict[int, tuple[str, JsonValue]]:
    """Instance -> (class, annotation) of one file; without a file nothing."""
    if name is None:
        return {}
    if not os.path.isfile(scene / name.text()):  # False also for a name that is too long
        raise name.error(f"there is no file {shown(name.value)}")
    found: dict[int, tuple[str, JsonValue]] = {}
    for row in read_document(scene / name.text())["annotations"].items():
        instance, class_id = row["instance_id"].integer(), row["class_id"].integer()
        if class_id not in names:
            raise row["class_id"].error(f"the ontology has no class {class_id}")
        if instance in found:
            raise row.error(f"instance {instance} is there twice")
        found[instance] = (names[class_id], row)
    return found


def _corners(row: JsonValue) -> tuple[float, ...]:
    x, y, width, height = (row["box"][key].number() for key in ("x", "y", "w", "h"))
    return x, y, x + width, y + height


def _box3d(row: JsonValue) -> tuple[float, ...]:
    """Height, width, length, centre of the bottom, rotation about the downward axis."""
    box = row["box"]
    pose = _pose(box["pose"])
    x, y, z = (float(value) for value in pose[:3, 3])
    forward = pose[:3, 0]
    height, width, length = (box[key].measurement() for key in ("height", "width", "length"))
    return height, width, length, x, y + height / 2, z, float(np.arctan2(-forward[2], forward[0]))


def _agree(row2d: JsonValue, row3d: JsonValue, camera: Camera) -> bool:
    """Whether the 3D box covers the 2D box in the image."""
    values = np.array([_box3d(row3d)])
    box = projected_boxes(values[:, :3], values[:, 3:6], values[:, 6], camera)
    return not np.isfinite(box).all() or bool(iou(box, np.array([_corners(row2d)], np.float64))[0, 0] >= _AGREE)


def _pose(entry: JsonValue) -> NDArray[np.float64]:
    rotation, translation = entry["rotation"], entry["translation"]
    quaternion = np.array([rotation[key].number() for key in ("qx", "qy", "qz", "qw")])
    if not quaternion.any():
        raise rotation.error("a rotation must not be 0")
    pose = np.eye(4)
    try:
        pose[:3, :3] = quaternion_to_matrix(quaternion)
    except ValueError as error:
        raise entry.error(str(error)) from None
    pose[:3, 3] = [translation[key].measurement() for key in ("x", "y", "z")]
    return pose


def _seconds(time: JsonValue) -> float:
    """Seconds since 1970 of '2463-05-15T00:38:58.415230Z'."""
    try:
        return datetime.fromisoformat(time.text().rstrip("Z")).replace(tzinfo=timezone.utc).timestamp()
    except DataError:
        raise
    except ValueError:
        raise time.expected("a time such as 2018-05-15T00:38:58.415230Z") from None
