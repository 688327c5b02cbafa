"""Plays a bag's topics through DDS at the rate of their recording, as a process of its own.

    python -m centertrack_ros.ros.player BAG [--rate 2] [--loop 0] [--clock 50] [--remap /camera/image:=/front/image]

Each message is due at a point of time fixed at the start, so delays never add up. With --events it tells its parent
what it publishes (`centertrack_ros.ros.events`); with --lockstep the parent answers each image by a line when the next
may follow.
"""

from __future__ import annotations

import argparse
import heapq
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from centertrack_ros.io.rosbag import BagReader, Record, message_types, time_message
from centertrack_ros.io.sources import COMPRESSED_TYPE, IMAGE_TYPE
from centertrack_ros.ros.events import emit
from centertrack_ros.ros.topics import header_stamp_ns, message_class, publisher_qos

CLOCK_TOPIC, CLOCK_TYPE = "/clock", "rosgraph_msgs/msg/Clock"
SECOND = 1_000_000_000


class BagPlayer:
    """Publishes the records of an open bag from `node`.

    topics  which ones, None: all; remap: name in the bag -> name to publish on
    clock   Hz of a /clock of its own, in place of the bag's; 0: the bag's, if it has one
    """

    def __init__(
        self, node: Node, reader: BagReader, topics: Sequence[str] | None, remap: dict[str, str], clock: float = 0.0
    ) -> None:
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
        """Returns once each of these topics of the bag has a subscriber. Raises TimeoutError naming those without."""
        until = time.monotonic() + timeout
        while missing := [name for name in topics if not self.publishers[name].get_subscription_count()]:
            if time.monotonic() > until:
                names = ", ".join(self.publishers[name].topic_name for name in missing)
                raise TimeoutError(f"nobody subscribed to {names} within {timeout:g} s")
            time.sleep(0.02)

    def play(self, rate: float = 1.0) -> Iterator[tuple[Record, int, float]]:
        """Publishes one pass; yields each record with the system's time of publication, ns, and how late that was, s.

        `pause` in between sets the time of the following records back.
        """
        start, self._paused = time.monotonic() + 0.05, 0.0
        for record in self._schedule():
            due = start + self._paused + (record.time_ns - self._reader.start_ns) / SECOND / rate
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            wall_ns, late = time.time_ns(), time.monotonic() - due
            self.publishers[record.topic].publish(record.data)
            yield record, wall_ns, late

    def pause(self, until: Callable[[], object]) -> None:
        """Stands still as long as `until` takes."""
        begun = time.monotonic()
        until()
        self._paused += time.monotonic() - begun

    def flush(self, timeout: float = 2.0) -> None:
        """Waits until reliable subscribers have everything."""
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
    index, tick = 0, start_ns
    while tick <= end_ns:
        message = message_types().types[CLOCK_TYPE](clock=time_message(tick))
        yield Record(CLOCK_TOPIC, CLOCK_TYPE, tick, bytes(message_types().serialize_cdr(message, CLOCK_TYPE)))
        index += 1
        tick = start_ns + round(index * SECOND / rate)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="player", description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--topics", nargs="+", help="only these; all of the bag otherwise")
    parser.add_argument("--remap", nargs="+", default=[], metavar="FROM:=TO")
    parser.add_argument("--rate", type=float, default=1.0, help="1 is the speed of the recording")
    parser.add_argument("--loop", type=int, default=1, help="how often the bag is played; 0: for ever")
    parser.add_argument("--clock", type=float, default=0.0, help="Hz of a /clock of its own instead of the bag's")
    parser.add_argument("--wait-for", nargs="+", default=[], metavar="TOPIC", help="play once these have subscribers")
    parser.add_argument("--timeout", type=float, default=30.0, help="s to wait for those")
    parser.add_argument("--events", action="store_true", help="tell a parent process what is published")
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
        latest, passes = 0.0, 0
        while args.loop == 0 or passes < args.loop:
            for record, wall_ns, late in player.play(args.rate):
                latest = max(latest, late)
                if record.type not in (IMAGE_TYPE, COMPRESSED_TYPE):
                    continue
                if args.events:
                    stamp_ns = header_stamp_ns(record.data)
                    emit("published", topic=record.topic, stamp_ns=stamp_ns, wall_ns=wall_ns)
                if args.lockstep:
                    player.pause(sys.stdin.readline)
            passes += 1
        player.flush()
        if args.events:
            emit("finished", passes=passes, latest_ms=1e3 * latest)


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
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
