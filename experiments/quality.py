# SPDX-License-Identifier: Apache-2.0
"""What a user sees with the default settings: ids, leaps, double boxes, a truck in the rain; before and after.

    python -m experiments.quality DATA [--clips FOLDER] [--settings before after official] [--engine torch]
        [--threads N]

DATA is the folder with pets09_s2l1, mot17 and clips; FOLDER may hold people-walking.mp4, dance.mp4 and cars.mp4 of the
public swdee/go-rknnlite-data (no licence is stated: to look at). What is missing is left out, with a line. The
definitions are in `experiments.clip_measures`, the settings in `experiments.quality_settings`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.registry import engine_names
from centertrack_ros.evaluation.ablation import every_nth
from centertrack_ros.evaluation.tables import table
from experiments import clip_measures, real_frames, real_tracks
from experiments.quality_settings import Setting, settings

TRUCK = Path(__file__).with_name("rainy_truck.json")
PETS = "PETS 1-69"
GOALS = {PETS: "switches <= 3, IDF1 >= 80", "MOT17": "MOTA +8, IDF1 +10"}
MOT_FIGURES = {"switches": "IDSW", "IDF1": "IDF1", "MOTA": "MOTA"}


@dataclass(frozen=True)
class Clip:
    """A video without ground truth.

    Attributes:
        name: Of its file, without the suffix.
        goal: What its figures should be.
        classes: Those that are tracked; empty: those of the setting.
        frames: So many are tracked.
    """

    name: str
    goal: str = ""
    classes: tuple[str, ...] = ()
    frames: int = 300


CLIPS = (
    Clip("people-walking", "leaps <= 2", ("person",)),
    Clip("dance", classes=("person",)),
    Clip("cars", "double < 1 %"),
    Clip("rainy"),
    Clip("city"),
    Clip("highway"),
)


def recordings(data: Path, folder: Path) -> dict[str, tuple[str, list[VideoSequence]]]:
    """Name -> (goal, recordings) with ground truth, of those that are in `data`; images are written into `folder`."""
    found: dict[str, tuple[str, list[VideoSequence]]] = {}
    for name, sequences in real_frames.recordings(data, folder).items():
        found[name] = GOALS[name], sequences
        if name == PETS:
            found[f"{name}, every third frame"] = GOALS[name], [every_nth(one, 3) for one in sequences]
    return found


def score_people(recordings: Sequence[VideoSequence], engine: Engine, setting: Setting) -> dict[str, float]:
    """Switches, IDF1 and MOTA of people over all recordings."""
    values = {field.name: getattr(setting.config, field.name) for field in fields(setting.config)}
    values.pop("classes")
    found = real_tracks.people_figures(recordings, setting.engine(engine), values)
    return {name: found[field] for name, field in MOT_FIGURES.items()}


def measure_clip(path: Path, clip: Clip, engine: Engine, setting: Setting) -> dict[str, Any]:
    """The figures of one clip; for rainy.mp4 those of the truck ahead, too."""
    tracked = clip_measures.track_clip(path, setting.engine(engine), setting.of_classes(clip.classes), clip.frames)
    found: dict[str, Any] = asdict(clip_measures.figures(tracked))
    if clip.name == "rainy":
        labels = clip_measures.read_labels(TRUCK)
        found["truck"] = asdict(clip_measures.coverage(tracked, labels, engine.profile.classes))
    return found


def run(data: Path, clips: Path | None, chosen: Sequence[str], engine: Engine) -> dict[str, dict[str, Any]]:
    """Title -> setting -> figures; prints a line for each as it comes, and one for what is missing."""
    found: dict[str, dict[str, Any]] = {}
    used = [settings()[name] for name in chosen]
    with tempfile.TemporaryDirectory() as folder:
        for title, (goal, sequences) in recordings(data, Path(folder)).items():
            found[title] = {"goal": goal, **{one.name: score_people(sequences, engine, one) for one in used}}
            print(f"{title}: {found[title]}", file=sys.stderr, flush=True)
    for clip in CLIPS:
        places = [folder / f"{clip.name}.mp4" for folder in (data / "clips", clips) if folder]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            print(f"left out: no {clip.name}.mp4 in {', '.join(str(place.parent) for place in places)}")
            continue
        found[clip.name] = {"goal": clip.goal, **{one.name: measure_clip(path, clip, engine, one) for one in used}}
        print(f"{clip.name}: {found[clip.name]}", file=sys.stderr, flush=True)
    return found


def show(found: dict[str, dict[str, Any]], chosen: Sequence[str]) -> None:
    """Prints the figures as three tables: recordings with ground truth, clips, the truck."""
    scored = [title for title, by in found.items() if "IDF1" in by[chosen[0]]]
    lines = [
        [title, name, *(_text(found[title][name][figure]) for figure in MOT_FIGURES), found[title]["goal"]]
        for title in scored
        for name in chosen
    ]
    if lines:
        print(f"\n{table(['people with ground truth', 'setting', *MOT_FIGURES, 'goal'], lines)}")
    lines = [
        [title, name, *_clip_cells(by[name]), by["goal"]]
        for title, by in found.items()
        if title not in scored
        for name in chosen
    ]
    heading = ["clip", "setting", "frames", "boxes", "ids", "leaps", "double", "2+ classes", "gaps/id", "goal"]
    if lines:
        print(f"\n{table(heading, lines)}")
    lines = [["truck ahead in rainy", name, *_truck_cells(by[name])] for by in found.values() for name in chosen]
    lines = [line for line in lines if len(line) > 2]
    if lines:
        print(f"\n{table(['object', 'setting', 'found', 'ids', 'classes', 'goal'], lines)}")


def _clip_cells(figures: dict[str, Any]) -> list[str]:
    counts = [str(figures[name]) for name in ("frames", "boxes", "ids", "leaps")]
    per_id = figures["gaps"] / max(figures["ids"], 1)
    return [*counts, f"{100 * figures['doubled']:.1f} %", str(figures["reclassified"]), f"{per_id:.2f}"]


def _truck_cells(figures: dict[str, Any]) -> list[str]:
    if "truck" not in figures:
        return []
    truck = figures["truck"]
    found = f"{truck['found']} of {truck['frames']}"
    return [found, str(len(truck["ids"])), ", ".join(truck["classes"]) or "-", ">= 270, one id, one class"]


def _text(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--clips", type=Path, help="folder of further clips")
    parser.add_argument("--settings", nargs="+", choices=list(settings()), default=["before", "after"])
    parser.add_argument("--engine", choices=engine_names(), default="torch", help="default: torch, in float32")
    parser.add_argument("--threads", type=int, help="default: as many as cores")
    args = parser.parse_args(arguments)
    for folder in (args.data, args.clips):
        if folder and not folder.is_dir():
            raise SystemExit(f"no folder {folder}")
    engine = load_engine(engine=args.engine, threads=args.threads)
    found = run(args.data, args.clips, args.settings, engine)
    show(found, args.settings)
    print(json.dumps({"model": engine.profile.name, "engine": engine.name, "results": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
