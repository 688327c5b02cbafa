# SPDX-License-Identifier: Apache-2.0
"""A bag that is played through DDS into a live node, whose results are compared with a replay of the same images."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from centertrack_ros.cli._live_run import NODE, LiveRun
from centertrack_ros.replay.compare import Difference

_RESULT_S = 60.0  # how long lockstep waits for a result
_SETTLE_S = 0.3  # and after an image that the node should reject

Image = tuple[str, int, int]  # topic, stamp ns, pass from 0


@dataclass(frozen=True)
class PlaybackOptions:
    """How a bag is played.

    Attributes:
        rate: 1 is the speed of the recording.
        passes: How often it is played.
        clock: Hz of a /clock of the player's own; 0: the bag's, if it has one.
        lockstep: The next image goes out when the one before has its result, so that nothing is ever dropped.
    """

    rate: float = 1.0
    passes: int = 1
    clock: float = 0.0
    lockstep: bool = False

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, got {self.rate:g}")
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, got {self.passes}")
        if not 0 <= self.clock <= 1000:
            raise ValueError(f"clock must be between 0 and 1000 Hz, got {self.clock:g}")


@dataclass(frozen=True)
class CameraTopics:
    """A camera of the bag: its name in the node ('': the only one) and its topics."""

    name: str
    image: str
    info: str | None
    compressed: bool

    @property
    def output(self) -> str:
        return f"{NODE}/output/{self.name}".rstrip("/")


@dataclass
class LiveComparison(LiveRun):
    """A live run of any number of cameras; `expected` is the number of results of each image (topic, stamp)."""

    options: PlaybackOptions = field(default_factory=PlaybackOptions)
    cameras: tuple[CameraTopics, ...] = ()
    outputs: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()
    expected: Counter[tuple[str, int]] = field(default_factory=Counter)
    sent: Counter[tuple[str, int]] = field(default_factory=Counter)
    reported: Counter[tuple[str, int]] = field(default_factory=Counter)
    processed: set[Image] = field(default_factory=set)
    with_stdin: tuple[str, ...] = ("player",)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: tuple[tuple[str, int], float] | None = None
        self._topics = {f"{camera.output}/detections_3d": camera.image for camera in self.cameras}

    def _node_arguments(self) -> list[str]:
        arguments = super()._node_arguments()
        start = arguments.index("-p")
        arguments = [*arguments[:start], "-p", f"use_sim_time:={str(self.has_clock or self.options.clock > 0).lower()}"]
        for camera in self.cameras:
            own = f"~/input/{camera.name}".rstrip("/")
            arguments += ["-r", f"{own}/image{'/compressed' if camera.compressed else ''}:={camera.image}"]
            if camera.info:
                arguments += ["-r", f"{own}/camera_info:={camera.info}"]
        return arguments

    def _recorder_arguments(self) -> list[str]:
        arguments = super()._recorder_arguments()
        first, last = arguments.index("--topics"), arguments.index("--timeout")
        return [*arguments[: first + 1], *self.outputs, *arguments[last:]]

    def _player_arguments(self) -> list[str]:
        topics = sorted({topic for camera in self.cameras for topic in (camera.image, camera.info) if topic})
        topics += self.transforms
        clock = ["/clock"] if self.has_clock and not self.options.clock else []
        words = ["--topics", *topics, *clock, "--wait-for", *topics, "--rate", str(self.rate), "--events"]
        words += ["--loop", str(self.options.passes), "--clock", str(self.options.clock)]
        words += ["--lockstep"] if self.options.lockstep else []
        return ["-m", "centertrack_ros.ros.player", str(self.source.path), *words]

    def _on_player(self, event: dict[str, Any]) -> None:
        if event["event"] != "published":
            return
        key = (event["topic"], event["stamp_ns"])
        with self._lock:
            self.sent[key] += 1
            self.published[len(self.published)] = event["wall_ns"]
            self._waiting = (key, time.monotonic())
        self._continue_lockstep()

    def _on_recorder(self, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            self.ready.set()
        if event["event"] != "recorded" or event["topic"] not in self._topics:
            return
        key = (self._topics[event["topic"]], event["stamp_ns"])
        with self._lock:
            self.processed.add((*key, max(0, self.sent[key] - 1)))
            self.reported[key] += 1
            self.received[len(self.received)] = event["wall_ns"]
        self._continue_lockstep()

    def _show(self, bar: Any) -> None:
        self._continue_lockstep()
        super()._show(bar)

    def _continue_lockstep(self) -> None:
        """Lets the player publish the next image once this one has its result, or will never have one."""
        player = self.processes.get("player")
        with self._lock:
            if not self.options.lockstep or self._waiting is None or player is None:
                return
            key, since = self._waiting
            due = min(self.sent[key], self.expected[key])
            has_results = due and self.reported[key] >= due and self.sent[key] <= self.expected[key]
            limit = _RESULT_S if self.reported[key] < due else _SETTLE_S
            if has_results or time.monotonic() - since > limit:
                self._waiting = None
                player.write_line("next")


@dataclass(frozen=True)
class ComparisonResult:
    """Numbers of images that were published and dropped, and how the live results differ from the replay's."""

    published: int
    dropped: int
    difference: Difference

    @property
    def is_equal(self) -> bool:
        """Whether both have the same messages."""
        return not (self.difference.different or self.difference.only_first or self.difference.only_second)


