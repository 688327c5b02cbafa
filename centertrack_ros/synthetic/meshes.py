# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes in plain NumPy: the pieces that road users and scenery are put together from.

Axes are those of REP 103: x forward, y left, z up, metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = Sequence[float] | NDArray[np.floating]
Vectors = Sequence[Vector] | NDArray[np.floating]
Region = tuple[float, float, float, float]  # u0, v0, u1, v1 in a texture
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Mesh:
    """V vertices and F triangles.

    positions (V, 3), normals (V, 3), colors (V, 4) in 0..1, texcoords (V, 2), triangles (F, 3) int, counter-clockwise
    outside
    """

    positions: Array
    normals: Array
    colors: Array
    texcoords: Array
    triangles: NDArray[np.int64]

    def moved(self, offset: Vector = (0, 0, 0), yaw: float = 0.0, scale: Vector = (1, 1, 1)) -> Mesh:
        """The mesh scaled per axis, then turned about z, then shifted.

        Args:
            offset: The shift, m.
            yaw: The turn, rad.
            scale: The factors, all positive.
        """
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        normals = (self.normals / np.asarray(scale, float)) @ turn
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        positions = (self.positions * np.asarray(scale, float)) @ turn + np.asarray(offset, float)
        return Mesh(positions, normals, self.colors, self.texcoords, self.triangles)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh holding all of `meshes`."""
    starts = np.cumsum([0] + [len(mesh.positions) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.positions for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.colors for mesh in meshes]),
        np.concatenate([mesh.texcoords for mesh in meshes]),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def polygon(points: Vectors, color: Vector, texcoords: Array | None = None) -> Mesh:
    """A flat convex polygon of K corners (K, 3), counter-clockwise seen from its front; `texcoords` (K, 2)."""
    corners = np.array(points, float)
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[:3].tolist()
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-9)
    count = len(corners)
    normals = np.empty((count, 3))
    normals[:] = nx / length, ny / length, nz / length
    colors = np.ones((count, 4))
    colors[:, :3] = color
    coords = np.full((count, 2), 0.5) if texcoords is None else texcoords
    return Mesh(corners, normals, colors, coords, _fan(count))


@lru_cache(maxsize=64)
def _fan(count: int) -> NDArray[np.int64]:
    return np.array([[0, i, i + 1] for i in range(1, count - 1)])


def quad(points: Vectors, color: Vector, region: Region = WHOLE) -> Mesh:
    """A flat quadrilateral (4, 3), counter-clockwise from its lower left corner, carrying `region` of the texture."""
    u0, v0, u1, v1 = region
    return polygon(points, color, np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]]))


def box(
    low: Vector,
    high: Vector,
    color: Vector,
    region: Region = WHOLE,
    top: Vector | None = None,
) -> Mesh:
    """An axis-aligned box without its floor; `top` is the roof's own colour."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    sides = [
        quad([(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)], color, region),
        quad([(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)], color, region),
        quad([(x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)], color, region),
        quad([(x0, y1, z0), (x0, y0, z0), (x0, y0, z1), (x0, y1, z1)], color, region),
        quad([(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], color if top is None else top, region),
    ]
    return merge(sides)


def frustum(low: tuple[Array, float], high: tuple[Array, float], colors: Vectors, regions: Sequence[Region]) -> Mesh:
    """A box that narrows upwards: the greenhouse of a car, a torso.

    low, high  (rectangle as x0, y0, x1, y1, height z) of floor and roof
    colors, regions  of right side, front, left side, back, roof
    """
    (ax0, ay0, ax1, ay1), az = low
    (bx0, by0, bx1, by1), bz = high
    floor = [(ax0, ay0, az), (ax1, ay0, az), (ax1, ay1, az), (ax0, ay1, az)]
    roof = [(bx0, by0, bz), (bx1, by0, bz), (bx1, by1, bz), (bx0, by1, bz)]
    faces = [[floor[i], floor[(i + 1) % 4], roof[(i + 1) % 4], roof[i]] for i in range(4)] + [roof]
    return merge([quad(face, colors[i], regions[i]) for i, face in enumerate(faces)])


def extrusion(
    profile: Vectors,
    half_width: float,
    colors: Vectors,
    side: Vector,
    region: Region = WHOLE,
    inset: Vector | None = None,
) -> Mesh:
    """A convex side view (K points x, z, counter-clockwise seen from the right, i.e. from -y) drawn out to both sides.

    colors  (K, 3) of the strip from point i to i + 1;  side  colour of the two side faces
    inset   (K,) m by which each point is narrower than `half_width`
    """
    points = np.asarray(profile, float)
    narrow = np.zeros(len(points)) if inset is None else np.asarray(inset, float)
    right = np.stack([points[:, 0], -(half_width - narrow), points[:, 1]], axis=1)
    left = right * (1, -1, 1)
    parts = []
    for i in range(len(points)):
        j = (i + 1) % len(points)
        parts.append(quad([right[j], left[j], left[i], right[i]][::-1], colors[i], region))
    u0, v0, u1, v1 = region
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    coords = (points - low) / size * (u1 - u0, v1 - v0) + (u0, v0)
    parts.append(polygon(right, side, coords))
    parts.append(polygon(left[::-1], side, coords[::-1]))
    return merge(parts)


