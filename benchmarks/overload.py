#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The age of results when images arrive ten times as fast as the network can process them.

    python -m benchmarks.overload [--seconds 15] [--factor 10] [--size 768x576] [NODE PARAMETERS ...]

First one image at a time, which gives the time of an inference; then the overload, from a process of its own. The
latency is the node's own (~/debug/timing: from the image's stamp, which is the time of publishing, to the published
result). Ends with 1 when its 95th percentile is above two inferences plus 20 ms, or when the counts do not add up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.demo_clip import demo_frames
from benchmarks.node_client import (
    CameraClient,
    image_message,
    ros_node,
    spin_until,
    tracking_node,
    use_local_ros,
    wait_for_node,
)
from centertrack_ros.cli._arguments import image_size

NODE = "flooded"
COUNTS = ("received", "processed", "dropped", "rejected")
MARGIN_MS = 20.0
WARM_UP = 5  # images that do not count


def serialised(size: tuple[int, int]) -> list[bytearray]:
    """Images of the demo clip, (width, height) px, as messages whose stamp is still to be set."""
    from rclpy.serialization import serialize_message

    return [bytearray(serialize_message(image_message(frame))) for frame in demo_frames(10, size)]


def stamped(message: bytearray) -> bytes:
    """The message with the present time as its stamp."""
    now = time.time_ns()
    struct.pack_into("<iI", message, 4, now // 10**9, now % 10**9)
    return bytes(message)


def publish_fast(size: tuple[int, int], rate: float, seconds: float, done: Any) -> None:
    """Publishes at `rate` Hz, or as fast as it can, in a process of its own; puts (count, seconds) into `done`."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    with ros_node("overload_source") as node:
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        images, messages = node.create_publisher(Image, f"/{NODE}/input/image", reliable), serialised(size)
        if not spin_until(node, images.get_subscription_count, 20.0):
            raise SystemExit("the node does not subscribe to images")
        time.sleep(0.5)  # the node must have discovered this publisher, too
        start, count = time.monotonic(), 0
        while (elapsed := time.monotonic() - start) < seconds:
            images.publish(stamped(messages[count % len(messages)]))
            count += 1
            time.sleep(max(start + count / rate - time.monotonic(), 0.0))
        done.put((count, elapsed))
        time.sleep(1.0)


def inference_ms(node: Any, camera: CameraClient, messages: Sequence[bytearray], count: int = 30) -> float:
    """Median network time, ms, of images that are published one by one."""
    for index in range(count + WARM_UP):
        camera.images.publish(stamped(messages[index % len(messages)]))
        if not spin_until(node, partial(_has_more_than, camera.timings, index), 20.0):
            raise SystemExit("an image had no result within 20 s")
    return float(np.median([timing.network_ms for timing in camera.timings[WARM_UP:]]))


def _has_more_than(timings: Sequence[Any], count: int) -> bool:
    return len(timings) > count


class ImageCounts:
    """The newest numbers of received, processed, dropped and rejected images, from /diagnostics."""

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        self.newest: dict[str, int] = {}
        node.create_subscription(DiagnosticArray, "/diagnostics", self._read, 50)

    def _read(self, message: Any) -> None:
        for status in message.status:
            if status.name == f"{NODE}: camera":
                values = {value.key: value.value for value in status.values}
                self.newest = {key: int(values[key]) for key in COUNTS}

    def add_up(self) -> bool:
        """Whether every received image was processed, dropped or rejected."""
        counts = self.newest
        return bool(counts) and counts["received"] == sum(counts[key] for key in COUNTS[1:])


def measure(args: argparse.Namespace) -> int:
    """Runs the node alone and under overload, and reports. Returns the exit status."""
    parameters = ["model.threads:=1", "camera.transport:=raw", "diagnostics.period_s:=0.2", *args.parameters]
    with ros_node("overload_benchmark") as node, tracking_node(NODE, parameters) as process:
        camera, counts = CameraClient(node, NODE), ImageCounts(node)
        wait_for_node(node, [camera], process)
        time.sleep(0.5)  # the node must have discovered the publisher, too
        alone = inference_ms(node, camera, serialised(args.size))
        before = len(camera.timings)
        context = multiprocessing.get_context("spawn")
        done = context.Queue()
        source = context.Process(
            target=publish_fast, args=(args.size, args.factor * 1e3 / alone, args.seconds, done), daemon=True
        )
        source.start()
        if not spin_until(node, lambda: not done.empty(), args.seconds + 60):
            raise SystemExit("the source of images did not end")
        count, elapsed = done.get()
        source.join()
        counts.newest.clear()
        if not spin_until(node, lambda: counts.add_up() and camera.results == counts.newest["processed"], 20.0):
            raise SystemExit(f"the counts do not add up: {counts.newest}, {camera.results} results published")
        return report(args, alone, count / elapsed, camera.timings[before:], counts.newest, camera.results)


def report(
    args: argparse.Namespace, alone: float, rate: float, timings: list[Any], counts: Mapping[str, int], results: int
) -> int:
    """Prints the latencies. Returns 0 when they are within the limit, else 1."""
    latency = np.array([t.latency_ms for t in timings])
    inferences = np.array([t.network_ms for t in timings])
    network = float(np.median(inferences))
    p95, limit = float(np.percentile(latency, 95)), 2 * network + MARGIN_MS
    print(f"{args.size[0]}x{args.size[1]} raw, one inference: {alone:.1f} ms alone, {network:.1f} ms under overload")
    print(f"published {rate:.0f} images a second, {rate * alone / 1e3:.1f} times the network's own rate")
    print(f"{', '.join(f'{number} {key}' for key, number in counts.items())}; {results} results published")
    for name, values in (("inference", inferences), ("pipeline latency", latency)):
        print(
            f"{name}: median {np.median(values):.1f} ms, p95 {np.percentile(values, 95):.1f}, worst {values.max():.1f}"
        )
    print(f"limit of the latency's p95: two inferences under overload + {MARGIN_MS:g} ms = {limit:.1f} ms")
    print("ok" if p95 < limit else "FAILED: above the limit")
    return 0 if p95 < limit else 1


def main() -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--factor", type=float, default=10.0, help="times the rate of the network")
    parser.add_argument("--size", type=image_size, default=(768, 576), metavar="WxH", help="of the images, px")
    parser.add_argument("parameters", nargs="*", help="of the node: model.threads:=2 ...")
    args = parser.parse_args()
    use_local_ros()
    return measure(args)


if __name__ == "__main__":
    sys.exit(main())
