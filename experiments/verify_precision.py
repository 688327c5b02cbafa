# SPDX-License-Identifier: Apache-2.0
"""Whether weights may run in a lower precision: COCO's AP and tracking figures, in float32 and in that precision.

    python -m experiments.verify_precision DATA [--weights FILE] [--precision bf16|fp16] [--device cuda]

DATA holds coco, pets09_s2l1 and mot17. AP is that of the first 64 images of val; tracking runs with the defaults of
this package, at full rate and on every third frame; both for several sizes of the input. The last lines say whether the
precision passes and, if so, what to state in the profile of the weights, for `tools.edit_profile`; engine 'auto' uses
it then where the CPU (bf16) or the GPU (fp16) has it.

Rounding moves every figure both ways, by some objects of short recordings; a worse network moves them down. So means
over the sizes and recordings decide: a precision passes if it loses at most 0.003 of AP and one point of MOTA and IDF1.
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
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.evaluation.ablation import every_nth
from centertrack_ros.evaluation.tables import table
from centertrack_ros.network.profile import PRECISIONS, PrecisionCheck
from centertrack_ros.tracking.config import TrackerConfig
from experiments import real_frames, real_tracks

TRACKING = ("MOTA", "IDF1")  # percent
LOSSES = {"AP": 0.003, **dict.fromkeys(TRACKING, 1.0)}  # the most that a precision may lose, see above
# Precision -> the engines that are compared: in float32, and in it.
ENGINES = {"bf16": ("openvino", "openvino-bf16"), "fp16": ("torch", "torch-fp16")}
SIZES = ((512, 512), (576, 448), (672, 512))  # (width, height) px of the input for AP; images are stretched
BUDGETS = (196608, 262144, 344064)  # px of the input for tracking


def detection_figures(data: Path, engine: Engine) -> dict[str, float]:
    """COCO's AP by the size of the input."""
    samples = list(coco_ap.read_samples(data / "coco", "val2017"))
    return {
        f"AP at {width}x{height}": coco_ap.evaluate(*coco_ap.detect(samples, size=(height, width), engine=engine))["ap"]
        for width, height in SIZES
    }


def tracking_figures(recordings: Mapping[str, list[VideoSequence]], engine: Engine, budget: int) -> dict[str, float]:
    """MOTA and IDF1 by recording and rate."""
    settings = {**real_frames.settings()["preset"], "motion": TrackerConfig().motion}
    found = {}
    for name, sequences in recordings.items():
        for step in (1, 3):
            people = [replace(every_nth(one, step), classes=("pedestrian",)) for one in sequences]
            figures = real_tracks.people_figures(people, engine, settings)
            found.update({f"{key} of {name}, 1/{step}, {budget} px": float(figures[key]) for key in TRACKING})
    return found


def measure(
    data: Path, weights: str | None, engine: str, threads: int | None, device: str = "cpu"
) -> tuple[str, dict[str, float]]:
    """Name of the model, and all figures of one engine.

    Raises:
        SystemExit: The engine cannot run here, or the model is another than this measures.
    """
    engines = {
        budget: load_engine(weights, engine=engine, device=device, threads=threads, input_pixels=budget)
        for budget in BUDGETS
    }
    profile = engines[BUDGETS[0]].profile
    if engines[BUDGETS[0]].name != engine:
        raise SystemExit(f"{engine} is not available, {engines[BUDGETS[0]].name} would run")
    if len(profile.classes) != 80:
        raise SystemExit(f"'{profile.name}' is no model of COCO's 80 classes, whose errors this measures")
    figures = detection_figures(data, engines[BUDGETS[0]])
    with tempfile.TemporaryDirectory() as folder:
        recordings = real_frames.recordings(data, Path(folder))
        for budget, one in engines.items():
            figures.update(tracking_figures(recordings, one, budget))
    return profile.name, figures


def means(figures: Mapping[str, float]) -> dict[str, float]:
    """The mean of each kind of figure."""
    groups: dict[str, list[float]] = {}
    for name, value in figures.items():
        groups.setdefault(name.split()[0], []).append(value)
    return {f"{kind}, mean of {len(values)}": round(float(np.mean(values)), 3) for kind, values in groups.items()}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns 0 if the precision passes, 1 if it does not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--weights", help="default: the embedded model")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu", help="for fp16, which CPUs compute slowly: cuda")
    args = parser.parse_args(arguments)
    if missing := [name for name in ("coco", "pets09_s2l1") if not (args.data / name).is_dir()]:
        raise SystemExit(f"no {' and no '.join(missing)} in {args.data}")
    (name, exact), (_, lower) = (
        measure(args.data, args.weights, engine, args.threads, args.device) for engine in ENGINES[args.precision]
    )
    figures = {kind: (value, means(lower)[kind]) for kind, value in means(exact).items()}
    every = {title: (value, lower[title]) for title, value in exact.items()}
    rows = [[title, *(f"{value:.3f}" for value in pair)] for title, pair in (every | figures).items()]
    print(table([name, "float32", args.precision], rows))
    if lost := [kind for kind, (one, other) in figures.items() if one - other > LOSSES[kind.split(",")[0]]]:
        print(f"{args.precision} does not pass: it loses too much of {' and of '.join(lost)}")
        return 1
    command = "python -m experiments.verify_precision DATA" + (f" --weights {name}" if args.weights else "")
    command += "" if args.precision == PRECISIONS[0] else f" --precision {args.precision}"
    check = asdict(PrecisionCheck(command, figures))
    print(f"{args.precision} passes; for the profile:\nverified_precisions='{json.dumps({args.precision: check})}'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
