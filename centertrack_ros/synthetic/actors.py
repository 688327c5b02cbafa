# SPDX-License-Identifier: Apache-2.0
"""The road users: meshes of cars, trucks, buses, pedestrians and cyclists with drawn sizes, shapes and paint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.synthetic import textures as tex
from centertrack_ros.synthetic.meshes import Mesh, box, cylinder, ellipsoid, extrusion, frustum, merge, polygon, quad

CLASSES = ("car", "truck", "bus", "pedestrian", "cyclist")
CAR, TRUCK, BUS, PEDESTRIAN, CYCLIST = range(5)

DARK = (0.13, 0.13, 0.14)
GLASS = (0.8, 0.86, 0.92)
RED_LAMP, HEAD_LAMP, AMBER = (0.8, 0.08, 0.06), (1.0, 1.0, 0.92), (0.95, 0.55, 0.1)
CAR_PAINT = np.array(
    [
        (0.92, 0.92, 0.92),
        (0.75, 0.76, 0.78),
        (0.45, 0.46, 0.48),
        (0.1, 0.1, 0.11),
        (0.25, 0.26, 0.28),
        (0.55, 0.08, 0.08),
        (0.12, 0.2, 0.45),
        (0.3, 0.45, 0.65),
        (0.15, 0.3, 0.2),
        (0.6, 0.5, 0.35),
        (0.8, 0.65, 0.1),
        (0.75, 0.3, 0.1),
    ]
)
SKIN = np.array([(0.95, 0.78, 0.67), (0.85, 0.65, 0.5), (0.62, 0.44, 0.32), (0.4, 0.27, 0.2)])


@dataclass(frozen=True)
class Part:
    """A rigid piece of a road user; limbs swing about the y axis by `swing` times sin(phase + `offset`).

    Attributes:
        mesh: In the road user's frame, m.
        pivot: Point of the axis, m.
        swing: Amplitude, rad; 0 for what does not move.
        offset: Of the phase, rad.
        rider: The piece is the person on a bicycle.
    """

    mesh: Mesh
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    swing: float = 0.0
    offset: float = 0.0
    rider: bool = False

    def posed(self, phase: float) -> NDArray[np.float64]:
        """(V, 3) positions of the vertices in the road user's frame at `phase` rad of the gait."""
        return swung(self.mesh.positions, self.pivot, self.angle(phase))

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """(C, 3) the vertices that lie outermost in some direction."""
        height, turn = np.meshgrid(np.linspace(-0.95, 0.95, 7), np.arange(18) * np.pi / 9)
        flat = np.sqrt(1 - height**2)
        directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], -1).reshape(-1, 3)
        return self.mesh.positions[np.unique((self.mesh.positions @ directions.T).argmax(axis=0))]

    def angle(self, phase: float) -> float:
        """Rotation about the y axis, rad."""
        return self.swing * float(np.sin(phase + self.offset))


def swung(points: NDArray[np.float64], pivot: tuple[float, float, float], angle: float) -> NDArray[np.float64]:
    """`points` (V, 3) turned by `angle` rad about the y axis through `pivot`."""
    if not angle:
        return points
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
    return (points - pivot) @ turn + pivot


@dataclass(frozen=True)
class Model:
    """One road user's looks: origin on the ground under the middle of its box, x forward, y left, z up."""

    class_id: int
    parts: tuple[Part, ...]

    @cached_property
    def dimensions(self) -> NDArray[np.float64]:
        """(3,) height, width, length in m of the smallest box about the origin that holds every pose."""
        phases = np.linspace(0, 2 * np.pi, 9)
        points = np.concatenate([p.posed(a) for p in self.parts for a in (phases if p.swing else phases[:1])])
        reach = np.abs(points).max(axis=0)
        return np.array([points[:, 2].max(), 2 * reach[1], 2 * reach[0]])

    @cached_property
    def fill(self) -> NDArray[np.float64]:
        """(5,) share of the outline's convex hull that the road user covers, seen from bearings 0 to pi.

        Both sides look alike.
        """
        points = np.concatenate([part.posed(1.0) for part in self.parts])
        triangles = np.concatenate([p.mesh.triangles + n for p, n in zip(self.parts, self._starts, strict=True)])
        shares = []
        for bearing in np.arange(5) * np.pi / 4:
            side = points[:, :2] @ (-np.sin(bearing), np.cos(bearing))
            depth = points[:, :2] @ (np.cos(bearing), np.sin(bearing))
            flat = np.stack([side, -points[:, 2] * np.cos(0.1) - depth * np.sin(0.1)], 1)
            flat = ((flat - flat.min(axis=0)) * (120 / np.ptp(flat, axis=0).max()) * 16).astype(np.int32)
            covered, hull = np.zeros((2, 128, 128), np.uint8)
            for triangle in flat[triangles]:
                cv2.fillConvexPoly(covered, triangle, 1, shift=4)
            cv2.fillConvexPoly(hull, cv2.convexHull(flat), 1, shift=4)
            shares.append(covered.sum() / hull.sum())
        return np.array(shares)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *np.cumsum([len(part.mesh.positions) for part in self.parts])[:-1].tolist()]

    def points(self, phase: float) -> NDArray[np.float64]:
        """(V, 3) the outermost vertices at `phase`: their outline is the road user's."""
        return np.concatenate([swung(part.corners, part.pivot, part.angle(phase)) for part in self.parts])


