"""`centertrack demo`: a recording played through DDS into the node, and what the node makes of it."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from centertrack_ros.cli._demo_results import Run, summary, table, write_text, write_video
from centertrack_ros.cli._files import share_file
from centertrack_ros.cli._process import Child, ChildError, ros_environment

HELP = "play the bundled clip through ROS 2 into the node: video, tracks and a table"

NODE = "/centertrack"
MAIN_OUTPUT = f"{NODE}/output/detections_3d"
OUTPUTS = [MAIN_OUTPUT, f"{NODE}/output/detections_2d", f"{NODE}/output/markers", f"{NODE}/output/label_info"]
GENERATED_OUTPUTS = [f"{NODE}/output/tracks", f"{NODE}/debug/timing"]
STREET_SEED, STREET_FRAMES, STREET_RATE = 7_000_000, 100, 7.0
_START_S = 60.0
_LAST_ANSWERS_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bag", type=Path, help="another rosbag2 to play; the bundled clip otherwise")
    parser.add_argument(
        "--street", action="store_true", help="play a synthetic drive instead, tracked in 3D by mobilenetv3-street-3d"
    )
    parser.add_argument("--topic", metavar="NAME", help="image topic of a bag with several")
    parser.add_argument(
        "--params", type=Path, metavar="YAML", help="the node's parameters; config/demo.yaml or demo_street.yaml"
    )
    parser.add_argument("--output", type=Path, default=Path("out/demo"), metavar="DIR", help="folder for the results")
    parser.add_argument("--rate", type=float, default=1.0, help="1 is the speed of the recording")
    parser.add_argument("--draw-3d", action="store_true", help="draw 3D boxes into the video too")
    parser.add_argument("--no-video", action="store_true", help="tracks and table only")


def run(args: argparse.Namespace) -> int:
    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.io.sources import BagSource

    for package in ("rclpy", "vision_msgs"):
        if find_spec(package) is None:
            raise ImportError(f"ROS 2's {package} is not here: `make demo` brings it along, or source a distribution")
    if not args.rate > 0:
        raise ValueError(f"--rate must be above 0, got {args.rate:g}")
    if args.street and args.bag:
        raise ValueError("--street plays a drive of its own: leave out --bag")
    # Told to end, it ends its children too, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bag = _street(_prepare(args.output)) if args.street else args.bag or share_file("demo/pets09_s2l1")
    params = args.params or share_file("config/demo_street.yaml" if args.street else "config/demo.yaml")
    source = BagSource(bag, image_topic=args.topic)
    with BagReader(bag) as reader:
        has_clock = "/clock" in reader.topics
    folder = args.output if args.street else _prepare(args.output)
    found = Live(source, args.rate, has_clock, params, folder).play()
    write_text(found, folder / "tracks.txt")
    if not args.no_video:
        write_video(found, source, folder / "video.webm", args.draw_3d or args.street)
    figures = summary(found)
    (folder / "summary.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(table(figures))
    _tell_where(folder, video=not args.no_video)
    if problem := found.problem():
        raise ChildError(problem)
    return 0


def _prepare(folder: Path) -> Path:
    """The folder for the results, without those of a run before."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("recording", "street"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("video.webm", "tracks.txt", "summary.json", "node.log", "player.log", "recorder.log"):
        (folder / name).unlink(missing_ok=True)
    return folder


def _street(folder: Path) -> Path:
    """A drive as a bag with its truth. Raises ModuleNotFoundError without Panda3D."""
    from centertrack_ros.synthetic import StreetConfig
    from centertrack_ros.synthetic.bags import write_street_bags

    print(f"rendering a drive of {STREET_FRAMES} frames …", flush=True)
    # Of textures and shapes that no model was trained on.
    drive = StreetConfig(seed=STREET_SEED, frames=STREET_FRAMES, rate=STREET_RATE, look="test")
    (bag,) = write_street_bags(folder / "street", [drive])
    return bag


