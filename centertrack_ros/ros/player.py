# SPDX-License-Identifier: Apache-2.0
"""Plays a bag's topics through DDS at the rate of their recording, as a process of its own.

    python -m centertrack_ros.ros.player BAG [--rate 2] [--loop 0] [--clock 50] [--remap /camera/image:=/front/image]

The due time of each message is fixed at the start, so delays never add up. With --events it reports to its parent what
it publishes (`centertrack_ros.ros.events`). With --lockstep it waits after each image for a line on its standard input.
"""

from __future__ import annotations

import argparse
import heapq
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from centertrack_ros.io.rosbag import BagReader, Record, message_types, time_message
from centertrack_ros.io.sources import COMPRESSED_TYPE, IMAGE_TYPE
from centertrack_ros.io.stamps import record_stamp
from centertrack_ros.ros.events import emit
from centertrack_ros.ros.log_folder import ensure_log_folder
from centertrack_ros.ros.topics import message_class, publisher_qos

CLOCK_TOPIC, CLOCK_TYPE = "/clock", "rosgraph_msgs/msg/Clock"
SECOND = 1_000_000_000
# A publisher knows its subscriber a moment before a best-effort subscriber knows the publisher, and what is published
# in between is lost.
_DISCOVERY_S = 0.3


class BagPlayer:
    """Publishes the records of an open bag.

    Attributes:
        publishers: the publisher of each topic of the bag, by its name in the bag.
    """

    def __init__(
        self,
        node: Node,
        reader: BagReader,
        topics: Sequence[str] | None,
        remap: Mapping[str, str],
        clock: float = 0.0,
    ) -> None:
        """Creates the publishers.

        Args:
            node: the node that publishes.
            reader: the open bag.
            topics: topics of the bag to play; None: all.
            remap: name in the bag -> name to publish on.
            clock: rate of a generated /clock, Hz, which replaces the bag's; 0: the bag's, if it has one.

        Raises:
            DataError: the bag has no such topic.
            ImportError: the package of a message type is not installed.
        """
        names = list(reader.topics) if topics is None else [reader.require(name).name for name in topics]
        self._names = [name for name in names if not (clock and name == CLOCK_TOPIC)]
        self._reader, self._clock, self._paused = reader, clock, 0.0
        self.publishers: dict[str, Any] = {}
        for name in self._names:
            topic = reader.topics[name]
            kind = message_class(topic.type)
            self.publishers[name] = node.create_publisher(kind, remap.get(name, name), publisher_qos(topic.qos))
        if clock:
            self.publishers[CLOCK_TOPIC] = node.create_publisher(Clock, CLOCK_TOPIC, publisher_qos(()))

    def wait_for_subscribers(self, topics: Sequence[str], timeout: float) -> None:
        """Returns once each of these topics has a subscriber.

        Args:
            topics: names in the bag.
            timeout: s.

        Raises:
            TimeoutError: a topic has none after `timeout`; the text names it.
        """
        deadline = time.monotonic() + timeout
        while missing := [name for name in topics if not self.publishers[name].get_subscription_count()]:
            if time.monotonic() > deadline:
                names = ", ".join(self.publishers[name].topic_name for name in missing)
                raise TimeoutError(f"nobody subscribed to {names} within {timeout:g} s")
            time.sleep(0.02)
        if topics:
            time.sleep(_DISCOVERY_S)

    def play(self, rate: float = 1.0) -> Iterator[tuple[Record, int, float]]:
        """Publishes all records once; `pause` between two of them delays the rest.

        Args:
            rate: speed as a factor; 1 is the speed of the recording.

        Yields:
            The record that was published, the system time of its publication, ns, and its delay, s.
        """
        start, self._paused = time.monotonic() + 0.05, 0.0
        for record in self._schedule():
            due = start + self._paused + (record.time_ns - self._reader.start_ns) / SECOND / rate
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            wall_ns, delay = time.time_ns(), time.monotonic() - due
            self.publishers[record.topic].publish(record.data)
            yield record, wall_ns, delay

    def pause(self, wait: Callable[[], object]) -> None:
        """Calls `wait`; the duration of the call delays the rest of the records."""
        start = time.monotonic()
        wait()
        self._paused += time.monotonic() - start

    def flush(self, timeout: float = 2.0) -> None:
        """Waits until reliable subscribers have received everything, for each topic up to `timeout` s."""
        for publisher in self.publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=timeout))

    def _schedule(self) -> Iterator[Record]:
        records = self._reader.records(self._names)
        if not self._clock:
            return records
        return heapq.merge(_ticks(self._reader.start_ns, self._reader.end_ns, self._clock), records, key=_time_of)