def _wheels(xs: list[float], half_width: float, radius: float, width: float = 0.22) -> list[Mesh]:
    angles = np.linspace(0, np.pi, 9)
    parts = []
    for x in xs:
        arch = np.stack([x + 1.2 * radius * np.cos(angles), np.zeros(9), radius + 1.2 * radius * np.sin(angles)], 1)
        parts.append(polygon(arch + (0, -half_width - 0.004, 0), DARK))
        parts.append(polygon(arch[::-1] + (0, half_width + 0.004, 0), DARK))
        for side in (-1, 1):
            outer, inner = side * (half_width + 0.012), side * (half_width - width)
            ends = ((x, inner, radius), (x, outer, radius))
            parts.append(cylinder(*ends, (radius, radius), DARK, 10, tex.PAINT, tex.WHEEL, (1, 1, 1)))
    return parts


def _lamps(front: float, back: float, half_width: float, z: float, size: tuple[float, float]) -> list[Mesh]:
    w, h = size
    parts = []
    for side in (-1, 1):
        y0, y1 = sorted((side * (half_width - 0.06), side * (half_width - 0.06 - w)))
        head = [(front, y0, z), (front, y1, z), (front, y1, z + h), (front, y0, z + h)]
        tail = [(back, y1, z), (back, y0, z), (back, y0, z + h), (back, y1, z + h)]
        parts += [quad(head, HEAD_LAMP, tex.LAMP), quad(tail, RED_LAMP, tex.LAMP)]
    return parts


def _plates(front: float, back: float, z: float) -> list[Mesh]:
    return [
        quad(
            [(front, -0.26, z), (front, 0.26, z), (front, 0.26, z + 0.12), (front, -0.26, z + 0.12)],
            (1, 1, 1),
            tex.PLATE,
        ),
        quad(
            [(back, 0.26, z), (back, -0.26, z), (back, -0.26, z + 0.12), (back, 0.26, z + 0.12)], (1, 1, 0.9), tex.PLATE
        ),
    ]


@dataclass(frozen=True)
class _CarShape:
    """Stations along a car as fractions of its length from the middle, heights in fractions of its height."""

    length: tuple[float, float]
    height: tuple[float, float]
    width: tuple[float, float]
    cowl: float  # where the windscreen meets the bonnet
    roof_front: float
    roof_back: float
    tail: float  # where the rear window meets the boot
    belt: float  # height of the window sills
    bonnet: float  # height of the bonnet's front


_CAR_SHAPES = (
    _CarShape((4.4, 5.0), (1.42, 1.50), (1.76, 1.9), 0.20, 0.04, -0.22, -0.37, 0.62, 0.50),  # saloon
    _CarShape((3.6, 4.3), (1.45, 1.56), (1.66, 1.8), 0.24, 0.08, -0.38, -0.47, 0.60, 0.50),  # hatchback
    _CarShape((4.3, 4.9), (1.62, 1.82), (1.82, 1.97), 0.23, 0.09, -0.40, -0.48, 0.58, 0.52),  # off-roader
    _CarShape((4.5, 4.9), (1.45, 1.55), (1.76, 1.9), 0.21, 0.05, -0.40, -0.48, 0.62, 0.50),  # estate
    _CarShape((4.6, 5.5), (1.85, 2.10), (1.85, 2.0), 0.38, 0.22, -0.47, -0.49, 0.52, 0.42),  # van
    _CarShape((5.0, 5.5), (1.70, 1.85), (1.85, 2.0), 0.22, 0.10, -0.05, -0.10, 0.55, 0.50),  # pickup
)


