"""`centertrack replay BAG…`: the node's work on recordings, without DDS."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.live_comparison import Manner

HELP = "run the node's pipeline over recorded bags: detections, tracks and markers as an mcap"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3")
    parser.add_argument("--output", type=Path, default=Path("replay"), metavar="DIR", help="results go to DIR/NAME")
    parser.add_argument("--topics", nargs="+", default=[], metavar="TOPIC", help="image topics; default: every camera")
    parser.add_argument("--keep", nargs="+", default=[], metavar="TOPIC", help="topics to copy; '*' copies all")
    parser.add_argument("--params-file", type=Path, action="append", default=[], metavar="YAML", help="as for the node")
    parser.add_argument(
        "-p", dest="assignments", action="append", default=[], metavar="NAME:=VALUE", help="a parameter"
    )
    parser.add_argument("--results", choices=("mot", "kitti", "coco", "nuscenes"), help="result files, DIR/NAME.*")
    parser.add_argument("--through-ros", action="store_true", help="also play it through DDS into a node, and compare")
    parser.add_argument("--rate", type=float, default=1.0, help="with --through-ros: 1 is the recording's speed")
    parser.add_argument("--loop", type=int, default=1, metavar="N", help="with --through-ros: how often it is played")
    parser.add_argument(
        "--clock", type=float, default=0.0, metavar="HZ", help="with --through-ros: a /clock of its own, not the bag's"
    )
    parser.add_argument(
        "--lockstep", action="store_true", help="with --through-ros: no image before the last one is answered"
    )


def run(args: argparse.Namespace) -> int:
    from centertrack_ros.io.errors import DataError
    from centertrack_ros.replay.parameters import load_values
    from support.live_comparison import Manner

    manner = Manner(args.rate, args.loop, args.clock, args.lockstep)
    if not args.through_ros and manner != Manner():
        raise ValueError("--rate, --loop, --clock and --lockstep say how --through-ros plays; a replay needs none")
    values = load_values(args.params_file, args.assignments)
    targets = {bag: args.output / (bag.stem if bag.is_file() else bag.resolve().name) for bag in args.bags}
    if len(set(targets.values())) < len(args.bags):
        raise ValueError("two bags have the same name: replay them into different folders (--output)")
    if existing := [target for target in targets.values() if target.exists()]:
        raise FileExistsError(f"{existing[0]}: exists already, a bag is not overwritten")
    try:
        from centertrack_ros.replay.bag_replay import Replay
        from centertrack_ros.ros.parameters import engine_of, node_parameters
    except ImportError as error:
        raise ImportError(
            f"replay writes ROS messages and needs their packages, rclpy and vision_msgs ({error})"
        ) from None
    parameters = node_parameters(values)
    replay = Replay(engine_of(parameters.model), parameters)
    args.output.mkdir(parents=True, exist_ok=True)
    broken = []
    for bag, target in targets.items():
        try:
            _replay(replay, bag, target, args)
        except DataError as error:  # the other recordings are not its fault
            broken.append(str(error))
    if broken:
        raise ValueError("; ".join(broken))
    if not args.through_ros:
        return 0
    differences = [_through_ros(replay, bag, target, values, args, manner) for bag, target in targets.items()]
    return int(any(differences))


def _replay(replay: Any, bag: Path, target: Path, args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.replay.bag_replay import Summary, image_topics

    with BagReader(bag) as reader:
        total = sum(reader.require(name).count for name in args.topics) or sum(t.count for t in image_topics(reader))
    summary = Summary()
    with tqdm(total=total, unit="frame", desc=bag.name, disable=None) as bar:
        for summary in replay.run(bag, target, args.topics, args.keep):
            bar.update(min(1, summary.images))
    print(f"{target}: {summary.processed} of {summary.images} images processed")
    for reason, count in summary.left_out.items():
        print(f"note: {count} left out: {reason}")
    for note in summary.notes:
        print(f"note: {note}")
    if args.results == "nuscenes":
        _write_nuscenes(bag, target, args.output / f"{target.name}.json")
    elif args.results:
        write_results(target, args.output, args.results)


def _write_nuscenes(bag: Path, target: Path, path: Path) -> None:
    from centertrack_ros.datasets import nuscenes
    from centertrack_ros.replay.nuscenes_results import world_tracks

    recordings, notes = world_tracks(bag, target)
    for note in notes:
        print(f"note: {note}")
    nuscenes.write_results(path, recordings)
    print(path)


def _through_ros(
    replay: Any, bag: Path, target: Path, parameters: dict[str, Any], args: argparse.Namespace, manner: Manner
) -> bool:
    """Plays the bag into a live node; whether it answered an image otherwise than the replay."""
    from support.live_comparison import play_through

    found = play_through(replay, bag, target, args.topics, parameters, manner)
    differences = found.difference
    print(
        f"live node: {found.published} images, {differences.both} answered as well, {found.dropped} dropped, "
        f"{len(differences.different)} messages different"
    )
    if found.dropped:
        print("note: compared with a replay of the images that the node did not drop")
    for topic, stamp, place in differences.different[:5]:
        print(f"  {topic} at {stamp:.3f} s: {place}")
    return bool(differences.different or differences.only_first or differences.only_second)


def write_results(bag: Path, folder: Path, form: str) -> None:
    """Result files of a replayed bag: NAME.txt (MOTChallenge, KITTI) or NAME.json (COCO); NAME-CAMERA with several."""
    from centertrack_ros.datasets import coco_video, kitti, mot
    from centertrack_ros.datasets.bag_tracks import read_tracks

    cameras = read_tracks(bag, "/centertrack/output")
    for camera, recording in cameras.items():
        path = folder / f"{bag.name}{f'-{camera}' if len(cameras) > 1 else ''}.{'json' if form == 'coco' else 'txt'}"
        if form == "mot":
            frames = tuple(replace(frame, index=frame.index + 1) for frame in recording)
            mot.write_results(path, replace(recording, frames=frames, first=1))
        elif form == "kitti":
            kitti.write_results(path, recording)
        else:
            coco_video.write_videos(path, [recording])
        print(path)
