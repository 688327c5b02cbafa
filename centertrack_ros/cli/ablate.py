# SPDX-License-Identifier: Apache-2.0
"""`centertrack ablate`: motion models compared on annotated boxes, at several frame rates."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.cli._arguments import frame_steps
from centertrack_ros.io.errors import DataError

if TYPE_CHECKING:
    from centertrack_ros.datasets.records import VideoSequence

HELP = "compare motion models (displacement, none, kalman, flow, …) on annotated boxes at several frame rates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack ablate`."""
    forms = parser.add_subparsers(dest="form", metavar="FORM", required=True)
    mot = forms.add_parser("mot", help="MOTChallenge folders")
    mot.add_argument("--truth", type=Path, required=True, help="folder of NAME/gt/gt.txt, NAME/seqinfo.ini")
    mot.add_argument("--public", action="store_true", help="use NAME/det/det.txt instead of the ground-truth boxes")
    kitti = forms.add_parser("kitti", help="KITTI tracking labels")
    kitti.add_argument(
        "--labels", type=Path, required=True, help="folder with label_02 (and image_02, for optical flow)"
    )
    for form in (mot, kitti):
        form.add_argument("--sequences", nargs="+", default=[], metavar="NAME", help="only these recordings")
        form.add_argument("--motions", nargs="+", default=[], metavar="MODEL", help="only these models")
        form.add_argument("--every", type=frame_steps, default=(1, 2, 3, 5, 10), metavar="LIST", help="1,2,5 or 1-10")
        form.add_argument("--association", choices=("greedy", "hungarian"), default="greedy")
        form.add_argument("--max-age", type=int, default=-1, help="frames that a track lives without a box, plus 1")
        form.add_argument("--markdown", action="store_true", help="print tables for a page")
        form.add_argument("--json", type=Path, metavar="FILE", help="write every figure in full precision")


def run(args: argparse.Namespace) -> int:
    """Compares the motion models and prints the tables."""
    from centertrack_ros.evaluation.ablation import FIGURES, MOTIONS, cells_table, compare_motions
    from centertrack_ros.evaluation.tables import FORMAT
    from centertrack_ros.io.json_files import write_json
    from centertrack_ros.tracking.config import TrackerConfig

    recordings, given = _mot(args) if args.form == "mot" else (_kitti(args), None)
    config = TrackerConfig.official(association=args.association, max_age=args.max_age)

    def progress(line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{line:<40}", end="", file=sys.stderr, flush=True)

    if unknown := sorted(set(args.motions) - set(MOTIONS)):
        raise ValueError(f"no motion model '{unknown[0]}'; there is {', '.join(MOTIONS)}")
    cells, notes = compare_motions(recordings, given, args.motions or MOTIONS, args.every, config, progress)
    progress("")
    for note in notes:
        print(f"note: {note}")
    for figure in FIGURES:
        print(f"\n{cells_table(cells, figure, args.markdown)}")
    if args.json:
        rows = [{"class": c.kind, "motion": c.motion, "every": c.every, **c.figures} for c in cells]
        write_json(args.json, {"format": FORMAT, "benchmark": f"ablate {args.form}", "notes": notes, "cells": rows})
    return 0


def _mot(args: argparse.Namespace) -> tuple[list[VideoSequence], dict[str, VideoSequence] | None]:
    from centertrack_ros.datasets import mot
    from centertrack_ros.evaluation.matching import mot_truth_files

    names = args.sequences or [
        path.parents[1].name for path in mot_truth_files(args.truth).values() if path.parent.name == "gt"
    ]
    if not names:
        raise DataError(args.truth, "no truth: expected NAME/gt/gt.txt")
    recordings = [mot.read_sequence(args.truth / name, name) for name in names]
    if not args.public:
        return recordings, None
    given = {
        one.name: mot.read_results(args.truth / one.name / "det" / "det.txt", one.name, one.rate) for one in recordings
    }
    return recordings, given


def _kitti(args: argparse.Namespace) -> list[VideoSequence]:
    from centertrack_ros.datasets import kitti
    from centertrack_ros.datasets.image_names import files_in

    root = args.labels.parent if args.labels.name == "label_02" else args.labels
    lengths = kitti.find_seqmap(root)
    names = args.sequences or [path.stem for path in files_in(root / "label_02", [".txt"])]
    if not names:
        raise DataError(root, "no labels: expected label_02/NAME.txt")
    if (root / "image_02").is_dir():
        return [kitti.read_tracking(root, name) for name in names]
    return [kitti.read_labels(root / "label_02" / f"{name}.txt", name, lengths.get(name)) for name in names]
