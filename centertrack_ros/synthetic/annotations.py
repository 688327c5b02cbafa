# SPDX-License-Identifier: Apache-2.0
"""The ground truth of one image of the street, from the object numbers of its pixels and the road users' poses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import wrapped
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.synthetic.actors import Model
from centertrack_ros.types import DepthImage, Detections, Tracks

Array = NDArray[np.float64]
NEAR = 0.3  # m, nothing nearer is drawn


@dataclass(frozen=True)
class StreetFrame:
    """One image of one camera with its ground truth. N road users have at least one visible pixel.

    Attributes:
        index: Of the time step.
        stamp: Of the time step, s.
        camera_name: Of the mount.
        image: (H, W, 3) uint8 BGR.
        camera: Without distortion.
        pose: (4, 4) float64, optical frame to world (REP 103, z up, m).
        tracks: Ids count from 1 and are the same in all cameras; scores are 1; boxes are those of the VISIBLE pixels,
            centers their middles; displacements lead to the middle in the previous frame (0 for hits == 1); hits are
            the frames in a row in which this camera sees the road user; births are in s.
        visibility: (N,) 0..1, share of the pixels inside the image that nothing hides.
        truncation: (N,) 0..1, share of the outline outside the image.
        amodal_boxes: (N, 4) px, of the whole outline, also where it is hidden or outside the image.
        rider_boxes: (N, 4) px of the visible pixels of a cyclist's person; NaN for others or when hidden.
        bicycle_boxes: (N, 4) px of the visible pixels of a cyclist's bicycle; NaN for others or when hidden.
        has_3d: False for cameras that look down too much for boxes that stand upright in the camera's frame.
        depth: What the depth camera measured; None: there is none.
        points: (P, 3) m, of the LiDAR, in the optical axes but from where it stands, `sensors.LIDAR_HEIGHT` above the
            camera; None: there is none.
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
    depth: DepthImage | None = None
    points: Array | None = None

    def clear(self, visibility: float = 0.25, height: float = 8.0) -> NDArray[np.bool_]:
        """(N,) which road users a detector may be asked to find: visible enough and at least `height` px tall."""
        boxes = self.tracks.detections.boxes
        return (self.visibility >= visibility) & (boxes[:, 3] - boxes[:, 1] >= height)


def label_of(actor: int, rider: bool) -> int:
    """The number that an actor's pixels carry in the object image."""
    return 2 * actor + 1 + int(rider)


