# SPDX-License-Identifier: Apache-2.0
"""A camera and a reader of detections on Cyclone DDS, without ROS: what another middleware sees of the node.

    python -m support.cyclone_peer --node NAME --domain ID [--count 20] [--scale 0.25] [--compressed] [--best-effort]

Sends images of the demo clip and waits for the answer to each; prints a line of JSON. Everything stays on the loopback
interface. The types are those of the messages under the names that ROS gives them on the wire.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import cv2

LOOPBACK = """
<CycloneDDS xmlns="https://cdds.io/config"><Domain Id="any">
  <General>
    <Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
    <AllowMulticast>false</AllowMulticast>
    <MaxMessageSize>65500B</MaxMessageSize>
  </General>
  <Discovery>
    <ParticipantIndex>auto</ParticipantIndex>
    <MaxAutoParticipantIndex>40</MaxAutoParticipantIndex>
    <Peers><Peer address="127.0.0.1"/></Peers>
  </Discovery>
  <Internal><SocketReceiveBufferSize min="default"/></Internal>
</Domain></CycloneDDS>
"""
os.environ["CYCLONEDDS_URI"] = LOOPBACK  # read when cyclonedds creates its domain

from cyclonedds.core import Policy, Qos  # noqa: E402
from cyclonedds.domain import DomainParticipant  # noqa: E402
from cyclonedds.idl import IdlStruct  # noqa: E402
from cyclonedds.idl.types import array, float64, int32, sequence, uint8, uint32  # noqa: E402
from cyclonedds.pub import DataWriter  # noqa: E402
from cyclonedds.sub import DataReader  # noqa: E402
from cyclonedds.topic import Topic  # noqa: E402
from cyclonedds.util import duration  # noqa: E402


@dataclass
class Time(IdlStruct, typename="builtin_interfaces.msg.dds_.Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs.msg.dds_.Header_"):
    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs.msg.dds_.Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
class CompressedImage(IdlStruct, typename="sensor_msgs.msg.dds_.CompressedImage_"):
    header: Header
    format: str
    data: sequence[uint8]


@dataclass
class Point(IdlStruct, typename="geometry_msgs.msg.dds_.Point_"):
    x: float64
    y: float64
    z: float64


@dataclass
class Quaternion(IdlStruct, typename="geometry_msgs.msg.dds_.Quaternion_"):
    x: float64
    y: float64
    z: float64
    w: float64


@dataclass
class Pose(IdlStruct, typename="geometry_msgs.msg.dds_.Pose_"):
    position: Point
    orientation: Quaternion


@dataclass
class PoseWithCovariance(IdlStruct, typename="geometry_msgs.msg.dds_.PoseWithCovariance_"):
    pose: Pose
    covariance: array[float64, 36]


@dataclass
class ObjectHypothesis(IdlStruct, typename="vision_msgs.msg.dds_.ObjectHypothesis_"):
    class_id: str
    score: float64


@dataclass
class ObjectHypothesisWithPose(IdlStruct, typename="vision_msgs.msg.dds_.ObjectHypothesisWithPose_"):
    hypothesis: ObjectHypothesis
    pose: PoseWithCovariance


@dataclass
class Point2D(IdlStruct, typename="vision_msgs.msg.dds_.Point2D_"):
    x: float64
    y: float64


@dataclass
class Pose2D(IdlStruct, typename="vision_msgs.msg.dds_.Pose2D_"):
    position: Point2D
    theta: float64


@dataclass
class BoundingBox2D(IdlStruct, typename="vision_msgs.msg.dds_.BoundingBox2D_"):
    center: Pose2D
    size_x: float64
    size_y: float64


@dataclass
class Detection2D(IdlStruct, typename="vision_msgs.msg.dds_.Detection2D_"):
    header: Header
    results: sequence[ObjectHypothesisWithPose]
    bbox: BoundingBox2D
    id: str


@dataclass
class Detection2DArray(IdlStruct, typename="vision_msgs.msg.dds_.Detection2DArray_"):
    header: Header
    detections: sequence[Detection2D]


def quality(best_effort: bool) -> Qos:
    """Keeps the last ten, volatile."""
    reliability = Policy.Reliability.BestEffort if best_effort else Policy.Reliability.Reliable(duration(seconds=1))
    return Qos(reliability, Policy.Durability.Volatile, Policy.History.KeepLast(10))


def exchange(arguments: argparse.Namespace) -> dict[str, Any]:
    """Sends images one by one, each after the answer to the one before; what came back."""
    from support.ros_harness import demo_frames

    participant = DomainParticipant(arguments.domain)
    suffix, kind = ("/compressed", CompressedImage) if arguments.compressed else ("", Image)
    name = f"rt/{arguments.node}/input/image{suffix}"
    writer = DataWriter(participant, Topic(participant, name, kind), qos=quality(arguments.best_effort))
    results = Topic(participant, f"rt/{arguments.node}/output/detections_2d", Detection2DArray)
    reader = DataReader(participant, results, qos=quality(False))
    deadline = time.monotonic() + 30.0
    while not (writer.get_matched_subscriptions() and reader.get_matched_publications()):
        if time.monotonic() > deadline:
            raise SystemExit("the node was not discovered within 30 s")
        time.sleep(0.1)
    answers, latencies, boxes = 0, [], 0
    for number, frame in enumerate(demo_frames(arguments.count)):
        image = cv2.resize(frame, None, fx=arguments.scale, fy=arguments.scale, interpolation=cv2.INTER_AREA)
        stamp = Time(1000 + number // 10, number % 10 * 100_000_000)
        begin = time.monotonic()
        writer.write(_message(image, Header(stamp, "camera"), arguments.compressed))
        found = _answer(reader, stamp, arguments.timeout)
        if found is not None:
            answers += 1
            latencies.append((time.monotonic() - begin) * 1e3)
            boxes += len(found.detections)
            assert all(one.id and one.results[0].hypothesis.class_id for one in found.detections)
    median = round(statistics.median(latencies), 1) if latencies else None
    return {"sent": arguments.count, "answered": answers, "boxes": boxes, "median_ms": median}


def _message(image: Any, header: Header, compressed: bool) -> Any:
    if compressed:
        return CompressedImage(header, "jpeg", cv2.imencode(".jpg", image)[1].tobytes())
    height, width = image.shape[:2]
    return Image(header, height, width, "bgr8", 0, 3 * width, image.tobytes())


def _answer(reader: DataReader, stamp: Time, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for sample in reader.take(10):
            if isinstance(sample, Detection2DArray) and sample.header.stamp == stamp:
                return sample
        time.sleep(0.002)
    return None


def main() -> int:
    """Runs the exchange."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--node", required=True)
    parser.add_argument("--domain", type=int, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--timeout", type=float, default=5.0, help="for one answer, s")
    parser.add_argument("--scale", type=float, default=1.0, help="of the images' sides")
    parser.add_argument("--compressed", action="store_true")
    parser.add_argument("--best-effort", action="store_true")
    print(json.dumps(exchange(parser.parse_args())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
