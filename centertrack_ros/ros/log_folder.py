# SPDX-License-Identifier: Apache-2.0
"""Where ROS writes its log files when the user has no home in which it would."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def ensure_log_folder() -> None:
    """Sets ROS_LOG_DIR to a folder for temporary files where rclpy would find none and could not be initialised.

    That is so without HOME, as in a container with a foreign user id, and with a home that cannot be written.
    """
    if os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME"):
        return
    home = os.environ.get("HOME")
    try:
        if not home:
            raise FileNotFoundError("HOME is not set")
        folder = Path(home, ".ros", "log")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(folder)
    except OSError:
        os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix=f"ros-log-{os.getuid()}-")
