# SPDX-License-Identifier: Apache-2.0
"""Thousands of fuzzed messages: the node logs what is wrong with them and still processes the valid ones.

`make fuzz` runs the long version and prints the figures; CENTERTRACK_FUZZ_SEED=… selects other messages.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from support import sensor_messages
from support.fuzzing import Mutator
from support.memory import resident_mb
from support.ros_harness import (
    TORCH,
    CameraClock,
    Probe,
    Process,
    camera_info_message,
    compressed_message,
    demo_frames,
    image_message,
    start_node,
    stop_node,
    wait_until,
)

SEED = int(os.environ.get("CENTERTRACK_FUZZ_SEED", "1"))
RAW, COMPRESSED = ("raw_0", "raw_1"), ("jpeg_0", "jpeg_1")
COUNTS = ("received", "processed", "dropped", "rejected")
WARM_UP = 1000  # messages, after which memory must no longer grow
FUZZED_PER_VALID = 40
PACE_S = 0.006  # without it the next message would replace most of them before they are decoded
AHEAD_S = 0.3  # fuzzed stamps are up to this far in the future, and the next valid one must be newer


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return demo_frames(1)[0]


def test_a_fuzzed_message_is_decoded_or_raises_the_documented_error(image) -> None:
    from centertrack_ros.io.camera_info import CameraInfoError, camera_from_info
    from centertrack_ros.io.image_decoding import ImageError, compressed_to_bgr, image_to_bgr

    small = cv2.resize(image, (192, 144))
    mutator, outcomes = Mutator(SEED, small), Counter[str]()
    convert = {"image": image_to_bgr, "compressed": compressed_to_bgr}
    for index in range(3000):
        kind, message = mutator.any()
        if isinstance(message, bytes):
            continue  # malformed below the level of messages: the middleware rejects it
        try:
            if kind == "camera_info":
                camera = camera_from_info(message, small.shape[:2], rectified=bool(index % 2))
                assert np.isfinite(camera.projection).all() and np.isfinite(camera.distortion).all()
            else:
                decoded = convert[kind](message)
                assert decoded.dtype == np.uint8 and decoded.ndim == 3 and decoded.shape[2] == 3 and decoded.size
        except (ImageError, CameraInfoError) as error:
            text = str(error)
            outcomes["rejected" if re.search("expected|corrupt|truncated", text) else f"unclear: {text}"] += 1
        else:
            outcomes["decoded"] += 1
    assert set(outcomes) == {"rejected", "decoded"}, outcomes
    assert min(outcomes.values()) > 200, outcomes


def test_fuzzed_detections_are_tracked_or_left_out_in_bounded_time(image) -> None:
    from centertrack_ros.engine.no_network import NoNetworkEngine
    from centertrack_ros.io.foreign_messages import detections_2d
    from centertrack_ros.tracking.class_names import COMMON_CLASSES
    from centertrack_ros.tracking.config import TrackerConfig
    from centertrack_ros.tracking.pipeline import Tracker

    small = cv2.resize(image, (192, 144))
    mutator, outcomes = Mutator(SEED, small), Counter[str]()
    tracker = Tracker(NoNetworkEngine(COMMON_CLASSES), TrackerConfig(detector_source="external"))
    for _ in range(150):
        foreign, problem = detections_2d(mutator.detections(), {})
        begin = time.perf_counter()
        result = tracker.step(small, foreign=foreign)
        outcomes["slow"] += time.perf_counter() - begin > 2.0
        found = result.tracks.detections
        assert np.isfinite(found.boxes).all() and ((found.scores >= 0) & (found.scores <= 1)).all()
        outcomes["told"] += bool(problem or result.notes)
        outcomes["tracked"] += bool(len(result.tracks))
    assert not outcomes["slow"] and min(outcomes["told"], outcomes["tracked"]) > 20, outcomes


def test_fuzzed_depth_and_points_cost_a_sentence_and_their_own_frame_only(image) -> None:
    from centertrack_ros.geometry.camera import Camera
    from centertrack_ros.io.sensor_messages import SensorConfig, SensorMessages
    from centertrack_ros.tracking.box_lifter import SizePriorLifter
    from centertrack_ros.tracking.sensor_depth import SensorView
    from centertrack_ros.types import Detections, Frame, FrameHeader

    random, camera, said = np.random.default_rng(SEED), Camera.from_focal(192, 144, 160.0), list[str]()
    sensors, lifter = SensorMessages("/depth", "/points", said.append), SizePriorLifter(["person"])
    depths = random.uniform(2, 9, (72, 96)).astype(np.float32)
    boxes = Detections.from_boxes(np.array([[60.0, 30, 90, 120]]))
    good = {
        "depth": (sensor_messages.image(depths, "32FC1"), sensor_messages.image((depths * 1e3).astype("u2"), "16UC1")),
        "compressed": (sensor_messages.compressed((depths * 1e3).astype("u2"), "16UC1"),),
        "points": (sensor_messages.cloud(random.uniform(-9, 9, (300, 3))),),
    }
    outcomes, start = Counter[str](), time.monotonic()
    for index in range(1500):
        kind = ("depth", "compressed", "points")[index % 3]
        stamp = (index + 1) * 10**9
        fuzzed = index % FUZZED_PER_VALID != 0
        message = good[kind][index % len(good[kind])]
        message = sensor_messages.mutated(message, random) if fuzzed else message
        topic = sensors.points if kind == "points" else sensors.depth
        topic.add(sensor_messages.stamped(message, stamp, "camera"))
        frame = Frame(image[:144, :192], stamp * 1e-9, camera, header=FrameHeader(stamp, "camera"))
        told = len(said)
        frame = sensors.attach(frame, SensorConfig(0.0, 0.0), lambda *_: pytest.fail("no transform is needed"))
        served = frame.depth is not None or frame.points is not None
        assert served or len(said) == told + 1, kind
        assert fuzzed or served, said[-1]
        lifted = lifter.lift(boxes, camera, view=SensorView(camera, frame.depth, frame.points))
        assert np.isfinite(lifted.locations).all()
        outcomes["served" if served else "rejected"] += 1
    assert min(outcomes.values()) > 200, outcomes
    assert all(re.search("expected|corrupt|truncated|look like|has|same view", text) for text in said)
    assert time.monotonic() - start < 60


class FuzzingRun:
    """Sends fuzzed messages through DDS to a node with four cameras, with valid ones in between.

    Attributes:
        sent: number of fuzzed messages by kind.
        valid: number of valid frames, each of which had a result.
        memory: resident memory of the node, MB, by number of messages sent.
        not_finite: NaN and infinite numbers in the results, with their topics.
    """

    def __init__(self, node: Process, image: NDArray[np.uint8]) -> None:
        self._node, self._image = node, image
        self._mutator = Mutator(SEED, cv2.resize(image, (192, 144)))
        self._clock = CameraClock()
        outputs = ("output/{}/detections_2d", "output/{}/detections_3d", "output/{}/markers")
        self._probes = {name: Probe("fuzzed", name, [o.format(name) for o in outputs]) for name in (*RAW, *COMPRESSED)}
        self._diagnostics = Probe("fuzzed", outputs=("/diagnostics",))
        for name in COMPRESSED:  # a raw publisher would make the node subscribe to raw images
            self._probes[name].node.destroy_publisher(self._probes[name].images)
        self._images = {name: self._probes[name].images for name in RAW}
        self._images |= {name: self._probes[name].compressed for name in COMPRESSED}
        for name, publisher in self._images.items():
            wait_until(publisher.get_subscription_count, 20.0, f"the node to subscribe to {name}")
        self.sent, self.valid, self.memory = Counter[str](), 0, dict[int, float]()
        self.not_finite = list[str]()

    def close(self) -> None:
        for probe in (*self._probes.values(), self._diagnostics):
            probe.close()

    def reach_high_water(self) -> None:
        """Sends the largest images that a small file can hold, on all cameras: the allocator keeps their memory."""
        flat = np.full((2000, 2400, 3), 90, np.uint8)
        files = [cv2.imencode(".jpg", flat, [cv2.IMWRITE_JPEG_PROGRESSIVE, n])[1].tobytes() for n in (0, 1)]
        for data in files * 2:
            for name in COMPRESSED:
                self._images[name].publish(compressed_message(data, self._clock.tick()))
            for name in COMPRESSED:
                self.check_valid_frame(name)

    def send(self, count: int) -> None:
        """Sends `count` fuzzed messages, with a valid frame after each `FUZZED_PER_VALID` of them."""
        self.reach_high_water()
        for index in range(1, count + 1):
            kind, message = self._mutator.any()
            names = {"image": RAW, "compressed": COMPRESSED, "camera_info": (*RAW, *COMPRESSED)}[kind]
            name = self._mutator.random.choice(names)
            (self._probes[name].infos if kind == "camera_info" else self._images[name]).publish(message)
            self.sent[kind] += 1
            time.sleep(PACE_S)
            if index % FUZZED_PER_VALID == 0:
                self.check_valid_frame((*RAW, *COMPRESSED)[index // FUZZED_PER_VALID % 4])
            if index % WARM_UP == 0:
                self.memory[index] = resident_mb(self._node.pid)

    def check_valid_frame(self, name: str) -> None:
        """Sends a valid frame of that camera with its calibration, and asserts a result with people."""
        probe, topic = self._probes[name], f"output/{name}/detections_2d"
        height, width = self._image.shape[:2]
        probe.infos.publish(camera_info_message(width, height))

        def result() -> Any:
            # With best effort a frame may get lost: None then, and the next try sends another one.
            self._clock.now = max(self._clock.now, CameraClock().now + AHEAD_S)
            stamp = self._clock.tick()
            self._images[name].publish(self._valid_message(name, stamp))
            try:
                return probe.wait_for_message(topic, stamp, timeout=3.0)
            except AssertionError:
                return None

        last_lines = self._node.lines[-5:]
        assert len(wait_until(result, 30.0, f"a result on {topic}; the node logged {last_lines}").detections) >= 2
        self.valid += 1
        self._check_numbers(probe)

    def _valid_message(self, name: str, stamp: tuple[int, int]) -> Any:
        if name in RAW:
            return image_message(self._image, stamp)
        return compressed_message(cv2.imencode(".jpg", self._image)[1].tobytes(), stamp)

    def _check_numbers(self, probe: Probe) -> None:
        """Collects NaN and infinite numbers from the new results."""
        for topic, messages in probe.received.items():
            while messages:
                self.not_finite += [
                    f"{topic}: {value}" for value in numbers(messages.pop()) if not math.isfinite(value)
                ]

    def counts(self) -> dict[str, int]:
        """Images of all cameras by fate, once none waits or is in work."""

        def settled() -> dict[str, int] | None:
            values = [self._diagnostics.next_status(f"fuzzed: {name}")[1] for name in self._probes]
            total = {key: sum(int(camera[key]) for camera in values) for key in COUNTS}
            last.update(total)
            return total if total["received"] == sum(total[key] for key in COUNTS[1:]) else None

        last = dict[str, int]()
        try:
            return wait_until(settled, 20.0, "received = processed + dropped + rejected")
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}; {self._node.logged('a frame failed')[-5:]}") from None


def numbers(message: Any) -> Iterator[float]:
    """Every number in a message."""
    if isinstance(message, (float, int)):
        yield message
    elif hasattr(message, "get_fields_and_field_types"):
        for name in message.get_fields_and_field_types():
            yield from numbers(getattr(message, name))
    elif isinstance(message, Iterable) and not isinstance(message, (str, bytes)):
        for item in message:
            yield from numbers(item)


@pytest.fixture
def run(ros, image) -> Iterator[tuple[FuzzingRun, Process]]:
    cameras = f"cameras:=[{','.join((*RAW, *COMPRESSED))}]"
    size = (TORCH, "model.input_width:=256", "model.input_height:=192")
    node = start_node(cameras, *size, "diagnostics.period_s:=0.2", "camera.queue_depth:=5", name="fuzzed")
    fuzzing = FuzzingRun(node, image)
    yield fuzzing, node
    fuzzing.close()
    stop_node(node)


def report(run: FuzzingRun, node: Process, counts: dict[str, int]) -> str:
    """The figures of a run, a line each."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(run.sent.items()))
    own = [line for line in node.lines if "[fuzzed]" in line]
    memory = [f"{mb:.0f}" for mb in run.memory.values()]
    return "\n".join(
        (
            f"seed {SEED}: {sum(run.sent.values())} fuzzed messages sent: {kinds}",
            f"images: {', '.join(f'{number} {key}' for key, number in counts.items())}",
            f"valid frames in between: {run.valid}, each with a result",
            f"resident memory by {WARM_UP} messages, MB: {' '.join(memory) or 'not measured'}",
            f"log: {len(own)} lines of the node, {len(node.lines) - len(own)} of libraries, "
            f"{len(node.logged('a frame failed'))} unexpected errors, {len(node.logged('Traceback'))} tracebacks",
            f"numbers in results that are not finite: {len(run.not_finite)}",
        )
    )


