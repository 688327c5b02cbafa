# SPDX-License-Identifier: Apache-2.0
"""Training targets of the heads, for all objects of an image at once (upstream dataset/generic_dataset.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.affine import transform
from centertrack_ros.geometry.gaussian import draw, gaussian_radius
from centertrack_ros.network.profile import VELOCITY_PARTS
from centertrack_ros.training.joints import joint_targets, pad_slots

F32 = NDArray[np.float32]
Arrays = dict[str, NDArray]
SUPPORTED = (
    "hm",
    "reg",
    "wh",
    "tracking",
    "ltrb",
    "ltrb_amodal",
    "dep",
    "dim",
    "rot",
    "amodel_offset",
    "nuscenes_att",
    "velocity",
    "hps",
    "hm_hp",
    "hp_offset",
)
STATIC_CELLS = 128  # cells of a static image whose displacement is a target
JOINT_HEADS = ("hps", "hm_hp", "hp_offset")


@dataclass(frozen=True)
class GridObjects:
    """N annotated objects of one training image, in px of the output grid (after crop and mirroring); NaN: unknown.

    Attributes:
        boxes: (N, 4) corners, not clipped.
        class_ids: (N,).
        previous_centers: (N, 2) centres in the previous frame, NaN where the object is not in it.
        depths: (N,) m.
        dimensions: (N, 3) height, width, length, m.
        alphas: (N,) observation angles, rad.
        amodal_centers: (N, 2) projected centres of the 3D boxes.
        velocities: (N, 3) m/s in camera axes.
        attributes: (N, 8), 0 or 1.
        ignored: (M, 4) boxes in which no detection is wrong.
        ignored_classes: (M,) the class that is ignored there, -1: every class.
        unlabelled: (U,) classes that are not annotated in this image.
        joints: (N, J, 3) x, y and how each is annotated, see `joints.py`.
        interval: s since the previous image; NaN: there is none, or it is unknown.
    """

    boxes: NDArray
    class_ids: NDArray
    previous_centers: NDArray
    depths: NDArray | None = None
    dimensions: NDArray | None = None
    alphas: NDArray | None = None
    amodal_centers: NDArray | None = None
    velocities: NDArray | None = None
    attributes: NDArray | None = None
    ignored: NDArray | None = None
    ignored_classes: NDArray | None = None
    unlabelled: NDArray | None = None
    joints: NDArray | None = None
    interval: float = math.nan


def make_targets(
    objects: GridObjects, heads: Mapping[str, int], grid: tuple[int, int], max_objects: int = 128
) -> Arrays:
    """Arrays for `losses.head_losses`, without the batch axis.

    Objects without area inside the grid, and those beyond `max_objects`, are left out.

    Args:
        objects: Of one image.
        heads: Head -> channels.
        grid: (height, width) of the output grid.
        max_objects: Slots K.

    Returns:
        hm (C, h, w); index, channels, mask (K,); of each head its target and `<head>_mask` (K, C). 'rot' gives
        rot_bins, rot_residuals (K, 2), rot_mask (K,). A velocity of two parts is one target (K, 3), m/s, with
        velocity_interval (K, 1), s. 'hps', 'hm_hp' and 'hp_offset' are those of `joint_targets`.

    Raises:
        ValueError: A head has no targets here, or another number of joints than the annotations.
    """
    if unknown := sorted(set(heads) - set(SUPPORTED)):
        raise ValueError(f"no training targets for head '{unknown[0]}'; there are {', '.join(SUPPORTED)}")
    height, width = grid
    clipped = np.asarray(objects.boxes, np.float64).reshape(-1, 4).copy()
    clipped[:, 0::2] = clipped[:, 0::2].clip(0, width - 1)
    clipped[:, 1::2] = clipped[:, 1::2].clip(0, height - 1)
    size = clipped[:, 2:] - clipped[:, :2]
    keep = np.flatnonzero((size > 0).all(axis=1))[:max_objects]
    clipped, size = clipped[keep], size[keep]
    center = ((clipped[:, :2] + clipped[:, 2:]) / 2).astype(np.float32)
    cell = center.astype(np.int64)
    slots = max_objects
    channels = np.asarray(objects.class_ids, np.int64)[keep]
    targets: Arrays = {
        "hm": _heatmap(objects, heads["hm"], grid, cell, channels, size),
        "index": pad_slots(cell[:, 1] * width + cell[:, 0], slots, np.int64),
        "channels": pad_slots(channels, slots, np.int64),
        "mask": pad_slots(np.ones(len(keep)), slots),
    }
    boxes = np.asarray(objects.boxes, np.float64).reshape(-1, 4)[keep]
    values: dict[str, NDArray | None] = {
        "reg": center - cell,
        "wh": size,
        "tracking": np.asarray(objects.previous_centers, np.float64).reshape(-1, 2)[keep] - cell,
        "ltrb": clipped - np.tile(cell, (1, 2)),
        "ltrb_amodal": boxes - np.tile(cell, (1, 2)),
        "dep": _column(objects.depths, keep),
        "dim": _rows(objects.dimensions, keep),
        "amodel_offset": None if objects.amodal_centers is None else objects.amodal_centers[keep] - cell,
        "nuscenes_att": _rows(objects.attributes, keep),
        "velocity": _rows(objects.velocities, keep),
    }
    for name, channel_count in heads.items():
        if name == "rot":
            targets |= _rotation(_column(objects.alphas, keep), len(keep), slots)
        elif name == "velocity" and channel_count == VELOCITY_PARTS:
            known = abs(objects.interval) > 0  # a motion needs two images, and the time between them
            targets |= _regression(name, values[name] if known else None, channel_count // 2, slots)
            targets[f"{name}_interval"] = np.full((slots, 1), objects.interval if known else 1.0, np.float32)
        elif name != "hm" and name not in JOINT_HEADS:
            targets |= _regression(name, values[name], channel_count, slots)
    if "hps" in heads:
        targets |= _joint_targets(objects, _joints(objects, keep, heads["hps"] // 2), cell, clipped, grid, slots)
    return targets


def _regression(name: str, values: NDArray | None, channels: int, slots: int) -> Arrays:
    """Target and mask (K, C) of a head from values (N, C), where a row with NaN is unknown; None: all are unknown."""
    if values is None:
        return {name: np.zeros((slots, channels), np.float32), f"{name}_mask": np.zeros((slots, channels), np.float32)}
    known = np.isfinite(values).all(axis=1, keepdims=True)
    target = pad_slots(np.where(known, values, 0.0), slots)
    return {name: target, f"{name}_mask": pad_slots(np.broadcast_to(known, values.shape), slots)}


def _joint_targets(
    objects: GridObjects, joints: NDArray, cells: NDArray, boxes: NDArray, grid: tuple[int, int], slots: int
) -> Arrays:
    """`joint_targets` with the regions where the joints' heatmaps are not trained."""
    targets = joint_targets(joints, cells, boxes, grid, slots)
    heat = targets["hm_hp"]
    if objects.joints is None:  # not annotated in this image: no joint's heatmap is trained
        heat[:] = 1.0
    for (x0, y0, x1, y1), _ in _ignored(objects, grid):
        heat[:, y0 : y1 + 1, x0 : x1 + 1] = 1.0
    return targets


