# SPDX-License-Identifier: Apache-2.0
"""The output of an evaluation: a JSON document with every figure in full precision, and tables as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from centertrack_ros.evaluation.trackeval_metrics import TrackScores, check_raw, summary
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import read_document

FORMAT = "centertrack-evaluation-1"

# Heading of the printed table -> field of TrackEval's summary.
TABLE_COLUMNS = {
    "HOTA": "HOTA",
    "DetA": "DetA",
    "AssA": "AssA",
    "LocA": "LocA",
    "MOTA": "MOTA",
    "MOTP": "MOTP",
    "IDF1": "IDF1",
    "MT": "MT",
    "ML": "ML",
    "FP": "CLR_FP",
    "FN": "CLR_FN",
    "IDSW": "IDSW",
    "Frag": "Frag",
    "GT": "GT_Dets",
}


def track_document(benchmark: str, scores: TrackScores, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The document of an evaluation by TrackEval: percent and counts per class and sequence, and the raw fields.

    The same scores give the same document.

    Args:
        benchmark: Name of the benchmark and its rules.
        scores: Of all recordings.
        notes: What was left out.

    Returns:
        The document; `bootstrap.compare` adds sequences up from its field `raw`.
    """
    return {
        "format": FORMAT,
        "benchmark": benchmark,
        "libraries": {"trackeval": _version("trackeval")},
        "notes": list(notes),
        "combined": {name: summary(raw) for name, raw in scores.combined.items()},
        "sequences": {
            sequence: {name: summary(raw) for name, raw in classes.items()}
            for sequence, classes in scores.sequences.items()
        },
        "raw": scores.sequences,
    }


# Figures of nuscenes-devkit's tracking evaluation, in its order.
NUSCENES_COLUMNS = (
    "amota", "amotp", "recall", "motar", "gt", "mota", "motp", "mt", "ml", "faf", "tp", "fp", "fn", "ids", "frag",
    "tid", "lgd",
)  # fmt: skip


def nuscenes_document(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The document of an evaluation by nuscenes-devkit: its figures over all classes and per class; None: no figure."""
    libraries = {name: _version(name) for name in ("nuscenes-devkit", "motmetrics")}
    return {"format": FORMAT, "benchmark": "nuscenes", "libraries": libraries, "notes": [], **figures}


def nuscenes_table(document: Mapping[str, Any]) -> str:
    """The figures as text: a row for each class and one for all, then a row for each scene."""
    names = NUSCENES_COLUMNS
    text = [table(["class", *(name.upper() for name in names)], nuscenes_rows(document))]
    if document.get("scenes"):
        rows = [[name, *_plain_cells(scene["combined"], names)] for name, scene in document["scenes"].items()]
        text.append(table(["scene", *(name.upper() for name in names)], rows))
    return "\n\n".join(text)


def nuscenes_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table per class; columns as in `NUSCENES_COLUMNS`."""
    named = [*document["classes"].items(), ("all", document["combined"])]
    return [[name, *_plain_cells(values, NUSCENES_COLUMNS)] for name, values in named]


def _plain_cells(values: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return ["-" if (value := values.get(name)) is None else f"{value:.3f}".rstrip("0").rstrip(".") for name in names]


def boxes3d_table(document: Mapping[str, Any]) -> str:
    """The scores of 3D boxes by rotated IoU as text: a row for each class."""
    names = list(next(iter(document["boxes_3d"].values())))
    rows = [
        [name, *(f"{f[key]:.2f}" if isinstance(f[key], float) else str(f[key]) for key in names)]
        for name, f in document["boxes_3d"].items()
    ]
    return table([f"3D IoU {document['min_iou_3d']:g}", *names], rows)


def box3d_tables(document: Mapping[str, Any]) -> str:
    """The errors of 3D boxes as text: for each class a row for each distance, m."""
    units = {"translation": "m", "depth": "m", "size": "1-IoU", "yaw": "rad", "velocity": "m/s"}
    blocks = []
    for name, bins in document["errors_3d"].items():
        rows = [
            [label, str(f["objects"]), str(f["found"]), *("-" if f[k] is None else f"{f[k]:.3f}" for k in units)]
            for label, f in bins.items()
        ]
        heading = [f"{name}, at m", "objects", "found", *(f"{key} {unit}" for key, unit in units.items())]
        blocks.append(table(heading, rows))
    return "\n\n".join(blocks)


def consistency_tables(document: Mapping[str, Any]) -> str:
    """The consistency metrics of a recording as text: tracks per camera, latency and drops per topic."""
    cameras = document["cameras"]
    names = list(next(iter(cameras.values())))
    blocks = [table(["", *cameras], [[n, *(f"{figures[n]:.6g}" for figures in cameras.values())] for n in names])]
    latencies = {**document["latency_ms"], **document["timing"]}
    if latencies:
        keys = ("p50", "p95", "p99", "max")
        rows = [[topic, *(f"{values[key]:.2f}" for key in keys)] for topic, values in latencies.items()]
        blocks.append(table(["latency ms", *keys], rows))
    if drops := document["drops"]:
        counts = [[topic, str(values["images"]), str(values["without_result"])] for topic, values in drops.items()]
        blocks.append(table(["images", "sent", "without result"], counts))
    return "\n\n".join(blocks)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def read_json(path: Path | str) -> dict[str, Any]:
    """Reads a document of `centertrack evaluate --json`.

    Raises:
        DataError: The file is not one, or a value in it is not as it was written; the text names its place.
    """
    document = read_document(path)
    if not isinstance(document.value, dict) or document.value.get("format") != FORMAT:
        raise DataError(path, "not a document of `centertrack evaluate --json`")
    document["benchmark"].text()
    classes = document["combined"].mapping() if "combined" in document else {}
    for _, sequence in document["raw"].entries() if "raw" in document else ():
        check_raw(sequence)
        for name in classes:
            sequence[name]
    for _, scene in document["scenes"].entries() if "scenes" in document else ():
        for figure in NUSCENES_COLUMNS:
            if figure in scene["combined"]:  # None: no figure
                scene["combined"][figure].number()
    return document.mapping()


def table_rows(document: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Class -> rows of its table: each sequence with objects of it, then COMBINED; columns as in `TABLE_COLUMNS`."""
    result = {}
    for name, combined in document["combined"].items():
        sequences = sorted(document["sequences"].items())
        rows = [[title, *_cells(kinds[name])] for title, kinds in sequences if _has_objects(kinds[name])]
        result[name] = [*rows, ["COMBINED", *_cells(combined)]]
    return result


def track_tables(document: Mapping[str, Any]) -> str:
    """The scores as text: one table for each class."""
    return "\n\n".join(table([name, *TABLE_COLUMNS], rows) for name, rows in table_rows(document).items())


def _has_objects(figures: Mapping[str, Any]) -> bool:
    return bool(figures["GT_Dets"] or figures["Dets"])


def _cells(figures: Mapping[str, Any]) -> list[str]:
    values = [figures[field] for field in TABLE_COLUMNS.values()]
    return [str(value) if isinstance(value, int) else f"{value:.2f}" for value in values]


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown: the first column flush left, the others flush right."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text: the first column flush left, the others flush right."""
    lines = [list(heading), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [
            cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
