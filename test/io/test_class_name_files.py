# SPDX-License-Identifier: Apache-2.0
"""Names of classes are the same in every form in which people keep them."""

from pathlib import Path

import pytest

from centertrack_ros.io.class_name_files import class_names

NAMES = ("red car", "bus", "7")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "red car\nbus\n7\n\n"),
        ("coco.names", "red car\r\nbus\r\n7"),
        ("names.yaml", "[red car, bus, 7]"),
        ("names.yml", "0: red car\n2: 7\n1: bus\n"),
        ("data.yaml", "path: /data\nnc: 3\nnames:\n  0: red car\n  1: bus\n  2: '7'\n"),
        ("data.yaml", "names: [red car, bus, 7]\n"),
    ],
)
def test_the_names_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert class_names([str(tmp_path / name)]) == NAMES


def test_the_names_themselves() -> None:
    assert class_names(NAMES) == NAMES
    assert class_names(["person"]) == ("person",)
    assert class_names([""]) == ()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("names.yaml", "0: a\n2: b\n", "expected the names of classes, in the order of their numbers"),
        ("names.yaml", "names: 3", "expected the names of classes, in the order of their numbers, got 3"),
        ("names.txt", "\n", r"expected the names of classes"),
        ("missing.txt", None, "no such file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        class_names([str(tmp_path / name)])
    assert name in str(error.value)
