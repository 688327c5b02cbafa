# SPDX-License-Identifier: Apache-2.0
"""The figures of the paper's tables from the outcomes of all clips: a document with intervals and paired differences.

Every row has the same draws of recordings; a recording is a seed, so that a street at several rates is one. Rates at
which differences are small may have more streets than others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from centertrack_ros.evaluation.bootstrap import Array, Estimate, draw_weights, weighted_mean, weighted_median
from centertrack_ros.evaluation.parallel import Executor, run_tasks
from experiments.amota import Curve, amota, curve
from experiments.overlap_errors import ERRORS
from experiments.paper_rows import FILTERED, FULL, MAIN, ClipOutcome, Row
from experiments.track_counts import track_figures

FORMAT = "centertrack-paper-tables-1"
_ERRORS = (*ERRORS, FILTERED)
# Of each row, in percent but for IDSW.
FIGURES = ("IDF1", "AMOTA", "AMOTA@0.2", "AMOTA 2D", "MOTA", "HOTA", "IDSW")


@dataclass(frozen=True)
class Claim:
    """What the paper found between two rows.

    Attributes:
        table: Name of the table.
        figure: Name of the figure.
        better: Key of the row that is ahead.
        worse: Key of the other row.
        paper: The paper's figures; empty: it does not compare these rows.
        expected: 'ahead', or 'equal': less than one point apart.
    """

    table: str
    figure: str
    better: str
    worse: str
    paper: str = ""
    expected: str = "ahead"


TABLES = {
    "parts": ("detection", "no_offset", "no_heatmap", "full"),
    "motion": ("no_offset", "kalman", "flow", "full", "oracle"),
    "training": ("noiseless", "static", "control"),
    "association": ("full", "hungarian", "rebirth", "kalman_rebirth"),
}
CLAIMS = (
    Claim("parts", "IDF1", "full", "detection", "MOTA 66.1 against 63.6 (MOT17) and 88.7 against 84.3 (KITTI)"),
    Claim("parts", "AMOTA", "full", "detection", "AMOTA@0.2 28.3 against 18.1 (nuScenes)"),
    Claim("parts", "AMOTA 2D", "full", "detection", "AMOTA@0.2 28.3 against 18.1 (nuScenes, in 3D)"),
    Claim("parts", "AMOTA", "full", "no_offset", "AMOTA@0.2 28.3 against 17.8 (nuScenes)"),
    Claim("parts", "AMOTA", "full", "no_heatmap", "AMOTA@0.2 28.3 against 26.5 (nuScenes)"),
    Claim("parts", "MOTA", "full", "no_heatmap", "66.1 against 63.9 (MOT17), 88.7 against 85.4 (KITTI)"),
    Claim("motion", "IDF1", "full", "no_offset", "MOTA 66.1 against 65.8 (MOT17), 88.7 against 87.1 (KITTI)"),
    Claim("motion", "IDF1", "full", "kalman", "MOTA 66.1 against 66.1 (MOT17), 88.7 against 87.9 (KITTI)"),
    Claim("motion", "AMOTA", "full", "kalman", "AMOTA@0.2 28.3 against 18.3 (nuScenes)"),
    Claim("motion", "AMOTA 2D", "full", "kalman", "AMOTA@0.2 28.3 against 18.3 (nuScenes, in 3D)"),
    Claim("motion", "AMOTA", "full", "flow", "AMOTA@0.2 28.3 against 26.6 (nuScenes, FlowNet2)"),
    Claim("motion", "IDF1", "oracle", "full"),
    Claim("motion", "IDF1", "oracle", "kalman"),
    Claim("training", "MOTA", "control", "noiseless", "66.1 against 34.4 (MOT17)"),
    Claim("training", "MOTA", "static", "control", "66.1 either way (MOT17), 86.8 against 88.7 (KITTI)", "equal"),
    Claim("training", "IDF1", "static", "control", "65.4 against 64.2 (MOT17)"),
    Claim("association", "MOTA", "full", "hungarian", "the same (MOT17)", "equal"),
    Claim("association", "IDF1", "full", "hungarian", "64.2 against 61.0 (MOT17)"),
    Claim("association", "IDF1", "rebirth", "full", "69.4 against 64.2 (MOT17, K = 32 frames)"),
    Claim("association", "MOTA", "rebirth", "full", "66.2 against 66.1 (MOT17)", "equal"),
    Claim("association", "IDF1", "rebirth", "kalman_rebirth"),
    Claim("association", "AMOTA 2D", "rebirth", "kalman_rebirth"),
)
Cells = dict[tuple[str, float], dict[str, Estimate]]


def document(
    outcomes: Iterable[ClipOutcome],
    rows: Sequence[Row],
    facts: Mapping[str, Any],
    draws: int = 1000,
    seed: int = 0,
    processes: int = 1,
) -> dict[str, Any]:
    """All figures as a JSON document.

    Args:
        outcomes: Of all clips.
        rows: The rows.
        facts: Further fields of the document (weights, missing rows, ...).
        draws: Number of bootstrap draws.
        seed: Of the draws.
        processes: That count for AMOTA; the figures do not depend on it.

    Raises:
        ValueError: A rate has other streets than the first ones of the rate that has most.
    """
    by_rate: dict[float, dict[int, ClipOutcome]] = {}
    for outcome in outcomes:
        by_rate.setdefault(outcome.clip.rate, {})[outcome.clip.seed] = outcome
    seeds = sorted(by_rate[max(by_rate, key=lambda rate: len(by_rate[rate]))])
    if any(sorted(found) != seeds[: len(found)] for found in by_rate.values()):
        raise ValueError("every rate needs the same seeds, or the first of them")
    weights = {count: draw_weights(count, draws, seed) for count in {len(found) for found in by_rate.values()}}
    outcomes_of = {
        (row.key, rate): [by_rate[rate][one] for one in sorted(by_rate[rate])]
        for row in rows
        for rate in sorted(by_rate)
    }
    tasks = {key: (found, key[0]) for key, found in outcomes_of.items()}
    curves = dict(run_tasks(Executor(workers=processes), tasks, _curves))
    cells = {
        (row, rate): _cell(found, row, curves[row, rate], weights[len(found)])
        for (row, rate), found in outcomes_of.items()
    }
    return {
        "format": FORMAT,
        **facts,
        "seeds": seeds,
        "streets": {f"{rate:g}": len(found) for rate, found in sorted(by_rate.items())},
        "rates": sorted(by_rate),
        "frames": {f"{rate:g}": next(iter(found.values())).clip.frames for rate, found in sorted(by_rate.items())},
        "draws": draws,
        "draw_seed": seed,
        "network_asked": sum(o.requests for found in by_rate.values() for o in found.values()),
        "network_run": sum(o.runs for found in by_rate.values() for o in found.values()),
        "rows": {row.key: row.title for row in rows},
        "cells": [
            {"row": row, "rate": rate, "figures": {name: one.document() for name, one in figures.items()}}
            for (row, rate), figures in cells.items()
        ],
        "claims": [_claim(claim, cells, sorted(by_rate)) for claim in CLAIMS if _has_rows(claim, rows)],
        "boxes": _boxes(by_rate, weights) if any(row.key == FULL for row in rows) else [],
    }


def _has_rows(claim: Claim, rows: Sequence[Row]) -> bool:
    return {claim.better, claim.worse} <= {row.key for row in rows}


def _curves(task: tuple[Sequence[ClipOutcome], str]) -> tuple[list[Curve], list[Curve]]:
    """The curves of each class of one row: on the ground, and in the image."""
    outcomes, row = task
    names = list(outcomes[0].truth)
    ground = [curve([o.truth[n] for o in outcomes], [o.rows[row].paths[n] for o in outcomes]) for n in names]
    image = [curve([o.true_boxes[n] for o in outcomes], [o.rows[row].boxes[n] for o in outcomes]) for n in names]
    return ground, image


def _cell(
    outcomes: Sequence[ClipOutcome], row: str, curves: tuple[list[Curve], list[Curve]], weights: Array
) -> dict[str, Estimate]:
    tables = track_figures([outcome.rows[row].counts for outcome in outcomes], weights)
    tables["AMOTA"] = 100 * amota(curves[0], weights)
    tables["AMOTA@0.2"] = 100 * amota(curves[0], weights, alpha=0.2)
    tables["AMOTA 2D"] = 100 * amota(curves[1], weights)
    return {name: Estimate.of_table(tables[name]) for name in FIGURES}


def _claim(claim: Claim, cells: Cells, rates: Sequence[float]) -> dict[str, Any]:
    """The paired difference at every rate, and whether the two rows' own intervals are apart."""
    differences = []
    for rate in rates:
        one, other = cells[claim.better, rate][claim.figure], cells[claim.worse, rate][claim.figure]
        differences.append({"rate": rate, **one.minus(other).document(), "apart": not one.overlaps(other)})
    fields = {name: getattr(claim, name) for name in ("table", "figure", "better", "worse", "paper", "expected")}
    return {**fields, "differences": differences}


