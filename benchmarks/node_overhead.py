#!/usr/bin/env python3
"""How long the node works on a frame outside the network, by stage, on real pictures through DDS.

    tools/run python -m benchmarks.node_overhead [--frames 150] [--size 1600x900] [--cameras 1] [--transport raw]

The node runs in a process of its own with the embedded model; everything that it publishes is subscribed to, but the
debug images. Receiving is what rclpy takes to make an Image of the bytes that came, measured here on one of them.
The other stages are the node's own, from ~/debug/timing.
"""

from __future__ import annotations

import argparse
import array
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("decode", "preprocess", "postprocess", "association", "publish")
NODE = "overhead"
START_S, ANSWER_S = 60.0, 3.0  # how long is waited for the node, and for the answer to an image, which may be lost
MOST_LOST = 10


def pictures(size: tuple[int, int], count: int = 20) -> list[np.ndarray]:
    """The first frames of the demo clip, enlarged to (width, height)."""
    from centertrack_ros.io.rosbag import BagReader

    found: list[np.ndarray] = []
    with BagReader(ROOT / "demo" / "pets09_s2l1") as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
        for _, message in reader.messages([topic.name]):
            found.append(cv2.resize(cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR), size))
            if len(found) == count:
                break
    return found


def messages(args: argparse.Namespace) -> list[Any]:
    from sensor_msgs.msg import CompressedImage, Image

    made: list[Any] = []
    for picture in pictures(args.size):
        if args.transport == "compressed":
            data = cv2.imencode(".jpg", picture)[1]
            message = CompressedImage(format="bgr8; jpeg compressed bgr8", data=array.array("B", data.tobytes()))
        else:
            message = Image(encoding="bgr8", height=picture.shape[0], width=picture.shape[1], step=picture.shape[1] * 3)
            message.data = array.array("B", picture.tobytes())
        message.header.frame_id = "camera_optical"
        made.append(message)
    return made


def receiving_ms(message: Any) -> float:
    """Median of what deserialising takes, ms."""
    from rclpy.serialization import deserialize_message, serialize_message

    data, times = serialize_message(message), []
    for _ in range(30):
        start = time.perf_counter()
        deserialize_message(data, type(message))
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


class Camera:
    """Publishes one camera's messages and keeps the timings that come back."""

    def __init__(self, node: Any, name: str, args: argparse.Namespace, kind: Any) -> None:
        from sensor_msgs.msg import CameraInfo
        from vision_msgs.msg import Detection2DArray, Detection3DArray
        from visualization_msgs.msg import MarkerArray

        from centertrack_ros.msg import FrameTiming, TrackArray

        part = f"/{name}" if name else ""
        suffix = "/compressed" if args.transport == "compressed" else ""
        self.images = node.create_publisher(kind, f"/{NODE}/input{part}/image{suffix}", 1)
        self.infos = node.create_publisher(CameraInfo, f"/{NODE}/input{part}/camera_info", 1)
        self.timings: list[Any] = []
        self.objects = 0
        self._timing = node.create_subscription(FrameTiming, f"/{NODE}/debug{part}/timing", self.timings.append, 10)
        for topic, type_ in (("detections_3d", Detection3DArray), ("tracks", TrackArray), ("markers", MarkerArray)):
            node.create_subscription(type_, f"/{NODE}/output{part}/{topic}", lambda _: None, 10)
        node.create_subscription(Detection2DArray, f"/{NODE}/output{part}/detections_2d", self._count, 10)

    def is_connected(self) -> bool:
        """Whether the node subscribes to both topics, and its timings are subscribed to."""
        heard = self.images.get_subscription_count() and self.infos.get_subscription_count()
        return bool(heard and self._timing.get_publisher_count())

    def _count(self, message: Any) -> None:
        self.objects = len(message.detections)


def measure(args: argparse.Namespace) -> tuple[list[Camera], float]:
    """(cameras with their timings, ms to receive an image); the node is started and ended here."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from benchmarks import children

    names = [f"camera_{i}" for i in range(args.cameras)] if args.cameras > 1 else [""]
    parameters = ["-p", f"camera.transport:={args.transport}", "-p", f"model.threads:={args.threads}"]
    if args.cameras > 1:
        parameters += ["-p", f"cameras:=[{','.join(names)}]"]
    command = [
        sys.executable,
        str(ROOT / "bin" / "centertrack_node"),
        "--ros-args",
        "-r",
        f"__node:={NODE}",
        *parameters,
    ]
    made = messages(args)
    children.end_in_order()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("overhead_benchmark")
    try:
        with children.child(command) as process:
            cameras = [Camera(node, name, args, type(made[0])) for name in names]
            wait_for_node(node, cameras, process)
            ask(node, cameras, made, args)
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return cameras, receiving_ms(made[0])


def wait_for_node(node: Any, cameras: Sequence[Camera], process: Any) -> None:
    """Until the node hears images and calibrations and is heard itself."""
    import rclpy

    until = time.monotonic() + START_S
    while not all(camera.is_connected() for camera in cameras):
        rclpy.spin_once(node, timeout_sec=0.1)
        if process.poll() is not None:
            raise SystemExit("the node ended before it subscribed")
        if time.monotonic() > until:
            raise SystemExit(f"the node was not heard of within {START_S:g} s")


def ask(node: Any, cameras: Sequence[Camera], made: Sequence[Any], args: argparse.Namespace) -> None:
    """Images one after the other, the next when the last is answered, or when no answer will come any more."""
    import rclpy
    from sensor_msgs.msg import CameraInfo

    width, height = args.size
    focal = 0.8 * width
    info = CameraInfo(width=width, height=height, k=[focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0])
    lost = 0
    for index in range(args.frames + 10):
        message = made[index % len(made)]
        message.header.stamp = node.get_clock().now().to_msg()
        answered = [len(camera.timings) for camera in cameras]
        for camera in cameras:
            camera.infos.publish(info)
            camera.images.publish(message)
        until = time.monotonic() + ANSWER_S
        while any(len(c.timings) == before for c, before in zip(cameras, answered, strict=True)):
            rclpy.spin_once(node, timeout_sec=0.05)
            if time.monotonic() > until:
                lost += 1
                break
        if lost > MOST_LOST:
            raise SystemExit(f"{lost} of {index + 1} images were not answered: see what the node says above")
    if lost:
        print(f"{lost} of {args.frames + 10} images were not answered", file=sys.stderr)


def report(cameras: Sequence[Camera], receiving: float, args: argparse.Namespace) -> None:
    timings = [timing for camera in cameras for timing in camera.timings[10:]]
    if not timings:
        raise SystemExit("no frame was answered")
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(1600, 900))
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network; 0: as many as cores")
    parser.add_argument("--transport", choices=("raw", "compressed"), default="raw")
    args = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):  # up to Jazzy, and from Kilted on
        os.environ.setdefault(name, str(ROOT / "config" / "fastdds.xml"))
    report(*measure(args), args)


if __name__ == "__main__":
    main()
