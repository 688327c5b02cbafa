# SPDX-License-Identifier: Apache-2.0
"""Records topics to a bag, as a process of its own; the record time is the system time of reception.

    python -m centertrack_ros.ros.recorder BAG --topics /centertrack/output/tracks /centertrack/output/detections_3d

It waits for a publisher on each topic, so that nothing is missed once it has reported `ready`. On SIGINT and SIGTERM it
completes the bag and ends. With --events it reports to its parent what it records (`centertrack_ros.ros.events`).
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import rclpy
from rclpy.node import Node

from centertrack_ros.io.rosbag import BagWriter
from centertrack_ros.io.stamps import header_stamp_ns
from centertrack_ros.ros.events import emit
from centertrack_ros.ros.log_folder import ensure_log_folder
from centertrack_ros.ros.topics import message_class, subscriber_qos


class Recorder:
    """Subscribes to topics as they appear and writes their messages as serialised bytes.

    Attributes:
        counts: recorded messages by topic.
        unreported: topic, stamp and time of reception, ns, of messages with a header that are not yet reported.
    """

    def __init__(self, node: Node, writer: BagWriter, topics: Sequence[str]) -> None:
        """Records `topics` (full names) with `writer`; `node` subscribes."""
        self._node, self._writer, self._missing = node, writer, list(topics)
        self.counts: Counter[str] = Counter()
        self.unreported: list[dict[str, object]] = []

    def discover(self) -> list[str]:
        """Subscribes to the topics that have a publisher by now; returns the topics without one."""
        known = dict(self._node.get_topic_names_and_types())
        for topic in list(self._missing):
            if topic in known and self._node.count_publishers(topic):
                self._subscribe(topic, known[topic][0])
                self._missing.remove(topic)
        return list(self._missing)

    def _subscribe(self, topic: str, type_name: str) -> None:
        self._writer.add_topic(topic, type_name)
        qos = subscriber_qos(self._node, topic)
        kind = message_class(type_name)
        has_header = next(iter(kind.get_fields_and_field_types()), "") == "header"

        def record(data: Any) -> None:  # bytes: rclpy's types do not know of `raw` in every distribution
            self._record(topic, has_header, data)

        self._node.create_subscription(kind, topic, record, qos, raw=True)

    def _record(self, topic: str, has_header: bool, data: bytes) -> None:
        wall_ns = time.time_ns()
        self._writer.write(topic, data, wall_ns)
        self.counts[topic] += 1
        if has_header:
            self.unreported.append({"topic": topic, "stamp_ns": header_stamp_ns(data), "wall_ns": wall_ns})


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recorder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bag", type=Path, help="folder to create")
    parser.add_argument("--topics", nargs="+", required=True)
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for a publisher on every topic")
    parser.add_argument("--events", action="store_true", help="report recorded messages to the parent process")
    return parser.parse_args(argv)


def _run(args: argparse.Namespace, node: Node, writer: BagWriter, stopped: Event) -> None:
    recorder = Recorder(node, writer, args.topics)
    deadline = time.monotonic() + args.timeout
    while missing := recorder.discover():
        if stopped.is_set():
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody published {', '.join(missing)} within {args.timeout:g} s")
        time.sleep(0.05)
    if args.events:
        emit("ready")
    while not stopped.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
        for event in recorder.unreported:
            if args.events:
                emit("recorded", **event)
        recorder.unreported.clear()
    if args.events:
        emit("finished", counts=dict(recorder.counts))


def main(argv: Sequence[str] | None = None) -> int:
    """Records topics as the command line says.

    Returns:
        The exit code: 0; 1 after an error, which is on standard error.
    """
    args = _arguments(argv)
    rclpy.init(args=[*sys.argv, *ensure_log_folder()], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    node = rclpy.create_node("bag_recorder")
    stopped = Event()  # not an exception, which could interrupt a write
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with BagWriter(args.bag, args.storage) as writer:
            _run(args, node, writer, stopped)
    except (ValueError, OSError, ImportError) as error:
        print(f"recorder: {error}", file=sys.stderr)
        return 1
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
