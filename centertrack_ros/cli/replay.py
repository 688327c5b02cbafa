# SPDX-License-Identifier: Apache-2.0
"""`centertrack replay BAG…`: the node's work on recordings, without DDS."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from centertrack_ros.tracking.config import EXTERNAL, NETWORK

HELP = "run the node's pipeline over recorded bags: detections, tracks and markers as an mcap"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack replay`."""
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3, also .zstd")
    parser.add_argument("--output", type=Path, default=Path("replay"), metavar="DIR", help="results go to DIR/NAME")
    parser.add_argument("--topics", nargs="+", default=[], metavar="TOPIC", help="image topics; default: every camera")
    parser.add_argument(
        "--depth",
        default="",
        metavar="TOPIC",
        help="depth images beside the images; without it 'depth' beside each image topic, if there is one",
    )
    parser.add_argument(
        "--points", default="", metavar="TOPIC", help="point clouds (PointCloud2); without it 'points' beside them"
    )
    parser.add_argument(
        "--keep", nargs="+", default=[], metavar="TOPIC", help="topics of the bag to copy; '*' copies all"
    )
    parser.add_argument("--params-file", type=Path, action="append", default=[], metavar="YAML", help="as for the node")
    parser.add_argument(
        "-p", dest="assignments", action="append", default=[], metavar="NAME:=VALUE", help="a parameter of the node"
    )
    parser.add_argument(
        "--detections",
        nargs="+",
        default=[],
        metavar="PLACE",
        help="detections of another detector, one for each camera in their order: a Detection2DArray topic of the bag, "
        "or a file in MOTChallenge's, KITTI's or COCO's format; without detector.source they replace the network's",
    )
    parser.add_argument(
        "--detections-3d",
        default="",
        metavar="TOPIC",
        help="3D detections of a LiDAR's or a radar's detector (Detection3DArray), fused with the cameras' tracks; "
        "sets surround.detections_3d, which without this option takes the bag's only such topic",
    )
    parser.add_argument("--results", choices=("mot", "kitti", "coco", "nuscenes"), help="result files, DIR/NAME.*")


def run(args: argparse.Namespace) -> int:
    """Replays the bags; one that breaks off does not stop the others."""
    from centertrack_ros.io.errors import DataError
    from centertrack_ros.io.rosbag import bag_name
    from centertrack_ros.replay.parameters import load_parameters

    parameters = load_parameters(args.params_file, args.assignments)
    if args.results and parameters.output.target_frame:
        raise ValueError("--results needs boxes in the frames of the cameras: leave output.target_frame empty for it")
    if args.detections and parameters.tracker.detector_source == NETWORK:
        parameters = replace(parameters, tracker=replace(parameters.tracker, detector_source=EXTERNAL))
    if args.detections_3d:
        parameters = replace(parameters, boxes=True)
    targets = {bag: args.output / bag_name(bag) for bag in args.bags}
    if len(set(targets.values())) < len(args.bags):
        raise ValueError("two bags have the same name: replay them into different folders (--output)")
    if existing := [target for target in targets.values() if target.exists()]:
        raise FileExistsError(f"{existing[0]}: exists already, a bag is not overwritten")
    try:
        from centertrack_ros.replay.bag_replay import Replay
        from centertrack_ros.ros.parameters import detector_of, engine_of
    except ImportError as error:
        raise ImportError(
            f"replay writes ROS messages and needs their packages, rclpy and vision_msgs ({error})"
        ) from None
    detector = detector_of(parameters)
    replay = Replay(engine_of(parameters, detector=detector), parameters, detector)
    args.output.mkdir(parents=True, exist_ok=True)
    broken = []
    for bag, target in targets.items():
        try:
            _replay(replay, bag, target, args)
        except DataError as error:  # the other recordings are not its fault
            rest = f" (the results of the images before are in {target})" if target.exists() else ""
            broken.append(f"{error}{rest}")
    if broken:
        raise ValueError("; ".join(broken))
    return 0


def _replay(replay: Any, bag: Path, target: Path, args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from centertrack_ros.datasets.bag_tracks import image_numbers
    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.replay.bag_replay import Summary, image_topics

    with BagReader(bag) as reader:
        total = sum(reader.require(name).count for name in args.topics) or sum(t.count for t in image_topics(reader))
    summary, sensors = Summary(), (args.depth, args.points)
    with tqdm(total=total, unit="frame", desc=bag.name, disable=None) as bar:
        given = {"detections": args.detections, "sensors": sensors, "boxes": args.detections_3d}
        for summary in replay.run(bag, target, args.topics, args.keep, **given):
            bar.update(min(1, summary.images))
    print(f"{target}: {summary.processed} of {summary.images} images processed")
    for reason, count in summary.left_out.items():
        print(f"note: {count} left out: {reason}")
    for note in summary.notes:
        print(f"note: {note}")
    if args.results == "nuscenes":
        _write_nuscenes(bag, target, args.output / f"{target.name}.json")
    elif args.results:
        with BagReader(bag) as reader:
            topics = replay.image_topics(bag, args.topics)
            numbers = {name: image_numbers(reader, topic) for name, topic in topics.items()}
        write_results(target, args.output, args.results, numbers, replay.classes)


def _write_nuscenes(bag: Path, target: Path, path: Path) -> None:
    from centertrack_ros.datasets import nuscenes
    from centertrack_ros.replay.nuscenes_results import world_tracks

    recordings, notes = world_tracks(bag, target)
    for note in notes:
        print(f"note: {note}")
    nuscenes.write_results(path, recordings)
    print(path)


def write_results(
    bag: Path,
    folder: Path,
    form: str,
    numbers: Mapping[str, Mapping[int, int]] | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Writes the result files of a replayed bag.

    Args:
        bag: The replay's output.
        folder: Gets NAME.txt (MOTChallenge, KITTI) or NAME.json (COCO); NAME-CAMERA for each of several cameras.
        form: 'mot', 'kitti' or 'coco'.
        numbers: Camera name -> stamp -> number of its image, of the bag that was replayed; None: by their stamps.
        classes: The model's, which number those that MOT17 does not know: a bag names only what was seen.
    """
    from centertrack_ros.datasets import coco_video, kitti, mot
    from centertrack_ros.datasets.bag_tracks import read_tracks
    from centertrack_ros.datasets.records import renumbered

    cameras = read_tracks(bag, "/centertrack/output", numbers)
    for camera, recording in cameras.items():
        path = folder / f"{bag.name}{f'-{camera}' if len(cameras) > 1 else ''}.{'json' if form == 'coco' else 'txt'}"
        if form == "mot":
            frames = tuple(replace(frame, index=frame.index + 1) for frame in recording)
            counted = renumbered(replace(recording, frames=frames, first=1), classes)
            mot.write_results(path, counted)
            print(mot.classes_written(counted.classes, mot.class_counts(counted)))
        elif form == "kitti":
            kitti.write_results(path, recording)
        else:
            coco_video.write_videos(path, [recording])
        print(path)
