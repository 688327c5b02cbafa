# SPDX-License-Identifier: Apache-2.0
"""`centertrack compare A.json B.json`: differences between two evaluations."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

HELP = "differences between two evaluations, with paired bootstrap intervals over recordings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack compare`."""
    parser.add_argument("a", type=Path, metavar="A.json", help="of `centertrack evaluate --json`")
    parser.add_argument("b", type=Path, metavar="B.json", help="the other one")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    parser.add_argument("--seed", type=int, default=0, help="of the draws: the same seed gives the same intervals")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the differences in full precision")


def run(args: argparse.Namespace) -> int:
    """Prints the differences with their intervals."""
    from centertrack_ros.evaluation.bootstrap import compare
    from centertrack_ros.evaluation.tables import FORMAT, read_json, table
    from centertrack_ros.io.json_files import write_json

    if args.draws < 1:
        raise ValueError(f"--draws must be at least 1, got {args.draws}")
    a, b = read_json(args.a), read_json(args.b)
    differences = compare(a, b, args.draws, args.seed)
    recordings = len(a.get("raw") or a["scenes"])
    if recordings < 5:
        print(f"note: {recordings} recordings are few for an interval; it shows how much they differ, not more")
    digits = 2 if "raw" in a else 3  # nuScenes' figures are fractions
    rows = [
        [
            f"{d.kind} {d.figure}",
            *(f"{value:.{digits}f}" for value in (d.a, d.b)),
            *(f"{value:+.{digits}f}" for value in (d.difference, d.low, d.high)),
            "clear" if d.is_clear else "",
        ]
        for d in differences
    ]
    print(table(["", "A", "B", "B - A", "2.5 %", "97.5 %", ""], rows))
    if args.json:
        content = [asdict(difference) for difference in differences]
        write_json(args.json, {"format": FORMAT, "benchmark": "compare", "differences": content})
    return 0