def _time_of(record: Record) -> int:
    return record.time_ns


def _ticks(start_ns: int, end_ns: int, rate: float) -> Iterator[Record]:
    """Messages for /clock from `start_ns` to `end_ns` at `rate` Hz."""
    index, tick = 0, start_ns
    while tick <= end_ns:
        message = message_types().types[CLOCK_TYPE](clock=time_message(tick))
        yield Record(CLOCK_TOPIC, CLOCK_TYPE, tick, bytes(message_types().serialize_cdr(message, CLOCK_TYPE)))
        index += 1
        tick = start_ns + round(index * SECOND / rate)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="player", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--topics", nargs="+", help="play these only; default: all of the bag")
    parser.add_argument("--remap", nargs="+", default=[], metavar="FROM:=TO")
    parser.add_argument("--rate", type=float, default=1.0, help="speed; 1 is that of the recording")
    parser.add_argument("--loop", type=int, default=1, help="how many times to play the bag; 0: without end")
    parser.add_argument("--clock", type=float, default=0.0, help="rate in Hz of a generated /clock; 0: the bag's")
    parser.add_argument("--wait-for", nargs="+", default=[], metavar="TOPIC", help="start once these have subscribers")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for those")
    parser.add_argument("--events", action="store_true", help="report published images to the parent process")
    parser.add_argument("--lockstep", action="store_true", help="after each image, wait for a line on standard input")
    args = parser.parse_args(argv)
    if not args.rate > 0:
        parser.error(f"--rate must be above 0, got {args.rate:g}")
    if not 0 <= args.clock <= 1000:
        parser.error(f"--clock must be between 0 and 1000 Hz, got {args.clock:g}")
    if any(":=" not in remap for remap in args.remap):
        parser.error("--remap takes FROM:=TO")
    return args


def _run(args: argparse.Namespace, node: Node) -> None:
    with BagReader(args.bag) as reader:
        player = BagPlayer(node, reader, args.topics, dict(pair.split(":=", 1) for pair in args.remap), args.clock)
        player.wait_for_subscribers([reader.require(name).name for name in args.wait_for], args.timeout)
        longest_delay, passes = 0.0, 0
        while args.loop == 0 or passes < args.loop:
            for record, wall_ns, delay in player.play(args.rate):
                longest_delay = max(longest_delay, delay)
                if record.type not in (IMAGE_TYPE, COMPRESSED_TYPE):
                    continue
                if args.events:
                    stamp_ns = record_stamp(record.data, record.time_ns)  # as the node's outputs have it
                    emit("published", topic=record.topic, stamp_ns=stamp_ns, wall_ns=wall_ns)
                if args.lockstep:
                    player.pause(sys.stdin.readline)
            passes += 1
        player.flush()
        if args.events:
            emit("finished", passes=passes, longest_delay_ms=1e3 * longest_delay)


def main(argv: Sequence[str] | None = None) -> int:
    """Plays a bag as the command line says.

    Returns:
        The exit code: 0; 1 after an error, which is on standard error; 130 after Ctrl-C.
    """
    args = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    rclpy.init(args=[*sys.argv, *ensure_log_folder()], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    node = rclpy.create_node("bag_player")
    try:
        _run(args, node)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        print(f"player: {error}", file=sys.stderr)
        return 1
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
