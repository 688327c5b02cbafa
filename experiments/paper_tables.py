"""The paper's ablations, measured anew on held-out streets: writes a page into docs and a JSON file.

    python -m experiments.paper_tables [--quick | --claim] [--weights FILE] [--streets N --frames N --rates 2,5]

experiments/paper_tables.yaml says which weights and how much; what is given here wins over it.
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
    """The weights that are there, by name. Raises SystemExit without the main ones."""
    found = {name: ROOT / path for name, path in config["models"].items()}
    if weights:
        found = {**found, MAIN: Path(weights)}
    if not found[MAIN].is_file():
        raise SystemExit(f"no weights at {found[MAIN]}; give others with --weights")
    return {name: path for name, path in found.items() if path.is_file()}


def clips_of(chosen: dict[str, Any], args: argparse.Namespace) -> list[Clip]:
    """Every street at every rate that has so many, by the plan `chosen`. SystemExit for a rate it does not know."""
    rates = [float(rate) for rate in (args.rates.split(",") if args.rates else chosen["rates"])]
    streets, frames = args.streets or chosen["streets"], args.frames or chosen["frames"]
    counts = {rate: streets.get(rate) if isinstance(streets, dict) else streets for rate in rates}
    if missing := [f"{rate:g}" for rate, count in counts.items() if not count]:
        raise SystemExit(f"the plan has no number of streets for {', '.join(missing)} frames/s; give --streets")
    numbers = range(max(counts.values()))
    return [Clip(FIRST_SEED + n, rate, frames) for n in numbers for rate in rates if n < counts[rate]]


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    plans = parser.add_mutually_exclusive_group()
    for name, meaning in (
        ("quick", "fewer and shorter sequences: under 20 minutes on two cores"),
        ("claim", "three rows on many streets: 77 minutes on two cores"),
    ):
        plans.add_argument(f"--{name}", action="store_const", dest="plan", const=name, default="full", help=meaning)
    parser.add_argument("--config", type=Path, default=ROOT / "experiments" / "paper_tables.yaml")
    parser.add_argument("--weights", help="of the model that the tables are about")
    parser.add_argument("--streets", type=int, help="sequences per rate")
    parser.add_argument("--frames", type=int, help="of each sequence")
    parser.add_argument("--rates", help="frames/s, for instance 2,3,5,10")
    parser.add_argument("--engine", default="auto", help="what runs the networks")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 16))
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "paper_tables", help="streets and JSON")
    parser.add_argument("--page", type=Path, help="docs/paper_tables.md, or docs/paper_claim.md with --claim")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    from tqdm import tqdm

    args = options(arguments)
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    models = models_of(config, args.weights)
    chosen = config[args.plan]
    wanted = [row for row in ROWS if row.key in chosen.get("rows", [row.key])]
    rows, _ = missing_models(wanted, models)
    left_out = [row for row in wanted if row not in rows]
    models = {name: path for name, path in models.items() if any(row.model == name for row in rows)}
    clips = clips_of(chosen, args)
    engine = load_engine(models[MAIN], engine=args.engine, threads=1)
    outcomes = run_clips(clips, args.output / "streets", rows, models, args.processes, args.engine)
    name = "claim" if args.plan == "claim" else "tables"
    target, written = args.output / f"{name}.json", args.page or ROOT / "docs" / f"paper_{name}.md"
    facts = {
        "title": TITLES[name],
        "command": COMMANDS[args.plan],
        "json": shown(target),
        "model": engine.profile.name,
        "model_file": shown(models[MAIN]),
        "trained_tracking": engine.profile.trained_tracking,
        "association_point": engine.profile.association_point,
        "engine": engine.name,
        "processes": args.processes,
        "missing": [{"row": row.key, "text": missing_models([*rows, row], models)[1][0]} for row in left_out],
    }
    watched = tqdm(outcomes, total=len(clips), unit="clip", disable=None)
    found = document(watched, rows, facts, config["draws"], processes=args.processes)
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(target, found)
    written.write_text(page(found), encoding="utf-8")
    print(f"{shown(written)} and {shown(target)} written")
    print(json.dumps({"cells": found["cells"], "boxes": found["boxes"]}))
    return 0


def shown(path: Path) -> str:
    """Relative to the project's folder where it lies in it."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


if __name__ == "__main__":
    sys.exit(main())
