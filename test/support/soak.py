#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plays the demo clip in a loop into a node of two cameras, and watches its memory, its answers and its ids.

    tools/run python test/support/soak.py [--minutes 10] [--rate 10] [-- NODE PARAMETERS such as model.threads:=1]

`steady` is a looped bag: its stamps jump back at the end of the clip. `shaky` is a bad driver: it stops, comes back,
changes the size of its images, jumps hours ahead and back, repeats and forgets stamps. Ends with 1 when the node dies
or leaves a traceback, when a camera gets no answers for half a minute, or when memory grows by 1 MB a minute or more
after the second minute.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from support.memory import resident_mb
from support.ros_harness import (
    ROOT,
    Probe,
    Process,
    camera_info_message,
    compressed_message,
    header,
    kind_of,
    stamp_of,
    start_node,
    wait_until,
)

NODE, CAMERAS = "soaked", ("steady", "shaky")
SETTLED_S = 120.0  # after which memory must no longer grow
LIMIT_MB_PER_MINUTE = 1.0
SIZES = ((768, 576), (640, 480), (1024, 768))
CYCLE_S = 24.0
FORGOTTEN_S = 5.0  # the same stamp comes again with the next round of the clip
SILENCE_S = 30.0  # longer without an answer is a camera that is lost


def clip() -> list[bytes]:
    """The demo clip's JPEG files."""
    from centertrack_ros.io.rosbag import BagReader

    with BagReader(ROOT / "demo" / "pets09_s2l1") as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
        return [bytes(message.data) for _, message in reader.messages([topic.name])]


class Camera:
    """One camera: publishes, and keeps when each stamp was sent and what came back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.probe = Probe(NODE, name)
        self.probe.node.destroy_publisher(self.probe.images)  # both send JPEG files
        self.sent, self.answered, self.latencies = 0, 0, list[float]()
        self.ids: set[int] = set()
        self.silence = 0.0  # s, the longest that nothing came back while images were sent
        self._due: dict[tuple[int, int], float] = {}
        self._unanswered_since: float | None = None
        self._answers: list[tuple[float, Any]] = []  # with the time at which they came
        self._hear(f"/{NODE}/output/{name}/detections_2d")
        self.probe.subscribe(f"output/{name}/detections_3d")
        self.probe.subscribe(f"output/{name}/markers")
        wait_until(self.probe.compressed.get_subscription_count, 20.0, f"the node to subscribe to {name}")

    def _hear(self, topic: str) -> None:
        def heard(message: Any) -> None:
            self._answers.append((time.monotonic(), message))

        self.probe.node.create_subscription(kind_of(topic), topic, heard, 50)

    def calibrate(self, size: tuple[int, int]) -> None:
        self.probe.infos.publish(camera_info_message(*size))

    def publish(self, data: bytes, stamp: float) -> None:
        key = (int(stamp), int(stamp % 1 * 1e9)) if stamp else (0, 0)
        message = compressed_message(data, key)
        message.header = header(key, f"{self.name}_optical")
        now = time.monotonic()
        if now - self._due.get(key, -math.inf) > FORGOTTEN_S:  # a duplicate's answer may be that of the first
            self._due[key] = now
        self.probe.compressed.publish(message)
        self.sent += 1
        self._unanswered_since = self._unanswered_since or time.monotonic()

    def collect(self) -> None:
        """Takes in what the node has answered since."""
        now = time.monotonic()
        for kept in self.probe.received.values():
            kept.clear()
        if self._answers:
            self._unanswered_since = None
        elif self._unanswered_since is not None:
            self.silence = max(self.silence, now - self._unanswered_since)
        while self._answers:
            came, message = self._answers.pop(0)
            self.answered += 1
            self.ids |= {int(d.id) for d in message.detections}
            if sent := self._due.pop(stamp_of(message), None):
                self.latencies.append(came - sent)
        self._due = {key: at for key, at in self._due.items() if now - at < FORGOTTEN_S}

    def restart(self) -> None:
        """The driver's process is a new one: its publisher goes and another comes."""
        self._unanswered_since = None
        self.probe.node.destroy_publisher(self.probe.compressed)
        self.probe._compressed = None
        assert self.probe.compressed


class Soak:
    """The clip in a loop, for as long as asked; memory is looked at once a second."""

    def __init__(self, node: Process, rate: float) -> None:
        self._node, self._rate = node, rate
        self._files = clip()
        self._resized = {size: [_resized(data, size) for data in self._files[:50]] for size in SIZES}
        self.cameras = [Camera(name) for name in CAMERAS]
        self.memory: list[tuple[float, float]] = []  # s since the start, MB
        self.late = 0.0  # s, the most that an image was sent after it was due
        self._stopped = False

    def close(self) -> None:
        for camera in self.cameras:
            camera.probe.close()

    def run(self, seconds: float) -> Iterator[float]:
        """Yields, about once a second, how long it has run, s."""
        begin, epoch, index, told = time.monotonic(), time.time(), 0, -1.0
        while (now := time.monotonic() - begin) < seconds and self._node.alive:
            self._steady(index, epoch)
            self._shaky(index, now, epoch)
            self.late = max(self.late, now - index / self._rate)
            index += 1
            time.sleep(max(begin + index / self._rate - time.monotonic(), 0.0))
            for camera in self.cameras:
                camera.collect()
            if now - told >= 1.0:
                told = now
                self.memory.append((now, resident_mb(self._node.pid)))
                yield now

    def _steady(self, index: int, epoch: float) -> None:
        frame = index % len(self._files)
        if frame == 0:
            self.cameras[0].calibrate(SIZES[0])
        self.cameras[0].publish(self._files[frame], epoch + frame / self._rate)

    def _shaky(self, index: int, now: float, epoch: float) -> None:
        camera, phase, turn = self.cameras[1], now % CYCLE_S, int(now / CYCLE_S)
        size = SIZES[(turn + (phase > CYCLE_S / 2)) % len(SIZES)]
        stamp = epoch + now
        if phase < 3.0:  # the driver is gone
            self._stopped = True
            return
        if self._stopped:
            camera.restart()
            camera.calibrate(size)
            self._stopped = False
        if 9.0 < phase < 12.0:
            stamp += 3600.0
        elif 15.0 < phase < 17.0:
            stamp -= 7200.0
        elif 18.0 < phase < 19.0:
            stamp = 0.0
        elif 20.0 < phase < 21.0:
            stamp = epoch + round(now)  # duplicates, then a gap
        elif 22.0 < phase < 23.0 and index % 3 == 0:
            stamp -= 0.15  # overtaken
        files = self._resized[size]
        camera.publish(files[index % len(files)], stamp)


