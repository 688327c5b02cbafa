# SPDX-License-Identifier: Apache-2.0
"""`ros2 topic` and `ros2 service` see what docs/ros.md promises, in every mix of QoS."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.ros_harness import ROOT, Process, wait_until
from support.workspace import Camera, Workspace

pytestmark = pytest.mark.packaging

RATE = 5.0
SMALL = {"input_pixels": "76800", "device": "cpu"}
OUTPUT = "/centertrack/output"


def documented(direction: str) -> dict[str, str]:
    """Topic or service -> type, of the rows of docs/ros.md that begin with `direction`."""
    table = (ROOT / "docs" / "ros.md").read_text().split("## Topics")[1].split("\n## ")[0]
    found = {}
    for row in re.findall(rf"^\| {direction} \|(.*)\|(.*)\|.*\|$", table, re.MULTILINE):
        kinds = row[1].strip().split(", ")
        for number, name in enumerate(re.findall(r"`~(/[^`]+)`", row[0])):
            package, kind = (kinds[min(number, len(kinds) - 1)] if "/" in kinds[-1] else kinds[0]).split("/")
            middle = "srv" if direction == "service" else "msg"
            found[f"/centertrack{name}"] = f"{package}/{middle}/{kind}"
    return found


@pytest.fixture(scope="module")
def node(workspace: Workspace) -> Iterator[Process]:
    with workspace.launched("centertrack", engine=workspace.engine, **SMALL) as process:
        yield process


@pytest.fixture(scope="module")
def camera(node: Process) -> Iterator[Camera]:
    with Camera(rate=RATE) as driver:
        yield driver


def rows(text: str) -> dict[str, str]:
    """Name -> type, of lines such as '/name [type]'."""
    return dict(re.findall(r"^(/\S+) \[(\S+)\]$", text, re.MULTILINE))


def test_every_documented_topic_is_there_with_its_type(workspace: Workspace, node: Process, camera: Camera) -> None:
    optional = ("tracked_objects", "detected_objects")  # with output.publish_autoware
    expected = {n: kind for n, kind in documented("out").items() if not n.endswith(optional)}
    assert len(expected) >= 10
    # The command's daemon may just have been started: it gets to know one topic after the other.
    wait_until(lambda: set(expected) <= set(rows(workspace.ros2("topic", "list", "-t").text)), 30.0, "all topics")
    listed = rows(workspace.ros2("topic", "list", "-t").text)
    assert {name: listed.get(name) for name in expected} == expected
    services = documented("service")
    assert len(services) == 3
    listed = rows(workspace.ros2("service", "list", "-t").text)
    assert {name: listed.get(name) for name in services} == services


@pytest.mark.parametrize("topic", ["detections_3d", "detections_2d", "tracks"])
def test_results_come_as_often_as_images_and_in_time(
    workspace: Workspace, camera: Camera, topic: str, record_property: pytest.RecordProperty
) -> None:
    """Their stamp is the image's: `ros2 topic delay` shows the latency from the camera to the boxes."""
    rates = re.findall(r"average rate: ([\d.]+)", workspace.watch("topic", "hz", f"{OUTPUT}/{topic}", seconds=10.0))
    delays = re.findall(
        r"average delay: (-?[\d.]+)", workspace.watch("topic", "delay", f"{OUTPUT}/{topic}", seconds=6.0)
    )
    assert rates and delays, "nothing came"
    record_property("rate_hz", rates[-1])
    record_property("delay_s", delays[-1])
    print(f"{topic}: {rates[-1]} Hz, {delays[-1]} s")
    assert 0.5 * RATE < float(rates[-1]) < 1.1 * RATE
    assert 0.0 < float(delays[-1]) < 1.0


