"""What is true of one image of the street: read off the object numbers of its pixels and the poses of the road
users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.synthetic.actors import Model
from centertrack_ros.types import Detections, Tracks

Array = NDArray[np.float64]
NEAR = 0.3  # m, nothing nearer is drawn


@dataclass(frozen=True)
class StreetFrame:
    """One image of one camera with all that is true of it. N road users have at least one visible pixel.

    index, stamp   of the time step; s
    camera_name    of the mount
    image          (H, W, 3) uint8 BGR
    camera         without distortion
    pose           (4, 4) float64, optical frame to world (REP 103, z up, m)
    tracks         ids from 1, the same in all cameras; scores 1; boxes are of the VISIBLE pixels; centers their
        middles; displacements to
                   the previous frame's middle (0 for hits == 1); hits: frames in a row seen by this camera; births in s
    visibility     (N,) 0..1, share of the pixels inside the image that nothing hides
    truncation     (N,) 0..1, share of the outline outside the image
    amodal_boxes   (N, 4) px, of the whole outline, also hidden and outside the image
    rider_boxes, bicycle_boxes   (N, 4) px of the visible pixels of a cyclist's two halves; NaN for others or when
        hidden
    has_3d         False for cameras that look down too much for boxes that stand upright in the camera's frame
    """

    index: int
    stamp: float
    camera_name: str
    image: NDArray[np.uint8]
    camera: Camera
    pose: Array
    tracks: Tracks
    visibility: NDArray[np.float32]
    truncation: NDArray[np.float32]
    amodal_boxes: NDArray[np.float32]
    rider_boxes: NDArray[np.float32]
    bicycle_boxes: NDArray[np.float32]
    has_3d: bool = True

    def clear(self, visibility: float = 0.25, height: float = 8.0) -> NDArray[np.bool_]:
        """(N,) which road users a detector may be asked to find: visible enough and at least `height` px tall."""
        boxes = self.tracks.detections.boxes
        return (self.visibility >= visibility) & (boxes[:, 3] - boxes[:, 1] >= height)


def label_of(actor: int, rider: bool) -> int:
    """The number that an actor's pixels carry in the object image."""
    return 2 * actor + 1 + int(rider)


