# SPDX-License-Identifier: Apache-2.0
"""Where exports are kept: XDG_CACHE_HOME, the home, and a private folder for a user without one."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from centertrack_ros.engine import export_cache
from centertrack_ros.network.registry import weights_path


@pytest.fixture
def no_home(tmp_path, monkeypatch) -> Path:
    """No HOME and no entry in passwd, as in a container that runs with a foreign user id."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(export_cache.tempfile, "tempdir", str(tmp_path))
    export_cache._cache_without_home.cache_clear()
    yield tmp_path
    export_cache._cache_without_home.cache_clear()


def user_cache() -> Path:
    return export_cache._cache_folders(Path("/models/m.safetensors"))[-1]


def test_xdg_and_the_home_come_first(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # not allowed by the specification
    assert user_cache() == tmp_path / ".cache" / "centertrack_ros"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert user_cache() == Path("/cache/centertrack_ros")


def test_a_user_without_a_home_gets_a_private_folder_and_is_told_once(no_home, caplog):
    assert user_cache() == user_cache() == no_home / f"centertrack_ros-{os.getuid()}"
    assert user_cache().stat().st_mode & 0o777 == 0o700
    assert len(caplog.messages) == 1 and str(no_home) in caplog.text and "XDG_CACHE_HOME" in caplog.text


def test_a_folder_that_somebody_else_may_have_put_there_is_not_used(no_home):
    (no_home / "foreign").mkdir()
    (no_home / f"centertrack_ros-{os.getuid()}").symlink_to(no_home / "foreign")
    assert user_cache().resolve() != no_home / "foreign" and user_cache().is_dir()


def test_where_nothing_can_be_written_nothing_is_kept_and_one_line_says_so(no_home, monkeypatch, caplog):
    monkeypatch.setattr(export_cache.tempfile, "tempdir", "/dev/null")
    assert not user_cache().exists()
    with pytest.raises(NotADirectoryError):
        user_cache().mkdir(parents=True)
    assert len(caplog.messages) == 1 and "XDG_CACHE_HOME" in caplog.text


def test_weights_are_found_and_missing_ones_named_without_a_home(no_home):
    assert weights_path(None).is_file()
    with pytest.raises(FileNotFoundError, match=r"~/model\.safetensors"):
        weights_path("~/model.safetensors")
