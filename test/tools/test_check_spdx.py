# SPDX-License-Identifier: Apache-2.0
"""The check of licence lines finds the source files without one."""

from pathlib import Path

import pytest

from tools.check_spdx import LINE, is_source, without_line


def test_a_source_file_without_the_line_is_found(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(f"#!/usr/bin/env python3\n# {LINE}\n")
    (tmp_path / "late.py").write_text("\n" * 10 + f"# {LINE}\n")
    (tmp_path / "bad.yaml").write_text("a: 1\n")
    (tmp_path / "page.md").write_text("text\n")
    (tmp_path / "__init__.py").touch()
    paths = ["page.md", "late.py", "good.py", "__init__.py", "deleted.py", "bad.yaml"]
    assert without_line(tmp_path, paths) == ["bad.yaml", "late.py"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("centertrack_ros/types.py", True),
        ("msg/Track.msg", True),
        ("docker/Dockerfile", True),
        ("bin/centertrack", True),
        ("README.md", False),
        ("test/data/parity/parity_inputs.py", False),
    ],
)
def test_source_files_are_known_by_name(path: str, expected: bool) -> None:
    assert is_source(path) is expected