def extents(labels: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pixels (count,) and boxes (count, 4) x1, y1, x2, y2 px (NaN where no pixel) of the labels 0..count-1 of an
    image.
    """
    width = labels.shape[1]
    # Run by run of equal pixels in a row, of which there are far fewer than pixels.
    flat = labels.ravel()
    begins = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::width] = True
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], flat.size)
    shown = np.flatnonzero(flat[starts])
    which, starts, ends = flat[starts[shown]], starts[shown], ends[shown]
    row = starts // width
    left, right = np.full(count, width), np.zeros(count, np.int64)
    np.minimum.at(left, which, starts - row * width)
    np.maximum.at(right, which, ends - row * width)
    pixels = np.bincount(which, ends - starts, minlength=count).astype(np.int64)
    boxes = np.full((count, 4), np.nan, np.float32)
    # Row by row: the last one written is the lowest, and the first (written last in reverse) the highest.
    boxes[which, 3] = row + 1
    boxes[which[::-1], 1] = row[::-1]
    seen = pixels > 0
    boxes[seen, 0], boxes[seen, 2] = left[seen], right[seen]
    return pixels, boxes


def _union(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.fmin(a[:, :2], b[:, :2]), np.fmax(a[:, 2:], b[:, 2:])], axis=1)


@dataclass(frozen=True)
class Cast:
    """The road users that may be seen, as they stand in the world.

    actors (M,) their numbers, class_ids (M,), models, positions (M, 2) m, yaws (M,) rad, velocities (M, 2) m/s, gaits
    (M,) rad
    """

    actors: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    models: Sequence[Model]
    positions: Array
    yaws: Array
    velocities: Array
    gaits: Array

    def select(self, index: NDArray[np.int64]) -> Cast:
        """Those at `index`."""
        models = [self.models[i] for i in index]
        return Cast(self.actors[index], self.class_ids[index], models, self.positions[index], self.yaws[index],
                    self.velocities[index], self.gaits[index])  # fmt: skip


def outlines(cast: Cast, camera: Camera, pose: Array) -> tuple[Array, Array, Array]:
    """Amodal boxes (M, 4) px, and areas (M,) px² of the outlines' hulls as a whole and inside the image."""
    count = len(cast.actors)
    boxes, whole, inside = np.full((count, 4), np.nan), np.zeros(count), np.zeros(count)
    if not count:
        return boxes, whole, inside
    bodies = [model.points(gait) for model, gait in zip(cast.models, cast.gaits, strict=True)]
    sizes = [len(body) for body in bodies]
    points = np.concatenate(bodies)
    cos, sin = np.repeat(np.cos(cast.yaws), sizes), np.repeat(np.sin(cast.yaws), sizes)
    world = np.repeat(np.hstack([cast.positions, np.zeros((count, 1))]), sizes, axis=0) - pose[:3, 3]
    world[:, 0] += cos * points[:, 0] - sin * points[:, 1]
    world[:, 1] += sin * points[:, 0] + cos * points[:, 1]
    world[:, 2] += points[:, 2]
    seen = world @ pose[:3, :3]
    ahead = seen[:, 2] > NEAR
    pixels = seen[:, :2] / np.maximum(seen[:, 2:], NEAR) * camera.projection[0, 0] + camera.projection[:2, 2]
    pixels = pixels.astype(np.float32)
    frame = np.array([(0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height)], np.float32)
    starts = np.cumsum([0, *sizes])
    for row, (start, end) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        corners = pixels[start:end]
        if not (front := ahead[start:end]).all():
            corners = corners[front]
        if len(corners) < 3:
            continue
        hull = cv2.convexHull(corners)
        low, high = hull[:, 0].min(axis=0), hull[:, 0].max(axis=0)
        boxes[row] = *low, *high
        whole[row] = inside[row] = cv2.contourArea(hull)
        if (low < 0).any() or high[0] > camera.width or high[1] > camera.height:
            inside[row] = cv2.intersectConvexConvex(hull, frame)[0] if len(hull) > 2 else 0.0
    return boxes, whole, inside


@dataclass(frozen=True)
class Visible:
    """The rows of `cast` that have pixels, and their boxes; see `StreetFrame` for the arrays."""

    cast: Cast
    boxes: NDArray[np.float32]
    bicycle_boxes: NDArray[np.float32]
    rider_boxes: NDArray[np.float32]
    amodal_boxes: NDArray[np.float32]
    visibility: NDArray[np.float32]
    truncation: NDArray[np.float32]


def visible(labels: NDArray[np.int32], cast: Cast, camera: Camera, pose: Array, riders: NDArray[np.bool_]) -> Visible:
    """Which road users of `cast` the object image shows, and how much of them; `riders` (M,) marks those in two
    halves.
    """
    count = 2 * (int(cast.actors.max(initial=0)) + 1) + 1
    pixels, boxes = extents(labels, max(count, int(labels.max(initial=0)) + 1))
    main, rider = 2 * cast.actors + 1, 2 * cast.actors + 2
    total = pixels[main] + pixels[rider]
    seen = np.flatnonzero(total)
    cast, main, rider, total, riders = cast.select(seen), main[seen], rider[seen], total[seen], riders[seen]
    amodal, whole, inside = outlines(cast, camera, pose)
    bearing = np.arctan2(cast.positions[:, 1] - pose[1, 3], cast.positions[:, 0] - pose[0, 3]) - cast.yaws
    view = np.round(np.abs(wrapped(bearing)) / (np.pi / 4)).astype(int)
    fill = np.array([model.fill[v] for model, v in zip(cast.models, view, strict=True)])
    visibility = np.clip(total / np.maximum(inside * fill, 1.0), 0.0, 1.0)
    nothing = np.full((1, 4), np.nan, np.float32)
    bicycle = np.where(riders[:, None], boxes[main], nothing)
    on_bicycle = np.where(riders[:, None], boxes[rider], nothing)
    return Visible(
        cast, _union(boxes[main], boxes[rider]), bicycle.astype(np.float32), on_bicycle.astype(np.float32),
        amodal.astype(np.float32),
        visibility.astype(np.float32), (1 - inside / np.maximum(whole, 1e-6)).clip(0, 1).astype(np.float32),
    )  # fmt: skip


def wrapped(angle: Array) -> Array:
    """Angles (N,) in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def detections(shown: Visible, camera: Camera, pose: Array, displacements: NDArray[np.float32]) -> Detections:
    """2D and 3D truth as detections of score 1."""
    cast, count = shown.cast, len(shown.cast.actors)
    rotation, origin = pose[:3, :3], pose[:3, 3]
    dimensions = np.array([model.dimensions for model in cast.models]).reshape(-1, 3)
    ground = np.hstack([cast.positions, np.zeros((count, 1))])
    bottom = (ground - origin) @ rotation
    middle = (ground + np.stack([np.zeros(count), np.zeros(count), dimensions[:, 0] / 2], 1) - origin) @ rotation
    heading = np.stack([np.cos(cast.yaws), np.sin(cast.yaws), np.zeros(count)], 1) @ rotation
    rotation_y = np.arctan2(-heading[:, 2], heading[:, 0])
    velocity = np.hstack([cast.velocities, np.zeros((count, 1))]) @ rotation
    depth = np.where(np.abs(middle[:, 2]) < 1e-6, 1e-6, middle[:, 2])
    amodal_centers = middle[:, :2] / depth[:, None] * camera.projection[0, 0] + camera.projection[:2, 2]
    f32 = np.float32
    return Detections(
        scores=np.ones(count, f32),
        class_ids=cast.class_ids.astype(np.int64),
        boxes=shown.boxes,
        centers=(shown.boxes[:, :2] + shown.boxes[:, 2:]) / 2,
        displacements=displacements,
        depths=middle[:, 2].astype(f32),
        dimensions=dimensions.astype(f32),
        locations=bottom.astype(f32),
        alphas=wrapped(rotation_y - np.arctan2(middle[:, 0], depth)).astype(f32),
        rotations_y=rotation_y.astype(f32),
        velocities=velocity.astype(f32),
        amodal_centers=amodal_centers.astype(f32),
    )