def extents(labels: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Measures the labels 0..count-1 of an image.

    Returns:
        Numbers of pixels (count,), and boxes (count, 4) x1, y1, x2, y2 px, NaN for a label without pixels.
    """
    width = labels.shape[1]
    # Run by run of equal pixels in a row, of which there are far fewer than pixels.
    flat = labels.ravel()
    run_starts = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=run_starts[1:])
    run_starts[::width] = True
    starts = np.flatnonzero(run_starts)
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
class VisibleActors:
    """The M road users that a camera may see, as they stand in the world.

    Attributes:
        ids: (M,) their numbers, the same in all cameras and frames.
        class_ids: (M,) indices of CLASSES.
        models: Their shapes.
        positions: (M, 2) m, in the world.
        yaws: (M,) rad, in the world.
        velocities: (M, 2) m/s, in the world.
        gaits: (M,) rad, phases of the legs.
    """

    ids: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    models: Sequence[Model]
    positions: Array
    yaws: Array
    velocities: Array
    gaits: Array

    def select(self, index: NDArray[np.int64]) -> VisibleActors:
        """Selects the road users at `index`."""
        models = [self.models[i] for i in index]
        return VisibleActors(self.ids[index], self.class_ids[index], models, self.positions[index], self.yaws[index],
                    self.velocities[index], self.gaits[index])  # fmt: skip


def outlines(actors: VisibleActors, camera: Camera, pose: Array) -> tuple[Array, Array, Array]:
    """Amodal boxes (M, 4) px, and areas (M,) px² of the outlines' hulls as a whole and inside the image."""
    count = len(actors.ids)
    boxes, whole, inside = np.full((count, 4), np.nan), np.zeros(count), np.zeros(count)
    if not count:
        return boxes, whole, inside
    bodies = [model.points(gait) for model, gait in zip(actors.models, actors.gaits, strict=True)]
    sizes = [len(body) for body in bodies]
    points = np.concatenate(bodies)
    cos, sin = np.repeat(np.cos(actors.yaws), sizes), np.repeat(np.sin(actors.yaws), sizes)
    world = np.repeat(np.hstack([actors.positions, np.zeros((count, 1))]), sizes, axis=0) - pose[:3, 3]
    world[:, 0] += cos * points[:, 0] - sin * points[:, 1]
    world[:, 1] += sin * points[:, 0] + cos * points[:, 1]
    world[:, 2] += points[:, 2]
    seen = world @ pose[:3, :3]
    ahead = seen[:, 2] > NEAR
    pixels = seen[:, :2] / np.maximum(seen[:, 2:], NEAR) * camera.projection[0, 0] + camera.projection[:2, 2]
    pixels = pixels.astype(np.float32)
    frame = np.array([(0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height)], np.float32)
    starts = np.cumsum([0, *sizes])
    for row, (start, end) in enumerate(itertools.pairwise(starts)):
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
class ActorLabels:
    """The road users that have pixels in an image, and their boxes; see `StreetFrame` for the arrays."""

    actors: VisibleActors
    boxes: NDArray[np.float32]
    bicycle_boxes: NDArray[np.float32]
    rider_boxes: NDArray[np.float32]
    amodal_boxes: NDArray[np.float32]
    visibility: NDArray[np.float32]
    truncation: NDArray[np.float32]


def label_actors(
    labels: NDArray[np.int32], actors: VisibleActors, camera: Camera, pose: Array, riders: NDArray[np.bool_]
) -> ActorLabels:
    """Measures the road users in an object image.

    Args:
        labels: (H, W) the object image, see `label_of`.
        actors: The M road users that may be in it.
        camera: Of the image.
        pose: (4, 4) camera to world.
        riders: (M,) those that have two halves, a person and a bicycle.
    """
    count = 2 * (int(actors.ids.max(initial=0)) + 1) + 1
    pixels, boxes = extents(labels, max(count, int(labels.max(initial=0)) + 1))
    main, rider = 2 * actors.ids + 1, 2 * actors.ids + 2
    total = pixels[main] + pixels[rider]
    seen = np.flatnonzero(total)
    actors, main, rider, total, riders = actors.select(seen), main[seen], rider[seen], total[seen], riders[seen]
    amodal, whole, inside = outlines(actors, camera, pose)
    bearing = np.arctan2(actors.positions[:, 1] - pose[1, 3], actors.positions[:, 0] - pose[0, 3]) - actors.yaws
    view = np.round(np.abs(wrapped(bearing)) / (np.pi / 4)).astype(int)
    fill = np.array([model.fill[v] for model, v in zip(actors.models, view, strict=True)])
    visibility = np.clip(total / np.maximum(inside * fill, 1.0), 0.0, 1.0)
    nothing = np.full((1, 4), np.nan, np.float32)
    bicycle = np.where(riders[:, None], boxes[main], nothing)
    on_bicycle = np.where(riders[:, None], boxes[rider], nothing)
    return ActorLabels(
        actors, _union(boxes[main], boxes[rider]), bicycle.astype(np.float32), on_bicycle.astype(np.float32),
        amodal.astype(np.float32),
        visibility.astype(np.float32), (1 - inside / np.maximum(whole, 1e-6)).clip(0, 1).astype(np.float32),
    )  # fmt: skip


def detections(shown: ActorLabels, camera: Camera, pose: Array, displacements: NDArray[np.float32]) -> Detections:
    """The 2D and 3D ground truth as detections of score 1."""
    actors, count = shown.actors, len(shown.actors.ids)
    rotation, origin = pose[:3, :3], pose[:3, 3]
    dimensions = np.array([model.dimensions for model in actors.models]).reshape(-1, 3)
    ground = np.hstack([actors.positions, np.zeros((count, 1))])
    bottom = (ground - origin) @ rotation
    middle = (ground + np.stack([np.zeros(count), np.zeros(count), dimensions[:, 0] / 2], 1) - origin) @ rotation
    heading = np.stack([np.cos(actors.yaws), np.sin(actors.yaws), np.zeros(count)], 1) @ rotation
    rotation_y = np.arctan2(-heading[:, 2], heading[:, 0])
    velocity = np.hstack([actors.velocities, np.zeros((count, 1))]) @ rotation
    depth = np.where(np.abs(middle[:, 2]) < 1e-6, 1e-6, middle[:, 2])
    amodal_centers = middle[:, :2] / depth[:, None] * camera.projection[0, 0] + camera.projection[:2, 2]
    f32 = np.float32
    return Detections(
        scores=np.ones(count, f32),
        class_ids=actors.class_ids.astype(np.int64),
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
