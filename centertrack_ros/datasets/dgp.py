# SPDX-License-Identifier: Apache-2.0
"""Scenes in the format of TRI's Dataset Governance Policy, as DDAD and the data of github.com/TRI-ML/dgp have it.

A scene is a folder with `scene_HASH.json` (samples of data from several sensors), `calibration/`, `ontology/`, and by
camera `rgb/`, `bounding_box_2d/` and `bounding_box_3d/`. 3D boxes are in the camera's optical frame, their axes are
forward, left and up; 2D boxes are loose, being what the 3D ones cover in the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.image_names import is_hidden
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.geometry.boxes3d import projected_boxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import quaternion_to_matrix
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json

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
    document = load_json(path)
    try:
        data = {entry["key"]: entry for entry in document["data"]}
        names = {kind: _names(path.parent, key) for kind, key in document["ontologies"].items()}
        classes = tuple(sorted({name for table in names.values() for name in table.values()}))
        numbers: dict[int, int] = {}
        frames: dict[str, list[AnnotatedFrame]] = {}
        for index, sample in enumerate(document["samples"]):
            calibration = _calibration(path.parent / "calibration" / f"{sample['calibration_key']}.json")
            for entry in (data[key] for key in sample["datum_keys"]):
                if "image" in entry["datum"]:
                    camera = entry["id"]["name"]
                    frame = _frame(path.parent, index, entry, calibration[camera], names, classes, numbers)
                    frames.setdefault(camera, []).append(frame)
        sizes = {name: (one[0].camera.height, one[0].camera.width) for name, one in frames.items() if one[0].camera}
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(path, f"not a DGP scene: {error!r} is missing") from None
    return tuple(
        VideoSequence(
            f"{path.parent.name}/{camera}", classes, tuple(one), 0, len(document["samples"]), None, sizes[camera]
        )
        for camera, one in sorted(frames.items())
    )


def _names(scene: Path, key: str) -> dict[int, str]:
    return {int(item["id"]): str(item["name"]) for item in load_json(scene / "ontology" / f"{key}.json")["items"]}


def _calibration(path: Path) -> dict[str, Mapping[str, float]]:
    document = load_json(path)
    return dict(zip(document["names"], document["intrinsics"], strict=True))


def _frame(
    scene: Path, index: int, entry: Mapping[str, Any], intrinsics: Mapping[str, float],
    names: Mapping[str, Mapping[int, str]], classes: tuple[str, ...], numbers: dict[int, int],
) -> AnnotatedFrame:  # fmt: skip
    """Reads one image; `numbers` maps each instance to its id, and grows."""
    image = entry["datum"]["image"]
    files = image["annotations"]
    boxes2d = _annotations(scene, files.get(_BOXES_2D), names.get(_BOXES_2D, {}))
    boxes3d = _annotations(scene, files.get(_BOXES_3D), names.get(_BOXES_3D, {}))
    matrix = np.array([[intrinsics["fx"], 0, intrinsics["cx"]], [0, intrinsics["fy"], intrinsics["cy"]], [0, 0, 1.0]])
    camera = Camera.from_matrix(int(image["width"]), int(image["height"]), matrix)
    boxes3d = {
        key: value for key, value in boxes3d.items() if key not in boxes2d or _agree(boxes2d[key][1], value[1], camera)
    }
    crowd = [_corners(row) for _, row in boxes2d.values() if row.get("iscrowd")]
    keys = [key for key in sorted({*boxes2d, *boxes3d}) if not boxes2d.get(key, ("", {}))[1].get("iscrowd")]
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
    image_file = scene / image["filename"]
    return AnnotatedFrame(
        index=index,
        stamp=_seconds(entry["id"]["timestamp"]),
        tracks=tracks,
        ignore=np.array(crowd, np.float64).reshape(-1, 4),
        image=image_file if image_file.is_file() else None,
        camera=camera,
        pose=_pose(image["pose"]),
        token=entry["key"],
    )


def _annotations(scene: Path, name: str | None, names: Mapping[int, str]) -> dict[int, tuple[str, Mapping[str, Any]]]:
    """Instance -> (class, annotation) of one file; without a file nothing."""
    rows = load_json(scene / name)["annotations"] if name else []
    return {int(row["instance_id"]): (names[int(row["class_id"])], row) for row in rows}


def _corners(row: Mapping[str, Any]) -> tuple[float, ...]:
    box = row["box"]
    return box["x"], box["y"], box["x"] + box["w"], box["y"] + box["h"]


def _box3d(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Height, width, length, centre of the bottom, rotation about the downward axis."""
    box = row["box"]
    pose = _pose(box["pose"])
    x, y, z = (float(value) for value in pose[:3, 3])
    forward = pose[:3, 0]
    height = float(box["height"])
    return height, box["width"], box["length"], x, y + height / 2, z, float(np.arctan2(-forward[2], forward[0]))


def _agree(row2d: Mapping[str, Any], row3d: Mapping[str, Any], camera: Camera) -> bool:
    """Whether the 3D box covers the 2D box in the image."""
    values = np.array([_box3d(row3d)])
    box = projected_boxes(values[:, :3], values[:, 3:6], values[:, 6], camera)
    return not np.isfinite(box).all() or bool(iou(box, np.array([_corners(row2d)], np.float64))[0, 0] >= _AGREE)


def _pose(entry: Mapping[str, Any]) -> NDArray[np.float64]:
    rotation, translation = entry["rotation"], entry["translation"]
    pose = np.eye(4)
    pose[:3, :3] = quaternion_to_matrix(np.array([rotation["qx"], rotation["qy"], rotation["qz"], rotation["qw"]]))
    pose[:3, 3] = translation["x"], translation["y"], translation["z"]
    return pose


def _seconds(text: str) -> float:
    """Seconds since 1970 of '2463-05-15T00:38:58.415230Z'."""
    return datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=timezone.utc).timestamp()
