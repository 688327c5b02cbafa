# SPDX-License-Identifier: Apache-2.0
"""Images in planes, and images of 10 and 12 bits: what a camera saw comes back, or the sentence says what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from centertrack_ros.io.image_decoding import ImageError, compressed_to_bgr, image_to_bgr
from centertrack_ros.io.yuv_planes import LAYOUTS


def message(encoding: str, data: bytes, width: int, height: int, step: int, big_endian: bool = False) -> Any:
    return SimpleNamespace(
        encoding=encoding, width=width, height=height, step=step, is_bigendian=int(big_endian), data=data
    )


def blocks() -> np.ndarray:
    """(24, 32, 3): colours in blocks of 2x2 px, which loses nothing where these share their colour."""
    y, x = np.mgrid[0:24, 0:32] // 2 * 2
    return np.stack([3 * x + 20, 4 * y + 30, 240 - 2 * x - 2 * y], axis=-1).astype(np.uint8)


def yuv(bgr: np.ndarray) -> list[np.ndarray]:
    """Y, U, V of every pixel: BT.601, studio swing, from its definition."""
    b, g, r = (bgr[..., i].astype(np.float64) / 255 for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    planes = [16 + 219 * luma, 128 + 224 * (b - luma) / 1.772, 128 + 224 * (r - luma) / 1.402]
    return [plane.round().clip(0, 255).astype(np.uint8) for plane in planes]


def in_planes(name: str, bgr: np.ndarray, padding: int = 0) -> bytes:
    layout = LAYOUTS[name]
    y, u, v = yuv(bgr)
    u, v = (plane[:: layout.rows, :: layout.columns] for plane in (u, v))
    first, second = (v, u) if layout.v_first else (u, v)
    if layout.interleaved:
        pad = 2 * padding // layout.columns
        rest = [np.pad(np.stack([first, second], -1).reshape(len(first), -1), ((0, 0), (0, pad)))]
    else:
        rest = [np.pad(plane, ((0, 0), (0, padding // 2))) for plane in (first, second)]
    return b"".join(plane.tobytes() for plane in [np.pad(y, ((0, 0), (0, padding))), *rest])


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("upper", [False, True])
def test_planes_come_back(name, padding, upper):
    image = blocks()
    encoding = name.upper() if upper else name
    got = image_to_bgr(message(encoding, in_planes(name, image, padding), 32, 24, 32 + padding))
    assert got.shape == image.shape and got.dtype == np.uint8
    assert np.abs(got.astype(int) - image).max() <= 2


@pytest.mark.parametrize("step", [0, 16, 48, 64])
def test_a_step_that_is_none_does_not_matter_where_the_size_tells(step):
    image = blocks()
    told = image_to_bgr(message("nv12", in_planes("nv12", image), 32, 24, 32))
    assert np.array_equal(told, image_to_bgr(message("nv12", in_planes("nv12", image), 32, 24, step)))


@pytest.mark.parametrize("name", ["nv12", "nv21", "i420", "yv12"])
@pytest.mark.parametrize("padding", [0, 6])
def test_rows_of_colour_may_be_counted_as_height(name, padding):
    data = in_planes(name, blocks(), padding)
    told = image_to_bgr(message(name, data, 32, 24, 32 + padding))
    assert np.array_equal(told, image_to_bgr(message(name, data, 32, 36, 32 + padding)))


@pytest.mark.parametrize(
    ("name", "width", "height", "size", "said"),
    [
        ("nv12", 31, 24, 1116, "odd width or height"),
        ("i420", 32, 23, 1104, "odd width or height"),
        ("nv12", 32, 24, 1151, "has 1151 bytes of data and step 32; expected 1152"),
        ("nv24", 32, 24, 1152, "expected 2304"),
        ("yv12", 0, 24, 0, "empty"),
        ("nv12", 4_000_000_000, 2, 10, "too large"),
    ],
)
def test_planes_that_do_not_fit_are_named(name, width, height, size, said):
    with pytest.raises(ImageError, match=said):
        image_to_bgr(message(name, bytes(size), width, height, width))


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "rgb16"])
def test_samples_of_few_bits_are_found_where_they_are(bits, left, big_endian, encoding):
    grey = np.random.default_rng(1).integers(0, 256, (24, 32), np.uint16)
    grey[0, :2] = 0, 255
    channels = 3 if encoding == "rgb16" else 1
    fine = grey * (1 << (bits - 8)) + np.arange(32, dtype=np.uint16) % (1 << (bits - 8))  # with noise in the low bits
    wide = fine << (16 - bits) if left else fine
    data = np.repeat(wide[..., None], channels, -1).astype(">u2" if big_endian else "<u2").tobytes()
    got = image_to_bgr(message(encoding, data, 32, 24, 64 * channels, big_endian))
    if encoding.startswith("bayer"):
        same = image_to_bgr(message("bayer_rggb8", grey.astype(np.uint8).tobytes(), 32, 24, 32))
    else:
        same = np.repeat(grey[..., None].astype(np.uint8), 3, -1)
    assert np.array_equal(got, same)


def test_a_dark_image_of_16_bits_stays_dark():
    dark = np.full((8, 8), 0x0300, "<u2")  # left-aligned: the low byte is empty
    assert image_to_bgr(message("mono16", dark.tobytes(), 8, 8, 16)).max() == 3
    assert image_to_bgr(message("mono16", bytes(128), 8, 8, 16)).max() == 0


@pytest.mark.parametrize("bits", [12, 16])
def test_a_png_of_16_bits_follows_the_same_rule(bits):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    _, file = cv2.imencode(".png", (grey << (bits - 8)) + 1)
    got = compressed_to_bgr(SimpleNamespace(format="mono16; png compressed ", data=file.tobytes()))
    assert np.array_equal(got, np.repeat(grey[..., None].astype(np.uint8), 3, -1))


@pytest.mark.parametrize(
    ("encoding", "advice"),
    [("16UC1", "depth"), ("32FC1", "depth"), ("bayer_rggb12", "8 or 16 bits"), ("mono12", "8 or 16"), ("jpeg", "Comp")],
)
def test_an_encoding_that_is_not_taken_comes_with_advice(encoding, advice):
    with pytest.raises(ImageError, match=f"unknown image encoding '{encoding}'; expected one of .*{advice}"):
        image_to_bgr(message(encoding, bytes(64), 4, 4, 8))


@pytest.mark.parametrize(
    ("form", "data", "advice"),
    [
        ("16UC1; compressedDepth png", bytes(12) + b"\x89PNG", "depth"),
        ("h264", b"\0\0\0\1\x67", "part of a video"),
        ("", b"\0\0\0\1\x67", "part of a video"),
        ("webp", b"RIFF\0\0\0\0WEBP", "expected a JPEG"),
    ],
)
def test_another_format_comes_with_advice(form, data, advice):
    with pytest.raises(ImageError, match=advice):
        compressed_to_bgr(SimpleNamespace(format=form, data=data))
