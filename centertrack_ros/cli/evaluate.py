"""`centertrack evaluate`: official scores of result files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "score results with the official metric code: mot, kitti, nuscenes, bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_subparsers(dest="form", metavar="FORM", required=True)
    mot = forms.add_parser("mot", help="HOTA, CLEAR, Identity of MOTChallenge text files (TrackEval)")
    _common(mot)
    mot.add_argument(
        "--truth", type=Path, required=True, help="gt.txt, or a folder of NAME/gt/gt.txt, NAME/gt.txt or NAME.txt"
    )
    mot.add_argument("--frames", type=frame_range, metavar="FIRST-LAST", help="judge only these frames (from 1)")
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
    kitti.set_defaults(evaluate=_kitti)
    nuscenes = forms.add_parser("nuscenes", help="AMOTA, AMOTP, … of a nuScenes tracking result file (nuscenes-devkit)")
    nuscenes.add_argument("--results", type=Path, required=True, help="submission, JSON")
    truth = nuscenes.add_mutually_exclusive_group(required=True)
    truth.add_argument(
        "--truth", type=Path, metavar="FILE", help="truth in the form of a submission, or sample_info.json"
    )
    truth.add_argument("--dataroot", type=Path, metavar="DIR", help="the whole database")
    nuscenes.add_argument("--version", default="v1.0-mini", help="of the database")
    nuscenes.add_argument("--split", default="mini_val", help="of the database: mini_val, val, …")
    nuscenes.add_argument("--json", type=Path, metavar="FILE", help="write every figure in full precision")
    nuscenes.set_defaults(evaluate=_nuscenes)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="result file or folder")
    parser.add_argument("--sequences", nargs="+", default=[], metavar="NAME", help="only these recordings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure in full precision")


def frame_range(text: str) -> tuple[int, int]:
    """'1-69' as (1, 69)."""
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"expected FIRST-LAST, for instance 1-69, got '{text}'")
    return int(first), int(last)


def run(args: argparse.Namespace) -> int:
    args.evaluate(args)
    return 0


def _mot(args: argparse.Namespace) -> None:
    from centertrack_ros.evaluation.document import track_document
    from centertrack_ros.evaluation.pairing import mot_pairs
    from centertrack_ros.evaluation.track_scores import mot_benchmark, score_mot

    found = mot_pairs(args.results, args.truth, tuple(args.sequences), args.frames)
    rules = args.rules or mot_benchmark([pair.truth for pair in found.pairs])
    _tell(args, track_document(f"mot ({rules} rules)", score_mot(found.pairs, rules), found.notes))


def _kitti(args: argparse.Namespace) -> None:
    from centertrack_ros.evaluation.document import track_document
    from centertrack_ros.evaluation.pairing import kitti_pairs
    from centertrack_ros.evaluation.track_scores import score_kitti

    found = kitti_pairs(args.results, args.labels, tuple(args.sequences))
    _tell(args, track_document("kitti", score_kitti(found.pairs, tuple(args.classes)), found.notes))


def _nuscenes(args: argparse.Namespace) -> None:
    from centertrack_ros.evaluation.document import nuscenes_document, nuscenes_table, write_json
    from centertrack_ros.evaluation.nuscenes_scores import score_database, score_files

    if args.truth:
        figures = score_files(args.results, args.truth)
    else:
        figures = score_database(args.results, args.dataroot, args.version, args.split)
    document = nuscenes_document(figures)
    print(nuscenes_table(document))
    if args.json:
        write_json(args.json, document)


def _tell(args: argparse.Namespace, document: dict[str, Any]) -> None:
    from centertrack_ros.evaluation.document import track_tables, write_json

    for note in document["notes"]:
        print(f"note: {note}")
    print(track_tables(document))
    if args.json:
        write_json(args.json, document)
