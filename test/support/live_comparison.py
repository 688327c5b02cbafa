"""A bag played through DDS into a live node, and what the node answered against a replay of the same images."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from centertrack_ros.cli.demo import NODE, Live
from centertrack_ros.replay.compare import Difference

_ANSWER_S = 60.0  # how long --lockstep waits for an answer
_SETTLE_S = 0.3  # and after an image that the node should refuse

Image = tuple[str, int, int]  # topic, stamp ns, pass from 0


@dataclass(frozen=True)
class Manner:
    """How a bag is played: times the recording's speed, how often, Hz of a /clock of its own (0: the bag's, if any).

    lockstep  the next image goes out when the one before is answered, so that nothing is ever dropped
    """

    rate: float = 1.0
    passes: int = 1
    clock: float = 0.0
    lockstep: bool = False

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"--rate must be above 0, got {self.rate:g}")
        if self.passes < 1:
            raise ValueError(f"--loop must be at least 1, got {self.passes}")
        if not 0 <= self.clock <= 1000:
            raise ValueError(f"--clock must be between 0 and 1000 Hz, got {self.clock:g}")


@dataclass(frozen=True)
class Eye:
    """A camera of the bag: its name in the node ('': the only one), its topics."""

    name: str
    image: str
    info: str | None
    compressed: bool

    @property
    def output(self) -> str:
        return f"{NODE}/output/{self.name}".rstrip("/")


@dataclass
class Through(Live):
    """A live run of any number of cameras; `expected` is how often each image (topic, stamp) should be answered."""

    manner: Manner = field(default_factory=Manner)
    eyes: tuple[Eye, ...] = ()
    outputs: tuple[str, ...] = ()
    expected: Counter[tuple[str, int]] = field(default_factory=Counter)
    sent: Counter[tuple[str, int]] = field(default_factory=Counter)
    said: Counter[tuple[str, int]] = field(default_factory=Counter)
    answered: set[Image] = field(default_factory=set)
    told: tuple[str, ...] = ("player",)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: tuple[tuple[str, int], float] | None = None
        self._topics = {f"{eye.output}/detections_3d": eye.image for eye in self.eyes}

    def _node_arguments(self) -> list[str]:
        arguments = super()._node_arguments()
        start = arguments.index("-p")
        arguments = [*arguments[:start], "-p", f"use_sim_time:={str(self.has_clock or self.manner.clock > 0).lower()}"]
        for eye in self.eyes:
            own = f"~/input/{eye.name}".rstrip("/")
            arguments += ["-r", f"{own}/image{'/compressed' if eye.compressed else ''}:={eye.image}"]
            if eye.info:
                arguments += ["-r", f"{own}/camera_info:={eye.info}"]
        return arguments

    def _recorder_arguments(self) -> list[str]:
        arguments = super()._recorder_arguments()
        first, last = arguments.index("--topics"), arguments.index("--timeout")
        topics = [f"{eye.output}/{output}" for eye in self.eyes for output in self.outputs]
        return [*arguments[: first + 1], *topics, *arguments[last:]]

    def _player_arguments(self) -> list[str]:
        topics = sorted({topic for eye in self.eyes for topic in (eye.image, eye.info) if topic})
        clock = ["/clock"] if self.has_clock and not self.manner.clock else []
        options = ["--topics", *topics, *clock, "--wait-for", *topics, "--rate", str(self.rate), "--events"]
        options += ["--loop", str(self.manner.passes), "--clock", str(self.manner.clock)]
        options += ["--lockstep"] if self.manner.lockstep else []
        return ["-m", "centertrack_ros.ros.player", str(self.source.path), *options]

    def _on_player(self, event: dict[str, Any]) -> None:
        if event["event"] != "published":
            return
        key = (event["topic"], event["stamp_ns"])
        with self._lock:
            self.sent[key] += 1
            self.published[len(self.published)] = event["wall_ns"]
            self._waiting = (key, time.monotonic())
        self._go_on()

    def _on_recorder(self, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            self.ready.set()
        if event["event"] != "recorded" or event["topic"] not in self._topics:
            return
        key = (self._topics[event["topic"]], event["stamp_ns"])
        with self._lock:
            self.answered.add((*key, max(0, self.sent[key] - 1)))
            self.said[key] += 1
            self.received[len(self.received)] = event["wall_ns"]
        self._go_on()

    def _show(self, bar: Any) -> None:
        self._go_on()
        super()._show(bar)

    def _go_on(self) -> None:
        """In lockstep: lets the player publish the next image once this one is answered, or will never be."""
        player = self.children.get("player")
        with self._lock:
            if not self.manner.lockstep or self._waiting is None or player is None:
                return
            key, since = self._waiting
            wanted = min(self.sent[key], self.expected[key])
            is_due = wanted and self.said[key] >= wanted and self.sent[key] <= self.expected[key]
            limit = _ANSWER_S if self.said[key] < wanted else _SETTLE_S
            if is_due or time.monotonic() - since > limit:
                self._waiting = None
                player.tell("next")


@dataclass(frozen=True)
class Found:
    """What a live run gave: images published and dropped, and how the answers differ from the replay's."""

    published: int
    dropped: int
    difference: Difference


