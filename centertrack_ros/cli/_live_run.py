# SPDX-License-Identifier: Apache-2.0
"""A recording that is played through DDS into the node: player, node and recorder, each a process of its own."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from centertrack_ros.cli._live_results import LiveResults
from centertrack_ros.cli._share_files import share_file
from centertrack_ros.cli._subprocess import Subprocess, SubprocessError, ros_environment

NODE = "/centertrack"
MAIN_OUTPUT = f"{NODE}/output/detections_3d"
OUTPUTS = [MAIN_OUTPUT, f"{NODE}/output/detections_2d", f"{NODE}/output/markers", f"{NODE}/output/label_info"]
GENERATED_OUTPUTS = [f"{NODE}/output/tracks", f"{NODE}/debug/timing"]
_PACKED = "/compressedDepth"  # the node looks for it behind the topic of raw depths
_START_S = 60.0
_LAST_RESULTS_S = 5.0


@dataclass
class LiveRun:
    """One run of player, node and recorder.

    Attributes:
        source: The `io.sources.BagSource` that is played, or what has its path, length, topic and info_topic.
        rate: 1 is the speed of the recording.
        has_clock: Whether the recording has a /clock.
        params: YAML file of the node's parameters.
        folder: Gets the logs and the recording of the node's outputs.
        sensors: 'depth' and 'points', as far as they are played -> topic.
        published: Stamp, ns -> system time, ns, at which the image went out.
        results: Stamp, ns -> number of results.
        received: Stamp, ns -> system time, ns, at which the first result came in.
        ready: Is set once the recorder has found the node's outputs.
        processes: Name -> process.
        with_stdin: Names of the processes that `Subprocess.write_line` reaches.
    """

    source: Any
    rate: float
    has_clock: bool
    params: Path
    folder: Path
    sensors: Mapping[str, str] = field(default_factory=dict)
    published: dict[int, int] = field(default_factory=dict)
    results: Counter[int] = field(default_factory=Counter)
    received: dict[int, int] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)
    processes: dict[str, Subprocess] = field(default_factory=dict)
    with_stdin: tuple[str, ...] = ()

    def play(self) -> LiveResults:
        """Plays the recording to its end.

        Raises:
            SubprocessError: One of the processes failed; the text repeats its error.
        """
        environment = ros_environment(share_file("config/fastdds.xml"))
        print(f"playing {self.source.path} on ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}", flush=True)
        with ExitStack() as stack:

            def start(
                name: str, arguments: list[str], on_event: Callable[[dict[str, Any]], None] | None = None
            ) -> Subprocess:
                log, reads_stdin = self.folder / f"{name}.log", name in self.with_stdin
                process = Subprocess(name, arguments, log, environment, on_event, reads_stdin)
                self.processes[name] = stack.enter_context(process)
                return process

            node = start("node", self._node_arguments())
            recorder = start("recorder", self._recorder_arguments(), self._on_recorder)
            self._wait_until_ready(node, recorder)
            player = start("player", self._player_arguments(), self._on_player)
            self._watch(node, recorder, player)
        return LiveResults(self.folder / "recording", list(self.published), self.published, self.received, self.results)

    def _node_arguments(self) -> list[str]:
        compressed = self.source.topic.type.endswith("CompressedImage")
        image = "~/input/image/compressed" if compressed else "~/input/image"
        remaps = [f"{image}:={self.source.topic.name}"]
        if self.source.info_topic:
            remaps.append(f"~/input/camera_info:={self.source.info_topic}")
        remaps += [f"~/input/{kind}:={name.removesuffix(_PACKED)}" for kind, name in self.sensors.items()]
        command = "import sys; from centertrack_ros.ros.main import main; sys.exit(main())"
        arguments = ["-c", command, "--ros-args", "--params-file", str(self.params)]
        arguments += ["-p", f"use_sim_time:={str(self.has_clock).lower()}"]
        arguments += ["-p", f"camera.transport:={'compressed' if compressed else 'raw'}"]
        return arguments + [word for remap in remaps for word in ("-r", remap)]

    def _recorder_arguments(self) -> list[str]:
        topics = OUTPUTS + (GENERATED_OUTPUTS if _messages_are_built() else [])
        options = ["--topics", *topics, "--timeout", f"{_START_S:g}", "--events"]
        return ["-m", "centertrack_ros.ros.recorder", str(self.folder / "recording"), *options]

    def _player_arguments(self) -> list[str]:
        topics = [self.source.topic.name, *filter(None, [self.source.info_topic]), *self.sensors.values()]
        more = ["/clock"] * self.has_clock + ["/tf_static"] * ("points" in self.sensors)
        options = ["--topics", *topics, *more]
        options += ["--wait-for", *topics, "--rate", str(self.rate), "--events"]
        return ["-m", "centertrack_ros.ros.player", str(self.source.path), *options]

    def _on_recorder(self, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            self.ready.set()
        if event["event"] == "recorded" and event["topic"] == MAIN_OUTPUT:
            self.results[event["stamp_ns"]] += 1
            self.received.setdefault(event["stamp_ns"], event["wall_ns"])

    def _on_player(self, event: dict[str, Any]) -> None:
        if event["event"] == "published" and event["topic"] == self.source.topic.name:
            self.published[event["stamp_ns"]] = event["wall_ns"]

    def _wait_until_ready(self, node: Subprocess, recorder: Subprocess) -> None:
        print("starting the node …", flush=True)
        while not self.ready.wait(0.1):
            node.check()
            recorder.check()
            if node.code is not None:
                raise SubprocessError("the node ended before it was ready")

    def _watch(self, node: Subprocess, recorder: Subprocess, player: Subprocess) -> None:
        """Shows progress until every image has its result, or no more results come."""
        from tqdm import tqdm

        with tqdm(total=self.source.length, unit="frame", desc="playing", disable=None) as bar:
            while player.code is None:
                for process in (node, recorder, player):
                    process.check()
                self._show(bar)
                time.sleep(0.05)
            player.end()
            last = time.monotonic()
            while len(self.received) < len(self.published) and time.monotonic() - last < _LAST_RESULTS_S:
                time.sleep(0.05)
            self._show(bar)
        player.check()
        recorder.end()
        recorder.check()

    def _show(self, bar: Any) -> None:
        bar.n = len(self.published)
        bar.set_postfix_str(f"{len(self.received)} results", refresh=False)
        bar.refresh()


def _messages_are_built() -> bool:
    try:
        import centertrack_ros.msg as types
    except ImportError:
        return False
    return hasattr(types, "TrackArray")
