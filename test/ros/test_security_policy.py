# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy allows what the node does, and nothing that it does not do."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from support.ros_harness import start_node, stop_node, wait_until

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "config" / "sros2" / "centertrack.policy.xml"
# Only with another parameter than the test's, with this package's messages built, or not in every distribution.
SOMETIMES = {"/clock", "/centertrack/get_type_description", "/centertrack/select"}


def allowed(kind: str, right: str) -> set[str]:
    """The patterns of the policy: kind 'topics' or 'services', right 'publish', 'subscribe' or 'reply'."""
    lists = ElementTree.parse(POLICY).iter(kind)
    return {str(entry.text) for found in lists if found.get(right) == "ALLOW" for entry in found}


@pytest.fixture(scope="module")
def graph(ros) -> dict[str, set[str]]:
    """What a node with all that it can have publishes, subscribes to, answers and calls."""
    import rclpy

    observer = rclpy.create_node("observer_of_the_graph")
    process = start_node("output.target_frame:=odom")
    try:
        kinds = {"publish": "publisher", "subscribe": "subscriber", "reply": "service", "request": "client"}

        def look() -> dict[str, set[str]] | None:
            found = {}
            for right, kind in kinds.items():
                pairs = getattr(observer, f"get_{kind}_names_and_types_by_node")("centertrack", "/")
                found[right] = {name for name, _ in pairs}
            complete = "/centertrack/output/detections_3d" in found["publish"] and len(found["reply"]) > 10
            return found if complete and found["subscribe"] >= {"/tf", "/centertrack/input/image"} else None

        def look_again() -> dict[str, set[str]] | None:
            try:
                return look()
            except Exception:  # rclpy's own, until the node is discovered
                return None

        wait_until(look_again, 60.0, "the node's topics and services")
        time.sleep(2.0)  # discovery tells of one after the other
        return wait_until(look_again, 60.0, "the node's topics and services")
    finally:
        stop_node(process)
        observer.destroy_node()


@pytest.mark.parametrize(
    ("kind", "right"), [("topics", "publish"), ("topics", "subscribe"), ("services", "reply"), ("services", "request")]
)
def test_the_policy_is_what_the_node_does(graph, kind: str, right: str) -> None:
    patterns, names = allowed(kind, right), graph[right]
    assert not {name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)}
    unused = {pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)}
    assert unused <= SOMETIMES, "more than the node needs"


def test_nobody_may_do_everything() -> None:
    for kind, right in (("topics", "publish"), ("topics", "subscribe"), ("services", "reply")):
        assert not [pattern for pattern in allowed(kind, right) if pattern.lstrip("/") in ("*", "")]
