# SPDX-License-Identifier: Apache-2.0
"""Every encoding that a driver sends arrives as the same BGR image; every broken message is named, not crashed on."""

from __future__ import annotations

import array
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed (ROS 2 or its wheels)")

from centertrack_ros.io.image_decoding import ENCODINGS, ImageError, compressed_to_bgr, image_to_bgr  # noqa: E402
from centertrack_ros.io.yuv_planes import LAYOUTS  # noqa: E402

BGR_COLOR = (40, 120, 210)


FIELDS = ("header", "height", "width", "encoding", "is_bigendian", "step", "data")


def make_image(encoding: str, rows: np.ndarray, padding: int = 0, width: int | None = None, big_endian: bool = False):
    """rows: (H, bytes per row) uint8."""
    message = sensor_msgs.Image()
    message.encoding, message.is_bigendian = encoding, int(big_endian)
    message.height, message.width = rows.shape[0], width if width is not None else rows.shape[1]
    message.step = rows.shape[1] + padding
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    message.data = array.array("B", padded.tobytes())
    return message


def smooth_image(height: int = 24, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([3 * x + 20, 4 * y + 30, 240 - 2 * x - 2 * y], axis=-1).astype(np.uint8)


def encode(encoding: str, bgr: np.ndarray, big_endian: bool) -> np.ndarray:
    """The bytes (H, row) that a camera driver would send, written from the definition of the encoding."""
    height, width = bgr.shape[:2]
    b, g, r = (bgr[..., i] for i in range(3))
    alpha = np.full_like(b, 255)
    base = encoding.removesuffix("16").removesuffix("8")
    layouts = {"bgr": (b, g, r), "rgb": (r, g, b), "bgra": (b, g, r, alpha), "rgba": (r, g, b, alpha)}
    layouts |= {"8UC3": (b, g, r), "8UC4": (b, g, r, alpha), "mono": (g,), "8UC1": (g,)}
    if base in layouts:
        samples = np.stack(layouts[base], axis=-1)
    elif base.startswith("bayer_"):
        samples = np.empty((height, width, 1), np.uint8)
        for name, (dy, dx) in zip(base.removeprefix("bayer_"), [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
            samples[dy::2, dx::2, 0] = {"r": r, "g": g, "b": b}[name][dy::2, dx::2]
    else:
        luma_first = encoding in ("yuv422_yuy2", "yuyv", "yvyu")
        yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV).astype(np.float64)
        y = 16 + yuv[..., 0] * 219 / 255
        u, v = 128 + (yuv[..., 1] - 128) * 1.0, 128 + (yuv[..., 2] - 128) * 1.0
        # BT.601 studio swing from analogue U, V: 0.492 (B - Y), 0.877 (R - Y) have extents 0.436 and 0.615.
        u, v = 128 + (u - 128) * 112 / (0.436 * 255), 128 + (v - 128) * 112 / (0.615 * 255)
        chroma = np.empty((height, width))
        first, second = (v, u) if encoding == "yvyu" else (u, v)
        chroma[:, 0::2], chroma[:, 1::2] = first[:, 0::2], second[:, 0::2]
        pair = (y, chroma) if luma_first else (chroma, y)
        samples = np.stack(pair, axis=-1).round().clip(0, 255).astype(np.uint8)
    if encoding.endswith("16"):
        wide = samples.astype(np.uint16) * 257
        samples = wide.astype(">u2" if big_endian else "<u2").view(np.uint8)
    return samples.reshape(height, -1)


@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - set(LAYOUTS)))
@pytest.mark.parametrize("padding", [0, 13])
@pytest.mark.parametrize("big_endian", [False, True])
def test_an_image_survives_every_encoding(encoding: str, padding: int, big_endian: bool) -> None:
    bgr = smooth_image()
    message = make_image(encoding, encode(encoding, bgr, big_endian), padding, bgr.shape[1], big_endian)
    expected = np.repeat(bgr[..., 1:2], 3, axis=-1) if "mono" in encoding or encoding == "8UC1" else bgr
    got = image_to_bgr(message)
    assert got.shape == bgr.shape and got.dtype == np.uint8
    # Demosaicing and shared chroma interpolate: inside the borders a smooth image comes back within a few levels.
    tolerance = 6 if encoding.startswith(("bayer", "yu", "uyvy", "yvyu")) else 0
    inner = (slice(2, -2), slice(2, -2)) if tolerance else ()
    assert np.abs(got.astype(int) - expected)[inner].max() <= tolerance


