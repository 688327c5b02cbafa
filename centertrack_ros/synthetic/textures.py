# SPDX-License-Identifier: Apache-2.0
"""Textures drawn from random numbers: nothing is read from disk, so the street carries no one's licence."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.synthetic.meshes import Region

Image = NDArray[np.uint8]  # (H, W, 3) or (H, W, 4), BGR(A)

# Where things are in the atlas of the road users (u0, v0, u1, v1; v grows upwards).
PAINT: Region = (0.02, 0.02, 0.23, 0.23)
WINDOW: Region = (0.27, 0.02, 0.48, 0.23)
WHEEL: Region = (0.52, 0.02, 0.73, 0.23)
GRILLE: Region = (0.77, 0.02, 0.98, 0.23)
CLOTH: Region = (0.02, 0.27, 0.23, 0.48)
FACE: Region = (0.27, 0.27, 0.48, 0.48)
CARGO: Region = (0.52, 0.27, 0.98, 0.48)
PLATE: Region = (0.02, 0.52, 0.23, 0.60)
BUS_WINDOWS: Region = (0.27, 0.52, 0.98, 0.73)
STRIPES: Region = (0.02, 0.77, 0.23, 0.98)
LAMP: Region = (0.27, 0.77, 0.48, 0.98)
DOORS: Region = (0.52, 0.77, 0.98, 0.98)


def noise(
    rng: np.random.Generator, size: tuple[int, int], octaves: tuple[int, ...] = (4, 16, 64)
) -> NDArray[np.float32]:
    """(H, W) float32 in about -1..1 that repeats without a seam; `octaves` are cells per side, coarse to fine."""
    height, width = size
    total = np.zeros(size, np.float32)
    for i, cells in enumerate(octaves):
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        padded = np.pad(grid, 2, mode="wrap")
        scale = (round(width * (cells + 4) / cells), round(height * (cells + 4) / cells))
        big = cv2.resize(padded, scale, interpolation=cv2.INTER_CUBIC)
        y, x = (big.shape[0] - height) // 2, (big.shape[1] - width) // 2
        total += big[y : y + height, x : x + width] / (i + 1)
    return np.asarray(total / len(octaves), np.float32)


# Plaster, brick, sandstone, concrete: BGR.
WALLS = np.array([
    (190, 205, 215), (150, 180, 205), (70, 90, 150), (90, 120, 165), (165, 170, 172), (120, 130, 138), (205, 212, 214),
    (150, 190, 200), (110, 150, 185), (175, 165, 150), (85, 100, 125),
], float)  # fmt: skip


def _clip(image: NDArray[np.floating]) -> Image:
    return np.clip(image, 0, 255).astype(np.uint8)


def surface(
    rng: np.random.Generator, color: tuple[float, float, float], contrast: float, grain: float, size: int = 128
) -> Image:
    """A mottled surface: asphalt, grass, plaster.

    Args:
        rng: Draws the patches.
        color: BGR 0..255.
        contrast: Of patches, in levels.
        grain: Of pixels, in levels.
        size: Of each side, px.
    """
    patches = noise(rng, (size, size), (3, 8, 24))[..., None] * contrast
    speck = rng.standard_normal((size, size, 1)) * grain
    return _clip(np.asarray(color) + patches + speck)


def paving(rng: np.random.Generator, size: int = 128) -> Image:
    """Slabs of a sidewalk."""
    image = surface(rng, tuple(rng.uniform(120, 175, 1).repeat(3) + rng.uniform(-10, 10, 3)), 10, 5, size)
    count = int(rng.choice([4, 6, 8]))
    step = size // count
    for i in range(count):
        image[i * step] = image[i * step] * 0.7
        image[:, i * step] = image[:, i * step] * 0.7
    return image


def facade(rng: np.random.Generator, size: int = 128) -> Image:
    """Two storeys by a few windows of a wall; repeats in both directions."""
    wall = WALLS[rng.integers(len(WALLS))] * rng.uniform(0.75, 1.15) + rng.normal(0, 6, 3)
    image = surface(rng, tuple(wall), rng.uniform(4, 14), 4, size).astype(np.float64)
    if rng.random() < 0.4:  # courses of brick
        for row in range(0, size, 4):
            image[row] *= 0.85
    columns, rows = int(rng.integers(2, 5)), 2
    window = np.array([1.1, 1.0, 0.92]) * rng.uniform(40, 110)
    frame = rng.uniform(90, 245) if rng.random() < 0.7 else rng.uniform(20, 60)
    wide, tall = rng.uniform(0.35, 0.8), rng.uniform(0.45, 0.75)
    for row in range(rows):
        for column in range(columns):
            cx, cy = (column + 0.5) * size / columns, (row + 0.5) * size / rows
            w, h = wide * size / columns / 2, tall * size / rows / 2
            x0, x1, y0, y1 = (int(v) for v in (cx - w, cx + w, cy - h, cy + h))
            image[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = frame
            pane = window * rng.uniform(0.5, 1.6)
            if rng.random() < 0.12:
                pane = np.array([120, 190, 230.0])  # a lit room
            image[y0:y1, x0:x1] = pane * np.linspace(1.25, 0.8, max(y1 - y0, 0))[:, None, None]
            if rng.random() < 0.5:
                image[y0:y1, (x0 + x1) // 2] = frame
            image[y1 + 2 : y1 + 4, x0 - 3 : x1 + 3] *= 0.6
    return _clip(image)


def shopfront(rng: np.random.Generator, size: int = 128) -> Image:
    """The ground floor of a row of shops."""
    image = surface(rng, tuple(rng.uniform(50, 160, 3)), 6, 4, size).astype(np.float64)
    count = int(rng.integers(2, 4))
    for i in range(count):
        x0, x1 = int(i * size / count) + 3, int((i + 1) * size / count) - 3
        image[18:40, x0:x1] = rng.uniform(20, 240, 3)
        for _ in range(6):  # lettering
            x = int(rng.uniform(x0 + 2, x1 - 4))
            image[24:34, x : x + 2] = rng.uniform(150, 255)
        glass = rng.uniform(30, 110, 3)
        image[44:120, x0:x1] = glass * np.linspace(1.4, 0.7, 76)[:, None, None]
        for _ in range(5):  # goods
            x, y = int(rng.uniform(x0, x1 - 8)), int(rng.uniform(70, 108))
            image[y : y + 10, x : x + 7] = rng.uniform(40, 220, 3)
    return _clip(image)


def foliage(rng: np.random.Generator, size: int = 64) -> Image:
    """Leaves, light above dark."""
    spots = noise(rng, (size, size), (8, 16, 32))[..., None] * 70
    speck = rng.standard_normal((size, size, 1)) * 22
    return _clip(np.array([150, 175, 170]) + spots + speck)


def sky(rng: np.random.Generator, overcast: float, dusk: float, size: int = 256) -> Image:
    """A panorama (size/2, 2 size): the upper rows are the zenith, the lowest the haze and hills at the horizon.

    overcast, dusk in 0..1
    """
    height, width = size // 2, 2 * size
    up = np.linspace(1, 0, height)[:, None, None]
    clear = np.array([225, 160, 95]) * up + np.array([240, 220, 195]) * (1 - up)
    grey = np.array([185, 180, 175]) * up + np.array([215, 212, 210]) * (1 - up)
    evening = np.array([120, 80, 70]) * up + np.array([140, 175, 235]) * (1 - up)
    image = clear * (1 - overcast) + grey * overcast
    image = image * (1 - dusk) + evening * dusk
    cloud = cv2.resize(noise(rng, (size, size), (4, 8, 16, 32)), (width, height), interpolation=cv2.INTER_LINEAR)
    cover = np.clip((cloud + rng.uniform(-0.3, 0.5)) * 1.6, 0, 1)[..., None] * np.clip(up * 3, 0, 1) * 0.8
    image = image * (1 - cover) + np.array([245, 243, 240]) * (1 - 0.3 * overcast - 0.4 * dusk) * cover
    x = np.linspace(0, 2 * np.pi, width)
    ridge = sum(np.sin(k * x + rng.uniform(0, 6)) * rng.uniform(0.3, 1) / k for k in (2, 3, 5, 9, 14, 23))
    crest = height - 5 - np.abs(np.asarray(ridge)) * rng.uniform(2, 7)
    hill = np.arange(height)[:, None] > crest[None]
    tone = rng.uniform((90, 100, 80), (165, 165, 150)) * (1 - 0.4 * dusk)
    image = np.where(
        hill[..., None], tone + noise(rng, (size, size), (32, 64))[:height, :1].repeat(width, 1)[..., None] * 6, image
    )
    return _clip(image)


def _place(atlas: Image, region: Region, patch: Image) -> None:
    size = atlas.shape[0]
    u0, v0, u1, v1 = region
    pad = 0.015  # neighbours bleed in when a texture is shrunk
    x0, x1 = int((u0 - pad) * size), int((u1 + pad) * size)
    y0, y1 = int((1 - v1 - pad) * size), int((1 - v0 + pad) * size)
    atlas[y0:y1, x0:x1] = cv2.resize(patch, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)


def _pane(rng: np.random.Generator) -> Image:
    pane = np.linspace(165, 60, 64)[:, None, None] * np.array([1.08, 1.0, 0.92]) + rng.normal(0, 3, (64, 64, 1))
    for _ in range(3):  # reflections of houses and trees
        x = int(rng.uniform(0, 50))
        pane[int(rng.uniform(10, 40)) :, x : x + int(rng.uniform(5, 18))] *= rng.uniform(0.6, 0.9)
    return _clip(pane)


def _wheel(rng: np.random.Generator) -> Image:
    image = np.full((64, 64, 3), 28, np.uint8)
    cv2.circle(image, (32, 32), 21, (150, 150, 150), -1, cv2.LINE_AA)
    spokes = int(rng.choice([5, 6, 8]))
    for i in range(spokes):
        angle = 2 * np.pi * (i + 0.5) / spokes
        end = (int(32 + 18 * np.cos(angle)), int(32 + 18 * np.sin(angle)))
        cv2.circle(image, end, 5, (55, 55, 55), -1, cv2.LINE_AA)
    cv2.circle(image, (32, 32), 4, (90, 90, 90), -1, cv2.LINE_AA)
    return image


def _grille(rng: np.random.Generator) -> Image:
    image = np.full((64, 64, 3), 40, np.uint8)
    image[:: int(rng.choice([6, 8, 10]))] = 105
    image[28:36, 26:38] = 170
    return image


def _cargo(rng: np.random.Generator) -> Image:
    image = surface(rng, (235, 235, 235), 6, 3, 128).astype(np.float64)[:64]
    image[:, :: int(rng.choice([8, 12, 16]))] *= 0.88
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(8, 70), rng.uniform(8, 38)
        image[int(y) : int(y + rng.uniform(6, 20)), int(x) : int(x + rng.uniform(15, 50))] = rng.uniform(30, 220, 3)
    return _clip(image)


def _bus_windows(rng: np.random.Generator) -> Image:
    image = np.full((64, 192, 3), 225, np.uint8)
    image[8:50] = 45
    for i in range(6):
        image[11:47, 4 + i * 32 : 30 + i * 32] = cv2.resize(_pane(rng), (26, 36))
    return image


def _face(rng: np.random.Generator) -> Image:
    image = np.full((64, 64, 3), 235, np.uint8)
    image[:26] = 60  # hair
    image[26:50, :14] = 70
    image[26:50, 50:] = 70
    return image


@lru_cache(maxsize=64)
def actor_atlas(seed: int, size: int = 256) -> Image:
    """The texture shared by all road users of a scene, (size, size, 3); colours come from the vertices."""
    rng = np.random.default_rng([seed, 71])
    atlas = np.full((size, size, 3), 255, np.uint8)
    paint = np.linspace(255, 200, 64)[:, None, None] + noise(rng, (64, 64), (2, 4))[..., None] * 12
    _place(atlas, PAINT, _clip(np.broadcast_to(paint, (64, 64, 3))))
    _place(atlas, WINDOW, _pane(rng))
    _place(atlas, WHEEL, _wheel(rng))
    _place(atlas, GRILLE, _grille(rng))
    _place(atlas, CLOTH, surface(rng, (225, 225, 225), 28, 9, 64))
    _place(atlas, FACE, _face(rng))
    _place(atlas, CARGO, _cargo(rng))
    plate = np.full((24, 64, 3), 235, np.uint8)
    plate[6:18, 8:56:7] = 40
    _place(atlas, PLATE, plate)
    _place(atlas, BUS_WINDOWS, _bus_windows(rng))
    stripes = np.full((64, 64, 3), 245, np.uint8)
    stripes[:: int(rng.choice([8, 12]))] = 90
    stripes[1 :: int(rng.choice([8, 12]))] = 110
    _place(atlas, STRIPES, stripes)
    lamp = np.full((32, 32, 3), 190, np.uint8)
    cv2.circle(lamp, (16, 16), 11, (255, 255, 255), -1)
    _place(atlas, LAMP, lamp)
    doors = np.full((48, 96, 3), 250, np.uint8)
    doors[:, 30] = doors[:, 62] = 130
    doors[14, 20:28] = doors[14, 52:60] = 90
    doors[40:] = 150
    _place(atlas, DOORS, doors)
    return atlas


@lru_cache(maxsize=256)
def material(kind: str, seed: int) -> Image:
    """A repeating texture.

    Args:
        kind: 'asphalt', 'grass', 'paving', 'facade', 'shop', 'foliage', 'bark', 'plain' or 'roof'.
        seed: Decides on everything that is drawn at random.
    """
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    if kind == "asphalt":
        tone = rng.uniform(70, 125)
        image = surface(rng, (tone, tone, tone * rng.uniform(0.96, 1.03)), 9, 7)
        for _ in range(int(rng.integers(0, 4))):  # cracks and patches
            start = rng.integers(0, 128, 2)
            cv2.line(
                image,
                tuple(map(int, start)),
                tuple(map(int, start + rng.integers(-50, 50, 2))),
                (tone * 0.75,) * 3,
                1,
                cv2.LINE_AA,
            )
        return image
    if kind == "grass":
        return surface(rng, tuple(rng.uniform((40, 85, 70), (80, 130, 125))), 16, 10)
    if kind == "paving":
        return paving(rng)
    if kind == "facade":
        return facade(rng)
    if kind == "shop":
        return shopfront(rng)
    if kind == "foliage":
        return foliage(rng)
    if kind == "bark":
        return surface(rng, (190, 190, 190), 30, 18, 32)
    if kind in ("plain", "roof"):
        return surface(rng, (240, 240, 240), 5, 3, 32)
    raise ValueError(f"no texture of kind '{kind}'")
