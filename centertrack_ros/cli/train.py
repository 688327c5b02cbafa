# SPDX-License-Identifier: Apache-2.0
"""`centertrack train`: train a network by a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = "train a network by a recipe (YAML); an interrupted run continues where it stopped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack train`."""
    parser.add_argument(
        "recipe", type=Path, metavar="CONFIG.yaml", help="see docs/training.md; examples in config/training"
    )
    parser.add_argument("--output", type=Path, help="folder for logs, checkpoints, weights; default: runs/NAME")
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the recipe, such as steps=100 or augmentation.lost=0",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start again although there is a checkpoint, which is kept as NAME.ckpt.old",
    )
    parser.add_argument(
        "--stop-after", type=int, metavar="STEP", help="stop early; the same command without it continues"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def overrides(changes: Sequence[str]) -> dict[str, Any]:
    """Parses the values of `--set`. Raises ValueError for one without '=', or that is not YAML."""
    from centertrack_ros.io.yaml_files import parse_yaml

    values = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"--set expects KEY=VALUE, got '{change}'")
        values[key] = parse_yaml(value, f"--set {key}")
    return values


def run(args: argparse.Namespace) -> int:
    """Trains, or continues a run that was interrupted."""
    try:
        import lightning  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"training needs Lightning and PyYAML (pip install lightning pyyaml): {error}"
        ) from None
    from centertrack_ros.training.recipe import read_recipe
    from centertrack_ros.training.run import train

    recipe = read_recipe(args.recipe, overrides(args.changes))
    folder = args.output or Path("runs") / recipe.name
    try:
        weights = train(recipe, folder, not args.restart, not args.quiet, args.stop_after)
    except FloatingPointError as error:
        raise ValueError(f"{error}; {folder} keeps the last checkpoint") from None
    print(f"{weights}: trained; logs and checkpoints in {folder}")
    return 0
