# SPDX-License-Identifier: Apache-2.0
"""The page with the results of `paper_tables`: Markdown tables and sentences, from the document alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from centertrack_ros.evaluation.tables import markdown_table
from experiments.paper_figures import FIGURES, TABLES
from experiments.paper_rows import FILTERED

HEADINGS = {
    "parts": "What the parts are worth (the paper's table 4)",
    "motion": "Motion models over frame rates (table 6)",
    "training": "How it was trained (table 5)",
    "association": "Association and rebirth (table 5)",
}
# Explanations of rows.
REMARKS = {
    "motion": """\
*True displacements*: where the network found a true object (IoU at least 0.5), its displacement is the truth's. That
row is what a perfect motion model would make of these detections; how far it is ahead of the Kalman filter bounds what
any displacement can gain.""",
    "training": """\
Three models that differ in nothing but what the rows say: beside the detector of the first part of the training of the
model above, which stays as it was then, the part that sees the previous image and the prior heatmap was trained anew,
shortly (`experiments/recipes/street-3d-branch.yaml`). They are to be compared with each other, not with *full*.""",
}
# The point that association compares.
POINTS = {
    "official": "the official code's point, the peak's cell or, with 3D heads, the amodal centre",
    "box": "the middle of the box, not the official code's amodal centre",
}
# The paper's own figures, as the project's sources give them.
PAPER = {
    "parts": """\
| the paper | MOT17 MOTA | KITTI MOTA | nuScenes AMOTA@0.2 |
| --- | ---: | ---: | ---: |
| detection only | 63.6 | 84.3 | 18.1 |
| without displacement | 65.8 | 87.1 | 17.8 |
| without prior heatmap | 63.9 | 85.4 | 26.5 |
| full | 66.1 | 88.7 | 28.3 |""",
    "motion": """\
| the paper | MOT17 MOTA | KITTI MOTA | nuScenes AMOTA@0.2 |
| --- | ---: | ---: | ---: |
| no motion | 65.8 | 87.1 | 17.8 |
| Kalman filter | 66.1 | 87.9 | 18.3 |
| optical flow (FlowNet2) | 66.1 | 88.4 | 26.6 |
| displacement | 66.1 | 88.7 | 28.3 |""",
    "training": """\
| the paper | MOT17 MOTA | MOT17 IDF1 | KITTI MOTA |
| --- | ---: | ---: | ---: |
| trained without heatmap noise | 34.4 | | |
| trained on single images | 66.1 | 65.4 | 86.8 |
| full | 66.1 | 64.2 | 88.7 |""",
    "association": """\
| the paper | MOT17 MOTA | MOT17 IDF1 | switches |
| --- | ---: | ---: | ---: |
| greedy | 66.1 | 64.2 | 1.0 % |
| Hungarian | 66.1 | 61.0 | |
| rebirth, 32 frames | 66.2 | 69.4 | 0.4 % |""",
}
# Goals of the 3D boxes: figure -> (column, unit, bound).
GOALS = {
    "translation": ("translation", "% of the distance", 8.0),
    "yaw": ("yaw, median", "°", 10.0),
    "velocity": ("velocity, as the network says it", "m/s", 1.0),
    FILTERED: ("velocity, with the tracks' ways", "m/s", 1.0),
}


def interval(figure: Mapping[str, Any], digits: int = 1, sign: str = "", unknown: str = "-") -> str:
    """A figure with its interval: '71.2 (68.9 to 74.0)'.

    Args:
        figure: value, low and high.
        digits: After the decimal point.
        sign: '+' shows the sign of positive numbers, too.
        unknown: The text where there is no figure.
    """
    if figure["value"] is None:
        return unknown
    value, low, high = (
        "" if figure[name] is None else f"{figure[name]:{sign}.{digits}f}" for name in ("value", "low", "high")
    )
    return f"{value} ({low} to {high})" if low and high else value


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [_introduction(document)]
    for name, keys in TABLES.items():
        present = [key for key in keys if key in document["rows"]]
        notes = _notes(document, keys)
        if len(present) < 2 and not notes:
            continue
        parts.append(f"## {HEADINGS[name]}")
        parts += [REMARKS.get(name, ""), *notes]
        if len(present) > 1:
            parts += [_figure_table(document, present, figure) for figure in FIGURES]
            parts.append(
                "\n".join(f"- {sentence(one, document)}" for one in document["claims"] if one["table"] == name)
            )
        parts.append(PAPER[name])
    if document["boxes"]:
        parts += _boxes3d(document["boxes"])
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(document: Mapping[str, Any]) -> str:
    seeds, frames = document["seeds"], document["frames"]
    rates = ", ".join(f"{rate:g}" for rate in document["rates"])
    lengths = ", ".join(dict.fromkeys(str(count) for count in frames.values()))
    streets = document["streets"].values()
    counts, driven = f"{len(seeds)}", "each driven"
    if len(set(streets)) > 1:
        counts, driven = f"the first {', '.join(map(str, streets))} of {counts}", "driven"
    asked, run = document["network_asked"], document["network_run"]
    return f"""\
# {document["title"]}

Written by `{document["command"]}` (do not edit); every figure in full precision is in `{document["json"]}`.

- Model: `{document["model"]}` ({document["model_file"]}), engine {document["engine"]},
  {document["processes"]} processes of one thread.
{_untrained(document)}- Data: {counts} streets that nothing is trained on (look `test`: other textures and
  shapes; seeds {seeds[0]} to {seeds[-1]}), {driven} at {rates} frames/s, {lengths} frames at every rate, 512x288.