def _boxes(by_rate: Mapping[float, Mapping[int, ClipOutcome]], weights: Mapping[int, Array]) -> list[Any]:
    """The 3D errors of the full row: of each class over all rates, of all classes, and of all classes at each rate.

    Args:
        by_rate: Rate -> seed -> outcome.
        weights: Number of streets -> draws.
    """
    names = list(next(iter(next(iter(by_rate.values())).values())).truth)
    groups = [(name, [name], sorted(by_rate)) for name in names]
    groups.append(("all", names, sorted(by_rate)))
    groups += [(f"all, {rate:g} Hz", names, [rate]) for rate in sorted(by_rate)]
    boxes = []
    for title, kinds, rates in groups:
        seeds = sorted({seed for rate in rates for seed in by_rate[rate]})
        streets = [_gathered(by_rate, seed, kinds, rates) for seed in seeds]
        boxes.append({"name": title, **_errors(streets, weights[len(seeds)])})
    return boxes


def _gathered(
    by_rate: Mapping[float, Mapping[int, ClipOutcome]], seed: int, kinds: Sequence[str], rates: Sequence[float]
) -> dict[str, Array]:
    """Error -> its values in one street, at the rates that have it."""
    errors = [by_rate[rate][seed].rows[FULL].errors or {} for rate in rates if seed in by_rate[rate]]
    return {
        error: np.concatenate([np.zeros(0), *(one[kind][error] for one in errors for kind in kinds if kind in one)])
        for error in _ERRORS
    }


