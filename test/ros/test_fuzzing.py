# SPDX-License-Identifier: Apache-2.0
"""Thousands of spoilt messages: the node says what is wrong with them, forgets them, and answers the good ones.

`make fuzz` runs the long version and prints the figures; CENTERTRACK_FUZZ_SEED=… asks for other messages.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from support.fuzzing import Mutator
from support.memory import resident_mb
from support.ros_harness import (
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
WARM_UP = 1000  # messages after which memory must no longer grow
BETWEEN_GOOD_ONES = 40
PACE_S = 0.006  # without it most messages would give way to the next before anybody looks at them
AHEAD_S = 0.3  # spoilt stamps are up to this much ahead of now, and the next good one must be newer


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return demo_frames(1)[0]


def test_a_spoilt_message_is_an_image_or_an_error_of_its_own_kind(picture) -> None:
    from centertrack_ros.io.camera_info import CameraInfoError, camera_from_info
    from centertrack_ros.io.image_decoding import ImageError, compressed_to_bgr, image_to_bgr

    small = cv2.resize(picture, (192, 144))
    mutator, found = Mutator(SEED, small), Counter[str]()
    convert = {"image": image_to_bgr, "compressed": compressed_to_bgr}
    for index in range(3000):
        kind, message = mutator.any()
        if isinstance(message, bytes):
            continue  # nothing that this process could convert
        try:
            if kind == "camera_info":
                camera = camera_from_info(message, small.shape[:2], rectified=bool(index % 2))
                assert np.isfinite(camera.projection).all() and np.isfinite(camera.distortion).all()
            else:
                image = convert[kind](message)
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
        except (ImageError, CameraInfoError) as error:
            assert "expected" in str(error) or "corrupt" in str(error) or "truncated" in str(error), str(error)
            found["refused"] += 1
        else:
            found["taken"] += 1
    assert min(found["refused"], found["taken"]) > 200, found


class Attack:
    """Spoilt messages through DDS into a node of four cameras, with good ones in between.

    sent, good, decoded   messages of each kind; good frames that were answered; images that reached the conversion
    memory                resident MB of the node by number of messages sent
    """

    def __init__(self, node: Process, picture: np.ndarray) -> None:
        self._node, self._picture = node, picture
        self._mutator = Mutator(SEED, cv2.resize(picture, (192, 144)))
        self._clock = CameraClock()
        outputs = ("output/{}/detections_2d", "output/{}/detections_3d", "output/{}/markers")
        self._probes = {name: Probe("fuzzed", name, [o.format(name) for o in outputs]) for name in (*RAW, *COMPRESSED)}
        self._diagnostics = Probe("fuzzed", outputs=("/diagnostics",))
        for name in COMPRESSED:  # a raw publisher would make the node listen to raw images
            self._probes[name].node.destroy_publisher(self._probes[name].images)
        self._images = {name: self._probes[name].images for name in RAW}
        self._images |= {name: self._probes[name].compressed for name in COMPRESSED}
        for name, publisher in self._images.items():
            wait_until(publisher.get_subscription_count, 20.0, f"the node to subscribe to {name}")
        self.sent, self.good, self.memory = Counter[str](), 0, dict[int, float]()
        self.odd_numbers = list[str]()

    def close(self) -> None:
        for probe in (*self._probes.values(), self._diagnostics):
            probe.close()

    def reach_high_water(self) -> None:
        """The largest pictures that a small file can hold, on all cameras at once: memory for them is kept."""
        flat = np.full((2000, 2400, 3), 90, np.uint8)
        files = [cv2.imencode(".jpg", flat, [cv2.IMWRITE_JPEG_PROGRESSIVE, n])[1].tobytes() for n in (0, 1)]
        for data in files * 2:
            for name in COMPRESSED:
                self._images[name].publish(compressed_message(data, self._clock.tick()))
            for name in COMPRESSED:
                self.ask(name)

    def run(self, count: int) -> None:
        self.reach_high_water()
        for index in range(1, count + 1):
            kind, message = self._mutator.any()
            names = {"image": RAW, "compressed": COMPRESSED, "camera_info": (*RAW, *COMPRESSED)}[kind]
            name = self._mutator.random.choice(names)
            (self._probes[name].infos if kind == "camera_info" else self._images[name]).publish(message)
            self.sent[kind] += 1
            time.sleep(PACE_S)
            if index % BETWEEN_GOOD_ONES == 0:
                self.ask((*RAW, *COMPRESSED)[index // BETWEEN_GOOD_ONES % 4])
            if index % WARM_UP == 0:
                self.memory[index] = resident_mb(self._node.pid)

    def ask(self, name: str) -> None:
        """A good frame of that camera, and now and then its calibration: there must be an answer with people in it."""
        probe, topic = self._probes[name], f"output/{name}/detections_2d"
        height, width = self._picture.shape[:2]
        probe.infos.publish(camera_info_message(width, height))

        def answered() -> Any:
            # Best effort: a frame may be lost on its way, as it may for every camera.
            self._clock.now = max(self._clock.now, CameraClock().now + AHEAD_S)
            stamp = self._clock.tick()
            self._images[name].publish(self._good(name, stamp))
            try:
                return probe.wait_for_message(topic, stamp, timeout=3.0)
            except AssertionError:
                return None

        answer = wait_until(answered, 30.0, f"an answer on {topic}; the node said {self._node.lines[-5:]}")
        assert len(answer.detections) >= 2
        self.good += 1
        self._check_numbers(probe)

    def _good(self, name: str, stamp: tuple[int, int]) -> Any:
        if name in RAW:
            return image_message(self._picture, stamp)
        return compressed_message(cv2.imencode(".jpg", self._picture)[1].tobytes(), stamp)

    def _check_numbers(self, probe: Probe) -> None:
        """Notes every number that is none, in all that the node has published since."""
        for topic, messages in probe.received.items():
            while messages:
                self.odd_numbers += [
                    f"{topic}: {value}" for value in numbers(messages.pop()) if not math.isfinite(value)
                ]

    def counts(self) -> dict[str, int]:
        """Images by what became of them, all cameras together, once none is left in work."""

        def settled() -> dict[str, int] | None:
            seen = len(self._diagnostics.received["/diagnostics"])
            found = [
                wait_until(lambda n=name: self._diagnostics.status(f"fuzzed: {n}", seen), 10.0, "diagnostics")[1]
                for name in self._probes
            ]
            total = {key: sum(int(values[key]) for values in found) for key in COUNTS}
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
def attack(ros, picture) -> Iterator[tuple[Attack, Process]]:
    cameras = f"cameras:=[{','.join((*RAW, *COMPRESSED))}]"
    size = ("model.engine:=torch", "model.input_width:=256", "model.input_height:=192")
    node = start_node(cameras, *size, "diagnostics.period_s:=0.2", "camera.queue_depth:=5", name="fuzzed")
    attack = Attack(node, picture)
    yield attack, node
    attack.close()
    stop_node(node)


def tell(attack: Attack, node: Process, counts: dict[str, int]) -> str:
    """The figures of an attack, a line each."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(attack.sent.items()))
    own = [line for line in node.lines if "[fuzzed]" in line]
    memory = [f"{mb:.0f}" for mb in attack.memory.values()]
    return "\n".join(
        (
            f"seed {SEED}: {sum(attack.sent.values())} spoilt messages sent: {kinds}",
            f"images: {', '.join(f'{number} {key}' for key, number in counts.items())}",
            f"good frames in between: {attack.good} asked, {attack.good} answered",
            f"resident memory by {WARM_UP} messages, MB: {' '.join(memory) or 'not measured'}",
            f"log: {len(own)} lines of the node, {len(node.lines) - len(own)} of libraries, "
            f"{len(node.logged('a frame failed'))} of surprises, {len(node.logged('Traceback'))} tracebacks",
            f"numbers in answers that are not finite: {len(attack.odd_numbers)}",
        )
    )


def check(attack: Attack, node: Process) -> dict[str, int]:
    for name in (*RAW, *COMPRESSED):
        attack.ask(name)
    counts = attack.counts()
    print("\n" + tell(attack, node, counts))
    assert node.alive and not node.logged("Traceback")
    assert not node.logged("a frame failed"), node.logged("a frame failed")  # the last resort, for what nobody foresaw
    assert not attack.odd_numbers, attack.odd_numbers[:10]
    # Each of them was looked at, or gave way to a newer one.
    assert counts["rejected"] > 0.1 * (attack.sent["image"] + attack.sent["compressed"]), counts
    return counts


def test_the_node_outlives_hundreds_of_spoilt_messages(attack) -> None:
    attack, node = attack
    attack.run(400)
    check(attack, node)


@pytest.mark.slow
def test_the_node_outlives_ten_thousand_spoilt_messages_and_keeps_its_size(attack) -> None:
    attack, node = attack
    attack.run(10_000 + WARM_UP)
    check(attack, node)
    before, after = attack.memory[WARM_UP], max(list(attack.memory.values())[-2:])
    print(f"memory growth after the first {WARM_UP} messages: {100 * (after / before - 1):.1f} % (limit 5 %)")
    assert after <= 1.05 * before, attack.memory
