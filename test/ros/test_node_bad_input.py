# SPDX-License-Identifier: Apache-2.0
"""A malformed input costs one clear log line at most, and the next valid image is tracked as before."""

from __future__ import annotations

import array
import math
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from centertrack_ros.io.stamps import seconds
from support.ros_harness import (
    RELIABLE,
    ROOT,
    TORCH,
    CameraClock,
    Probe,
    Process,
    compressed_message,
    ids_of,
    image_message,
    start_node,
    stop_node,
    wait_until,
)


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(RELIABLE, TORCH, "diagnostics.waiting_s:=2.0", "diagnostics.period_s:=0.2", name="sturdy")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node) -> Iterator[Probe]:
    probe = Probe("sturdy", outputs=("output/detections_2d", "output/detections_3d", "/diagnostics"))
    probe.wait_for_node()
    yield probe
    probe.close()


@pytest.fixture(scope="module")
def clock() -> CameraClock:
    """One camera for all tests: the tracks must survive each of them."""
    return CameraClock(rate=20.0)


@pytest.fixture
def track(probe, frames, clock) -> Callable[..., set[str]]:
    """Publishes a valid image and returns the ids of its result."""

    def track(frame: np.ndarray = frames[0], topic: str = "output/detections_2d") -> set[str]:
        stamp = clock.tick()
        probe.images.publish(image_message(frame, stamp))
        return ids_of(probe.wait_for_message(topic, stamp))

    return track


def changed(message: Any, **changes: Any) -> Any:
    """The message with other values in some fields."""
    for name, value in changes.items():
        setattr(message, name, value)
    return message


MALFORMED_IMAGES: dict[str, tuple[dict[str, Any], str]] = {
    "zero size": ({"width": 0, "height": 0, "step": 0, "data": array.array("B")}, "is empty: 0x0 px"),
    "truncated": ({"data": array.array("B", bytes(1000))}, "is truncated: it has 1000 bytes of data; expected 1327104"),
    "stride": ({"step": 100}, "has step 100; expected at least 2304 bytes per row"),
    "terminal": ({"encoding": "\x1b[31mred"}, "unknown image encoding '?[31mred'"),
    "encoding": ({"encoding": "rainbow32"}, "unknown image encoding 'rainbow32'; expected one of"),
    "absurd": ({"width": 4_000_000_000}, "is too large: 4000000000x576 px"),
}


@pytest.mark.parametrize("name", MALFORMED_IMAGES)
def test_a_malformed_image_is_skipped_with_one_line(name: str, node, probe, frames, clock, track) -> None:
    changes, reason = MALFORMED_IMAGES[name]
    before, start = track(), len(node.lines)
    probe.images.publish(changed(image_message(frames[0], clock.tick()), **changes))
    line = node.wait_for_line(reason, start)
    assert "/sturdy/input/image" in line
    assert track() >= before
    assert len(node.logged("skipped", start)) == 1, node.lines[start:]


def test_an_image_with_a_huge_frame_id_is_skipped(node, probe, frames, clock, track) -> None:
    start, message = len(node.lines), image_message(frames[0], clock.tick())
    message.header.frame_id = "f" * 100_000
    probe.images.publish(message)
    node.wait_for_line("its frame_id has 100000 characters; expected at most 1000", start)
    assert track()


@pytest.fixture(scope="module")
def squeezed(ros) -> Iterator[tuple[Process, Probe]]:
    """A node for compressed images, and its probe."""
    node = start_node(RELIABLE, TORCH, "camera.transport:=compressed", name="squeezed")
    probe = Probe("squeezed", outputs=("output/detections_2d",))
    probe.wait_for_node(probe.compressed)
    yield node, probe
    probe.close()
    stop_node(node)


MALFORMED_FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda file: file[: len(file) // 2], "is a truncated JPEG"),
    "garbage": (lambda file: b"not an image file" * 9, "expected a JPEG"),
    "empty": (lambda file: b"", "is empty; expected"),
}


@pytest.mark.parametrize("name", MALFORMED_FILES)
def test_a_malformed_file_is_skipped_with_one_line(name: str, squeezed, frames) -> None:
    (node, probe), (damage, reason) = squeezed, MALFORMED_FILES[name]
    file = cv2.imencode(".jpg", frames[0])[1].tobytes()
    clock, start = CameraClock(), len(node.lines)
    probe.compressed.publish(compressed_message(damage(file), clock.tick()))
    assert "/squeezed/input/image/compressed" in node.wait_for_line(reason, start)
    stamp = clock.tick()
    probe.compressed.publish(compressed_message(file, stamp))
    assert len(probe.wait_for_message("output/detections_2d", stamp).detections) >= 3
    assert len(node.logged("skipped", start)) == 1, node.lines[start:]


def test_without_camera_info_it_tracks_in_2d_and_logs_that(node, probe, track) -> None:
    assert len(track()) >= 3 and not track(topic="output/detections_3d")
    line = node.wait_for_line("waiting for camera_info on /sturdy/input/camera_info (1 publisher: ")
    assert "): until then there are no 3D boxes" in line


