# SPDX-License-Identifier: Apache-2.0
"""Regions as users write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.io.image_files import write_image
from centertrack_ros.io.regions import read_region


def test_corners_and_masks_are_read(tmp_path: Path) -> None:
    polygon = read_region(" 0,0.5 1,0.5  1,1 0,1 ")
    mask = np.zeros((20, 40, 3), np.uint8)
    mask[10:] = 255
    write_image(tmp_path / "mask.png", mask)
    image = read_region(str(tmp_path / "mask.png"))
    assert polygon is not None and image is not None and read_region("") is None
    points = np.array([(3.0, 20.0), (3.0, 80.0)])
    for region in (polygon, image):
        assert region.contains(points, (100, 200)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,0 1,1", "at least 3 corners"),
        ("0,0 1,nan 1,1", "finite numbers"),
        ("no/such/file.png", "expected corners 'x,y x,y x,y' or the path of a mask image"),
    ],
)
def test_what_is_no_region_is_told_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        read_region(text)
    assert text in str(error.value) and "\n" not in str(error.value)
