# SPDX-License-Identifier: Apache-2.0
"""`centertrack tune`: parameters of the tracker for own labelled recordings, judged by cross-validation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from centertrack_ros.cli._output_names import prepare_folder
from centertrack_ros.cli._tracking_options import add_engine_arguments, load

if TYPE_CHECKING:
    from centertrack_ros.evaluation.tuning import Dimension, Tuning

HELP = "search tracker parameters on labelled recordings and write them as a preset, judged by cross-validation"
_FORMATS = ("kitti", "mot", "nuscenes", "dgp", "coco_video")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack tune`."""
    parser.add_argument("form", metavar="FORM", choices=_FORMATS, help=f"of the data: {', '.join(_FORMATS)}")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder (or annotation file) with labels and images")
    parser.add_argument("--images", type=Path, metavar="DIR", help="of the images, where the labels do not tell it")
    parser.add_argument("--sequences", nargs="+", default=[], metavar="NAME", help="only these recordings")
    parser.add_argument("--output", type=Path, required=True, metavar="YAML", help="the preset to write, for the node")
    parser.add_argument("--metric", default="HOTA", help="what shall be large: HOTA, MOTA, IDF1, AssA")
    parser.add_argument("--trials", type=int, default=50, metavar="N", help="configurations to try in each search")
    parser.add_argument("--folds", type=int, default=3, metavar="N", help="parts that are left out in turn")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the search")
    parser.add_argument(
        "--parameters", nargs="+", default=[], metavar="NAME", help="only these, for instance tracker.rebirth"
    )
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Searches, prints how good the outcome is where it was not chosen, and writes the preset if it is better."""
    from centertrack_ros.datasets.registry import DatasetLocation, read_dataset
    from centertrack_ros.evaluation.tuning import optuna_module, tune
    from centertrack_ros.io.whole_files import write_text

    optuna_module()
    space = _space(args.parameters)
    prepare_folder(
        args.output.parent
    )  # a search takes minutes: what stands in the way of its outcome is told before it
    recordings = read_dataset(args.form, DatasetLocation(args.data, args.images, tuple(args.sequences)))
    found = tune(recordings, load(args), None, space, args.metric, args.trials, args.folds, args.seed, _show_progress)
    _show_progress("")
    print(_table(found, args.metric))
    if found.gain <= 0 or not found.values:
        print(
            f"no preset is written: on recordings that it was not chosen on, the outcome of the search has "
            f"{found.gain:+.2f} {args.metric}, which is no better than the defaults"
        )
        return 0
    write_text(args.output, preset(found.values, space, args.metric, found.gain))
    print(f"preset: {args.output} ({found.gain:+.2f} {args.metric} on recordings that it was not chosen on)")
    return 0


def _space(names: list[str]) -> tuple[Dimension, ...]:
    from centertrack_ros.evaluation.tuning import SPACE

    known = {one.parameter: one for one in SPACE}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"'{unknown[0]}' is not searched; expected some of {', '.join(known)}")
    return tuple(known[name] for name in names) or SPACE


def _show_progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)


def _table(found: Tuning, metric: str) -> str:
    from centertrack_ros.evaluation.tables import table

    rows = [
        [", ".join(fold.left_out), f"{fold.before:.2f}", f"{fold.after:.2f}", f"{fold.after - fold.before:+.2f}"]
        for fold in found.folds
    ]
    rows.append(["mean of the parts", "", "", f"{found.gain:+.2f}"])
    rows.append(
        ["all, chosen on themselves", f"{found.before:.2f}", f"{found.after:.2f}", f"{found.after - found.before:+.2f}"]
    )
    return table([f"{metric} on recordings left out", "defaults", "found", "gain"], rows)


def preset(values: Mapping[str, float | int], space: tuple[Dimension, ...], metric: str, gain: float) -> str:
    """The text of a parameter file for the node.

    Args:
        values: Field of `TrackerConfig` -> value.
        space: What was searched.
        metric: What was to be large.
        gain: Of it on recordings left out, percentage points.
    """
    lines = [
        f"# Found by `centertrack tune`: {gain:+.2f} {metric} on recordings that the values were not chosen on.",
        "/**:",
        "  ros__parameters:",
    ]
    group = ""
    for one in sorted(space, key=lambda dimension: dimension.parameter):
        if one.field not in values:
            continue
        if one.parameter.partition(".")[0] != group:
            group = one.parameter.partition(".")[0]
            lines.append(f"    {group}:")
        value = values[one.field]
        lines.append(f"      {one.field}: {value if one.steps == 'whole' else f'{value:.4f}'}")
    return "\n".join(lines) + "\n"
