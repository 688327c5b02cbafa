# SPDX-License-Identifier: Apache-2.0
"""The node in a process of its own: from its command line to its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from centertrack_ros.ros.command_line import unused_parameters, without_places
from centertrack_ros.ros.ending import END_WITH_PARENT, Ending
from centertrack_ros.ros.log_folder import ensure_log_folder
from centertrack_ros.ros.logs import ForwardingHandler
from centertrack_ros.ros.node import CenterTrackNode
from centertrack_ros.ros.parameter_specs import EVENTS
from centertrack_ros.ros.shared_memory import shortage_of_shared_memory

# Of one call to spin. EventsExecutor of rclpy's wheels, whose C++ library has no wait by the steady clock, turns a wait
# without a limit into a loop that keeps everybody else from its queue.
_SPIN_S = 3600.0

_LAUNCH_S = 3.0


class NodeProcess:
    """Runs one node until a signal ends the process."""

    def __init__(self, ending: Ending) -> None:
        """`ending` tells when a signal has come."""
        self._ending = ending
        self._context = rclpy.utilities.get_default_context()
        self._node: CenterTrackNode | None = None
        self._executor: Executor | None = None
        self._end: Future = Future()

    def run(self, arguments: Sequence[str]) -> int:
        """Makes the node, starts it, and runs its callbacks.

        Args:
            arguments: Command line with the program's name.

        Returns:
            The exit code: 1, with the reason on standard error, for a command line that cannot be used.
        """
        self._ending.prepare(wake=lambda: self._end.set_result(None), close=self._close)
        try:
            self._open(list(arguments))
            assert self._node is not None and self._executor is not None
            for line in unused_parameters(self._node, arguments):
                self._node.get_logger().warning(line)
            if not self._ending.requested.is_set():
                self._wait_for_launch()
                self._node.autostart()
            while not self._end.done():
                self._executor.spin_until_future_complete(self._end, _SPIN_S)
        except (ParameterException, NameValidationException, ValueError) as error:
            print(f"centertrack_node: {without_places(str(error))}", file=sys.stderr)
            return 1
        finally:
            self._ending.close()
        return 0

    def _wait_for_launch(self) -> None:
        """`ros2 launch` waits for the active state, as with a bag to play: it must have found the node before."""
        assert self._node is not None
        topic, deadline = f"{self._node.get_fully_qualified_name()}/transition_event", time.monotonic() + _LAUNCH_S
        while os.environ.get(END_WITH_PARENT) and not self._ending.requested.wait(0.1):
            if self._node.count_subscribers(topic) or time.monotonic() > deadline:
                self._ending.requested.wait(0.3)  # launch finds the node a moment later
                return

    def _open(self, arguments: list[str]) -> None:
        arguments = [*arguments, *ensure_log_folder()]
        shortage = shortage_of_shared_memory(os.environ)
        try:
            rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # rcl's: an unknown option, a name that ROS does not allow, a broken file
            raise ValueError(str(error)) from None
        self._node = CenterTrackNode(self._ending.leaving_alone)
        ForwardingHandler(self._node.get_logger()).install()
        if shortage:
            self._node.get_logger().warning(shortage)
        self._executor = executor_of(self._node)
        self._executor.add_node(self._node)

    def _close(self) -> None:
        """The DDS participant last, when nothing uses it any more."""
        if self._node is not None:
            self._node.stop()
            self._node.destroy_node()
        if self._executor is not None:
            self._executor.shutdown()
        rclpy.try_shutdown()
        self._context.destroy()


def executor_of(node: CenterTrackNode) -> Executor:
    """The executor that the node's parameter asks for; the usual one, after a line in the log, where rclpy lacks it."""
    if node.parameters.executor == EVENTS:
        try:
            from rclpy.experimental import EventsExecutor

            return EventsExecutor()
        except ImportError:
            node.get_logger().warning("executor events: this rclpy has no EventsExecutor; single_threaded is used")
    return SingleThreadedExecutor()