def cylinder(
    start: Vector,
    end: Vector,
    radii: tuple[float, float],
    color: Vector,
    segments: int = 8,
    region: Region = WHOLE,
    cap: Region | None = None,
    cap_color: Vector | None = None,
) -> Mesh:
    """A (truncated) cone from `start` to `end` (m), smooth-shaded; `cap` textures both ends, None leaves them open."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    axis = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 1.0, 0])
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    positions = np.concatenate([a + ring * radii[0], b + ring * radii[1]])
    u0, v0, u1, v1 = region
    across = u0 + (u1 - u0) * np.linspace(0, 1, segments + 1)
    coords = np.concatenate(
        [np.stack([across, np.full_like(across, v0)], 1), np.stack([across, np.full_like(across, v1)], 1)]
    )
    i, n = np.arange(segments), segments + 1
    triangles = np.concatenate([np.stack([i, i + 1, i + 1 + n], 1), np.stack([i, i + 1 + n, i + n], 1)])
    tube = Mesh(positions, np.tile(ring, (2, 1)), np.tile(np.append(color, 1.0), (2 * n, 1)), coords, triangles)
    if cap is None:
        return tube
    middle = np.array([(cap[0] + cap[2]) / 2, (cap[1] + cap[3]) / 2])
    spread = np.stack([np.cos(angle), np.sin(angle)], 1)[:-1] * ((cap[2] - cap[0]) / 2, (cap[3] - cap[1]) / 2) + middle
    paint = color if cap_color is None else cap_color
    return merge(
        [
            tube,
            polygon((a + ring[:-1] * radii[0])[::-1], paint, spread[::-1]),
            polygon(b + ring[:-1] * radii[1], paint, spread),
        ]
    )


def ellipsoid(
    center: Vector,
    radii: Vector,
    color: Vector,
    rings: int = 5,
    segments: int = 8,
    region: Region = WHOLE,
    roughness: Array | None = None,
) -> Mesh:
    """A smooth-shaded ellipsoid; `roughness` (rings + 1, segments) scales the radius per vertex, for foliage."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    longitude = np.linspace(0, 2 * np.pi, segments + 1)
    unit = np.stack(
        [
            np.cos(latitude)[:, None] * np.cos(longitude),
            np.cos(latitude)[:, None] * np.sin(longitude),
            np.repeat(np.sin(latitude)[:, None], segments + 1, axis=1),
        ],
        axis=-1,
    )
    bump = np.ones((rings + 1, segments + 1))
    if roughness is not None:
        bump[:, :-1] = roughness
        bump[:, -1] = roughness[:, 0]
    positions = (unit * bump[..., None] * np.asarray(radii, float) + np.asarray(center, float)).reshape(-1, 3)
    normals = unit.reshape(-1, 3) / np.asarray(radii, float)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    u0, v0, u1, v1 = region
    u, v = np.meshgrid(np.linspace(u0, u1, segments + 1), np.linspace(v0, v1, rings + 1))
    i, j = np.meshgrid(np.arange(rings), np.arange(segments), indexing="ij")
    k, n = (i * (segments + 1) + j).ravel(), segments + 1
    triangles = np.concatenate([np.stack([k, k + 1, k + 1 + n], 1), np.stack([k, k + 1 + n, k + n], 1)])
    colors = np.tile(np.append(color, 1.0), (len(positions), 1))
    return Mesh(positions, normals, colors, np.stack([u.ravel(), v.ravel()], 1), triangles)


def ribbon(left: Array, right: Array, color: Vector, metres: tuple[float, float], lengths: Array) -> Mesh:
    """A strip on the ground between two polylines (K, 3), its texture repeating every `metres` (across, along).

    lengths  (K,) m along the strip
    """
    count = len(left)
    across = np.linalg.norm(left - right, axis=1) / metres[0]
    along = lengths / metres[1]
    positions = np.concatenate([right, left])
    coords = np.concatenate([np.stack([np.zeros(count), along], 1), np.stack([across, along], 1)])
    i = np.arange(count - 1)
    triangles = np.concatenate([np.stack([i, i + 1, i + 1 + count], 1), np.stack([i, i + 1 + count, i + count], 1)])
    normals = np.tile([0.0, 0.0, 1.0], (2 * count, 1))
    return Mesh(positions, normals, np.tile(np.append(color, 1.0), (2 * count, 1)), coords, triangles)
