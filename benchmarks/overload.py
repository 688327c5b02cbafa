#!/usr/bin/env python3
"""How old results are when images come ten times as fast as the network can follow.

    tools/run python -m benchmarks.overload [--seconds 15] [--factor 10] [--size 768x576] [NODE PARAMETERS …]

First one image at a time, for the time of an inference; then the flood, from a process of its own. The latency is the
node's own (~/debug/pipeline_latency_ms: from the image's stamp, which is when it was sent, to the published result).
Ends with 1 when its 95th percentile is above two inferences plus 20 ms, or when the counts do not add up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
NODE, TIMING, ANSWERS = "flooded", "debug/timing", "output/detections_2d"
COUNTS = ("received", "processed", "dropped", "rejected")
MARGIN_MS = 20.0


def serialised(size: tuple[int, int]) -> list[bytearray]:
    """Pictures of the demo clip, (width, height) px, as messages whose stamp is still to be set."""
    from rclpy.serialization import serialize_message

    from support.ros_harness import demo_frames, image_message

    pictures = [cv2.resize(frame, size) for frame in demo_frames(10)]
    return [bytearray(serialize_message(image_message(picture, (1, 0)))) for picture in pictures]


def stamped(message: bytearray) -> bytes:
    now = time.time_ns()
    struct.pack_into("<iI", message, 4, now // 10**9, now % 10**9)
    return bytes(message)


def flood(size: tuple[int, int], rate: float, seconds: float, sent: Any) -> None:
    """A process that publishes at `rate` Hz, or as fast as it can; `sent` tells how many and for how long."""
    import rclpy

    from support.ros_harness import Probe

    rclpy.init()
    probe, messages = Probe(NODE), serialised(size)
    probe.wait_for_node()
    begin, count = time.monotonic(), 0
    while (now := time.monotonic() - begin) < seconds:
        probe.images.publish(stamped(messages[count % len(messages)]))
        count += 1
        time.sleep(max(begin + count / rate - time.monotonic(), 0.0))
    sent.put((count, now))
    time.sleep(1.0)
    probe.close()
    rclpy.shutdown()


def one_by_one(probe: Any, size: tuple[int, int], count: int = 30) -> list[float]:
    """Network times, ms, of images that are sent when the one before is answered."""
    from support.ros_harness import wait_until

    timings = probe.received[TIMING]
    for index, message in enumerate((serialised(size) * count)[: count + 5]):
        probe.images.publish(stamped(message))
        wait_until(lambda n=index: len(timings) > n, 20.0, "an answer")
    return [timing.network_ms for timing in timings[5:]]


def measure(args: argparse.Namespace) -> int:
    from support.ros_harness import Probe, start_node, wait_until

    node = start_node("camera.transport:=raw", "diagnostics.period_s:=0.2", *args.parameters, name=NODE)
    probe = Probe(NODE, outputs=(TIMING, ANSWERS, "/diagnostics"))
    try:
        probe.wait_for_node()
        alone = float(np.median(one_by_one(probe, args.size)))
        before = len(probe.received[TIMING])
        sent = multiprocessing.get_context("spawn").Queue()
        source = multiprocessing.get_context("spawn").Process(
            target=flood, args=(args.size, args.factor * 1e3 / alone, args.seconds, sent), daemon=True
        )
        source.start()
        count, took = sent.get(timeout=args.seconds + 60)
        source.join()

        def settled() -> dict[str, int] | None:
            seen = len(probe.received["/diagnostics"])
            _, values = wait_until(lambda: probe.status(f"{NODE}: camera", seen), 10.0, "diagnostics")
            counts = {key: int(values[key]) for key in COUNTS}
            return counts if counts["received"] == sum(counts[key] for key in COUNTS[1:]) else None

        counts = wait_until(settled, 10.0, "received = processed + dropped + rejected")
        wait_until(lambda: len(probe.received[ANSWERS]) == counts["processed"], 10.0, "as many answers as processed")
        return report(args, alone, count / took, probe.received[TIMING][before:], counts, len(probe.received[ANSWERS]))
    finally:
        probe.close()
        node.end()


def report(
    args: argparse.Namespace, alone: float, rate: float, timings: list[Any], counts: dict[str, int], answers: int
) -> int:
    latency = np.array([t.latency_ms for t in timings])
    inferences = np.array([t.network_ms for t in timings])
    network = float(np.median(inferences))
    p95, limit = float(np.percentile(latency, 95)), 2 * network + MARGIN_MS
    print(f"{args.size[0]}x{args.size[1]} raw, one inference: {alone:.1f} ms alone, {network:.1f} ms in the flood")
    print(f"sent {rate:.0f} images a second, {rate * alone / 1e3:.1f} times what the network follows alone")
    print(f"{', '.join(f'{number} {key}' for key, number in counts.items())}; {answers} answers published")
    for name, values in (("inference", inferences), ("pipeline latency", latency)):
        print(
            f"{name}: median {np.median(values):.1f} ms, p95 {np.percentile(values, 95):.1f}, worst {values.max():.1f}"
        )
    print(f"limit of the latency's p95: two inferences in the flood + {MARGIN_MS:g} ms = {limit:.1f} ms")
    print("kept" if p95 < limit else "FAILED: above the limit")
    return 0 if p95 < limit else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--factor", type=float, default=10.0, help="times the rate that the network can follow")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(768, 576))
    parser.add_argument("parameters", nargs="*", help="of the node: model.threads:=2 …")
    args = parser.parse_args()
    from centertrack_ros.cli._subprocess import ros_environment

    os.environ.update(ros_environment(ROOT / "config" / "fastdds.xml"))
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from benchmarks import children

    children.end_in_order()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        return measure(args)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