def _joints(objects: GridObjects, keep: NDArray, count: int) -> NDArray:
    """(N, count, 3); all ABSENT where nothing is annotated. Raises ValueError for another number of joints."""
    if objects.joints is None:
        return np.zeros((len(keep), count, 3))
    joints = np.asarray(objects.joints, np.float64)[keep]
    if joints.shape[1:] != (count, 3):
        raise ValueError(f"the hps head has {count} joints, the annotations {joints.shape[1]}")
    return joints


def _rows(values: NDArray | None, keep: NDArray) -> NDArray | None:
    return None if values is None else np.asarray(values)[keep]


def _column(values: NDArray | None, keep: NDArray) -> NDArray | None:
    return None if values is None else np.asarray(values, np.float64)[keep][:, None]


def _heatmap(
    objects: GridObjects, channels: int, grid: tuple[int, int], cell: NDArray, classes: NDArray, size: NDArray
) -> F32:
    height, width = grid
    heatmap = np.zeros((channels, height, width), np.float32)
    if objects.unlabelled is not None:
        heatmap[np.asarray(objects.unlabelled, np.int64)] = 1.0
    for (x0, y0, x1, y1), class_id in _ignored(objects, grid):
        heatmap[slice(None) if class_id < 0 else class_id, y0 : y1 + 1, x0 : x1 + 1] = 1.0
    radii = np.maximum(0, gaussian_radius(np.ceil(size[:, 1]), np.ceil(size[:, 0])).astype(int)) if len(size) else []
    for (x, y), class_id, radius in zip(cell.tolist(), classes.tolist(), np.asarray(radii).tolist(), strict=True):
        draw(heatmap[class_id], x, y, radius)
    return heatmap


