# SPDX-License-Identifier: Apache-2.0
"""The executable centertrack_node: a process that ends with exit code 0 on SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from centertrack_ros.ros.ending import END_WITH_PARENT, Ending

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until a signal ends it.

    Args:
        arguments: command line with the program's name; None: that of the process.

    Returns:
        The exit code: 0; 1 for a missing package or a bad parameter, with the reason on standard error.
    """
    if os.environ.get(END_WITH_PARENT):
        _end_with_parent()
    ending = Ending()
    # Idle threads of the network sleep: with active waiting they would take the cores from other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    try:
        from centertrack_ros.ros.process import NodeProcess
    except ImportError as error:
        print(
            f"centertrack_node needs ROS 2 and vision_msgs: {error}. Source a ROS 2 distribution or use make.",
            file=sys.stderr,
        )
        return 1
    _tune_malloc()
    return NodeProcess(ending).run(sys.argv if arguments is None else arguments)


def _end_with_parent() -> None:
    """Asks the kernel (Linux) for SIGTERM when the process that has started this one ends."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        return


def _tune_malloc() -> None:
    """Lets malloc (glibc) reuse image-sized blocks: the kernel would clear every page of a new one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_TRIM_THRESHOLD, 512 << 20)
