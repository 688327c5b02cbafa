# SPDX-License-Identifier: Apache-2.0
"""How good one camera's tracks look, without labels, as diagnostics on ~/debug/metrics."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from centertrack_ros.tracking.quality import QualityFigures, QualityMonitor
from centertrack_ros.types import Tracks

# Figures that are counts of events: they are told for each minute as well, so that recordings can be compared.
_LEVELS = ("frames", "seconds", "objects", "latency_ms", "latency_p95_ms")


class QualityTopic:
    """Watches the results of one camera while somebody subscribes, and tells what the last minute looked like."""

    def __init__(self, node: Node, publisher: Any, name: str) -> None:
        """Starts with nothing seen.

        Args:
            node: The node, for its name and clock.
            publisher: Of DiagnosticArray.
            name: Of the camera; '' for an only one.
        """
        self._node, self._publisher, self._name = node, publisher, name
        self._monitor: QualityMonitor | None = None

    def watch(self, tracks: Tracks, stamp: float, latency_ms: float, reset: str) -> None:
        """Takes the tracks of a frame; costs nothing without a subscriber, after which it begins anew."""
        if not self._publisher.get_subscription_count():
            self._monitor = None
            return
        self._monitor = self._monitor or QualityMonitor()
        self._monitor.update(tracks, stamp, latency_ms, reset)

    def publish(self) -> None:
        """Publishes the figures of the last minute, if anybody wants them."""
        if self._monitor is None or not self._publisher.get_subscription_count():
            return
        figures = self._monitor.figures()
        node = self._node.get_fully_qualified_name().lstrip("/")
        status = DiagnosticStatus(level=DiagnosticStatus.OK, hardware_id=node)
        status.name = f"{node}: {self._name or 'camera'}: tracks"
        status.message = f"{figures.objects:.1f} objects, {figures.frames} frames in {figures.seconds:.0f} s"
        status.values = [KeyValue(key=key, value=value) for key, value in _values(figures).items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def _values(figures: QualityFigures) -> dict[str, str]:
    """Name -> text: each figure, and each count of events for a minute."""
    values = {}
    for one in fields(figures):
        value = getattr(figures, one.name)
        values[one.name] = f"{value:.6g}"
        if one.name not in _LEVELS and figures.seconds > 0:
            values[f"{one.name}_per_minute"] = f"{60.0 * value / figures.seconds:.6g}"
    return values