BAD_INTRINSICS: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"k": [math.nan] * 9}, "camera_info has NaN or infinite values in K"),
    "zero": ({"k": [0.0] * 9}, "camera_info is uncalibrated: K[0] == 0"),
    "focal": ({"k": [600.0, 0, 384, 0, 0.0, 288, 0, 0, 1]}, "camera_info has focal lengths 600, 0 px in K"),
    "model": ({"distortion_model": "origami", "d": [0.1]}, "unknown distortion_model 'origami'"),
}


@pytest.mark.parametrize("name", BAD_INTRINSICS)
def test_bad_intrinsics_leave_2d_results_and_valid_ones_restore_3d(name: str, node, probe, track) -> None:
    changes, reason = BAD_INTRINSICS[name]
    before, start = track(), len(node.lines)
    probe.calibrate(**changes)
    assert track() >= before
    node.wait_for_line(reason, start)
    assert len(node.logged(reason, start)) == 1
    assert not track(topic="output/detections_3d")
    wait_until(lambda: reason in probe.status("sturdy: camera")[1]["camera_info"], 5.0, f"diagnostics with '{reason}'")
    probe.calibrate()
    assert len(track(topic="output/detections_3d")) >= 3


def test_the_image_size_may_change_at_any_time(node, frames, track) -> None:
    start = len(node.lines)
    track()
    assert len(track(cv2.resize(frames[0], (1024, 768)))) >= 3
    node.wait_for_line("reset: image size changed from 768x576 to 1024x768", start)
    assert len(track(frames[0])) >= 3
    assert len(track(np.zeros((1, 1, 3), np.uint8))) == 0
    assert len(track(frames[0])) >= 3


def test_the_result_of_an_image_with_a_stamp_of_zero_has_the_time_of_its_arrival(node, probe, frames) -> None:
    before = time.time()
    start, seen = len(node.lines), len(probe.received["output/detections_2d"])
    probe.images.publish(image_message(frames[0], (0, 0)))
    [result] = wait_until(lambda: probe.received["output/detections_2d"][seen:], 20.0, "a result")
    assert before <= seconds(result.header.stamp) <= time.time()
    assert {seconds(detection.header.stamp) for detection in result.detections} <= {seconds(result.header.stamp)}
    node.wait_for_line("have a stamp of 0", start)


class _Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self):
        return subprocess.getoutput, (f"touch {self.evidence}",)


def _weights(kind: str, folder: Path) -> Path:
    import torch

    path = folder / f"{kind}.pth"
    if kind == "text":
        path.write_text("a text file\n")
    elif kind == "another":
        torch.save({"epoch": 3, "state_dict": {"layer1.0.conv1.weight": torch.zeros(4, 3, 3, 3)}}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": _Malicious(folder / "evidence")}))
    return path


def test_invalid_weights_fail_the_transition_with_one_line(ros, tmp_path: Path) -> None:
    """The node stays unconfigured, and can be configured once the parameter is right."""
    from lifecycle_msgs.msg import Transition

    missing = tmp_path / "nowhere.pth"
    node = start_node(RELIABLE, f"model.weights:={missing}", TORCH, name="weightless", ready="cannot load the model")
    assert len(node.logged("cannot load the model")) == 1 and node.logged(missing.name)
    probe = Probe("weightless")

    for kind in ("text", "another", "pickle"):
        path, start = _weights(kind, tmp_path), len(node.lines)
        assert probe.set_parameters(**{"model.weights": str(path)})[0].successful
        assert not probe.change_state(Transition.TRANSITION_CONFIGURE)
        line = node.wait_for_line("cannot load the model", start)
        assert path.name in line and len(node.logged("ERROR", start)) == 1, node.lines[start:]
    assert not (tmp_path / "evidence").exists()
    assert probe.set_parameters(**{"model.weights": ""})[0].successful
    assert probe.change_state(Transition.TRANSITION_CONFIGURE) and probe.change_state(Transition.TRANSITION_ACTIVATE)
    probe.wait_for_node()
    probe.close()
    stop_node(node)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [("tracker.association:=magic", "greedy, hungarian"), ("tracker.max_age:=a_lot", "tracker.max_age")],
)
def test_a_wrong_parameter_ends_the_start_with_one_sentence(parameter: str, words: str, ros) -> None:
    command = [sys.executable, str(ROOT / "bin" / "centertrack_node"), "--ros-args", "-p", parameter]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_missing_publisher_and_an_incompatible_qos_are_logged(ros) -> None:
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    node = start_node(RELIABLE, TORCH, "diagnostics.waiting_s:=1.0", name="waiting")
    node.wait_for_line(
        "waiting for image on /waiting/input/image (no publisher) or /waiting/input/image/compressed (no"
    )
    probe = Probe("waiting")
    probe.node.destroy_publisher(probe.images)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    probe.node.create_publisher(Image, "/waiting/input/image", qos)
    line = node.wait_for_line("offers incompatible QoS")
    assert "eliab" in line
    probe.close()
    stop_node(node)
