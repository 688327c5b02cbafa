# SPDX-License-Identifier: Apache-2.0
"""`centertrack evaluate`: official scores of result files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from centertrack_ros.cli._arguments import frame_range

if TYPE_CHECKING:
    from centertrack_ros.datasets.records import VideoSequence
    from centertrack_ros.evaluation.parallel import Executor
    from centertrack_ros.evaluation.trackeval_metrics import SequencePair, TrackScores

HELP = "score results with the official metric code: mot, kitti, nuscenes, bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack evaluate`."""
    forms = parser.add_subparsers(dest="form", metavar="FORM", required=True)
    mot = forms.add_parser("mot", help="HOTA, CLEAR, Identity of MOTChallenge text files (TrackEval)")
    _common(mot)
    mot.add_argument(
        "--truth", type=Path, required=True, help="gt.txt, or a folder of NAME/gt/gt.txt, NAME/gt.txt or NAME.txt"
    )
    mot.add_argument("--frames", type=frame_range, metavar="FIRST-LAST", help="evaluate only these frames (from 1)")
    mot.add_argument(
        "--rules", choices=("MOT15", "MOT16", "MOT17", "MOT20"), help="filter of this benchmark; default: by the truth"
    )
    mot.set_defaults(evaluate=_mot)
    kitti = forms.add_parser("kitti", help="HOTA, CLEAR, Identity of KITTI tracking files (TrackEval)")
    _common(kitti)
    kitti.add_argument("--labels", type=Path, required=True, help="folder of label files NAME.txt")
    kitti.add_argument(
        "--class", dest="classes", nargs="+", default=["car", "pedestrian"], choices=("car", "pedestrian")
    )
    kitti.add_argument(
        "--min-iou-3d",
        type=float,
        metavar="IOU",
        help="score the 3D boxes too, by rotated IoU from this one (sAMOTA, AMOTA, HOTA, …; AB3DMOT: 0.25, 0.5, 0.7)",
    )
    kitti.set_defaults(evaluate=_kitti)
    bag = forms.add_parser(
        "bag", help="detections in bags: against a ground-truth bag, or consistency metrics, which need none"
    )
    bag.add_argument("--results", type=Path, required=True, help="bag with Detection2DArray, Detection3DArray topics")
    bag.add_argument("--truth", type=Path, help="bag with the ground truth in topics of these types")
    bag.add_argument("--results-prefix", default="", metavar="TOPIC", help="only topics that start with this")
    bag.add_argument("--truth-prefix", default="", metavar="TOPIC", help="only topics that start with this")
    bag.add_argument("--json", type=Path, metavar="FILE", help="write every figure in full precision")
    _places(bag)
    bag.set_defaults(evaluate=_bag)
    nuscenes = forms.add_parser("nuscenes", help="AMOTA, AMOTP, … of a nuScenes tracking result file (nuscenes-devkit)")
    nuscenes.add_argument("--results", type=Path, required=True, help="submission, JSON")
    truth = nuscenes.add_mutually_exclusive_group(required=True)
    truth.add_argument(
        "--truth", type=Path, metavar="FILE", help="truth in the form of a submission, or sample_info.json"
    )
    truth.add_argument("--dataroot", type=Path, metavar="DIR", help="the whole database")
    nuscenes.add_argument("--version", default="v1.0-mini", help="of the database")
    nuscenes.add_argument("--split", default="mini_val", help="of the database: mini_val, val, …")
    nuscenes.add_argument("--scenes", action="store_true", help="evaluate each scene by itself, too: compare needs it")
    nuscenes.add_argument("--json", type=Path, metavar="FILE", help="write every figure in full precision")
    nuscenes.add_argument("--report", type=Path, metavar="HTML", help="write a page with tables and plots")
    _where(nuscenes)
    nuscenes.set_defaults(evaluate=_nuscenes)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="result file or folder")
    parser.add_argument("--sequences", nargs="+", default=[], metavar="NAME", help="only these recordings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure in full precision")
    _places(parser)


