# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: one HTML page that needs no network and no other file, and a JSON beside it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation import plots
from centertrack_ros.evaluation.frame_errors import frame_errors, trajectories, worst_frames
from centertrack_ros.evaluation.images import frame_images
from centertrack_ros.evaluation.tables import NUSCENES_COLUMNS, TABLE_COLUMNS, nuscenes_rows, table_rows
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, TrackScores
from centertrack_ros.io.json_files import write_json
from centertrack_ros.io.whole_files import write_text

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c2733; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #d5dde5; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .22rem .6rem; text-align: right; } th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #8a99a8; } tr.all td { border-top: 1px solid #8a99a8; font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0 0 1rem; }
figcaption { font-size: .85rem; color: #516070; } svg, img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; } .note { color: #8a5a00; }
"""


def write_report(
    path: Path,
    document: Mapping[str, Any],
    pairs: Sequence[SequencePair],
    scores: TrackScores,
    evaluate: Callable[[list[SequencePair]], TrackScores],
    images: Path | None = None,
    latencies: Mapping[str, Sequence[float]] | None = None,
    count: int = 4,
) -> None:
    """Writes the HTML page, and the document beside it with the suffix .json.

    Args:
        path: The page.
        document: Of `tables.track_document`.
        pairs: The recordings.
        scores: Their scores.
        evaluate: Scores recordings, for the plot over the score.
        images: Where the images are, see `images.frame_images`.
        latencies: ms by topic.
        count: How many of each recording's worst frames are shown.
    """
    body = [f"<h1>Tracking evaluation: {html.escape(str(document['benchmark']))}</h1>"]
    body += [f'<p class="note">{html.escape(note)}</p>' for note in document["notes"]]
    body += [_table(kind, rows) for kind, rows in table_rows(document).items()]
    body.append(_plots(document, pairs, scores, evaluate, latencies))
    body += [_recording(_of_classes(pair, document["combined"]), images, count) for pair in pairs]
    _write(path, body, document)


def write_nuscenes_report(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the page of a nuScenes evaluation: the devkit's figures per class and scene, and its curves.

    Args:
        path: The page; the document is written beside it with the suffix .json.
        document: Of `tables.nuscenes_document`.
    """
    names = [name.upper() for name in NUSCENES_COLUMNS]
    body = ["<h1>Tracking evaluation: nuScenes</h1>", _table("per class", nuscenes_rows(document), names)]
    if scenes := document.get("scenes"):
        rows = [row for name, scene in scenes.items() for row in [[name, *nuscenes_rows(scene)[-1][1:]]]]
        body.append(_table("per scene", rows, names))
    figures = [("MOTA and recall over the minimum score", plots.devkit_curves(document["curves"], "mota", "recall"))]
    figures.append(
        ("Mean distance of matched boxes on the ground (m)", plots.devkit_curves(document["curves"], "motp"))
    )
    body.append(
        f"<h2>Plots</h2><div class='plots'>{''.join(_figure(text, caption) for caption, text in figures)}</div>"
    )
    _write(path, body, document)


def _write(path: Path, body: Sequence[str], document: Mapping[str, Any]) -> None:
    page = (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>Tracking evaluation</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)
    write_json(path.with_suffix(".json"), document)


def _table(kind: str, rows: Sequence[Sequence[str]], columns: Iterable[str] = TABLE_COLUMNS) -> str:
    heading = "".join(f"<th>{html.escape(name)}</th>" for name in (kind, *columns))
    lines = []
    for row in rows:
        mark = ' class="all"' if row[0] in ("COMBINED", "all") else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    head = f"<thead><tr>{heading}</tr></thead>"
    return f"<h2>{html.escape(kind)}</h2><div class='wide'><table>{head}<tbody>{''.join(lines)}</tbody></table></div>"


def _plots(
    document: Mapping[str, Any],
    pairs: Sequence[SequencePair],
    scores: TrackScores,
    evaluate: Callable[[list[SequencePair]], TrackScores],
    latencies: Mapping[str, Sequence[float]] | None,
) -> str:
    figures = [("HOTA, DetA and AssA over the localisation threshold", plots.over_localisation(scores))]
    if (text := plots.over_score(pairs, evaluate)) is not None:
        figures.append(("MOTA and recall of the boxes above a minimum score", text))
    if document.get("errors_3d"):
        figures.append(("Errors of 3D boxes over distance", plots.depth_errors(document["errors_3d"])))
    if latencies:
        figures.append(("Latency", plots.latency(latencies)))
    return f"<h2>Plots</h2><div class='plots'>{''.join(_figure(text, caption) for caption, text in figures)}</div>"


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _recording(pair: SequencePair, images: Path | None, count: int) -> str:
    """One recording: the timeline of its ground-truth tracks, and its worst frames."""
    errors = frame_errors(pair)
    tracks = trajectories(errors)
    parts = [f"<h2>{html.escape(pair.truth.name)}</h2>"]
    if tracks:
        switches = sum(len(track.switches) for track in tracks.values())
        caption = (
            "ground-truth tracks over time, coloured by the matched track; thin line: missed; "
            f"cross: id switch ({switches} in total)"
        )
        parts.append(_figure(plots.timeline(tracks), caption))
    chosen = worst_frames(errors, count)
    image_of = frame_images(pair.truth, [frame.truth for frame in chosen], images)
    for frame in chosen:
        index = frame.truth.index
        caption = (
            f"frame {index}: {len(frame.missed)} missed (red), {len(frame.false_positives)} false positives (orange), "
            f"{len(frame.switched)} id switches (magenta), {len(frame.matches)} matched (green)"
        )
        if index in image_of:
            address = plots.annotated_image(frame, image_of[index])
            parts.append(_figure(f'<img alt="frame {index}" src="{address}">', caption))
        else:
            parts.append(f"<p>{html.escape(caption)}</p>")
    return "".join(parts)


def _of_classes(pair: SequencePair, names: Iterable[str]) -> SequencePair:
    """Only the evaluated classes: objects of others are neither missed nor false positives."""
    evaluated = {name.lower() for name in names}

    def kept(side: VideoSequence) -> VideoSequence:
        ids = [number for number, name in enumerate(side.classes) if name.lower() in evaluated]
        frames = tuple(frame.select(np.isin(frame.tracks.detections.class_ids, ids)) for frame in side)
        return replace(side, frames=frames)

    return SequencePair(kept(pair.truth), kept(pair.results))
