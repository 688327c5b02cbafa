# SPDX-License-Identifier: Apache-2.0
"""`centertrack bag from-…`: datasets as rosbag2 with images, camera_info, tf and ground truth; and `to-foxglove`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.cli import _recorded_views
from centertrack_ros.cli._arguments import rate

if TYPE_CHECKING:
    from centertrack_ros.datasets.records import VideoSequence
    from centertrack_ros.io.errors import DataError

_LOG = logging.getLogger(__name__)
# Where each form's images are expected.
_EXPECTED = {
    "from-kitti": "expected image_02/NAME/000000.png, or of a raw recording image_02/data/0000000000.png",
    "from-nuscenes": "expected the files that the database or the JSON file names",
    "from-mot": "expected 000001.jpg and so on in img1, or in the imDir that seqinfo.ini names",
    "from-coco": "expected each file_name of the JSON file in its folder, or in that of --images",
    "from-video": "expected a video",
}
HELP = "make a rosbag2 from KITTI, nuScenes, MOTChallenge, a COCO-style video file or a video, or a file for Foxglove"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack bag`."""
    forms = parser.add_subparsers(dest="form", metavar="FORM", required=True)
    kitti = forms.add_parser("from-kitti", help="tracking (image_02/NAME, label_02, calib) or raw (image_02/data)")
    kitti.add_argument("source", type=Path, help="folder that holds image_02")
    kitti.add_argument("--sequence", metavar="NAME", help="of the tracking benchmark; without it the folder is raw")
    kitti.set_defaults(read=_kitti)
    nuscenes = forms.add_parser("from-nuscenes", help="a scene of the database, or sample_info.json")
    nuscenes.add_argument("source", type=Path, help="the database's folder, or sample_info.json")
    nuscenes.add_argument("--version", default="v1.0-mini", help="of the database")
    nuscenes.add_argument("--scene", metavar="NAME", help="of the database")
    nuscenes.set_defaults(read=_nuscenes)
    mot = forms.add_parser("from-mot", help="a MOTChallenge folder with img1, gt, seqinfo.ini")
    mot.add_argument("source", type=Path)
    mot.add_argument("--rate", type=rate, metavar="HZ", help="frames/s; default: seqinfo.ini's, else 10, with a note")
    mot.set_defaults(read=_mot)
    coco = forms.add_parser("from-coco", help="COCO-style video annotations")
    coco.add_argument("source", type=Path, help="JSON file")
    coco.add_argument("--images", type=Path, help="folder of the images; default: the file's")
    coco.add_argument("--video", metavar="NAME", help="of those in the file; needed where there are several")
    coco.add_argument("--rate", type=rate, metavar="HZ", help="frames/s; default: the file's, else 10, with a note")
    coco.set_defaults(read=_coco)
    video = forms.add_parser(
        "from-video", help="a video file, with ground truth in MOTChallenge's format if there is any"
    )
    video.add_argument("source", type=Path)
    video.add_argument("--truth", type=Path, help="gt.txt; its frames count from 1")
    video.add_argument("--rate", type=rate, metavar="HZ", help="frames/s; default: the file's")
    video.add_argument("--focal", type=float, help="px, for camera_info; default: none is written")
    video.set_defaults(read=_video)
    for form in (kitti, nuscenes, mot, coco, video):
        form.add_argument("output", type=Path, help="folder of the new bag")
        form.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
        form.add_argument("--raw", action="store_true", help="decoded images instead of the files' own bytes")
    _recorded_views.add_arguments(
        forms.add_parser("to-foxglove", help="images and results of bags as an .mcap with Foxglove's own schemas")
    )


