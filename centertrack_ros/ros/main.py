"""The executable centertrack_node: one process around the node, which ends with 0 on SIGINT and SIGTERM."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

# A process that was told to end does so within this time, whatever a network or a driver is doing.
_GRACE_S = 1.5
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until it is told to end. Returns the process's exit code."""
    # A stop while it imports or starts is a stop, not an error. rclpy's own handlers, once there, call this one too,
    # which must not end the process then: a DDS participant that vanishes leaves its shared memory behind (64 MB with
    # config/fastdds.xml), and its peers believe in it for many seconds.
    stage = "importing"

    def on_signal(*_: object) -> None:
        if stage == "importing":
            os._exit(0)
        if stage == "starting":
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    # The network's threads wait for each other asleep: spinning, they would take the cores from everybody else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    try:
        import rclpy
        from rclpy.exceptions import ParameterException
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions, install_signal_handlers

        from centertrack_ros.ros.logs import Forward
        from centertrack_ros.ros.node import CenterTrackNode
    except ImportError as error:
        print(
            f"centertrack_node needs ROS 2 and vision_msgs: {error}. Source a ROS 2 distribution or use make.",
            file=sys.stderr,
        )
        return 1
    _keep_large_blocks()
    executor = node = None
    try:
        stage = "starting"
        rclpy.init(args=None if arguments is None else list(arguments), signal_handler_options=SignalHandlerOptions.NO)
        threading.Thread(target=_end_in_time, args=(rclpy.ok,), daemon=True).start()
        executor = SingleThreadedExecutor()
        node = CenterTrackNode()
        Forward(node.get_logger()).begin()
        executor.add_node(node)
        node.autostart()
        install_signal_handlers(SignalHandlerOptions.ALL)
        stage = "running"
        executor.spin()
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


def _end_in_time(alive: object) -> None:
    while alive():  # type: ignore[operator]
        time.sleep(0.1)
    time.sleep(_GRACE_S)
    os._exit(0)


def _keep_large_blocks() -> None:
    """Lets malloc keep image-sized blocks (glibc): from the kernel they come back with every page to be cleared."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_TRIM_THRESHOLD, 512 << 20)