def check(run: FuzzingRun, node: Process) -> None:
    for name in (*RAW, *COMPRESSED):
        run.check_valid_frame(name)
    counts = run.counts()
    print("\n" + report(run, node, counts))
    assert node.alive and not node.logged("Traceback")
    assert not node.logged("a frame failed"), node.logged("a frame failed")  # the handler of unexpected errors
    assert not run.not_finite, run.not_finite[:10]
    # Each image was decoded, or replaced by a newer one.
    assert counts["rejected"] > 0.1 * (run.sent["image"] + run.sent["compressed"]), counts


def test_the_node_survives_hundreds_of_fuzzed_messages(run) -> None:
    fuzzing, node = run
    fuzzing.send(400)
    check(fuzzing, node)


def test_the_node_survives_fuzzed_detections(ros, image) -> None:
    """Each with its image; with a valid pair after every tenth, which has a result as if nothing had happened."""
    from vision_msgs.msg import Detection2DArray

    parameters = ("model.weights:=none", "detector.source:=external", "detector.timeout_s:=0.5", "tracker.rebirth:=0.0")
    node = start_node(*parameters, "camera.reliability:=reliable", "camera.queue_depth:=5", name="given")
    probe, small = Probe("given", outputs=["output/detections_2d"]), cv2.resize(image, (192, 144))
    publisher = probe.node.create_publisher(Detection2DArray, "/given/input/detections", 10)
    wait_until(publisher.get_subscription_count, 20.0, "the node to subscribe to detections")
    probe.wait_for_node()
    mutator, good, clock = Mutator(SEED, small), Mutator(SEED, small), CameraClock()
    for number in range(1, 121):
        stamp = clock.tick()
        message = mutator.detections(stamp if number % 3 else None)
        probe.images.publish(image_message(small, stamp))
        publisher.publish(message)
        if number % 10 == 0:
            time.sleep(2.0)  # some messages take long to read, and what waits for them is not late by its own fault
            stamp = clock.tick()
            valid = good.detections(stamp)
            while len(valid.detections) != 3 or any(len(one.results) != 1 for one in valid.detections):
                valid = good.detections(stamp)
            for place, one in enumerate(valid.detections):
                one.bbox.center.position.x, one.bbox.center.position.y = 40.0 + 50 * place, 60.0
                one.bbox.size_x, one.bbox.size_y, one.bbox.center.theta = 30.0, 60.0, 0.0
                one.results[0].hypothesis.class_id, one.results[0].hypothesis.score = "car", 0.95
            publisher.publish(valid)
            probe.images.publish(image_message(small, stamp))
            result = probe.wait_for_message("output/detections_2d", stamp)
            assert sum(one.bbox.size_x == 30.0 for one in result.detections) == 3
            assert all(math.isfinite(value) for value in numbers(result))
    assert node.alive and not node.logged("Traceback") and not node.logged("a frame failed"), node.lines[-20:]
    probe.close()
    stop_node(node)


@pytest.mark.slow
def test_the_node_survives_ten_thousand_fuzzed_messages_at_constant_memory(run) -> None:
    fuzzing, node = run
    fuzzing.send(10_000 + WARM_UP)
    check(fuzzing, node)
    before, after = fuzzing.memory[WARM_UP], max(list(fuzzing.memory.values())[-2:])
    print(f"memory growth after the first {WARM_UP} messages: {100 * (after / before - 1):.1f} % (limit 5 %)")
    assert after <= 1.05 * before, fuzzing.memory