@pytest.mark.parametrize("padding", [0, 7])
def test_bgr8_is_viewed_without_a_copy(padding: int) -> None:
    bgr = smooth_image()
    message = make_image("bgr8", bgr.reshape(24, -1), padding, 32)
    view = image_to_bgr(message)
    assert np.shares_memory(view, np.frombuffer(message.data, np.uint8))


def test_missing_padding_of_the_last_row_is_accepted() -> None:
    message = make_image("bgr8", smooth_image().reshape(24, -1), 5, 32)
    message.data = message.data[:-5]
    assert np.array_equal(image_to_bgr(message), smooth_image())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "empty"),
        ({"height": 0}, "empty"),
        ({"width": 4_000_000_000}, "too large"),
        ({"height": 2_000_000}, "too large"),
        ({"encoding": "32FC1"}, "unknown image encoding '32FC1'; expected one of"),
        ({"encoding": ""}, "unknown image encoding"),
        ({"encoding": "jpeg" * 1000}, "unknown image encoding"),
        ({"step": 95}, "step 95; expected at least 96"),
        ({"step": 0}, "step 0"),
        ({"step": 100}, "truncated"),
        ({"data": array.array("B", bytes(100))}, "has 100 bytes of data; expected 2304"),
        ({"data": array.array("B")}, "0 bytes"),
        ({"data": array.array("B", bytes(9999))}, "9999 bytes of data; expected 2304"),
        ({"encoding": "yuyv", "width": 31}, "odd width"),
    ],
)
def test_a_broken_image_is_named(change: dict, words: str) -> None:
    message = make_image("bgr8", smooth_image().reshape(24, -1), 0, 32)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=words) as error:
        image_to_bgr(message)
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from((*ENCODINGS, "nv12", "")),
    width=st.integers(0, 2**32 - 1) | st.integers(0, 9),
    height=st.integers(0, 2**32 - 1) | st.integers(0, 9),
    step=st.integers(0, 2**32 - 1) | st.integers(0, 80),
    data=st.binary(max_size=700),
    endian=st.integers(0, 255),
)
def test_any_message_is_an_image_or_an_image_error(encoding, width, height, step, data, endian) -> None:
    message = sensor_msgs.Image(encoding=encoding, width=width, height=height, step=step, is_bigendian=endian)
    message.data = array.array("B", data)
    try:
        image = image_to_bgr(message)
    except ImageError:
        return
    heights = (height, height * 2 // 3) if encoding in LAYOUTS else (height,)  # see test_rows_of_colour_may_be_counted
    assert image.shape[0] in heights and image.shape[1:] == (width, 3) and image.dtype == np.uint8


def make_compressed(extension: str = ".jpg", image: np.ndarray | None = None):
    ok, data = cv2.imencode(extension, smooth_image(48, 64) if image is None else image)
    assert ok
    return sensor_msgs.CompressedImage(format="bgr8; jpeg compressed bgr8", data=array.array("B", data.tobytes()))


@pytest.mark.parametrize(("extension", "tolerance"), [(".jpg", 12), (".png", 0)])
def test_compressed_images(extension: str, tolerance: int) -> None:
    got = compressed_to_bgr(make_compressed(extension))
    assert np.abs(got.astype(int) - smooth_image(48, 64)).max() <= tolerance


def test_a_grey_or_16_bit_file_becomes_bgr() -> None:
    grey = smooth_image(48, 64)[..., 1]
    assert np.array_equal(compressed_to_bgr(make_compressed(".png", grey)), np.repeat(grey[..., None], 3, -1))
    wide = smooth_image(48, 64).astype(np.uint16) * 257
    assert np.array_equal(compressed_to_bgr(make_compressed(".png", wide)), smooth_image(48, 64))


def test_exif_orientation_does_not_turn_the_sensor() -> None:
    message = make_compressed(".jpg")
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    raw = message.data.tobytes()
    message.data = array.array("B", raw[:2] + segment + raw[2:])
    assert compressed_to_bgr(message).shape == (48, 64, 3)


def test_broken_files_are_named() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    jpeg, png = (make_compressed(extension, image).data.tobytes() for extension in (".jpg", ".png"))
    frame_header = jpeg.index(b"\xff\xc0")
    huge = jpeg[: frame_header + 5] + b"\xff\xff\xff\xff" + jpeg[frame_header + 9 :]
    cases = {
        b"": "is empty",
        b"hello, I am not an image": "starts with 68 65 6c 6c; expected a JPEG",
        jpeg[: len(jpeg) // 2]: "truncated JPEG",
        jpeg[:60]: "header breaks off",
        jpeg[:2] + bytes(200): "header breaks off",
        huge: "too large: 65535x65535",
        png[: len(png) // 2]: "truncated or corrupt PNG",
        b"\x89PNG\r\n\x1a\n": "truncated or corrupt PNG",
    }
    for data, words in cases.items():
        with pytest.raises(ImageError, match=words):
            compressed_to_bgr(sensor_msgs.CompressedImage(format="jpeg", data=array.array("B", data)))


def test_a_small_file_cannot_claim_a_huge_image() -> None:
    """What would take seconds and some hundred MB to decode is refused by its size; a flat image is no such file."""
    jpeg, png = (bytearray(make_compressed(extension).data.tobytes()) for extension in (".jpg", ".png"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 3000, 32000)
    png[16:24] = struct.pack(">II", 10_000, 10_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    for data in (jpeg, png):
        with pytest.raises(ImageError, match="px by its header; expected at least"):
            compressed_to_bgr(sensor_msgs.CompressedImage(format="", data=array.array("B", data)))
    flat = np.full((3000, 4000, 3), 128, np.uint8)
    for extension in (".jpg", ".png"):
        assert np.array_equal(compressed_to_bgr(make_compressed(extension, flat)), flat)


def test_a_png_with_a_wrong_checksum_is_not_decoded() -> None:
    png = bytearray(make_compressed(".png").data.tobytes())
    png[png.index(b"IDAT") + 20] ^= 1
    with pytest.raises(ImageError, match="corrupt PNG: the chunk at byte 33 does not match its checksum"):
        compressed_to_bgr(sensor_msgs.CompressedImage(format="png", data=array.array("B", png)))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_image_or_an_image_error(data) -> None:
    raw = bytearray(make_compressed(data.draw(st.sampled_from([".jpg", ".png"]))).data.tobytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = compressed_to_bgr(sensor_msgs.CompressedImage(format="jpeg", data=array.array("B", raw)))
    except ImageError:
        return
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array.array("B", data), np.frombuffer])
def test_any_buffer_is_read_in_place(kind) -> None:
    """Distributions differ in what `data` is: nothing but its bytes counts."""
    bgr = smooth_image()
    message = SimpleNamespace(
        **{name: getattr(make_image("bgr8", bgr.reshape(24, -1), width=32), name) for name in FIELDS}
    )
    content = bgr.tobytes()
    message.data = np.frombuffer(content, np.uint8) if kind is np.frombuffer else kind(content)
    decoded = image_to_bgr(message)
    np.testing.assert_array_equal(decoded, bgr)
    assert np.shares_memory(decoded, np.frombuffer(message.data, np.uint8))


def test_data_in_the_memory_of_a_device_are_one_sentence() -> None:
    message = SimpleNamespace(
        **{name: getattr(make_image("bgr8", smooth_image().reshape(24, -1), width=32), name) for name in FIELDS}
    )

    class DeviceBuffer:
        def __len__(self) -> int:
            return 24 * 32 * 3

    message.data = DeviceBuffer()
    with pytest.raises(ImageError, match="type DeviceBuffer cannot be read in place; expected bytes in main memory"):
        image_to_bgr(message)
