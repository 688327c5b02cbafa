# SPDX-License-Identifier: Apache-2.0
"""3D boxes as solids: translucent faces, hidden ones left out, with a footprint on the ground and a marked front."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.visualization.canvas import Color, Image, blend, color_of, line_width, polyline, shaded

# Corners of the faces, in the order of `geometry.boxes3d.corners`, and how light they are: the light is above.
_FRONT = 0
_FACES = np.array([(0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7)])
_LIGHT = (1.0, 0.7, 0.85, 0.7, 1.35)
_GROUND = np.array((0, 1, 2, 3))
_OPACITY, _FRONT_OPACITY = 0.3, 0.4
_NOSE = 0.5  # of the width: how far the footprint's nose reaches ahead

_FARTHEST = 1e6  # m; no box is there
_NEAR = 0.1  # m; what is nearer to the camera's plane is cut off
# A polygon is cut where it leaves the image by this many image sizes. Distortion polynomials hold within the image
# only: far outside they would fold points back into it.
_MARGIN, _DISTORTED_MARGIN = 1.0, 0.25
_EDGE_STEPS = 8  # pieces of an edge: a straight edge is curved in a distorted image


def draw_solids(
    canvas: Image, corners: NDArray[np.floating], ids: NDArray[np.integer], camera: Camera
) -> NDArray[np.bool_]:
    """Draws 3D boxes into `canvas`, the farthest first.

    Args:
        canvas: The image as the camera takes it (distorted).
        corners: (N, 8, 3) m in the camera's optical frame, in the order of `geometry.boxes3d.corners`.
        ids: (N,) for the colours.
        camera: The camera.

    Returns:
        (N,) which boxes were drawn: not those that are unknown, behind the camera or around it.
    """
    drawn = np.zeros(len(corners), bool)
    projector = _Projector(camera, canvas.shape)
    visible = _visible_faces(np.asarray(corners, np.float64))
    distance = np.square(np.clip(np.nan_to_num(corners), -_FARTHEST, _FARTHEST).mean(axis=1)).sum(axis=1)
    for index in np.argsort(-distance, kind="stable"):
        if visible[index].any():
            color = color_of(int(ids[index]))
            drawn[index] = _draw_solid(canvas, np.asarray(corners[index], np.float64), visible[index], color, projector)
    return drawn


def _visible_faces(corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, 5) faces whose outer side the camera sees; none of a box that is not finite."""
    known = np.all(np.abs(np.nan_to_num(corners, nan=np.inf)) < _FARTHEST, axis=(1, 2))
    corners = np.where(known[:, None, None], corners, 0.0)
    faces = corners[:, _FACES].mean(axis=2)
    outward = faces - corners.mean(axis=1, keepdims=True)
    return np.asarray(known[:, None] & ((faces * outward).sum(axis=2) < 0.0))


def _draw_solid(
    canvas: Image, corners: NDArray[np.float64], visible: NDArray[np.bool_], color: Color, projector: _Projector
) -> bool:
    """Draws one box; False when nothing of it lies near the image."""
    faces = {face: projector.polygon(corners[_FACES[face]]) for face in np.flatnonzero(visible).tolist()}
    faces = {face: polygon for face, polygon in faces.items() if len(polygon) > 2}
    if not faces:
        return False
    unit = line_width(canvas)
    for mark in (corners[_GROUND], _nose(corners)):
        polygon = projector.polygon(mark)
        if len(polygon) > 2:
            polyline(canvas, polygon, shaded(color, 0.8), unit, closed=True)
    blend(canvas, [(polygon, shaded(color, _LIGHT[face])) for face, polygon in faces.items()], _OPACITY)
    if _FRONT in faces:
        blend(canvas, [(faces[_FRONT], color)], _FRONT_OPACITY)
    for face, polygon in faces.items():
        polyline(canvas, polygon, color, unit + (face == _FRONT), closed=True)
    return True


def _nose(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) m: a triangle on the ground ahead of the front."""
    right, left, back = corners[1], corners[0], corners[3]
    ahead = (left - back) / max(float(np.linalg.norm(left - back)), 1e-9)
    tip = (left + right) / 2 + ahead * _NOSE * np.linalg.norm(left - right)
    return np.stack([left, tip, right])


class _Projector:
    """Projects polygons into an image, cut where they leave what the camera can show."""

    def __init__(self, camera: Camera, shape: tuple[int, ...]) -> None:
        self._camera = camera
        self._steps = _EDGE_STEPS if camera.is_distorted else 1
        margin = _DISTORTED_MARGIN if camera.is_distorted else _MARGIN
        height, width = shape[:2]
        low, high = np.array([-margin * width, -margin * height]), np.array([1 + margin] * 2) * (width, height)
        matrix = np.asarray(camera.projection)[:, :3]
        # Half-spaces (4 + 1, 3) in which a point is kept: products of at least 0, and of at least _NEAR for the last.
        self._planes = np.stack(
            [matrix[0] - low[0] * matrix[2], high[0] * matrix[2] - matrix[0],
             matrix[1] - low[1] * matrix[2], high[1] * matrix[2] - matrix[1], [0.0, 0.0, 1.0]]
        )  # fmt: skip
        self._least = np.array([0.0, 0.0, 0.0, 0.0, _NEAR])

    def polygon(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, 2) px of a plane polygon (N, 3) m; without points where it is out of sight."""
        inside = points @ self._planes.T - self._least
        if (inside < 0).all(axis=0).any():
            return np.zeros((0, 2))
        if (inside < 0).any():
            for plane, least in zip(self._planes, self._least.tolist(), strict=True):
                points = _cut(points, points @ plane - least)
            if len(points) < 3:
                return np.zeros((0, 2))
        if self._steps > 1:
            points = np.array(list(_subdivided(points, self._steps)))
        pixels = self._camera.distort(self._camera.project(points))
        return pixels[np.isfinite(pixels).all(axis=1)]


def _cut(points: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a convex polygon where `inside`, linear in the points, is at least 0 (Sutherland and Hodgman)."""
    kept = []
    for index in range(len(points)):
        a, b = inside[index - 1], inside[index]
        if (a < 0) != (b < 0):
            kept.append(points[index - 1] + (points[index] - points[index - 1]) * (a / (a - b)))
        if b >= 0:
            kept.append(points[index])
    return np.array(kept).reshape(-1, 3)


def _subdivided(points: NDArray[np.float64], steps: int) -> Iterator[NDArray[np.float64]]:
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        yield from start + (end - start) * np.arange(steps)[:, None] / steps
