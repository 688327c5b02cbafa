# SPDX-License-Identifier: Apache-2.0
"""Images come far faster than the network can follow: nothing queues, the newest is processed, each is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import pytest

from support.ros_harness import (
    TORCH,
    CameraClock,
    Probe,
    Process,
    demo_frames,
    image_message,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

FLOOD = 300
# One in the network, one in the mailbox, one in the history of the subscription (depth 1), one in transport.
IN_FLIGHT = 4
OUTPUTS = ("output/detections_2d", "/diagnostics")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(TORCH, "diagnostics.period_s:=0.2", name="busy")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node) -> Iterator[Probe]:
    probe = Probe("busy", outputs=OUTPUTS)
    probe.wait_for_node()
    yield probe
    probe.close()


def counts(probe: Probe) -> dict[str, int]:
    return probe.settled_counts("busy: camera")


@pytest.mark.best_effort("the last image of the flood must arrive, and best effort drops images under load")
def test_of_a_flood_the_newest_image_is_processed_and_every_image_is_counted(node, probe) -> None:
    """Malformed images are among them: processed + dropped + rejected = received, exactly."""
    image, clock = cv2.resize(demo_frames(1)[0], (384, 288)), CameraClock(rate=100.0)
    before, first = counts(probe), len(probe.received["output/detections_2d"])  # of an earlier try
    sent: list[tuple[int, int]] = []

    def results() -> list[tuple[int, int]]:
        return [stamp_of(result) for result in probe.received["output/detections_2d"][first:]]

    for index in range(FLOOD):
        message = image_message(image, clock.tick())
        if index % 3 == 1:
            message.encoding = "nonsense"
        else:
            sent.append(stamp_of(message))
        probe.images.publish(message)
        time.sleep(0.01)
    at_the_end = len(results())
    probe.wait_for_message("output/detections_2d", sent[-1])
    stamps = results()
    assert len(stamps) - at_the_end <= IN_FLIGHT
    assert stamps == sorted(set(stamps)) and set(stamps) <= set(sent)
    gained = {key: value - before[key] for key, value in counts(probe).items()}
    wait_until(lambda: len(results()) == gained["processed"], 10.0, f"{gained['processed']} results, not {len(stamps)}")
    assert min(gained["dropped"], gained["rejected"]) > 0 and gained["received"] <= FLOOD


@pytest.mark.best_effort("each of the five images must arrive")
def test_after_a_flood_images_that_come_one_by_one_are_all_processed(node, probe) -> None:
    before, image, clock = counts(probe), demo_frames(1)[0], CameraClock()
    for _ in range(5):
        stamp = clock.tick()
        probe.images.publish(image_message(image, stamp))
        probe.wait_for_message("output/detections_2d", stamp)
    after = counts(probe)
    assert after["processed"] == before["processed"] + 5 and after["dropped"] == before["dropped"]
