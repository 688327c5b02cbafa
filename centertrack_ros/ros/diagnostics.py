"""The node's health on /diagnostics. OK; WARN: it works, but look at it; ERROR: it does not work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from centertrack_ros.ros.camera import CameraPipeline
from centertrack_ros.ros.parameters import DiagnosticsParameters

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
HARDWARE_ID = "centertrack_ros"
# From here on a message is cut into so many packets that a socket's usual buffer cannot hold them.
LARGE_IMAGE_BYTES = 500_000


@dataclass(frozen=True)
class Health:
    """One status: the node's as a whole has no name."""

    level: bytes
    text: str
    values: Mapping[str, Any]
    name: str = ""


class Diagnostics:
    """Publishes one status for the node and one for each camera."""

    def __init__(self, node: Node, limits: Callable[[], DiagnosticsParameters]) -> None:
        self._limits = limits
        self._reporter = _reporter(node, limits().period_s)
        self._seen: dict[str, _Seen] = {}

    def publish(self, node: Health, cameras: Iterable[CameraPipeline]) -> None:
        """No cameras while the node is not active."""
        self._reporter.publish([node, *(self._camera(camera) for camera in cameras)])

    def _camera(self, camera: CameraPipeline) -> Health:
        stream, now = camera.input, time.monotonic()
        counts = stream.counts
        seen = _Seen(now, counts.received, counts.processed, counts.dropped, counts.untransformed)
        before = self._seen.get(stream.name) or seen
        if before.received > seen.received:  # activated anew
            before = _Seen(before.time, 0, 0, 0, 0)
        self._seen[stream.name] = seen
        elapsed = max(now - before.time, 1e-3)
        age = None if stream.last_arrival is None else now - stream.last_arrival
        rate = (seen.processed - before.processed) / elapsed
        values = {
            "image topic": stream.image_topic,
            "input rate (Hz)": f"{(seen.received - before.received) / elapsed:.1f}",
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
        level, text = self._judge(camera, age, rate, seen.untransformed - before.untransformed)
        return Health(level, text or f"{rate:.1f} images per second", values, stream.name or "camera")

    def _judge(self, camera: CameraPipeline, age: float | None, rate: float, failures: int) -> tuple[bytes, str]:
        """The worst first; no text when all is well."""
        stream, limits, latency = camera.input, self._limits(), camera.stages.get("latency", 0.0)
        if age is None or age > limits.max_age_s:
            return ERROR, stream.waiting_for()
        if camera.transform_error or failures:
            return (WARN if rate else ERROR), f"no transform: {camera.transform_error or 'now and then'}"
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
    if image_bytes < LARGE_IMAGE_BYTES:
        return ""
    return (
        f": they have {image_bytes / 1e6:.1f} MB, which Fast DDS needs the profile config/fastdds.xml for, "
        "in the camera's process as well (docs/ros.md, Large images)"
    )


@dataclass(frozen=True)
class _Seen:
    """A camera's counts at a time, s on the monotonic clock."""

    time: float
    received: int
    processed: int
    dropped: int
    untransformed: int


def memory_of_device(device: str) -> dict[str, str]:
    """What the process holds on the GPU, for `values`; nothing when there is none in use."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "GPU": torch.cuda.get_device_name(device),
        "GPU memory of this process (MB)": f"{torch.cuda.memory_reserved(device) / 1e6:.0f}",
        "GPU memory free (MB)": f"{free / 1e6:.0f} of {total / 1e6:.0f}",
    }


def _reporter(node: Node, period: float) -> Any:
    """diagnostic_updater where it is installed, else a publisher of our own."""
    try:
        from diagnostic_updater import Updater
    except ImportError:
        return _Publisher(node)
    return _WithUpdater(node, Updater, period)


class _Publisher:
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


class _WithUpdater:
    """Gives diagnostic_updater a task for each status; it names them "node: task"."""

    def __init__(self, node: Node, updater: Any, period: float) -> None:
        self._updater = updater(node, period)
        self._updater.timer.cancel()  # with use_sim_time and no /clock it would stand still
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
