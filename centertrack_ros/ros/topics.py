# SPDX-License-Identifier: Apache-2.0
"""Topics whose message type is known by name only: the message class and the QoS to use."""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

DEPTH = 100


def message_class(type_name: str) -> Any:
    """The Python class of a message type.

    Args:
        type_name: such as 'sensor_msgs/msg/Image'.

    Raises:
        ImportError: its package is not installed.
    """
    package, _, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        raise ImportError(
            f"message type {type_name} is not installed here: no ROS package '{package}' with it"
        ) from None


def publisher_qos(recorded: tuple[Any, ...]) -> QoSProfile:
    """The QoS with which a player publishes: reliable, which suits every subscriber.

    Args:
        recorded: QoS profiles of the recorded publishers; transient local if one of them was.
    """
    latched = any(qos.durability.name == "TRANSIENT_LOCAL" for qos in recorded)
    return _profile(ReliabilityPolicy.RELIABLE, latched)


def subscriber_qos(node: Node, topic: str) -> QoSProfile:
    """The QoS with which a recorder subscribes: the strictest that all present publishers of the topic offer."""
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    latched = bool(offered) and all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return _profile(ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT, latched)


def _profile(reliability: ReliabilityPolicy, latched: bool) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=reliability,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