def run(args: argparse.Namespace) -> int:
    """Writes the bag, or the file."""
    if args.form == "to-foxglove":
        return _recorded_views.run(args)
    import tempfile

    from centertrack_ros.datasets.bag_writer import START_NS, write_bag

    if args.output.exists():
        raise FileExistsError(f"{args.output}: exists already, a bag is not overwritten")
    with tempfile.TemporaryDirectory() as scratch:  # images of a video
        args.scratch = Path(scratch)
        cameras: Mapping[str, VideoSequence] = args.read(args)
        starts_at_zero = not any(frame.stamp >= 1e6 for one in cameras.values() for frame in one)
        images = sum(frame.image is not None for one in cameras.values() for frame in one)
        if not images and not _is_metadata(args):
            raise ValueError(f"{args.source}: no image was found, so the bag would have none; {_EXPECTED[args.form]}")
        unreadable: list[DataError] = []
        count = write_bag(
            args.output,
            cameras,
            storage=args.storage,
            raw=args.raw,
            start_ns=START_NS if starts_at_zero else 0,
            progress=_progress,
            unreadable=unreadable,
        )
    images -= len(unreadable)
    lost = f"; {count - images} of them have no image" if images < count else ""
    if unreadable:
        _LOG.warning("%d images cannot be read, the first is %s", len(unreadable), unreadable[0])
    print(f"{args.output}: {count} frames of {', '.join(cameras)}{lost}")
    return 0


def _is_metadata(args: argparse.Namespace) -> bool:
    """Whether the source is nuScenes' tables alone, a download of its own: a bag of their truth is of use."""
    return args.form == "from-nuscenes" and args.source.is_dir() and not (args.source / "samples").exists()


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _kitti(args: argparse.Namespace) -> dict[str, VideoSequence]:
    from centertrack_ros.datasets import kitti

    return {"camera": kitti.read_tracking(args.source, args.sequence) if args.sequence else kitti.read_raw(args.source)}


def _nuscenes(args: argparse.Namespace) -> dict[str, VideoSequence]:
    from centertrack_ros.datasets import nuscenes

    if args.source.suffix == ".json":
        return {one.name: one for one in nuscenes.read_sample_info(args.source)}
    if not args.scene:
        raise ValueError("--scene NAME says which scene of the database")
    return {one.name.split("/")[-1]: one for one in nuscenes.read_database(args.source, args.version, [args.scene])}


def _mot(args: argparse.Namespace) -> dict[str, VideoSequence]:
    from centertrack_ros.datasets import mot

    recording = _without_ignored(mot.read_sequence(args.source))
    return {"camera": recording.at_rate(args.rate) if args.rate else recording}


def _without_ignored(recording: VideoSequence) -> VideoSequence:
    """Drops the objects that no tracker is expected to report: a bag cannot mark them."""
    return replace(recording, frames=tuple(f.select(f.flags["considered"]) if f.flags else f for f in recording))


def _coco(args: argparse.Namespace) -> dict[str, VideoSequence]:
    from centertrack_ros.datasets import coco_video

    videos = {one.name: one for one in coco_video.read_videos(args.source, args.images, args.rate)}
    if args.video is None and len(videos) > 1:
        names = [*list(videos)[:20], *(["…"] if len(videos) > 20 else [])]
        raise ValueError(f"{args.source}: {len(videos)} videos ({', '.join(names)}): --video NAME says which")
    if args.video is not None and args.video not in videos:
        raise ValueError(f"{args.source}: no video '{args.video}'; there is {', '.join(list(videos)[:20])}")
    return {"camera": videos[args.video] if args.video else next(iter(videos.values()))}


def _video(args: argparse.Namespace) -> dict[str, VideoSequence]:
    from centertrack_ros.datasets import mot
    from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
    from centertrack_ros.geometry.camera import Camera
    from centertrack_ros.io.image_files import write_image
    from centertrack_ros.io.sources import open_source

    truth = mot.read_truth(args.truth) if args.truth else VideoSequence("video", ("pedestrian",), (), 1, 0)
    if truth.first == 0:
        raise ValueError(f"{args.truth}: has a frame 0, but a video's frames count from 1")
    known = {frame.index: frame for frame in truth}
    frames, size = [], None
    for shot in open_source(args.source, rate=args.rate):
        index = shot.index
        path = args.scratch / f"{index:06d}.jpg"
        write_image(path, shot.image)
        size = shot.image.shape[:2]
        camera = Camera.from_focal(size[1], size[0], args.focal) if args.focal else None
        frame = known.pop(index, None) or AnnotatedFrame(index, 0.0, empty_tracks())
        frames.append(replace(frame, stamp=shot.stamp, image=path, camera=camera))
    if known:
        _LOG.warning("%s: %d frames of the truth are not in the video", args.truth, len(known))
    return {"camera": _without_ignored(replace(truth, frames=tuple(frames), length=len(frames), image_size=size))}