def _errors(streets: Sequence[Mapping[str, Array]], weights: Array) -> dict[str, Any]:
    """Translation in percent of the distance, yaw's median in degrees, 1 - IoU of sizes in percent, velocity in m/s."""
    values = {error: [street[error] for street in streets] for error in _ERRORS}
    return {
        "objects": int(sum(len(one) for one in values["translation"])),
        "moving": int(sum(len(one) for one in values["velocity"])),
        "translation": Estimate.of_table(100 * weighted_mean(values["translation"], weights)).document(),
        "yaw": Estimate.of_table(np.degrees(weighted_median(values["yaw"], weights))).document(),
        "velocity": Estimate.of_table(weighted_mean(values["velocity"], weights)).document(),
        FILTERED: Estimate.of_table(weighted_mean(values[FILTERED], weights)).document(),
        "size": Estimate.of_table(100 * weighted_mean(values["size"], weights)).document(),
    }


def missing_models(rows: Sequence[Row], models: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    """Leaves out rows without weights.

    Returns:
        The rows that remain, and a note for each of the others.

    Raises:
        ValueError: There are no weights of the main model.
    """
    kept = [row for row in rows if row.model in models]
    notes = [
        f"Left out: '{row.title}', there are no weights ('{row.model}' of experiments/paper_tables.yaml)."
        for row in rows
        if row.model not in models
    ]
    if not any(row.model == MAIN for row in kept):
        raise ValueError("no weights of the main model")
    return kept, notes