def make_car(rng: np.random.Generator) -> Model:
    """A car of one of six shapes."""
    shape = _CAR_SHAPES[rng.choice(len(_CAR_SHAPES), p=[0.24, 0.26, 0.2, 0.14, 0.1, 0.06])]
    length, height, width = (float(rng.uniform(*r)) for r in (shape.length, shape.height, shape.width))
    paint = np.clip(CAR_PAINT[rng.integers(len(CAR_PAINT))] + rng.normal(0, 0.04, 3), 0.04, 1)
    half, radius = width / 2 - 0.015, float(rng.uniform(0.3, 0.36)) * (1 if height < 1.6 else 1.1)
    belt, bonnet, ground = shape.belt * height, shape.bonnet * height, 0.2
    x = length * 0.5
    profile = [
        (-x + 0.06, ground),
        (x - 0.08, ground),
        (x, ground + 0.16),
        (x - 0.02, bonnet - 0.06),
        (x - 0.14, bonnet + 0.02),
        (shape.cowl * length, belt),
        (-x + 0.1, belt + 0.01),
        (-x, belt - 0.14),
        (-x, ground + 0.2),
    ]
    inset = [0.06, 0.06, 0.08, 0.08, 0.06, 0.0, 0.0, 0.03, 0.03]
    shades = [DARK, DARK, paint * 0.9, paint, paint, paint, paint, paint, paint * 0.85]
    parts = [extrusion(profile, half, shades, paint, tex.DOORS, inset)]
    floor = np.array([shape.tail * length, -half + 0.04, shape.cowl * length, half - 0.04])
    roof = np.array([shape.roof_back * length, -half + 0.2, shape.roof_front * length, half - 0.2])
    glass, panes = GLASS, [tex.WINDOW] * 4 + [tex.PAINT]
    parts.append(frustum((floor, belt - 0.02), (roof, height), [glass, glass, glass, glass, paint], panes))
    for side in (-1, 1):  # pillars
        for share in (0.0, 0.5, 0.97):
            low = floor[0] + (floor[2] - floor[0]) * share
            high = roof[0] + (roof[2] - roof[0]) * share
            face = [
                (low, side * floor[3], belt - 0.02),
                (low + 0.09, side * floor[3], belt - 0.02),
                (high + 0.09, side * roof[3], height),
                (high, side * roof[3], height),
            ]
            face = [(px, py + side * 0.006, pz) for px, py, pz in face]
            parts.append(quad(face if side < 0 else face[::-1], paint * 0.8, tex.PAINT))
    parts += _wheels([-0.3 * length, 0.31 * length], half, radius)
    parts += _lamps(x + 0.004, -x - 0.004, half, bonnet - 0.2, (0.3, 0.13))
    parts += _plates(x + 0.008, -x - 0.008, ground + 0.2)
    grille = [
        (x + 0.004, -0.45, ground + 0.1),
        (x + 0.004, 0.45, ground + 0.1),
        (x + 0.004, 0.45, bonnet - 0.2),
        (x + 0.004, -0.45, bonnet - 0.2),
    ]
    parts.append(quad(grille, (0.5, 0.5, 0.5), tex.GRILLE))
    for side in (-1, 1):
        y0, y1 = sorted((side * (half - 0.02), side * half + side * 0.015))
        parts.append(
            box((shape.cowl * length - 0.15, y0, belt), (shape.cowl * length, y1, belt + 0.14), paint, tex.PAINT)
        )
    return Model(CAR, (Part(merge(parts)),))


