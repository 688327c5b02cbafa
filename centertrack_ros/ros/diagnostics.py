# SPDX-License-Identifier: Apache-2.0
"""The node's health on /diagnostics: OK; WARN, it works with a limitation; ERROR, it does not work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from centertrack_ros.ros.camera import CameraPipeline
from centertrack_ros.ros.parameters import DiagnosticsParameters

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
HARDWARE_ID = "centertrack_ros"
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
        self._limits = limits
        self._publisher = _publisher(node, limits().period_s)
        self._previous: dict[str, _Snapshot] = {}  # by camera

    def publish(self, node: Health, cameras: Iterable[CameraPipeline]) -> None:
        """Publishes the status of the node and of its cameras, of which there are none while it is not active."""
        self._publisher.publish([node, *(self._camera(camera) for camera in cameras)])

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
            "pipeline latency (ms)": f"{camera.stages.get('latency', 0.0):.1f}",
            "processing time (ms)": f"{camera.stages.get('processing', 0.0):.1f}",
            "network time (ms)": f"{camera.stages.get('network', 0.0):.1f}",
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "rejected": counts.rejected,
            "TF failures": counts.untransformed,
            "images lost on their way (%)": f"{100 * stream.loss.part:.0f}",
            "camera_info": stream.calibration.problem or "good",
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
        if stream.calibration.problem:
            return WARN, f"2D only: {stream.calibration.problem}"
        return OK, ""


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


class _Publisher(Protocol):
    def publish(self, healths: Sequence[Health]) -> None:
        """Publishes these as one message."""


def _publisher(node: Node, period: float) -> _Publisher:
    """diagnostic_updater where it is installed, else a publisher of our own."""
    try:
        from diagnostic_updater import Updater
    except ImportError:
        return _PlainPublisher(node)
    return _UpdaterPublisher(node, Updater, period)


class _PlainPublisher:
    """Publishes DiagnosticArray messages itself."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)

    def publish(self, healths: Sequence[Health]) -> None:
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip("/")
        for health in healths:
            status = DiagnosticStatus(level=health.level, message=health.text, hardware_id=HARDWARE_ID)
            status.name = f"{name}: {health.name}" if health.name else name
            status.values = [KeyValue(key=key, value=str(value)) for key, value in health.values.items()]
            message.status.append(status)
        self._publisher.publish(message)


class _UpdaterPublisher:
    """Adds a task to diagnostic_updater for each status; it names them "node: task"."""

    def __init__(self, node: Node, updater: Any, period: float) -> None:
        self._updater = updater(node, period)
        self._updater.timer.cancel()  # its clock may be /clock, which may not run
        self._updater.setHardwareID(HARDWARE_ID)
        self._healths: dict[str, Health] = {}

    def publish(self, healths: Sequence[Health]) -> None:
        new = {health.name or "node": health for health in healths}
        for name in [name for name in self._healths if name not in new]:
            self._updater.removeByName(name)
        old, self._healths = self._healths, new
        for name in [name for name in new if name not in old]:
            self._updater.add(name, lambda status, name=name: self._fill(status, self._healths[name]))
        self._updater.force_update()

    def _fill(self, status: Any, health: Health) -> Any:
        status.summary(health.level, health.text)
        for key, value in health.values.items():
            status.add(key, str(value))
        return status
