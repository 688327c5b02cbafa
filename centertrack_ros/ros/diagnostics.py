# SPDX-License-Identifier: Apache-2.0
"""The node's health on /diagnostics: OK; WARN, it works with a limitation; ERROR, it does not work."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from centertrack_ros.ros.camera import CameraPipeline
from centertrack_ros.ros.parameters import DiagnosticsParameters

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
# A larger message is split into more packets than the default buffer of a socket holds.
LARGE_IMAGE_BYTES = 500_000


@dataclass(frozen=True)
class Health:
    """One status.

    Attributes:
        level: OK, WARN or ERROR.
        text: the message.
        values: further values by key.
        name: the camera; '' for the node as a whole.
    """

    level: bytes
    text: str
    values: Mapping[str, Any]
    name: str = ""


class Diagnostics:
    """Publishes one status for the node and one for each camera."""

    def __init__(self, node: Node, limits: Callable[[], DiagnosticsParameters]) -> None:
        """Creates the publisher; `limits` gives the parameters in force."""
        self._node, self._limits = node, limits
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._previous: dict[str, _Snapshot] = {}  # by camera

    def publish(self, node: Health, cameras: Iterable[CameraPipeline]) -> None:
        """Publishes the status of the node and of its cameras, of which there are none while it is not active."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        # With its namespace: several robots share the topic.
        name = self._node.get_fully_qualified_name().lstrip("/")
        for health in (node, *(self._camera(camera) for camera in cameras)):
            status = DiagnosticStatus(level=health.level, message=health.text, hardware_id=name)
            status.name = f"{name}: {health.name}" if health.name else name
            status.values = [KeyValue(key=key, value=str(value)) for key, value in health.values.items()]
            message.status.append(status)
        self._publisher.publish(message)

    def _camera(self, camera: CameraPipeline) -> Health:
        stream, now = camera.input, time.monotonic()
        counts = stream.counts
        current = _Snapshot(now, counts.received, counts.processed, counts.untransformed)
        previous = self._previous.get(stream.name) or current
        if previous.received > current.received:  # the node was activated again and counts from 0
            previous = _Snapshot(previous.time, 0, 0, 0)
        self._previous[stream.name] = current
        elapsed = max(now - previous.time, 1e-3)
        age = None if stream.last_arrival is None else now - stream.last_arrival
        rate = (current.processed - previous.processed) / elapsed
        values = {
            "image topic": stream.image_topic,
            "input rate (Hz)": f"{(current.received - previous.received) / elapsed:.1f}",
            "output rate (Hz)": f"{rate:.1f}",
            "image age (s)": "never" if age is None else f"{age:.2f}",
            "pipeline latency (ms)": _text(camera.stages.get("latency", 0.0)),
            "processing time (ms)": f"{camera.stages.get('processing', 0.0):.1f}",
            "network time (ms)": f"{camera.stages.get('network', 0.0):.1f}",
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "rejected": counts.rejected,
            "TF failures": counts.untransformed,
            "images lost on their way (%)": f"{100 * stream.loss.part:.0f}",
            "camera_info": stream.missing_calibration() or stream.calibration.problem or "good",
        }
        if (foreign := camera.foreign) is not None:
            values |= {
                "detections topic": foreign.topic,
                "detections received": foreign.received,
                "images without detections": foreign.missing,
            }
        level, text = self._level(camera, age, rate, current.untransformed - previous.untransformed)
        return Health(level, text or f"{rate:.1f} images per second", values, stream.name or "camera")

    def _level(self, camera: CameraPipeline, age: float | None, rate: float, failures: int) -> tuple[bytes, str]:
        """Level and message of a camera by its most serious problem; '' without one.

        Args:
            camera: The camera.
            age: of its last image, s; None: there was none.
            rate: processed images per second.
            failures: images without a transform since the last status.
        """
        stream, limits, latency = camera.input, self._limits(), camera.stages.get("latency", 0.0)
        if age is None or age > limits.max_age_s:
            return ERROR, stream.waiting_for()
        if stream.resting:
            return OK, "at rest: nobody subscribes to its results (output.lazy)"
        if camera.transform_error or failures:
            return (WARN if rate else ERROR), f"no transform: {camera.transform_error or 'for some images'}"
        if latency > limits.max_latency_ms:
            return WARN, f"results are {latency:.0f} ms old"
        if rate < limits.min_rate_hz:
            return WARN, f"only {rate:.1f} images per second"
        if stream.loss.part > limits.max_loss:
            return (
                WARN,
                f"{100 * stream.loss.part:.0f} % of the images get lost on their way{_remedy(stream.image_bytes)}",
            )
        if problem := stream.missing_calibration() or stream.calibration.problem:
            return WARN, f"2D only: {problem}"
        if camera.foreign is not None and camera.foreign.problem:
            return WARN, camera.foreign.problem
        return OK, ""


def _text(duration: float) -> str:
    """Of ms; 'unknown' for NaN."""
    return "unknown" if math.isnan(duration) else f"{duration:.1f}"


def _remedy(image_bytes: int) -> str:
    """What to do about images that get lost, as the end of a sentence; '' for small images."""
    if image_bytes < LARGE_IMAGE_BYTES:
        return ""
    return (
        f": they have {image_bytes / 1e6:.1f} MB, which Fast DDS needs the profile config/fastdds.xml for, "
        "in the camera's process as well (docs/ros.md, Large images)"
    )


@dataclass(frozen=True)
class _Snapshot:
    """A camera's counts at a time, s on the monotonic clock."""

    time: float
    received: int
    processed: int
    untransformed: int


def memory_of_device(device: str) -> dict[str, str]:
    """GPU memory that this process uses, for `Health.values`; empty unless the device is a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "GPU": torch.cuda.get_device_name(device),
        "GPU memory of this process (MB)": f"{torch.cuda.memory_reserved(device) / 1e6:.0f}",
        "GPU memory free (MB)": f"{free / 1e6:.0f} of {total / 1e6:.0f}",
    }
