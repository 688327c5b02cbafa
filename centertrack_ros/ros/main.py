# SPDX-License-Identifier: Apache-2.0
"""The executable centertrack_node: runs the node in a process that ends with exit code 0 on SIGINT and SIGTERM."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rclpy may be missing, which `main` reports
    from rclpy.executors import Executor

# After a signal the process ends within this time, even while the network or a driver blocks.
_GRACE_S = 1.5
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM.

    Args:
        arguments: command line with the program's name; None: that of the process.

    Returns:
        The exit code: 0; 1 for a missing package or a bad parameter, with the reason on standard error.
    """
    # A signal during imports or start-up ends the process without an error. Later rclpy's handlers call this handler
    # too, which must not end the process then: without an orderly shutdown the DDS participant leaves its shared memory
    # behind (64 MB with config/fastdds.xml), and its peers take many seconds to notice.
    stage = "importing"

    def on_signal(*_: object) -> None:
        if stage == "importing":
            os._exit(0)
        if stage == "starting":
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    # Idle threads of the network sleep: with active waiting they would take the cores from other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    try:
        import rclpy
        from rclpy.exceptions import ParameterException
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions, install_signal_handlers

        from centertrack_ros.ros.log_folder import ensure_log_folder
        from centertrack_ros.ros.logs import ForwardingHandler
        from centertrack_ros.ros.node import CenterTrackNode
    except ImportError as error:
        print(
            f"centertrack_node needs ROS 2 and vision_msgs: {error}. Source a ROS 2 distribution or use make.",
            file=sys.stderr,
        )
        return 1
    _tune_malloc()
    executor = node = None
    try:
        stage = "starting"
        ensure_log_folder()
        rclpy.init(args=None if arguments is None else list(arguments), signal_handler_options=SignalHandlerOptions.NO)
        threading.Thread(target=_end_in_time, args=(rclpy.ok,), daemon=True).start()
        executor = SingleThreadedExecutor()
        node = CenterTrackNode()
        ForwardingHandler(node.get_logger()).install()
        executor.add_node(node)
        node.autostart()
        install_signal_handlers(SignalHandlerOptions.ALL)
        stage = "running"
        _spin(executor, rclpy.ok)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ParameterException, ValueError) as error:
        print(f"centertrack_node: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    finally:
        stage = "ending"
        context = rclpy.utilities.get_default_context()
        if node is not None:
            node.stop()
            node.destroy_node()
        if executor is not None:
            executor.shutdown()
        rclpy.try_shutdown()
        context.destroy()
    return 0


def _spin(executor: Executor, alive: Callable[[], bool]) -> None:
    """Runs callbacks until SIGINT or SIGTERM, after which `alive` returns False."""
    try:
        executor.spin()
    except RuntimeError:
        # RCLError: the signal has shut the context down while the executor was preparing to wait.
        if alive():
            raise


def _end_in_time(alive: Callable[[], bool]) -> None:
    """Ends the process by force, `_GRACE_S` after `alive` has returned False."""
    while alive():
        time.sleep(0.1)
    time.sleep(_GRACE_S)
    os._exit(0)


def _tune_malloc() -> None:
    """Lets malloc (glibc) reuse image-sized blocks: the kernel would clear every page of a new one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_TRIM_THRESHOLD, 512 << 20)