- Evaluated: road users of which at least a quarter is visible and that are 8 px tall; the others are ignored (don't
  care). IDF1, MOTA, HOTA, IDSW: TrackEval, boxes by IoU, all classes together. AMOTA: the nuScenes tracking
  benchmark's (3D centres within 2 m on the ground, 40 thresholds, equal to nuscenes-devkit's), mean over the classes;
  AMOTA@0.2: with the weight that it had when the paper was written; AMOTA 2D: boxes in the image, IoU at least 0.5.
- In brackets: the middle 95 % of {document["draws"]} draws of the streets with replacement (seed
  {document["draw_seed"]}), the same draws for all rows; AMOTA's thresholds are those of all streets. Differences are
  paired.
- All rows have the official defaults (greedy matching, no rebirth) and the model's own thresholds, but for what their
  names say. What is matched is {POINTS[document["association_point"]]}.
  The prior heatmap of each row is drawn from its own tracks. The network ran for {run} of {asked} images; the others
  had inputs that it had run for before, byte for byte.
- Detection only: no previous image, no heatmap, no displacement, but the same weights (the paper trained a network of
  its own for it)."""


def _untrained(document: Mapping[str, Any]) -> str:
    if document["trained_tracking"]:
        return ""
    return (
        "- **The profile of these weights says that their displacement is untrained: it is ignored**, so that the row\n"
        "  *full* is the row *without displacement*.\n"
    )


def _notes(document: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return [note["text"] for note in document["missing"] if note["row"] in keys]


def _figure_table(document: Mapping[str, Any], keys: Sequence[str], figure: str) -> str:
    known = {(cell["row"], cell["rate"]): cell["figures"][figure] for cell in document["cells"]}
    digits = 0 if figure == "IDSW" else 1
    rows = [
        [document["rows"][key], *(interval(known[key, rate], digits) for rate in document["rates"])] for key in keys
    ]
    return markdown_table([figure, *(f"{rate:g} Hz" for rate in document["rates"])], rows)


def sentence(claim: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """The differences of a claim, and whether they agree with the paper."""
    names = document["rows"]
    differences = "; ".join(
        f"{interval(one, sign='+', unknown='unknown')} at {one['rate']:g} Hz"
        f"{', intervals apart' if one['apart'] else ''}"
        for one in claim["differences"]
    )
    against = f"The paper: {claim['paper']}. {conclusion(claim)}" if claim["paper"] else "Not in the paper."
    return f"{claim['figure']}, *{names[claim['better']]}* minus *{names[claim['worse']]}*: {differences}. {against}"


def conclusion(claim: Mapping[str, Any]) -> str:
    """Whether the differences agree with the paper."""
    known = [one for one in claim["differences"] if one["low"] is not None and one["high"] is not None]
    ahead = [one["rate"] for one in known if one["low"] > 0]
    behind = [one["rate"] for one in known if one["high"] < 0]
    if claim["expected"] == "equal":
        apart = [one["rate"] for one in known if (one["low"] > 0 or one["high"] < 0) and abs(one["value"]) >= 1]
        if apart:
            return f"**Does not agree** at {_hertz(apart)}: a clear difference of a point or more."
        return "**Agrees**: no clear difference of a point or more." if known else "**Undecided**."
    if known and len(ahead) == len(known):
        return "**Agrees** at every rate."
    if ahead:
        rest = f"; the other way round at {_hertz(behind)}" if behind else "; undecided at the others"
        return f"**Agrees** at {_hertz(ahead)}{rest}."
    if behind:
        return f"**Does not agree**: the other way round at {_hertz(behind)}."
    return "**Undecided**: every interval holds 0."


def _hertz(rates: Sequence[float]) -> str:
    return f"{', '.join(f'{rate:g}' for rate in rates)} Hz"


def _boxes3d(boxes: Sequence[Mapping[str, Any]]) -> list[str]:
    heading = [
        "class", "objects", "translation, %", "yaw, median °", "moving", "velocity, m/s", "filtered, m/s",
        "1 - IoU of sizes, %",
    ]  # fmt: skip
    rows = [
        [
            one["name"], str(one["objects"]), interval(one["translation"]), interval(one["yaw"]), str(one["moving"]),
            interval(one["velocity"], 2), interval(one[FILTERED], 2), interval(one["size"]),
        ]
        for one in boxes
    ]  # fmt: skip
    everything = next(one for one in boxes if one["name"] == "all")
    return [
        "## 3D boxes",
        "The row *full*'s tracks that cover a true object of their class in the image (IoU at least 0.5), up to 30 m\n"
        "from the camera, over all rates. Translation: distance of the 3D boxes' centres over the true distance from\n"
        "the camera, mean. Velocity: mean error over ground of objects that move (0.5 m/s), but for the first frame\n"
        "of each sequence, in which nothing can be seen to move. Filtered: the same with the tracks' ways through the\n"
        "world, as the node does it with `output.fixed_frame` (`centertrack_ros/tracking/velocity_filter.py`).",
        markdown_table(heading, rows),
        "\n".join(f"- {_goal(everything[name], *goal)}" for name, goal in GOALS.items()),
    ]


def _goal(figure: Mapping[str, Any], title: str, unit: str, bound: float) -> str:
    if figure["value"] is None:
        return f"{title}: no figure (the model does not give it), goal under {bound:g} {unit}."
    reached = "reached" if figure["value"] < bound else "not reached"
    return f"{title}: {interval(figure, 2)} {unit}, goal under {bound:g}: **{reached}**."
