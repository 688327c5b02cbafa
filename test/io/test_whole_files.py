# SPDX-License-Identifier: Apache-2.0
"""A file is there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from centertrack_ros.io.whole_files import whole_file, write_text
from support.environment import largest_file


def broken_off(path: Path, error: BaseException) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise error


def test_a_file_appears_at_the_end(tmp_path):
    with whole_file(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("whole")
        assert unfinished.suffix == ".txt" and not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bad"), OSError(28, "No space left on device")])
def test_after_an_error_the_old_file_is_as_it_was(error, tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(type(error)):
        broken_off(tmp_path / "a.txt", error)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match=r"'.*/a\.txt'"), largest_file(1000):
        write_text(tmp_path / "a.txt", "x" * 2000)
    with pytest.raises(FileNotFoundError, match=r"nowhere/a\.txt'"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")
    assert not list(tmp_path.iterdir())