def _tell_where(folder: Path, video: bool) -> None:
    print(f"\nresults in {folder}/")
    if video:
        print(f"  video.webm   boxes, ids, trails; see it in any browser: file://{(folder / 'video.webm').resolve()}")
    print("  tracks.txt   frame, id, left, top, width, height, score (MOTChallenge)")
    print("  recording/   what the node published (rosbag2, mcap): ros2 bag play, Foxglove, RViz")


@dataclass
class Live:
    """One run of player, node and recorder, each a process of its own."""

    source: Any
    rate: float
    has_clock: bool
    params: Path
    folder: Path
    published: dict[int, int] = field(default_factory=dict)  # stamp ns -> wall ns
    answers: Counter[int] = field(default_factory=Counter)  # stamp ns -> how often
    received: dict[int, int] = field(default_factory=dict)  # stamp ns -> wall ns
    ready: threading.Event = field(default_factory=threading.Event)
    children: dict[str, Child] = field(default_factory=dict)
    told: tuple[str, ...] = ()  # the children that `Child.tell` reaches

    def play(self) -> Run:
        """Raises ChildError, with what it said, when one of the processes fails."""
        environment = ros_environment(share_file("config/fastdds.xml"))
        print(f"playing {self.source.path} on ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}", flush=True)
        with ExitStack() as stack:

            def start(name: str, arguments: list[str], listener: Any = None) -> Child:
                log, told = self.folder / f"{name}.log", name in self.told
                self.children[name] = stack.enter_context(Child(name, arguments, log, environment, listener, told))
                return self.children[name]

            node = start("node", self._node_arguments())
            recorder = start("recorder", self._recorder_arguments(), self._on_recorder)
            self._wait_until_ready(node, recorder)
            player = start("player", self._player_arguments(), self._on_player)
            self._follow(node, recorder, player)
        return Run(self.folder / "recording", list(self.published), self.published, self.received, self.answers)

    def _node_arguments(self) -> list[str]:
        compressed = self.source.topic.type.endswith("CompressedImage")
        image = "~/input/image/compressed" if compressed else "~/input/image"
        remaps = [f"{image}:={self.source.topic.name}"]
        if self.source.info_topic:
            remaps.append(f"~/input/camera_info:={self.source.info_topic}")
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
        topics = [self.source.topic.name, *filter(None, [self.source.info_topic])]
        options = ["--topics", *topics, *(["/clock"] if self.has_clock else [])]
        options += ["--wait-for", *topics, "--rate", str(self.rate), "--events"]
        return ["-m", "centertrack_ros.ros.player", str(self.source.path), *options]

    def _on_recorder(self, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            self.ready.set()
        if event["event"] == "recorded" and event["topic"] == MAIN_OUTPUT:
            self.answers[event["stamp_ns"]] += 1
            self.received.setdefault(event["stamp_ns"], event["wall_ns"])

    def _on_player(self, event: dict[str, Any]) -> None:
        if event["event"] == "published":
            self.published[event["stamp_ns"]] = event["wall_ns"]

    def _wait_until_ready(self, node: Child, recorder: Child) -> None:
        print("starting the node …", flush=True)
        while not self.ready.wait(0.1):
            node.check()
            recorder.check()
            if node.code is not None:
                raise ChildError("the node ended before it was ready")

    def _follow(self, node: Child, recorder: Child, player: Child) -> None:
        """Shows progress until everything is played and answered, or answers stay away."""
        from tqdm import tqdm

        with tqdm(total=self.source.length, unit="frame", desc="playing", disable=None) as bar:
            while player.code is None:
                for child in (node, recorder, player):
                    child.check()
                self._show(bar)
                time.sleep(0.05)
            player.end()
            last = time.monotonic()
            while len(self.received) < len(self.published) and time.monotonic() - last < _LAST_ANSWERS_S:
                time.sleep(0.05)
            self._show(bar)
        player.check()
        recorder.end()
        recorder.check()

    def _show(self, bar: Any) -> None:
        bar.n = len(self.published)
        bar.set_postfix_str(f"{len(self.received)} answered", refresh=False)
        bar.refresh()


def _messages_are_built() -> bool:
    try:
        import centertrack_ros.msg as types
    except ImportError:
        return False
    return hasattr(types, "TrackArray")
