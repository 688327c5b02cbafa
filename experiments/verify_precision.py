# SPDX-License-Identifier: Apache-2.0
"""Whether weights may run in a lower precision: COCO's AP and tracking figures, in float32 and in that precision.

    python -m experiments.verify_precision DATA [--weights FILE] [--precision bf16]

DATA holds coco, pets09_s2l1 and mot17. AP is that of the first 64 images of val; tracking runs with the defaults of
this package, at full rate and on every third frame. The last lines say whether the precision passes and, if so, what to
state in the profile of the weights, for `tools.edit_profile`; engine 'auto' uses it then where the CPU has it.

A precision passes if it loses at most 0.003 of AP at each size and on average one point of MOTA and of IDF1: rounding
moves these figures both ways, by some objects of short recordings, and a worse network moves them down.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks import coco_ap
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.evaluation.ablation import every_nth
from centertrack_ros.evaluation.tables import table
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_mot, summary
from centertrack_ros.network.profile import PRECISIONS, PrecisionCheck
from centertrack_ros.tracking.config import TrackerConfig
from experiments import real_frames
from experiments.paper_rows import track

AP_LOSS, TRACKING_LOSS = 0.003, 1.0  # the most that a precision may lose, see above
TRACKING = ("MOTA", "IDF1")  # percent
# Title -> (width, height) px and how images are fitted into them.
SIZES = {"512x512 stretched": ((512, 512), "stretch"), "512x384": ((512, 384), "keep_aspect")}


def detection_figures(data: Path, engine: Engine) -> dict[str, float]:
    """COCO's AP by the size of the input."""
    samples = list(coco_ap.read_samples(data / "coco", "val2017"))
    return {
        f"AP at {title}": coco_ap.evaluate(
            *coco_ap.detect(samples, size=(size[1], size[0]), resize=resize, engine=engine)
        )["ap"]
        for title, (size, resize) in SIZES.items()
    }


def tracking_figures(data: Path, engine: Engine, folder: Path) -> dict[str, float]:
    """MOTA and IDF1 by recording and rate."""
    settings = {**real_frames.settings()["preset"], "motion": TrackerConfig().motion}
    found = {}
    for name, recordings in real_frames.recordings(data, folder).items():
        for step in (1, 3):
            people = [replace(every_nth(one, step), classes=("pedestrian",)) for one in recordings]
            pairs = [SequencePair(one, track(one, engine, settings)) for one in people]
            figures = summary(score_mot(pairs).combined["pedestrian"])
            found.update({f"{key} of {name}, 1/{step}": float(figures[key]) for key in TRACKING})
    return found


def losses(figures: Mapping[str, tuple[float, float]]) -> list[str]:
    """The figures that the lower precision loses too much of, as clauses."""
    found = [
        f"{name} falls from {exact:.3f} to {lower:.3f}"
        for name, (exact, lower) in figures.items()
        if name.startswith("AP") and exact - lower > AP_LOSS
    ]
    for key in TRACKING:
        changes = [lower - exact for name, (exact, lower) in figures.items() if name.startswith(key)]
        if changes and np.mean(changes) < -TRACKING_LOSS:
            found.append(f"{key} falls by {-np.mean(changes):.1f} points on average")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns 0 if the precision passes, 1 if it does not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--threads", type=int)
    args = parser.parse_args(arguments)
    if missing := [name for name in ("coco", "pets09_s2l1") if not (args.data / name).is_dir()]:
        raise SystemExit(f"no {' and no '.join(missing)} in {args.data}")
    names = ("openvino", f"openvino-{args.precision}")
    engines = [load_engine(args.weights, engine=name, device="cpu", threads=args.threads) for name in names]
    if [engine.name for engine in engines] != list(names):
        raise SystemExit(f"needs OpenVINO: {' and '.join(engine.name for engine in engines)} would run")
    profile = engines[0].profile
    if "dep" in profile.heads or len(profile.classes) != 80:
        raise SystemExit(f"'{profile.name}' is no 2D model of COCO's 80 classes, whose errors this measures")
    with tempfile.TemporaryDirectory() as folder:
        measured = [
            detection_figures(args.data, engine) | tracking_figures(args.data, engine, Path(folder))
            for engine in engines
        ]
    figures = {name: (round(value, 3), round(measured[1][name], 3)) for name, value in measured[0].items()}
    rows = [[name, f"{exact:.3f}", f"{lower:.3f}"] for name, (exact, lower) in figures.items()]
    print(table([profile.name, "float32", args.precision], rows))
    if problems := losses(figures):
        print(f"{args.precision} does not pass: {'; '.join(problems)}")
        return 1
    command = "python -m experiments.verify_precision DATA" + (f" --weights {profile.name}" if args.weights else "")
    check = asdict(PrecisionCheck(command, figures))
    print(f"{args.precision} passes; for the profile:\nverified_precisions='{json.dumps({args.precision: check})}'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