def make_truck(rng: np.random.Generator) -> Model:
    """A rigid lorry: cab and box body, or an open flatbed with a load."""
    length, height, width = float(rng.uniform(5.8, 10.5)), float(rng.uniform(2.7, 3.8)), float(rng.uniform(2.2, 2.5))
    half, x, radius = width / 2 - 0.015, length / 2, float(rng.uniform(0.42, 0.5))
    paint = np.clip(CAR_PAINT[rng.integers(len(CAR_PAINT))] + rng.normal(0, 0.04, 3), 0.04, 1)
    cargo = rng.uniform(0.35, 1.0, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0.8, 1.0))
    cab_height, cab = min(height, float(rng.uniform(2.4, 2.9))), float(rng.uniform(1.5, 1.9))
    sill = 0.5 * cab_height + 0.1
    parts = [box((x - cab, -half, 0.45), (x, half, sill), paint, tex.DOORS)]
    floor, roof = np.array([x - cab, -half, x, half]), np.array([x - cab, -half + 0.08, x - 0.22, half - 0.08])
    sides = [GLASS, GLASS, GLASS, paint, paint]
    parts.append(
        frustum((floor, sill), (roof, cab_height), sides, [tex.WINDOW, tex.WINDOW, tex.WINDOW, tex.PAINT, tex.PAINT])
    )
    back = x - cab - 0.12
    if rng.random() < 0.75:
        parts.append(box((-x, -half - 0.003, 0.95), (back, half + 0.003, height), cargo, tex.CARGO))
    else:
        parts.append(box((-x, -half, 0.95), (back, half, 1.25), cargo * 0.7, tex.DOORS))
        parts.append(
            box((-x + 0.4, -half + 0.2, 1.25), (back - 0.5, half - 0.2, height), rng.uniform(0.3, 0.8, 3), tex.CLOTH)
        )
    parts.append(box((-x + 0.1, -0.5, 0.5), (x - 0.2, 0.5, 0.95), DARK, tex.PAINT))
    parts.append(box((-x, -half + 0.1, 0.45), (-x + 0.1, half - 0.1, 0.6), DARK, tex.PAINT))
    parts += _wheels([x - 0.9, -x + 1.4] + ([-x + 2.5] if length > 8 else []), half, radius, 0.3)
    parts += _lamps(x + 0.005, -x - 0.01, half, 0.62, (0.3, 0.18)) + _plates(x + 0.01, -x - 0.012, 0.5)
    grille = [
        (x + 0.005, -0.6, 0.75),
        (x + 0.005, 0.6, 0.75),
        (x + 0.005, 0.6, sill - 0.15),
        (x + 0.005, -0.6, sill - 0.15),
    ]
    parts.append(quad(grille, (0.55, 0.55, 0.55), tex.GRILLE))
    return Model(TRUCK, (Part(merge(parts)),))


def make_bus(rng: np.random.Generator) -> Model:
    """A town bus."""
    length, height, width = float(rng.uniform(9.5, 12.5)), float(rng.uniform(2.9, 3.25)), float(rng.uniform(2.45, 2.55))
    half, x = width / 2 - 0.015, length / 2
    paint = np.clip(
        rng.choice(
            np.array([(0.75, 0.12, 0.1), (0.9, 0.75, 0.15), (0.15, 0.35, 0.65), (0.9, 0.9, 0.9), (0.2, 0.5, 0.3)])
        ),
        0,
        1,
    )
    sill = 1.1
    parts = [box((-x, -half, 0.3), (x, half, sill), paint, tex.PAINT)]
    whole = np.array([-x, -half, x, half])
    roof = np.array([-x + 0.03, -half + 0.06, x - 0.12, half - 0.06])
    parts.append(
        frustum(
            (whole, sill),
            (roof, height),
            [(1, 1, 1), GLASS, (1, 1, 1), GLASS, paint],
            [tex.BUS_WINDOWS, tex.WINDOW, tex.BUS_WINDOWS, tex.WINDOW, tex.PAINT],
        )
    )
    sign = [
        (x - 0.06, -0.8, height - 0.4),
        (x - 0.06, 0.8, height - 0.4),
        (x - 0.06, 0.8, height - 0.1),
        (x - 0.06, -0.8, height - 0.1),
    ]
    parts.append(quad(sign, AMBER, tex.PLATE))
    parts += _wheels([x - 2.6, -x + 3.0], half, 0.48, 0.3)
    parts += _lamps(x + 0.005, -x - 0.005, half, 0.6, (0.35, 0.18)) + _plates(x + 0.01, -x - 0.01, 0.42)
    return Model(BUS, (Part(merge(parts)),))


