# SPDX-License-Identifier: Apache-2.0
"""The paper's ablations on held-out synthetic streets: writes a page into docs and a JSON file.

    python -m experiments.paper_tables [--quick | --claim] [--weights FILE] [--streets N --frames N --rates 2,5]

experiments/paper_tables.yaml names the weights and the plans; options win over it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from centertrack_ros.engine.loading import load_engine
from centertrack_ros.io.json_files import write_json
from experiments.paper_figures import document, missing_models
from experiments.paper_page import page
from experiments.paper_rows import MAIN, ROWS, run_clips
from experiments.street_clips import FIRST_SEED, Clip

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {"full": "make paper-tables", "quick": "make paper-tables-quick", "claim": "make paper-claim"}
TITLES = {
    "tables": "The paper's tables on the synthetic street",
    "claim": "The paper's main claim on the synthetic street",
}


def models_of(config: dict[str, Any], weights: str | None) -> dict[str, Path]:
    """Name -> weights file, for those that exist.

    Raises:
        SystemExit: There are no weights of the main model.
    """
    files = {name: ROOT / path for name, path in config["models"].items()}
    if weights:
        files = {**files, MAIN: Path(weights)}
    if not files[MAIN].is_file():
        raise SystemExit(f"no weights at {files[MAIN]}; choose others with --weights")
    return {name: path for name, path in files.items() if path.is_file()}


def clips_of(plan: dict[str, Any], args: argparse.Namespace) -> list[Clip]:
    """The clips of a plan: every street at every rate that has so many.

    Raises:
        SystemExit: The plan has no number of streets for a rate.
    """
    rates = [float(rate) for rate in (args.rates.split(",") if args.rates else plan["rates"])]
    streets, frames = args.streets or plan["streets"], args.frames or plan["frames"]
    counts: dict[float, int] = {rate: streets.get(rate, 0) if isinstance(streets, dict) else streets for rate in rates}
    if missing := [f"{rate:g}" for rate, count in counts.items() if not count]:
        raise SystemExit(f"the plan has no number of streets for {', '.join(missing)} frames/s; set --streets")
    numbers = range(max(counts.values()))
    return [Clip(FIRST_SEED + n, rate, frames) for n in numbers for rate in rates if n < counts[rate]]


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    plans = parser.add_mutually_exclusive_group()
    for name, meaning in (
        ("quick", "fewer and shorter sequences: under 20 minutes on two cores"),
        ("claim", "three rows on many streets: 77 minutes on two cores"),
    ):
        plans.add_argument(f"--{name}", action="store_const", dest="plan", const=name, default="full", help=meaning)
    parser.add_argument("--config", type=Path, default=ROOT / "experiments" / "paper_tables.yaml")
    parser.add_argument("--weights", help="of the main model")
    parser.add_argument("--streets", type=int, help="sequences per rate")
    parser.add_argument("--frames", type=int, help="of each sequence")
    parser.add_argument("--rates", help="frames/s, for instance 2,3,5,10")
    parser.add_argument("--engine", default="auto", help="what runs the networks")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 16))
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "paper_tables", help="streets and JSON")
    parser.add_argument("--page", type=Path, help="docs/paper_tables.md, or docs/paper_claim.md with --claim")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    from tqdm import tqdm

    args = parse_options(arguments)
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    models = models_of(config, args.weights)
    plan = config[args.plan]
    planned = [row for row in ROWS if row.key in plan.get("rows", [row.key])]
    rows, _ = missing_models(planned, models)
    left_out = [row for row in planned if row not in rows]
    models = {name: path for name, path in models.items() if any(row.model == name for row in rows)}
    clips = clips_of(plan, args)
    engine = load_engine(models[MAIN], engine=args.engine, threads=1)
    outcomes = run_clips(clips, args.output / "streets", rows, models, args.processes, args.engine)
    name = "claim" if args.plan == "claim" else "tables"
    target, written = args.output / f"{name}.json", args.page or ROOT / "docs" / f"paper_{name}.md"
    facts = {
        "title": TITLES[name],
        "command": COMMANDS[args.plan],
        "json": display_path(target),
        "model": engine.profile.name,
        "model_file": display_path(models[MAIN]),
        "trained_tracking": engine.profile.trained_tracking,
        "association_point": engine.profile.association_point,
        "engine": engine.name,
        "processes": args.processes,
        "missing": [{"row": row.key, "text": missing_models([*rows, row], models)[1][0]} for row in left_out],
    }
    with_progress = tqdm(outcomes, total=len(clips), unit="clip", disable=None)
    results = document(with_progress, rows, facts, config["draws"], processes=args.processes)
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(target, results)
    written.write_text(page(results), encoding="utf-8")
    print(f"{display_path(written)} and {display_path(target)} written")
    print(json.dumps({"cells": results["cells"], "boxes": results["boxes"]}))
    return 0


def display_path(path: Path) -> str:
    """The path relative to the project's folder, or its name outside of it."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


if __name__ == "__main__":
    sys.exit(main())
