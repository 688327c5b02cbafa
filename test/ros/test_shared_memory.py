# SPDX-License-Identifier: Apache-2.0
"""The node says when its Fast DDS profile needs more shared memory than there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from centertrack_ros.ros.shared_memory import shortage_of_shared_memory

PROFILE = Path(__file__).resolve().parents[2] / "config" / "fastdds.xml"


def profile(path: Path, size: float) -> dict[str, str]:
    path.write_text(f"<profiles><segment_size>{size:.0f}</segment_size></profiles>")
    return {"FASTDDS_DEFAULT_PROFILES_FILE": str(path)}


def test_a_segment_that_does_not_fit_is_named_with_its_remedy(tmp_path: Path) -> None:
    text = shortage_of_shared_memory(profile(tmp_path / "profile.xml", 1e18), tmp_path)
    assert str(tmp_path) in text and "--shm-size" in text


@pytest.mark.parametrize("other", [{"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, {"FASTDDS_DEFAULT_PROFILES_FILE": ""}])
def test_nothing_is_said_of_another_middleware_or_without_a_profile(other: dict[str, str], tmp_path: Path) -> None:
    variables = profile(tmp_path / "profile.xml", 1e18)
    assert shortage_of_shared_memory(variables, tmp_path)
    assert shortage_of_shared_memory({**variables, **other}, tmp_path) == ""


def test_nothing_is_said_where_there_is_room(tmp_path: Path) -> None:
    assert shortage_of_shared_memory(profile(tmp_path / "profile.xml", 1), tmp_path) == ""


def test_the_size_is_read_from_the_profile_that_the_launch_files_set(tmp_path: Path) -> None:
    """A segment of the package's own profile is compared with the memory, not taken for Fast DDS's default."""
    from centertrack_ros.ros.shared_memory import _segment_size

    assert _segment_size({"FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE)}) == 64 << 20
