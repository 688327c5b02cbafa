# SPDX-License-Identifier: Apache-2.0
"""Image files as training reads them."""

import cv2
import numpy as np
import pytest

from centertrack_ros.io.image_files import read_image
from centertrack_ros.training.annotations import size_of


def test_a_jpeg_that_was_cut_short_is_no_image(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), noise)
    assert read_image(tmp_path / "a.jpg").shape == (60, 90, 3)
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "padded.jpg").write_bytes(raw + b"\0" * 100)
    assert read_image(tmp_path / "padded.jpg") is not None
    for share in (0.0, 0.3, 0.9):
        (tmp_path / "b.jpg").write_bytes(raw[: int(share * len(raw))])
        assert read_image(tmp_path / "b.jpg") is None


def test_a_image_taken_upright_has_the_size_that_it_is_read_with(tmp_path):
    image = pytest.importorskip("PIL.Image")
    header = image.Exif()
    header[0x0112] = 6
    image.new("RGB", (90, 60)).save(tmp_path / "a.jpg", exif=header)
    assert size_of(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").shape[:2] == (90, 60)