def _places(parser: argparse.ArgumentParser) -> None:
    _where(parser)
    parser.add_argument(
        "--report", type=Path, metavar="HTML", help="write a page with plots, timelines and the worst frames"
    )
    parser.add_argument("--pictures", type=Path, metavar="PATH", help="for the report: a folder, a video, a bag")


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: one task for each recording")
    parser.add_argument("--address", help="of a Ray cluster; default: a Ray of this machine's own")
    parser.add_argument(
        "--finished", type=Path, metavar="DIR", help="keep each recording's scores, to go on after a stop"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the evaluation that the form names and prints its tables."""
    args.evaluate(args)
    return 0


def _executor(args: argparse.Namespace) -> Executor:
    from centertrack_ros.evaluation.parallel import Executor

    return Executor(args.engine, args.address, args.finished)


def _mot(args: argparse.Namespace) -> None:
    from centertrack_ros.evaluation.matching import match_mot
    from centertrack_ros.evaluation.parallel import score_mot_parallel
    from centertrack_ros.evaluation.tables import track_document
    from centertrack_ros.evaluation.trackeval_metrics import mot_benchmark, score_mot

    matches = match_mot(args.results, args.truth, tuple(args.sequences), args.frames)
    rules = args.rules or mot_benchmark([pair.truth for pair in matches.pairs])
    scores = score_mot_parallel(_executor(args), matches.pairs, rules)
    document = track_document(f"mot ({rules} rules)", scores, matches.notes)
    _print_scores(args, document)
    _report(args, document, matches.pairs, scores, lambda pairs: score_mot(pairs, rules))


def _kitti(args: argparse.Namespace) -> None:
    from centertrack_ros.evaluation.matching import match_kitti
    from centertrack_ros.evaluation.parallel import score_kitti_parallel
    from centertrack_ros.evaluation.tables import track_document
    from centertrack_ros.evaluation.trackeval_metrics import score_kitti

    matches = match_kitti(args.results, args.labels, tuple(args.sequences))
    absent = [name for name in args.classes if not any(name in _present(pair.truth) for pair in matches.pairs)]
    notes = [*matches.notes, *(f"the ground truth has no {name}: its row says nothing" for name in absent)]
    scores = score_kitti_parallel(_executor(args), matches.pairs, tuple(args.classes))
    document = _with_box3d_errors(track_document("kitti", scores, notes), matches.pairs)
    if args.min_iou_3d is not None:
        from centertrack_ros.evaluation.boxes3d_metrics import score_boxes3d

        document["boxes_3d"] = score_boxes3d(matches.pairs, args.classes, args.min_iou_3d)
        document["min_iou_3d"] = args.min_iou_3d
    _print_scores(args, document)
    _report(args, document, matches.pairs, scores, lambda pairs: score_kitti(pairs, tuple(args.classes)))


def _present(truth: VideoSequence) -> set[str]:
    from centertrack_ros.evaluation.trackeval_metrics import present_classes

    return {name.lower() for name in present_classes(truth)}


def _with_box3d_errors(document: dict[str, Any], pairs: Iterable[SequencePair]) -> dict[str, Any]:
    """The document with the errors of 3D boxes, where both sides have some and the devkit is installed."""
    from centertrack_ros.evaluation.box3d_errors import box3d_errors, has_boxes

    with_boxes = [pair for pair in pairs if has_boxes(pair)]
    if not with_boxes:
        return document
    try:
        return {**document, "errors_3d": box3d_errors(with_boxes)}
    except ImportError as error:
        return {**document, "notes": [*document["notes"], f"no errors of 3D boxes: {error}"]}


def _bag(args: argparse.Namespace) -> None:
    from centertrack_ros.evaluation.bag_scores import consistency_document, match_bags
    from centertrack_ros.evaluation.consistency import latencies
    from centertrack_ros.evaluation.parallel import score_boxes_parallel
    from centertrack_ros.evaluation.tables import consistency_tables, track_document
    from centertrack_ros.evaluation.trackeval_metrics import score_boxes
    from centertrack_ros.io.json_files import write_json

    if args.truth is None:
        document = consistency_document(args.results, args.results_prefix)
        print(consistency_tables(document))
        if args.json:
            write_json(args.json, document)
        return
    matches = match_bags(args.results, args.truth, args.results_prefix, args.truth_prefix)
    scores = score_boxes_parallel(_executor(args), matches.pairs)
    document = _with_box3d_errors(track_document("bag", scores, matches.notes), matches.pairs)
    _print_scores(args, document)
    args.pictures = args.pictures or _with_images(args.truth) or _with_images(args.results)
    _report(args, document, matches.pairs, scores, score_boxes, latencies(args.results, args.results_prefix))


def _with_images(bag: Path) -> Path | None:
    """The bag, if there are images in it."""
    from centertrack_ros.io.rosbag import BagReader
    from centertrack_ros.io.sources import COMPRESSED_TYPE, IMAGE_TYPE

    with BagReader(bag) as reader:
        return bag if reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE) else None


def _nuscenes(args: argparse.Namespace) -> None:
    from centertrack_ros.evaluation.nuscenes_metrics import score_database, score_files
    from centertrack_ros.evaluation.tables import nuscenes_document, nuscenes_table
    from centertrack_ros.io.json_files import write_json

    executor = _executor(args) if args.scenes or args.engine == "ray" or args.finished else None
    if args.truth:
        figures = score_files(args.results, args.truth, executor)
    else:
        figures = score_database(args.results, args.dataroot, args.version, args.split, executor)
    document = nuscenes_document(figures)
    print(nuscenes_table(document))
    if args.json:
        write_json(args.json, document)
    if args.report:
        from centertrack_ros.evaluation.report import write_nuscenes_report

        write_nuscenes_report(args.report, document)
        print(f"report: {args.report}")


def _report(
    args: argparse.Namespace,
    document: dict[str, Any],
    pairs: Iterable[SequencePair],
    scores: TrackScores,
    evaluate: Callable[[list[SequencePair]], TrackScores],
    latencies: dict[str, list[float]] | None = None,
) -> None:
    from centertrack_ros.evaluation.report import write_report

    if args.report:
        write_report(args.report, document, list(pairs), scores, evaluate, args.pictures, latencies)
        print(f"report: {args.report}")


def _print_scores(args: argparse.Namespace, document: dict[str, Any]) -> None:
    from centertrack_ros.evaluation.tables import box3d_tables, boxes3d_table, track_tables
    from centertrack_ros.io.json_files import write_json

    for note in document["notes"]:
        print(f"note: {note}")
    print(track_tables(document))
    if "boxes_3d" in document:
        print(f"\n{boxes3d_table(document)}")
    if "errors_3d" in document:
        print(f"\n{box3d_tables(document)}")
    if args.json:
        write_json(args.json, document)
