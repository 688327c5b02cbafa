# SPDX-License-Identifier: Apache-2.0
"""Image files: sizes by their headers agree with what is read, and an incomplete file is no image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import (
    IMAGE_SUFFIXES,
    image_size,
    load_image,
    read_image,
    upright_bytes,
    write_image,
)
from centertrack_ros.io.image_headers import has_end_marker, read_header

NOISE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_the_size_by_the_header_is_that_of_the_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), NOISE[..., 0] if suffix == ".pgm" else NOISE)
    assert image_size(path) == (60, 90)
    image = read_image(path)
    assert image is not None
    assert image.shape == (60, 90, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_reader_sees_the_image_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    smooth = cv2.resize(NOISE[:3, :4], (90, 60))
    Image.fromarray(smooth).save(path, exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))[..., ::-1]
    upright = load_image(path)
    assert upright.shape == shown.shape == (*((90, 60) if orientation > 4 else (60, 90)), 3)
    assert np.abs(upright.astype(int) - shown).mean() < 4
    assert image_size(path) == upright.shape[:2]
    if suffix in (".jpg", ".png"):
        stored = cv2.imdecode(
            np.frombuffer(upright_bytes(path)[0], np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
        assert stored is not None
        assert stored.shape == upright.shape
        assert np.abs(stored.astype(int) - shown).mean() < 5


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["long", "out of range", "broken", "xmp"])
def test_an_odd_orientation_is_read_as_its_size_is(tmp_path: Path, kind: str) -> None:
    """OpenCV and Pillow do not agree on these: whatever the answer, there is one."""
    path = tmp_path / "a.jpg"
    ifd = {"long": b"\x12\x01\x04\0\x01\0\0\0\x06\0\0\0", "out of range": b"\x12\x01\x03\0\x01\0\0\0\x2a\0\0\0"}
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + ifd.get(kind, b"\x12\x01\x03\0\xff\xff\xff\xff")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options = {"xmp": xmp} if kind == "xmp" else {"exif": exif + bytes(4)}
    Image.fromarray(NOISE).save(path, **options)
    upright = load_image(path)
    assert image_size(path) == upright.shape[:2]
    stored = cv2.imdecode(
        np.frombuffer(upright_bytes(path)[0], np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    assert stored is not None
    assert stored.shape == upright.shape


def test_a_malformed_header_is_a_sentence_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 2\xff\xff 2 255\n" + bytes(12))
    with pytest.raises(DataError, match="not a complete image: its data are malformed"):
        load_image(tmp_path / "a.ppm")


def test_a_file_larger_than_any_image_is_not_loaded(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(20_000_000_000)  # of holes: it takes no room on the disk
    assert image_size(tmp_path / "a.png") is None
    with pytest.raises(DataError, match=r"20\.0 GB"):
        load_image(tmp_path / "a.png")


def test_a_missing_file_and_text_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for name in ("missing.jpg", "text.jpg", "empty.png"):
        assert image_size(tmp_path / name) is None
        assert read_image(tmp_path / name) is None
    with pytest.raises(OSError, match="could not be written"):
        write_image(tmp_path / "no_such_folder" / "a.png", NOISE)


@pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]], ids=["baseline", "progressive"])
@given(share=st.floats(0.0, 1.0))
def test_a_jpeg_is_complete_only_with_its_end_marker(options: list[int], share: float) -> None:
    """Also with a thumbnail, a complete JPEG, in its header, and with zeros appended."""
    raw = cv2.imencode(".jpg", NOISE, options)[1].tobytes()
    thumbnail = cv2.imencode(".jpg", NOISE[:8, :8])[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = raw[:2] + segment + raw[2:]
    assert _is_complete(whole)
    assert _is_complete(whole + b"\0" * 100)
    assert not _is_complete(whole[: int(share * (len(whole) - 1))])


def _is_complete(raw: bytes) -> bool:
    try:
        return has_end_marker(raw, read_header(raw))
    except ValueError:
        return False


@given(
    start=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]), rest=st.binary(max_size=400)
)
def test_any_bytes_have_a_header_or_are_refused(start: bytes, rest: bytes) -> None:
    try:
        header = read_header(start + rest)
    except ValueError:
        return
    assert header.width >= 0
    assert header.height >= 0


def test_a_jpeg_that_was_cut_short_is_no_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", NOISE)
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "padded.jpg").write_bytes(raw + b"\0" * 100)
    assert read_image(tmp_path / "padded.jpg") is not None
    for share in (0.0, 0.3, 0.9):
        (tmp_path / "b.jpg").write_bytes(raw[: int(share * len(raw))])
        assert read_image(tmp_path / "b.jpg") is None
