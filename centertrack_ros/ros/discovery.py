# SPDX-License-Identifier: Apache-2.0
"""Who publishes on a topic: for choosing a subscription, and for saying why nothing arrives."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

_MOST = 3  # publishers that are described


def type_name(kind: Any) -> str:
    """'sensor_msgs/msg/Image' of the class of a message."""
    package, folder, *_ = kind.__module__.split(".")
    return f"{package}/{folder}/{kind.__name__}"


def publishers_of(node: Node, topic: str, kind: Any) -> list[Any]:
    """The known publishers (TopicEndpointInfo) of this message class on a topic."""
    return [p for p in node.get_publishers_info_by_topic(topic) if p.topic_type == type_name(kind)]


def input_qos(reliability: str, depth: int) -> QoSProfile:
    """The QoS of a subscription to what a camera or a detector sends.

    Args:
        reliability: The parameter `camera.reliability`.
        depth: How many messages wait.
    """
    reliable = reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def latched_qos(publishers: list[Any]) -> QoSProfile | None:
    """The QoS to get what was published before; None if none of the publishers keeps it.

    A subscription of this kind gets nothing from publishers that keep nothing: it is one beside the usual one.
    """
    latched = [p.qos_profile for p in publishers if p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL]
    if not latched:
        return None
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in latched)
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def describe_publishers(node: Node, topic: str, kind: Any, qos: QoSProfile) -> str:
    """All publishers on a topic by name, type and QoS, and what keeps a subscription of that class and QoS from one."""
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return "no publisher"
    texts = [_describe(publisher, kind, qos) for publisher in publishers[:_MOST]]
    texts += ["…"] if len(publishers) > _MOST else []
    return f"{len(publishers)} publisher{'' if len(publishers) == 1 else 's'}: {'; '.join(texts)}"


def _describe(publisher: Any, kind: Any, qos: QoSProfile) -> str:
    name = "/".join(part for part in (publisher.node_namespace.strip("/"), publisher.node_name) if part)
    offered = publisher.qos_profile
    policies = f"{offered.reliability.name} and {offered.durability.name}".lower()
    text = f"/{name} publishes {publisher.topic_type}, {policies}"
    if publisher.topic_type != type_name(kind):
        return f"{text}, and not {type_name(kind)}"
    compatibility, reason = qos_check_compatible(offered, qos)
    if compatibility == QoSCompatibility.ERROR:
        return f"{text}, and offers incompatible QoS: {reason.strip().rstrip(';')}"
    return text
