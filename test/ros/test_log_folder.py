# SPDX-License-Identifier: Apache-2.0
"""ROS finds a place for its log files without a home, too."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from centertrack_ros.ros.log_folder import ensure_log_folder


@pytest.fixture(autouse=True)
def no_setting(monkeypatch):
    for name in ("ROS_LOG_DIR", "ROS_HOME", "HOME"):
        monkeypatch.setenv(name, "")  # restores it afterwards
        monkeypatch.delenv(name)


def test_a_home_is_used_as_ros_does_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ensure_log_folder()
    assert "ROS_LOG_DIR" not in os.environ and (tmp_path / ".ros" / "log").is_dir()


@pytest.mark.parametrize("home", [None, "", "/dev/null"])
def test_without_one_it_is_a_folder_for_temporary_files(home, monkeypatch):
    if home is not None:
        monkeypatch.setenv("HOME", home)
    ensure_log_folder()
    folder = Path(os.environ["ROS_LOG_DIR"])
    assert folder.is_dir()
    folder.rmdir()


@pytest.mark.parametrize("name", ["ROS_LOG_DIR", "ROS_HOME"])
def test_what_the_user_has_chosen_stays(name, monkeypatch):
    monkeypatch.setenv(name, "/somewhere")
    ensure_log_folder()
    assert os.environ.get("ROS_LOG_DIR") == ("/somewhere" if name == "ROS_LOG_DIR" else None)


def test_where_nothing_can_be_written_there_are_no_log_files_and_one_line_says_so(monkeypatch, capsys):
    import rclpy

    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    arguments = ensure_log_folder()
    assert "ROS_LOG_DIR" not in os.environ
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)  # fails without them
    rclpy.shutdown(context=context)
    assert capsys.readouterr().err.count("ROS_LOG_DIR") == 1
