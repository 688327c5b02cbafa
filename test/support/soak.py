#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plays the demo clip in a loop into a node with two cameras, and measures its memory, results and ids.

    tools/run python -m support.soak [--minutes 10] [--rate 10] [-- NODE PARAMETERS such as model.threads:=1]

`steady` is a looped bag: its stamps jump back at the end of the clip. `shaky` is a faulty driver: it stops, starts
again, changes the size of its images, and its stamps jump by hours, repeat and are missing. The exit code is 1 when the
node dies or logs a traceback, when a camera gets no results for half a minute, or when memory grows by 1 MB a minute or
more after the second minute.
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
SETTLED_S = 120.0  # after this time memory must no longer grow
LIMIT_MB_PER_MINUTE = 1.0
SIZES = ((768, 576), (640, 480), (1024, 768))
CYCLE_S = 24.0
EXPIRED_S = 5.0  # the next round of the clip repeats the stamp
SILENCE_S = 30.0  # a camera without a result for longer has failed


def clip() -> list[bytes]:
    """The JPEG files of the demo clip."""
    from centertrack_ros.io.rosbag import BagReader

    with BagReader(ROOT / "demo" / "pets09_s2l1") as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
        return [bytes(message.data) for _, message in reader.messages([topic.name])]


class Camera:
    """One camera: publishes images and collects their results.

    Attributes:
        sent: number of images.
        results: number of results.
        latencies: from the publication of an image to its result, s.
        ids: all track ids in the results.
        silence: the longest time without a result while images were sent, s.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.probe = Probe(NODE, name)
        self.probe.node.destroy_publisher(self.probe.images)  # both send JPEG files
        self.sent, self.results, self.latencies = 0, 0, list[float]()
        self.ids: set[int] = set()
        self.silence = 0.0
        self._sent_at: dict[tuple[int, int], float] = {}
        self._silent_since: float | None = None
        self._new: list[tuple[float, Any]] = []  # time of reception, result
        self._subscribe(f"/{NODE}/output/{name}/detections_2d")
        self.probe.subscribe(f"output/{name}/detections_3d")
        self.probe.subscribe(f"output/{name}/markers")
        wait_until(self.probe.compressed.get_subscription_count, 20.0, f"the node to subscribe to {name}")

    def _subscribe(self, topic: str) -> None:
        def received(message: Any) -> None:
            self._new.append((time.monotonic(), message))

        self.probe.node.create_subscription(kind_of(topic), topic, received, 50)

    def calibrate(self, size: tuple[int, int]) -> None:
        """Publishes the calibration for images of (width, height) px."""
        self.probe.infos.publish(camera_info_message(*size))

    def publish(self, data: bytes, stamp: float) -> None:
        """Publishes a JPEG file; `stamp` in s, 0 for a missing one."""
        key = (int(stamp), int(stamp % 1 * 1e9)) if stamp else (0, 0)
        message = compressed_message(data, key)
        message.header = header(key, f"{self.name}_optical")
        now = time.monotonic()
        if now - self._sent_at.get(key, -math.inf) > EXPIRED_S:  # the result may be that of the first of two duplicates
            self._sent_at[key] = now
        self.probe.compressed.publish(message)
        self.sent += 1
        self._silent_since = self._silent_since or time.monotonic()

    def collect(self) -> None:
        """Processes the results that arrived since the last call."""
        now = time.monotonic()
        for messages in self.probe.received.values():
            messages.clear()
        if self._new:
            self._silent_since = None
        elif self._silent_since is not None:
            self.silence = max(self.silence, now - self._silent_since)
        while self._new:
            received_at, message = self._new.pop(0)
            self.results += 1
            self.ids |= {int(d.id) for d in message.detections}
            if sent_at := self._sent_at.pop(stamp_of(message), None):
                self.latencies.append(received_at - sent_at)
        self._sent_at = {key: at for key, at in self._sent_at.items() if now - at < EXPIRED_S}

    def restart(self) -> None:
        """Replaces the publisher, as a driver that starts again does."""
        self._silent_since = None
        self.probe.renew_compressed()


class Soak:
    """Plays the clip in a loop on both cameras and measures the memory of the node once a second.

    Attributes:
        cameras: the steady and the shaky one.
        memory: (s since the start, resident MB).
        late: longest delay of an image after its due time, s.
    """

    def __init__(self, node: Process, rate: float) -> None:
        self._node, self._rate = node, rate
        self._files = clip()
        self._resized = {size: [_resized(data, size) for data in self._files[:50]] for size in SIZES}
        self.cameras = [Camera(name) for name in CAMERAS]
        self.memory: list[tuple[float, float]] = []
        self.late = 0.0
        self._stopped = False

    def close(self) -> None:
        """Closes the probes."""
        for camera in self.cameras:
            camera.probe.close()

    def run(self, seconds: float) -> Iterator[float]:
        """Plays for `seconds`; yields about once a second the time since the start, s."""
        begin, epoch, index, measured = time.monotonic(), time.time(), 0, -1.0
        while (now := time.monotonic() - begin) < seconds and self._node.alive:
            self._steady(index, epoch)
            self._shaky(index, now, epoch)
            self.late = max(self.late, now - index / self._rate)
            index += 1
            time.sleep(max(begin + index / self._rate - time.monotonic(), 0.0))
            for camera in self.cameras:
                camera.collect()
            if now - measured >= 1.0:
                measured = now
                self.memory.append((now, resident_mb(self._node.pid)))
                yield now

    def _steady(self, index: int, epoch: float) -> None:
        frame = index % len(self._files)
        if frame == 0:
            self.cameras[0].calibrate(SIZES[0])
        self.cameras[0].publish(self._files[frame], epoch + frame / self._rate)

    def _shaky(self, index: int, now: float, epoch: float) -> None:
        camera, phase, cycle = self.cameras[1], now % CYCLE_S, int(now / CYCLE_S)
        size = SIZES[(cycle + (phase > CYCLE_S / 2)) % len(SIZES)]
        stamp = epoch + now
        if phase < 3.0:  # the driver has stopped
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
            stamp -= 0.15  # late
        files = self._resized[size]
        camera.publish(files[index % len(files)], stamp)


def _resized(data: bytes, size: tuple[int, int]) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return cv2.imencode(".jpg", cv2.resize(image, size))[1].tobytes()


def slope_mb_per_minute(memory: Sequence[tuple[float, float]], after: float) -> float | None:
    """Growth of the memory from `after` s on: the Theil-Sen slope of medians over ten seconds.

    Medians leave out the memory of images in work. None for less than a minute.
    """
    bins = defaultdict(list)
    for at, size in memory:
        if at >= after:
            bins[int(at / 10)].append(size)
    if len(bins) < 6:
        return None
    times, sizes = np.array(list(bins)) / 6.0, np.array([np.median(values) for values in bins.values()])
    slopes = [(sizes[i:] - sizes[:-i]) / (times[i:] - times[:-i]) for i in range(1, len(times))]
    return float(np.median(np.concatenate(slopes)))


def by_minute(memory: Sequence[tuple[float, float]]) -> list[float]:
    """Median resident memory, MB, of each minute, the last one included."""
    minutes = defaultdict(list)
    for at, size in memory:
        minutes[int(at / 60)].append(size)
    return [float(np.median(sizes)) for sizes in minutes.values()]


def problems(soak: Soak, node: Process) -> list[str]:
    """What is wrong after a run; empty if nothing is."""
    problems = [] if node.alive else ["the node died: " + " | ".join(node.lines[-5:])]
    if node.logged("Traceback"):
        problems.append("the node logged a traceback")
    problems += [
        f"{camera.name} had no results for {camera.silence:.0f} s; the node logged {node.lines[-5:]}"
        for camera in soak.cameras
        if camera.silence > SILENCE_S or not camera.results
    ]
    slope = slope_mb_per_minute(soak.memory, SETTLED_S)
    if slope is not None and slope >= LIMIT_MB_PER_MINUTE:
        problems.append(f"memory grows by {slope:.2f} MB a minute")
    return problems


def report(soak: Soak) -> str:
    """The measurements as text."""
    slope = slope_mb_per_minute(soak.memory, SETTLED_S)
    lines = ["resident memory by minute, MB: " + " ".join(f"{size:.1f}" for size in by_minute(soak.memory))]
    growth = "too short a run" if slope is None else f"{slope:+.2f} MB a minute (limit {LIMIT_MB_PER_MINUTE:g})"
    lines.append(f"slope after minute {SETTLED_S / 60:g}: {growth}")
    for camera in soak.cameras:
        worst, middle = (f(camera.latencies or [0.0]) * 1e3 for f in (max, np.median))
        lines.append(
            f"{camera.name:7} {camera.sent:6} sent, {camera.results:6} results, {len(camera.ids):5} ids up to "
            f"{max(camera.ids, default=0)}, latency {middle:.0f} ms, worst {worst:.0f} ms, "
            f"longest silence {camera.silence:.1f} s"
        )
    lines.append(f"images were sent up to {1e3 * soak.late:.0f} ms late, which shows the load of this machine")
    return "\n".join(lines)


def run(seconds: float, rate: float, parameters: Sequence[str]) -> list[str]:
    """Starts the node, plays for `seconds` and prints the measurements. rclpy must be initialised.

    Args:
        seconds: duration, s.
        rate: images per second and camera.
        parameters: of the node, 'name:=value'.

    Returns:
        What is wrong.
    """
    node = start_node(f"cameras:=[{','.join(CAMERAS)}]", "tracker.motion:=kalman", *parameters, name=NODE)
    soak = None
    try:
        soak = Soak(node, rate)
        minute = 0
        for now in soak.run(seconds):
            if now >= 60.0 * (minute + 1):
                minute += 1
                results = sum(camera.results for camera in soak.cameras)
                print(f"minute {minute}: {by_minute(soak.memory[:-1])[-1]:.1f} MB, {results} results", flush=True)
        failures = problems(soak, node)
        print(report(soak))
    finally:
        if soak is not None:
            soak.close()
        code, _ = node.end()
    return failures + ([f"the node ended with exit code {code}"] if code else [])


def main() -> int:
    """Runs the soak test as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=10.0, help="images per second and camera")
    parser.add_argument("parameters", nargs="*", help="of the node: model.engine:=torch …")
    args = parser.parse_args()
    from centertrack_ros.cli._subprocess import ros_environment

    os.environ.update(ros_environment(ROOT / "config" / "fastdds.xml"))
    import rclpy

    rclpy.init()
    try:
        failures = run(60.0 * args.minutes, args.rate, args.parameters)
    finally:
        rclpy.try_shutdown()
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
