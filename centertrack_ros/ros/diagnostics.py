"""The node's health on /diagnostics. OK; WARN: it works, but look at it; ERROR: it does not work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from centertrack_ros.ros.processor import Channel

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Diagnostics:
    """Publishes one status for the node and one for each camera."""

    def __init__(self, node: Node, parameters: Mapping[str, Any]) -> None:
        self._node, self._parameters = node, parameters
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._seen: dict[str, tuple[float, int, int]] = {}  # by camera: time, received, processed

    def publish(self, node_status: tuple[bytes, str, Mapping[str, Any]], channels: Iterable[Channel]) -> None:
        """`node_status` is (level, sentence, values) of the node as a whole; no channels while it is not active."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip("/")
        message.status = [_status(name, *node_status)]
        for channel in channels:
            camera = channel.stream.name or "camera"
            message.status.append(_status(f"{name}: {camera}", *self._camera(channel)))
        self._publisher.publish(message)

    def _camera(self, channel: Channel) -> tuple[bytes, str, Mapping[str, Any]]:
        stream, limits, now = channel.stream, self._parameters, time.monotonic()
        counts = stream.counts
        before, received, processed = self._seen.get(stream.name, (now, 0, 0))
        self._seen[stream.name] = (now, counts.received, counts.processed)
        elapsed = max(now - before, 1e-3)
        rate_in = max(counts.received - received, 0) / elapsed
        rate_out = max(counts.processed - processed, 0) / elapsed
        age = None if stream.last_arrival is None else now - stream.last_arrival
        latency = channel.stages.get("latency", 0.0)
        values = {
            "image topic": stream.image_topic,
            "input rate (Hz)": f"{rate_in:.1f}",
            "output rate (Hz)": f"{rate_out:.1f}",
            "image age (s)": "never" if age is None else f"{age:.2f}",
            "pipeline latency (ms)": f"{latency:.1f}",
            "processing time (ms)": f"{channel.stages.get('processing', 0.0):.1f}",
            "network time (ms)": f"{channel.stages.get('network', 0.0):.1f}",
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "rejected": counts.rejected,
            "camera_info": stream.calibration or "good",
        }
        if age is None or age > limits["diagnostics.max_age_s"]:
            return ERROR, stream.waiting_for(), values
        if latency > limits["diagnostics.max_latency_ms"]:
            return WARN, f"results are {latency:.0f} ms old", values
        if rate_out < limits["diagnostics.min_rate_hz"]:
            return WARN, f"only {rate_out:.1f} images per second", values
        if stream.calibration:
            return WARN, f"2D only: {stream.calibration}", values
        return OK, f"{rate_out:.1f} images per second", values


def _status(name: str, level: bytes, text: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    status = DiagnosticStatus(name=name, level=level, message=text, hardware_id="centertrack_ros")
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return status