def _person(rng: np.random.Generator, height: float, seated: bool) -> tuple[list[Mesh], list[Part]]:
    """Torso with head, and the limbs as parts, of a person whose hips are at the origin's height when `seated`."""
    scale = height / 1.75
    build = float(rng.uniform(0.85, 1.25))
    top, bottom = rng.uniform(0.08, 0.95, 3), rng.uniform(0.05, 0.55, 3)
    if rng.random() < 0.3:
        bottom = np.array([0.12, 0.15, 0.3]) * rng.uniform(0.6, 1.6)  # denim
    cloth = tex.STRIPES if rng.random() < 0.15 else tex.CLOTH
    skin, hair = SKIN[rng.integers(len(SKIN))], rng.uniform(0.1, 0.8)
    hip, shoulder = 0.92 * scale, 1.45 * scale
    lean = 0.35 * scale if seated else 0.02
    hw, hd = 0.17 * scale * build, 0.11 * scale * build
    rect = np.array([-hd, -hw, hd, hw])
    upper = np.array([-hd + lean, -hw * 1.25, hd * 0.9 + lean, hw * 1.25])
    body = [frustum((rect, hip - 0.06), (upper, shoulder), [top] * 5, [cloth] * 4 + [tex.CLOTH])]
    if rng.random() < 0.25:  # a skirt or a long coat
        wide = np.array([-hd * 1.5, -hw * 1.35, hd * 1.5, hw * 1.35])
        body.append(
            frustum(
                (wide, hip - 0.5 * scale), (rect, hip), [top if rng.random() < 0.5 else bottom] * 5, [tex.CLOTH] * 5
            )
        )
    if rng.random() < 0.25 and not seated:  # a rucksack
        body.append(
            box(
                (-hd - 0.17, -hw * 0.8, hip + 0.1),
                (-hd + 0.02, hw * 0.8, shoulder - 0.05),
                rng.uniform(0.1, 0.7, 3),
                tex.CLOTH,
            )
        )
    neck = (lean + 0.01, 0, shoulder + 0.03)
    body.append(cylinder(neck, (lean + 0.01, 0, shoulder + 0.1 * scale), (0.05, 0.05), skin, 6, tex.PAINT))
    body.append(
        ellipsoid(
            (lean + 0.02, 0, height - 0.115 * scale), (0.1 * scale, 0.085 * scale, 0.115 * scale), skin, 5, 8, tex.PAINT
        )
    )
    if rng.random() < 0.9:
        shade = np.array([hair, hair * 0.75, hair * 0.5]) * 0.6
        body.append(
            ellipsoid(
                (lean - 0.015, 0, height - 0.085 * scale),
                (0.1 * scale, 0.093 * scale, 0.085 * scale),
                shade,
                4,
                8,
                tex.CLOTH,
            )
        )
    limbs = []
    for i, side in enumerate((-1, 1)):
        y, phase = side * hw * 0.55, np.pi * i
        if seated:
            knee, foot = (0.38 * scale, y, hip - 0.2 * scale), (0.22 * scale, y, 0.28)
            leg = [
                cylinder((0, y, hip), knee, (0.085 * scale, 0.06 * scale), bottom, 6, tex.CLOTH),
                cylinder(knee, foot, (0.06 * scale, 0.045 * scale), bottom, 6, tex.CLOTH),
                box((foot[0] - 0.05, y - 0.04, 0.22), (foot[0] + 0.18, y + 0.04, 0.3), DARK, tex.PAINT),
            ]
            limbs.append(Part(merge(leg), (0.0, y, hip), 0.2, phase, True))
            arm = cylinder(
                (lean, side * hw * 1.3, shoulder - 0.04), (0.52, side * 0.2, 1.02), (0.055, 0.045), top, 6, tex.CLOTH
            )
            limbs.append(Part(arm, rider=True))
            continue
        leg = [
            cylinder((0, y, hip), (0, y, 0.08), (0.09 * scale * build, 0.05 * scale), bottom, 6, tex.CLOTH),
            box((-0.07, y - 0.045, 0), (0.19 * scale, y + 0.045, 0.09), rng.uniform(0.05, 0.4, 3), tex.PAINT),
        ]
        limbs.append(Part(merge(leg), (0.0, y, hip), 0.48, phase))
        arm_y = side * hw * 1.4
        arm_and_hand = [
            cylinder(
                (0, arm_y, shoulder - 0.03), (0.06, arm_y, hip - 0.02), (0.055 * scale, 0.04 * scale), top, 6, tex.CLOTH
            ),
            ellipsoid((0.065, arm_y, hip - 0.07), (0.045, 0.035, 0.06), skin, 3, 6, tex.PAINT),
        ]
        limbs.append(Part(merge(arm_and_hand), (0.0, arm_y, shoulder - 0.05), 0.38, phase + np.pi))
    return body, limbs