def _ignored(objects: GridObjects, grid: tuple[int, int]) -> list[tuple[list[int], int]]:
    """(corners inside the grid, class or -1 for every class) of the ignored regions."""
    if objects.ignored is None or not len(objects.ignored):
        return []
    which = np.full(len(objects.ignored), -1) if objects.ignored_classes is None else objects.ignored_classes
    corners = np.asarray(objects.ignored, np.float64).copy()
    corners[:, 0::2] = corners[:, 0::2].clip(0, grid[1] - 1)
    corners[:, 1::2] = corners[:, 1::2].clip(0, grid[0] - 1)
    return list(zip(corners.astype(int).tolist(), np.asarray(which).tolist(), strict=True))


def rotation_bins(alphas: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Membership (N, 2) and residual (N, 2), rad, of angles (N,) in two overlapping bins around -pi/2 and pi/2."""
    first = (alphas < np.pi / 6) | (alphas > 5 * np.pi / 6)
    second = (alphas > -np.pi / 6) | (alphas < -5 * np.pi / 6)
    bins = np.stack([first, second], axis=1)
    residuals = np.stack([alphas + np.pi / 2, alphas - np.pi / 2], axis=1)
    return bins.astype(np.int64), np.where(bins, residuals, 0.0)


def _rotation(alphas: NDArray | None, count: int, slots: int) -> Arrays:
    if alphas is None:
        alphas = np.full((count, 1), np.nan)
    known = np.isfinite(alphas[:, 0])
    bins, residuals = rotation_bins(np.where(known, alphas[:, 0], 0.0))
    return {
        "rot_bins": pad_slots(bins * known[:, None], slots, np.int64),
        "rot_residuals": pad_slots(residuals * known[:, None], slots),
        "rot_mask": pad_slots(known, slots),
    }


def static_targets(
    rng: np.random.Generator, affine: NDArray, previous_affine: NDArray, grid: tuple[int, int], shown: tuple[int, int]
) -> Arrays:
    """Displacements of random cells of a static image: between two crops of one image every pixel's motion is known.

    Args:
        rng: Draws the cells.
        affine: (2, 3) image px to grid px of the crop.
        previous_affine: (2, 3) the same of the previous frame's crop.
        grid: (height, width) of the output grid.
        shown: (height, width) px of the image that is in both crops; (0, 0) if they show different images, which
            gives empty slots only.

    Returns:
        static_index (S,) flat cells; static (S, 2) grid px from there to the previous place; static_mask (S, 2).
    """
    height, width = grid
    cells = np.column_stack([rng.integers(0, width, STATIC_CELLS), rng.integers(0, height, STATIC_CELLS)])
    places = transform(np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2], cells.astype(np.float64))
    before = transform(previous_affine, places)
    inside = np.all((places >= 0) & (places <= np.array(shown[::-1]) - 1.0), axis=1)
    inside &= np.all((before >= 0) & (before <= np.array([width, height]) - 1.0), axis=1)
    mask = np.repeat(inside[:, None], 2, axis=1)
    return {
        "static_index": cells[:, 1] * width + cells[:, 0],
        "static": np.where(mask, before - cells, 0).astype(np.float32),
        "static_mask": mask.astype(np.float32),
    }
