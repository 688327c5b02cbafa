"""From annotated objects to what the network should answer, computed for all objects of an image at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.affine import transform
from centertrack_ros.geometry.gaussian import draw, gaussian_radius
from centertrack_ros.network.profile import VELOCITY_PARTS
from centertrack_ros.training.joints import joint_targets

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
STILL_CELLS = 128  # of a still image, whose displacement is known, whatever is there
JOINT_HEADS = ("hps", "hm_hp", "hp_offset")


@dataclass(frozen=True)
class GridObjects:
    """N annotated objects of one training image, places in output-grid px (after crop and mirroring). NaN marks what
    is unknown.

    boxes (N, 4) not clipped; class_ids (N,); previous_centers (N, 2) in the previous frame, NaN when not there
    depths (N,) m, dimensions (N, 3) h, w, l m, alphas (N,) rad, amodal_centers (N, 2), velocities (N, 3) m/s in
    camera axes
    attributes (N, 8) 0 or 1; ignored (M, 4) boxes in which no detection is wrong; ignored_classes (M,), -1 for every
    class
    unlabelled (U,) classes that are not annotated in this image at all
    interval  s since the previous image, NaN: there is none, or it is unknown
    joints (N, J, 3) x, y and how it is annotated, see `joints.py`
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
    """Arrays for `losses.head_losses`, without the batch axis: hm (C, h, w), index, channels, mask (K,), and per head
    its
    target and `<head>_mask` (K, C); 'rot' gives rot_bins, rot_residuals (K, 2), rot_mask (K,); a velocity of two parts
    is one target, (K, 3) m/s, with velocity_interval (K, 1) s; 'hps', 'hm_hp' and 'hp_offset' are those of
    `joint_targets`.

    Objects without area inside the grid, and those beyond `max_objects`, are left out. Raises ValueError for a head
    that
    has no targets here.
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
    count, slots = len(keep), max_objects

    def padded(values: NDArray, dtype: type = np.float32) -> NDArray:
        out = np.zeros((slots, *values.shape[1:]), dtype)
        out[:count] = values
        return out

    def regression(values: NDArray | None, channels: int) -> tuple[F32, F32]:
        if values is None:
            return np.zeros((slots, channels), np.float32), np.zeros((slots, channels), np.float32)
        known = np.isfinite(values).all(axis=1, keepdims=True)
        return padded(np.where(known, values, 0.0)), padded(np.broadcast_to(known, values.shape))

    channels = np.asarray(objects.class_ids, np.int64)[keep]
    targets: Arrays = {
        "hm": _heatmap(objects, heads["hm"], grid, cell, channels, size),
        "index": padded(cell[:, 1] * width + cell[:, 0], np.int64),
        "channels": padded(channels, np.int64),
        "mask": padded(np.ones(count)),
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
    for name, width_of_head in heads.items():
        if name == "rot":
            targets |= _rotation(_column(objects.alphas, keep), padded, count, slots)
        elif name == "velocity" and width_of_head == VELOCITY_PARTS:
            known = abs(objects.interval) > 0  # a motion needs two images, and the time between them
            targets[name], targets[f"{name}_mask"] = regression(values[name] if known else None, width_of_head // 2)
            targets[f"{name}_interval"] = np.full((slots, 1), objects.interval if known else 1.0, np.float32)
        elif name != "hm" and name not in JOINT_HEADS:
            targets[name], targets[f"{name}_mask"] = regression(values[name], width_of_head)
    if "hps" in heads:
        people = _joints(objects, keep, heads["hps"] // 2)
        found = joint_targets(people, cell, clipped, grid, slots)
        if objects.joints is None:  # not annotated in this image: every joint's map says nothing
            found["hm_hp"][:] = 1.0
        for (x0, y0, x1, y1), _ in _ignored(objects, grid):
            found["hm_hp"][:, y0 : y1 + 1, x0 : x1 + 1] = 1.0
        targets |= found
    return targets


def _joints(objects: GridObjects, keep: NDArray, kinds: int) -> NDArray:
    """(N, kinds, 3); all ABSENT where nothing is known. Raises ValueError for another number of joints."""
    if objects.joints is None:
        return np.zeros((len(keep), kinds, 3))
    joints = np.asarray(objects.joints, np.float64)[keep]
    if joints.shape[1:] != (kinds, 3):
        raise ValueError(f"the hps head has {kinds} joints, the annotations {joints.shape[1]}")
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
    """(corners inside the grid, class or -1 for every one) of the regions in which no detection is wrong."""
    if objects.ignored is None or not len(objects.ignored):
        return []
    which = np.full(len(objects.ignored), -1) if objects.ignored_classes is None else objects.ignored_classes
    corners = np.asarray(objects.ignored, np.float64).copy()
    corners[:, 0::2] = corners[:, 0::2].clip(0, grid[1] - 1)
    corners[:, 1::2] = corners[:, 1::2].clip(0, grid[0] - 1)
    return list(zip(corners.astype(int).tolist(), np.asarray(which).tolist(), strict=True))


def rotation_bins(alphas: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Membership (N, 2) and residual (N, 2) rad of angles (N,) in [-pi, pi] in the two overlapping bins around
    -+pi/2.
    """
    first = (alphas < np.pi / 6) | (alphas > 5 * np.pi / 6)
    second = (alphas > -np.pi / 6) | (alphas < -5 * np.pi / 6)
    bins = np.stack([first, second], axis=1)
    residuals = np.stack([alphas + np.pi / 2, alphas - np.pi / 2], axis=1)
    return bins.astype(np.int64), np.where(bins, residuals, 0.0)


def _rotation(alphas: NDArray | None, padded, count: int, slots: int) -> Arrays:  # type: ignore[no-untyped-def]
    if alphas is None:
        alphas = np.full((count, 1), np.nan)
    known = np.isfinite(alphas[:, 0])
    bins, residuals = rotation_bins(np.where(known, alphas[:, 0], 0.0))
    return {
        "rot_bins": padded(bins * known[:, None], np.int64),
        "rot_residuals": padded(residuals * known[:, None]),
        "rot_mask": padded(known),
    }


def still_targets(
    rng: np.random.Generator, affine: NDArray, previous_affine: NDArray, grid: tuple[int, int], shown: tuple[int, int]
) -> Arrays:
    """Where cells of a still image were: between two crops of one picture everything moves, not only what is annotated.

    affine, previous_affine  (2, 3) image px to grid px of the two crops;  shown  (height, width) px of the picture that
    is in both, (0, 0) if they show different ones, which gives empty slots only
    Gives still_index (S,) flat cells, still (S, 2) grid px from there to the previous place, still_mask (S, 2).
    """
    height, width = grid
    cells = np.column_stack([rng.integers(0, width, STILL_CELLS), rng.integers(0, height, STILL_CELLS)])
    places = transform(np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2], cells.astype(np.float64))
    before = transform(previous_affine, places)
    inside = (places >= 0).all(axis=1) & (places <= np.array(shown[::-1]) - 1.0).all(axis=1)
    inside &= (before >= 0).all(axis=1) & (before <= np.array([width, height]) - 1.0).all(axis=1)
    mask = np.repeat(inside[:, None], 2, axis=1)
    return {
        "still_index": cells[:, 1] * width + cells[:, 0],
        "still": np.where(mask, before - cells, 0).astype(np.float32),
        "still_mask": mask.astype(np.float32),
    }
