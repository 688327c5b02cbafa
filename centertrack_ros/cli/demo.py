# SPDX-License-Identifier: Apache-2.0
"""`centertrack demo`: a recording played through DDS into the node, and its results as video, tracks and table."""

from __future__ import annotations

import argparse
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

from centertrack_ros.cli._live_distances import distance_figures, distance_table
from centertrack_ros.cli._live_results import summary, table, write_text, write_video
from centertrack_ros.cli._live_run import LiveRun
from centertrack_ros.cli._share_files import share_file
from centertrack_ros.cli._subprocess import SubprocessError
from centertrack_ros.io import whole_files

HELP = "play the bundled clip through ROS 2 into the node: video, tracks and a table"

ALONE = "without_sensors"  # folder of the run without them
STREET_SEED, STREET_FRAMES, STREET_RATE = 7_000_000, 100, 7.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack demo`."""
    parser.add_argument("--bag", type=Path, help="another rosbag2 to play; the bundled clip otherwise")
    parser.add_argument(
        "--street", action="store_true", help="play a synthetic drive instead, tracked in 3D by mobilenetv3-street-3d"
    )
    parser.add_argument("--depth", action="store_true", help="of a synthetic drive, play a depth camera's images, too")
    parser.add_argument("--points", action="store_true", help="of a synthetic drive, play a LiDAR's points, too")
    parser.add_argument("--topic", metavar="NAME", help="image topic of a bag with several")
    parser.add_argument(
        "--params", type=Path, metavar="YAML", help="the node's parameters; config/demo.yaml or demo_street.yaml"
    )
    parser.add_argument("--output", type=Path, default=Path("out/demo"), metavar="DIR", help="folder for the results")
    parser.add_argument("--rate", type=float, default=1.0, help="1 is the speed of the recording")
    parser.add_argument("--draw-3d", action="store_true", help="draw 3D boxes into the video too")
    parser.add_argument("--no-video", action="store_true", help="tracks and table only")


def run(args: argparse.Namespace) -> int:
    """Plays the recording into the node and writes the results.

    Raises:
        ValueError: The arguments contradict each other.
        ImportError: ROS 2 is not installed.
        SubprocessError: A process failed, or an image has no result or more than one.
    """
    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.io.sources import BagSource

    _check(args)
    bag = (
        _street(_prepare(args.output), args.depth, args.points)
        if args.street
        else args.bag or share_file("demo/pets09_s2l1")
    )
    params = args.params or share_file("config/demo_street.yaml" if args.street else "config/demo.yaml")
    source = BagSource(bag, image_topic=args.topic)
    with BagReader(bag) as reader:
        has_clock = "/clock" in reader.topics
    folder = args.output if args.street else _prepare(args.output)
    sensors = _sensors(bag) if args.depth or args.points else {}
    alone = None
    if sensors:
        (folder / ALONE).mkdir()
        print("without the sensors, to compare with:", flush=True)
        alone = LiveRun(source, args.rate, has_clock, params, folder / ALONE).play()
        print(f"with {' and '.join(sensors.values())}:", flush=True)
    results = LiveRun(source, args.rate, has_clock, params, folder, sensors).play()
    classes = write_text(results, folder / "tracks.txt")
    if not args.no_video:
        write_video(results, source, folder / "video.webm", args.draw_3d or args.street)
    figures = summary(results)
    if alone is not None:
        names = {"camera alone": alone.recording, f"with {' and '.join(sensors)}": results.recording}
        figures["distances"] = distance_figures(bag, names)
    whole_files.write_text(folder / "summary.json", json.dumps(figures, indent=2) + "\n")
    print(f"{table(figures)}\n\n{classes}")
    if alone is not None:
        print(f"\n{distance_table(figures['distances'])}")
    _print_files(folder, video=not args.no_video, alone=alone is not None)
    if problem := results.problem():
        raise SubprocessError(problem)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises what is wrong with the arguments, and ImportError without ROS 2."""
    for package in ("rclpy", "vision_msgs"):
        if find_spec(package) is None:
            raise ImportError(f"ROS 2's {package} is not installed: `make demo` installs it, or source a distribution")
    if not args.rate > 0:
        raise ValueError(f"--rate must be above 0, got {args.rate:g}")
    if args.street and args.bag:
        raise ValueError("--street plays a drive of its own: leave out --bag")
    if (args.depth or args.points) and not args.street:
        raise ValueError("--depth and --points are for the synthetic drive: add --street")


def _prepare(folder: Path) -> Path:
    """Makes the folder for the results and removes those of a previous run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("recording", "street", ALONE):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("video.webm", "tracks.txt", "summary.json", "node.log", "player.log", "recorder.log"):
        (folder / name).unlink(missing_ok=True)
    return folder


def _sensors(bag: Path) -> dict[str, str]:
    """'depth' and 'points', as far as a street's bag has them -> topic."""
    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.synthetic.sensor_messages import DEPTH_TOPIC, POINTS_TOPIC

    kinds = {"depth": DEPTH_TOPIC, "points": POINTS_TOPIC}
    with BagReader(bag) as reader:
        return {kind: name for kind, end in kinds.items() for name in reader.topics if name.endswith(end)}


def _street(folder: Path, depth: bool = False, points: bool = False) -> Path:
    """Renders a drive as a bag with its ground truth. Raises ModuleNotFoundError without Panda3D."""
    from centertrack_ros.synthetic import StreetConfig
    from centertrack_ros.synthetic.bags import write_street_bags

    print(f"rendering a drive of {STREET_FRAMES} frames …", flush=True)
    # Of textures and shapes that no model was trained on.
    drive = StreetConfig(
        seed=STREET_SEED, frames=STREET_FRAMES, rate=STREET_RATE, look="test", depth=depth, points=points
    )
    (bag,) = write_street_bags(folder / "street", [drive])
    return bag


def _print_files(folder: Path, video: bool, alone: bool) -> None:
    print(f"\nresults in {folder}/")
    if video:
        print(f"  video.webm   boxes, ids, trails; any browser shows it: file://{(folder / 'video.webm').resolve()}")
    print("  tracks.txt   frame, id, left, top, width, height, score, class (MOTChallenge)")
    print("  recording/   what the node published (rosbag2, mcap): ros2 bag play, Foxglove, RViz")
    if alone:
        print(f"  {ALONE}/   what it published without the sensors")
