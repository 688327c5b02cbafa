# SPDX-License-Identifier: Apache-2.0
"""Images come far faster than the network can follow: nothing queues, the newest is answered, each is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import pytest

from support.ros_harness import (
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
# One in the network, one in the mailbox, one in the reader's history of one, one on its way.
UNDER_WAY = 4
OUTPUTS = ("output/detections_2d", "/diagnostics")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node("model.engine:=torch", "diagnostics.period_s:=0.2", name="busy")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node) -> Iterator[Probe]:
    probe = Probe("busy", outputs=OUTPUTS)
    probe.wait_for_node()
    yield probe
    probe.close()


def counts(probe: Probe) -> dict[str, int]:
    """Of the next diagnostics in which no image is in work."""

    def settled() -> dict[str, int] | None:
        seen = len(probe.received["/diagnostics"])
        _, values = wait_until(lambda: probe.status("busy: camera", seen), 10.0, "diagnostics")
        found = {key: int(values[key]) for key in ("received", "processed", "dropped", "rejected")}
        return found if found["received"] == found["processed"] + found["dropped"] + found["rejected"] else None

    return wait_until(settled, 20.0, "received = processed + dropped + rejected")


def test_a_flood_is_answered_with_the_newest_image_and_each_other_one_is_counted(node, probe) -> None:
    """Spoilt images are among them: published + dropped + rejected = received, to the last one."""
    picture, clock = cv2.resize(demo_frames(1)[0], (384, 288)), CameraClock(rate=100.0)
    before, first = counts(probe), len(probe.received["output/detections_2d"])  # of an earlier try
    sent: list[tuple[int, int]] = []

    def answers() -> list[tuple[int, int]]:
        return [stamp_of(answer) for answer in probe.received["output/detections_2d"][first:]]

    for index in range(FLOOD):
        message = image_message(picture, clock.tick())
        if index % 3 == 1:
            message.encoding = "nonsense"
        else:
            sent.append(stamp_of(message))
        probe.images.publish(message)
        time.sleep(0.01)
    at_the_end = len(answers())
    probe.wait_for_message("output/detections_2d", sent[-1])
    stamps = answers()
    assert len(stamps) - at_the_end <= UNDER_WAY
    assert stamps == sorted(set(stamps)) and set(stamps) <= set(sent)
    found = {key: value - before[key] for key, value in counts(probe).items()}
    wait_until(lambda: len(answers()) == found["processed"], 10.0, f"{found['processed']} answers; {len(stamps)} came")
    assert min(found["dropped"], found["rejected"]) > 0 and found["received"] <= FLOOD


def test_after_a_flood_one_image_at_a_time_is_answered_each(node, probe) -> None:
    before, picture, clock = counts(probe), demo_frames(1)[0], CameraClock()
    for _ in range(5):
        stamp = clock.tick()
        probe.images.publish(image_message(picture, stamp))
        probe.wait_for_message("output/detections_2d", stamp)
    after = counts(probe)
    assert after["processed"] == before["processed"] + 5 and after["dropped"] == before["dropped"]