def test_messages_carry_the_header_of_the_image(workspace: Workspace, camera: Camera) -> None:
    for topic in ("detections_3d", "detections_2d"):
        text = workspace.ros2("topic", "echo", "--once", f"{OUTPUT}/{topic}", "--field", "header").text
        assert "frame_id: camera_optical" in text
    text = workspace.ros2("topic", "echo", "--once", f"{OUTPUT}/detections_2d").text
    assert "class_id: person" in text


def test_who_comes_late_still_gets_the_classes(workspace: Workspace, node: Process) -> None:
    qos = ("--qos-durability", "transient_local", "--qos-reliability", "reliable")
    text = workspace.ros2("topic", "echo", "--once", *qos, f"{OUTPUT}/label_info", "vision_msgs/msg/LabelInfo").text
    assert "class_name: person" in text


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_outputs_fit_every_subscriber(workspace: Workspace, camera: Camera, reliability: str) -> None:
    qos = ("--qos-reliability", reliability)
    text = workspace.ros2("topic", "echo", "--once", *qos, f"{OUTPUT}/detections_2d", "--field", "header").text
    assert "frame_id: camera_optical" in text


def test_message_filters_pair_an_image_with_its_results(node: Process, camera: Camera) -> None:
    """By equal stamps, with TimeSynchronizer: no tolerance is needed."""
    filters = pytest.importorskip("message_filters", reason="message_filters is not installed")
    import rclpy
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2DArray, Detection3DArray

    listener, sets = rclpy.create_node("pairing"), []
    topics = {
        "/centertrack/input/image": Image,
        f"{OUTPUT}/detections_2d": Detection2DArray,
        f"{OUTPUT}/detections_3d": Detection3DArray,
    }
    subscribers = [filters.Subscriber(listener, kind, name) for name, kind in topics.items()]
    synchronizer = filters.TimeSynchronizer(subscribers, 10)
    synchronizer.registerCallback(lambda *messages: sets.append(messages))

    def paired() -> bool:
        rclpy.spin_once(listener, timeout_sec=0.1)
        return len(sets) >= 3

    wait_until(paired, 30.0, "images with their results")
    listener.destroy_node()
    for image, boxes, boxes_3d in sets:
        assert image.header == boxes.header == boxes_3d.header
        assert [one.id for one in boxes.detections] == [one.id for one in boxes_3d.detections]


def test_services_answer(workspace: Workspace, camera: Camera) -> None:
    def call(service: str, kind: str, *request: str) -> str:
        return workspace.ros2("service", "call", f"/centertrack/{service}", kind, *request).text

    assert "success=True" in call("reset_tracks", "std_srvs/srv/Trigger")
    assert "images are ignored" in call("enable", "std_srvs/srv/SetBool", "{data: false}")
    assert "message='enabled'" in call("enable", "std_srvs/srv/SetBool", "{data: true}")
    assert "success=" in call("select", "centertrack_ros/srv/Select", "{id: '1'}")


@pytest.mark.parametrize("wanted", ["best_effort", "reliable"])
def test_images_of_every_quality_arrive_or_the_log_says_why_not(workspace: Workspace, wanted: str) -> None:
    """A best-effort subscription fits every camera; a reliable one does not fit a best-effort camera."""
    arguments = {"name": "eye", "reliability": wanted, "engine": workspace.engine, **SMALL}
    with workspace.launched("centertrack", **arguments) as node:
        text = workspace.ros2("topic", "info", "-v", "/eye/input/image").text
        assert f"Reliability: {wanted.upper()}" in text
        for offered in (True, False):
            with Camera("/eye/input/image", rate=RATE, reliable=offered):
                if offered or wanted == "best_effort":
                    lines = workspace.watch("topic", "hz", "/eye/output/detections_2d", seconds=8.0)
                    assert "average rate" in lines, "\n".join([lines, *node.lines])
                else:
                    node.wait_for_line("RELIABILITY")
            wait_until(
                lambda: "Publisher count: 0" in workspace.ros2("topic", "info", "/eye/input/image").text,
                30.0,
                "silence",
            )
