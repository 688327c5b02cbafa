# SPDX-License-Identifier: Apache-2.0
"""Where ROS writes its log files when the user has no home in which it would."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_NO_FILES = ["--ros-args", "--disable-external-lib-logs"]


def ensure_log_folder() -> list[str]:
    """Sets ROS_LOG_DIR to a folder for temporary files where rclpy would find none and could not be initialised.

    That is so without HOME, as in a container with a foreign user id, and with a home that cannot be written.

    Returns:
        Further arguments for rclpy.init: where no folder at all can be written, no log files are.
    """
    if os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME"):
        return []
    home = os.environ.get("HOME")
    try:
        if not home:
            raise FileNotFoundError("HOME is not set")
        folder = Path(home, ".ros", "log")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(folder)
    except OSError:
        try:
            os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix=f"ros-log-{os.getuid()}-")
        except OSError:
            print("no folder for log files can be written: none are, set ROS_LOG_DIR to have them", file=sys.stderr)
            return _NO_FILES
    return []