def compare_with_live_node(
    replay: Any, bag: Path, target: Path, topics: list[str], parameters: dict[str, Any], options: PlaybackOptions
) -> ComparisonResult:
    """Plays a bag into a live node and compares its results with `target`, the replay of that bag.

    Every file of the run is kept in `target`-live. A frame that the node drops changes the tracks after it. Then, and
    when the bag is played several times, the results are compared with a second replay, of exactly the images that the
    node processed.
    """
    import yaml

    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.replay.compare import compare_bags

    with BagReader(bag) as reader:
        has_clock, cameras = "/clock" in reader.topics, _cameras(reader, topics)
        total = options.passes * sum(reader.topics[camera.image].count for camera in cameras)
        transforms = tuple(
            name for name in ("/tf", "/tf_static") if name in reader.topics and parameters["output.target_frame"]
        )
    once = _count_results(target, cameras)
    expected: Counter[tuple[str, int]] = Counter({key: count * options.passes for key, count in once.items()})
    folder = target.with_name(f"{target.name}-live")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    params = folder / "parameters.yaml"
    values = _node_parameters(parameters, cameras, options)
    params.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    source = SimpleNamespace(path=bag, length=total, topic=SimpleNamespace(type="", name=""), info_topic=None)
    live = LiveComparison(
        source, options.rate, has_clock, params, folder,
        options=options, cameras=cameras, expected=expected,
        outputs=tuple(replay.output_topics([camera.name for camera in cameras])), transforms=transforms,
    )  # fmt: skip
    live.play()
    dropped = max(0, sum(expected.values()) - sum(live.reported.values()))
    if dropped or options.passes > 1:
        for _ in replay.run(bag, folder / "replay", topics, passes=options.passes, only=live.processed):
            pass
        target = folder / "replay"
    return ComparisonResult(len(live.published), dropped, compare_bags(target, folder / "recording"))


def _cameras(reader: Any, topics: list[str]) -> tuple[CameraTopics, ...]:
    from centertrack_ros.io.sources import COMPRESSED_TYPE, camera_info_topic
    from centertrack_ros.replay.bag_replay import camera_names, image_topics

    chosen = [reader.require(name) for name in topics] or image_topics(reader)
    return tuple(
        CameraTopics(name, topic.name, camera_info_topic(reader, topic.name), topic.type == COMPRESSED_TYPE)
        for name, topic in zip(camera_names([topic.name for topic in chosen]), chosen, strict=True)
    )


def _count_results(replayed: Path, cameras: tuple[CameraTopics, ...]) -> Counter[tuple[str, int]]:
    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.io.stamps import header_stamp_ns

    images = {f"{camera.output}/detections_3d": camera.image for camera in cameras}
    with BagReader(replayed) as reader:
        return Counter((images[record.topic], header_stamp_ns(record.data)) for record in reader.records(images))


def _node_parameters(
    parameters: dict[str, Any], cameras: tuple[CameraTopics, ...], options: PlaybackOptions
) -> dict[str, Any]:
    transports = {"compressed" if camera.compressed else "raw" for camera in cameras}
    values = {
        **parameters,
        "autostart": True,
        "cameras": [camera.name for camera in cameras],
        "camera.transport": transports.pop() if len(transports) == 1 else "auto",
    }
    return {**values, "camera.reliability": "reliable"} if options.lockstep else values