def _resized(data: bytes, size: tuple[int, int]) -> bytes:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", cv2.resize(picture, size))[1].tobytes()


def slope_mb_per_minute(memory: Sequence[tuple[float, float]], after: float) -> float | None:
    """From `after` s on, by medians of ten seconds: a picture in work is no growth. None for less than a minute."""
    bins = defaultdict(list)
    for at, size in memory:
        if at >= after:
            bins[int(at / 10)].append(size)
    if len(bins) < 6:
        return None
    times, sizes = np.array(list(bins)) / 6.0, np.array([np.median(found) for found in bins.values()])
    slopes = [(sizes[i:] - sizes[:-i]) / (times[i:] - times[:-i]) for i in range(1, len(times))]
    return float(np.median(np.concatenate(slopes)))  # of Theil and Sen


def by_minute(memory: Sequence[tuple[float, float]]) -> list[float]:
    """Median resident memory, MB, of each minute begun."""
    minutes = defaultdict(list)
    for at, size in memory:
        minutes[int(at / 60)].append(size)
    return [float(np.median(sizes)) for sizes in minutes.values()]


def problems(soak: Soak, node: Process) -> list[str]:
    found = [] if node.alive else ["the node died: " + " | ".join(node.lines[-5:])]
    if node.logged("Traceback"):
        found.append("the node left a traceback")
    found += [
        f"{camera.name} was without answers for {camera.silence:.0f} s; the node said {node.lines[-5:]}"
        for camera in soak.cameras
        if camera.silence > SILENCE_S or not camera.answered
    ]
    slope = slope_mb_per_minute(soak.memory, SETTLED_S)
    if slope is not None and slope >= LIMIT_MB_PER_MINUTE:
        found.append(f"memory grows by {slope:.2f} MB a minute")
    return found


def report(soak: Soak) -> str:
    slope = slope_mb_per_minute(soak.memory, SETTLED_S)
    lines = ["resident memory by minute, MB: " + " ".join(f"{size:.1f}" for size in by_minute(soak.memory))]
    told = "too short to say" if slope is None else f"{slope:+.2f} MB a minute (limit {LIMIT_MB_PER_MINUTE:g})"
    lines.append(f"slope after minute {SETTLED_S / 60:g}: {told}")
    for camera in soak.cameras:
        worst, middle = (f(camera.latencies or [0.0]) * 1e3 for f in (max, np.median))
        lines.append(
            f"{camera.name:7} {camera.sent:6} sent, {camera.answered:6} answered, {len(camera.ids):5} ids up to "
            f"{max(camera.ids, default=0)}, latency {middle:.0f} ms, worst {worst:.0f} ms, "
            f"longest silence {camera.silence:.1f} s"
        )
    lines.append(f"images were sent up to {1e3 * soak.late:.0f} ms late: how busy this machine was")
    return "\n".join(lines)


def run(seconds: float, rate: float, parameters: Sequence[str], tell: Any = print) -> list[str]:
    """Runs it all; returns what is wrong. rclpy must be initialised."""
    node = start_node(f"cameras:=[{','.join(CAMERAS)}]", "tracker.motion:=kalman", *parameters, name=NODE)
    soak = None
    try:
        soak = Soak(node, rate)
        minute = 0
        for now in soak.run(seconds):
            if now >= 60.0 * (minute + 1):
                minute += 1
                answered = sum(camera.answered for camera in soak.cameras)
                tell(
                    f"minute {minute}: {by_minute(soak.memory[:-1])[-1]:.1f} MB, {answered} frames answered", flush=True
                )
        found = problems(soak, node)
        tell(report(soak))
    finally:
        if soak is not None:
            soak.close()
        code, _ = node.end()
    return found + ([f"the node ended with code {code}"] if code else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=10.0, help="images a second and camera")
    parser.add_argument("parameters", nargs="*", help="of the node: model.engine:=torch …")
    args = parser.parse_args()
    from centertrack_ros.cli._subprocess import ros_environment

    os.environ.update(ros_environment(ROOT / "config" / "fastdds.xml"))
    import rclpy

    rclpy.init()
    try:
        found = run(60.0 * args.minutes, args.rate, args.parameters)
    finally:
        rclpy.try_shutdown()
    for problem in found:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