def make_pedestrian(rng: np.random.Generator) -> Model:
    """A walking person, one in eight a child."""
    height = float(rng.uniform(1.05, 1.45) if rng.random() < 0.12 else np.clip(rng.normal(1.71, 0.09), 1.5, 1.95))
    body, limbs = _person(rng, height, seated=False)
    return Model(PEDESTRIAN, (Part(merge(body)), *limbs))


def _ring(center: tuple[float, float, float], inner: float, outer: float, side: int) -> Mesh:
    """A tyre's flat face, looking to `side` of y."""
    angle = np.linspace(0, 2 * np.pi, 13)
    rim = np.stack([np.cos(angle), np.zeros(13), np.sin(angle)], 1)
    positions = np.concatenate([rim * inner, rim * outer]) + center
    i = np.arange(12)
    triangles = np.concatenate([np.stack([i, i + 13, i + 14], 1), np.stack([i, i + 14, i + 1], 1)])
    triangles = triangles if side < 0 else triangles[:, ::-1]
    normals, colors = np.tile([0.0, side, 0.0], (26, 1)), np.tile([*DARK, 1.0], (26, 1))
    return Mesh(positions, normals, colors, np.full((26, 2), 0.1), triangles)


def make_cyclist(rng: np.random.Generator) -> Model:
    """A person on a bicycle; the person's pieces are marked `rider`."""
    frame = rng.uniform(0.1, 0.9, 3)
    parts = []
    for x in (-0.53, 0.53):
        for side in (-1, 1):
            parts.append(_ring((x, side * 0.015, 0.335), 0.265, 0.335, side))
    seat, crank, head = (-0.2, 0, 0.9), (-0.05, 0, 0.3), (0.42, 0, 0.85)
    for a, b in (
        (crank, seat),
        (crank, head),
        ((-0.15, 0, 0.75), head),
        ((-0.53, 0, 0.335), crank),
        ((0.53, 0, 0.335), (0.4, 0, 1.0)),
    ):
        parts.append(cylinder(a, b, (0.022, 0.022), frame, 5, tex.PAINT))
    parts.append(cylinder((0.46, -0.27, 1.02), (0.46, 0.27, 1.02), (0.018, 0.018), DARK, 5, tex.PAINT))
    parts.append(box((-0.32, -0.07, 0.88), (-0.08, 0.07, 0.94), DARK, tex.PAINT))
    height = float(np.clip(rng.normal(1.72, 0.08), 1.55, 1.9))
    body, limbs = _person(rng, height, seated=True)
    rider = [mesh.moved((-0.15, 0, 0.06)) for mesh in body]
    if rng.random() < 0.5:
        rider.append(
            ellipsoid(
                (-0.15 + 0.35 * height / 1.75, 0, height - 0.01),
                (0.13, 0.1, 0.09),
                rng.uniform(0.1, 1, 3),
                4,
                8,
                tex.PAINT,
            )
        )
    moved = [
        Part(
            p.mesh.moved((-0.15, 0, 0.06)), (p.pivot[0] - 0.15, p.pivot[1], p.pivot[2] + 0.06), p.swing, p.offset, True
        )
        for p in limbs
    ]
    return Model(CYCLIST, (Part(merge(parts)), Part(merge(rider), rider=True), *moved))


MAKERS = (make_car, make_truck, make_bus, make_pedestrian, make_cyclist)

# How many different road users of each class there are in one look.
POOL = (40, 12, 6, 32, 10)


@lru_cache(maxsize=32)
def pool(look: int) -> tuple[tuple[Model, ...], ...]:
    """Per class the models of a `look`, always the same ones."""
    return tuple(
        tuple(maker(np.random.default_rng([look, class_id, k])) for k in range(count))
        for class_id, (maker, count) in enumerate(zip(MAKERS, POOL, strict=True))
    )