def play_through(
    replay: Any, bag: Path, target: Path, topics: list[str], parameters: dict[str, Any], manner: Manner
) -> Found:
    """Plays the bag that `target` is the replay of into a live node; everything is kept in `target`-live.

    What the node dropped would change the tracks after it. Then, and when the bag is played several times, the answers
    are compared with a second replay, of exactly the images that the node answered.
    """
    import yaml

    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.replay.compare import compare_bags

    with BagReader(bag) as reader:
        has_clock, eyes = "/clock" in reader.topics, _eyes(reader, topics)
        total = manner.passes * sum(reader.topics[eye.image].count for eye in eyes)
    once = _answers(target, eyes)
    expected: Counter[tuple[str, int]] = Counter({key: count * manner.passes for key, count in once.items()})
    folder = target.with_name(f"{target.name}-live")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    params = folder / "parameters.yaml"
    values = _node_parameters(parameters, eyes, manner)
    params.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    source = SimpleNamespace(path=bag, length=total, topic=SimpleNamespace(type="", name=""), info_topic=None)
    live = Through(
        source, manner.rate, has_clock, params, folder,
        manner=manner, eyes=eyes, outputs=replay.outputs, expected=expected,
    )  # fmt: skip
    live.play()
    dropped = max(0, sum(expected.values()) - sum(live.said.values()))
    if dropped or manner.passes > 1:
        for _ in replay.run(bag, folder / "replay", topics, passes=manner.passes, only=live.answered):
            pass
        target = folder / "replay"
    return Found(len(live.published), dropped, compare_bags(target, folder / "recording"))


def _eyes(reader: Any, topics: list[str]) -> tuple[Eye, ...]:
    from centertrack_ros.io.sources import COMPRESSED_TYPE, camera_info_topic
    from centertrack_ros.replay.bag_replay import camera_names, image_topics

    chosen = [reader.require(name) for name in topics] or image_topics(reader)
    return tuple(
        Eye(name, topic.name, camera_info_topic(reader, topic.name), topic.type == COMPRESSED_TYPE)
        for name, topic in zip(camera_names([topic.name for topic in chosen]), chosen, strict=True)
    )


def _answers(replayed: Path, eyes: tuple[Eye, ...]) -> Counter[tuple[str, int]]:
    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.ros.topics import header_stamp_ns

    images = {f"{eye.output}/detections_3d": eye.image for eye in eyes}
    with BagReader(replayed) as reader:
        return Counter((images[record.topic], header_stamp_ns(record.data)) for record in reader.records(images))


def _node_parameters(parameters: dict[str, Any], eyes: tuple[Eye, ...], manner: Manner) -> dict[str, Any]:
    transports = {"compressed" if eye.compressed else "raw" for eye in eyes}
    values = {
        **parameters,
        "autostart": True,
        "cameras": [eye.name for eye in eyes],
        "camera.transport": transports.pop() if len(transports) == 1 else "auto",
    }
    return {**values, "camera.reliability": "reliable"} if manner.lockstep else values
