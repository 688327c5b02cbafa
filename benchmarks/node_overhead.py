#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The node's work on a frame outside the network, by stage, on real images through DDS.

    python -m benchmarks.node_overhead [--frames 150] [--size 1600x900] [--cameras 1] [--transport raw]

The node runs in a process of its own with the embedded model; everything that it publishes has a subscriber, but the
debug images. Receiving is rclpy's deserialisation of an Image, measured here. The other stages are the node's own, from
~/debug/timing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
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

STAGES = ("decode", "preprocess", "postprocess", "association", "publish")
NODE = "overhead"
RESULT_S = 3.0  # how long to wait for the result of an image, which may be lost
MAX_LOST = 10
WARM_UP = 10  # frames that do not count


def receiving_ms(message: Any) -> float:
    """Median time of deserialising a message, ms."""
    from rclpy.serialization import deserialize_message, serialize_message

    data, times = serialize_message(message), []
    for _ in range(30):
        start = time.perf_counter()
        deserialize_message(data, type(message))
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def measure(
    frames: int,
    size: tuple[int, int],
    cameras: int = 1,
    transport: str = "raw",
    threads: int = 0,
    further: Sequence[str] = (),
) -> tuple[list[CameraClient], float]:
    """Runs the node on so many images of each camera.

    Args:
        frames: Images that count; ten more come first.
        size: (width, height) px of the images.
        cameras: Number of cameras; all publish the same images at the same time.
        transport: 'raw' or 'compressed'.
        threads: CPU threads of the network; 0: as many as cores.
        further: Parameters of the node, 'name:=value'.

    Returns:
        The cameras with their timings, and the time to receive one image, ms.
    """
    names = [f"camera_{i}" for i in range(cameras)] if cameras > 1 else [""]
    parameters = [f"camera.transport:={transport}", f"model.threads:={threads}", *further]
    if cameras > 1:
        parameters.append(f"cameras:=[{','.join(names)}]")
    messages = [image_message(image, transport) for image in demo_frames(20, size)]
    with ros_node("overhead_benchmark") as node, tracking_node(NODE, parameters) as process:
        clients = [CameraClient(node, NODE, name, transport) for name in names]
        wait_for_node(node, clients, process)
        publish_one_by_one(node, clients, messages, frames + WARM_UP, size)
    return clients, receiving_ms(messages[0])


def publish_one_by_one(
    node: Any, cameras: Sequence[CameraClient], messages: Sequence[Any], count: int, size: tuple[int, int]
) -> None:
    """Publishes images, the next one when the results of the last one are there.

    Raises:
        SystemExit: More than ten images had no result within three seconds.
    """
    from sensor_msgs.msg import CameraInfo

    width, height = size
    focal = 0.8 * width
    info = CameraInfo(width=width, height=height, k=[focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0])
    lost = 0
    for index in range(count):
        message = messages[index % len(messages)]
        message.header.stamp = node.get_clock().now().to_msg()
        before = [len(camera.timings) for camera in cameras]
        for camera in cameras:
            camera.infos.publish(info)
            camera.images.publish(message)

        def is_done(before: Sequence[int] = before) -> bool:
            return all(len(camera.timings) > count for camera, count in zip(cameras, before, strict=True))

        lost += not spin_until(node, is_done, RESULT_S)
        if lost > MAX_LOST:
            raise SystemExit(f"{lost} of {index + 1} images had no result: see the node's messages above")
    if lost:
        print(f"{lost} of {count} images had no result", file=sys.stderr)


def report(cameras: Sequence[CameraClient], receiving: float, args: argparse.Namespace) -> None:
    """Prints the times of all stages."""
    timings = [timing for camera in cameras for timing in camera.timings[WARM_UP:]]
    if not timings:
        raise SystemExit("no frame had a result")
    columns = {stage: np.array([getattr(t, f"{stage}_ms") for t in timings]) for stage in (*STAGES, "network")}
    if args.cameras == 1:
        whole = np.array([t.processing_ms for t in timings])
        columns["other"] = whole - sum(columns.values())
    outside = receiving + sum(values for stage, values in columns.items() if stage != "network")
    width, height = args.size
    print(f"{width}x{height} {args.transport}, {args.cameras} cameras, {len(timings)} frames")
    print(f"{cameras[0].objects} objects in the last frame")
    print(f"{'stage':14}{'median ms':>12}{'p95 ms':>12}")
    print(f"{'receiving':14}{receiving:12.2f}")
    for stage, values in columns.items():
        print(f"{stage:14}{np.median(values):12.2f}{np.percentile(values, 95):12.2f}")
    print(f"{'outside':14}{np.median(outside):12.2f}{np.percentile(outside, 95):12.2f}   without the network")
    ages = np.array([t.image_age_ms for t in timings])
    print(
        f"{'image age':14}{np.median(ages):12.2f}{np.percentile(ages, 95):12.2f}   from publishing to the start of work"
    )


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--size", type=image_size, default=(1600, 900), metavar="WxH", help="of the images, px")
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network; 0: as many as cores")
    parser.add_argument("--transport", choices=("raw", "compressed"), default="raw")
    args = parser.parse_args()
    use_local_ros()
    report(*measure(args.frames, args.size, args.cameras, args.transport, args.threads), args)


if __name__ == "__main__":
    main()
