# SPDX-License-Identifier: Apache-2.0
"""The report's plots, as SVG text, and its images, as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.frame_errors import FrameErrors, Trajectory
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, TrackScores

_MAX_LINES = 60  # ground-truth objects in a timeline; more could not be distinguished
_THRESHOLDS = 9  # of the plot over the score


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes, without a window.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"a report needs matplotlib: pip install matplotlib ({error})") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _svg(figure: Any) -> str:
    """The figure as an SVG element; the same figure gives the same text."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "centertrack", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    content = text.getvalue()
    return content[content.index("<svg") :]


def over_localisation(scores: TrackScores) -> str:
    """HOTA, DetA and AssA over the localisation threshold, a set of lines for each class."""
    figure, axes = _figure(5.4, 3.4)
    alphas = np.arange(0.05, 0.99, 0.05)
    for number, (kind, raw) in enumerate(scores.combined.items()):
        for field, style in (("HOTA", "-"), ("DetA", "--"), ("AssA", ":")):
            values = 100 * np.asarray(raw["HOTA"][field])
            axes.plot(alphas, values, style, color=f"C{number}", label=f"{kind} {field}")
    axes.set(xlabel="localisation threshold (IoU)", ylabel="%", ylim=(0, 102), xlim=(0, 1))
    axes.legend(fontsize=7, ncols=max(1, len(scores.combined)))
    return _svg(figure)


def over_score(pairs: Sequence[SequencePair], evaluate: Callable[[list[SequencePair]], TrackScores]) -> str | None:
    """MOTA and recall of the boxes above a score.

    Args:
        pairs: The recordings.
        evaluate: Scores recordings.

    Returns:
        The plot; None when all scores are equal.
    """
    values = np.concatenate([f.tracks.detections.scores for p in pairs for f in p.results] or [np.zeros(0)])
    if not len(values) or np.ptp(values) < 1e-9:
        return None
    thresholds = np.unique(np.quantile(values, np.linspace(0, 0.95, _THRESHOLDS)))
    figure, axes = _figure(5.4, 3.4)
    lines: dict[str, list[tuple[float, float]]] = {}
    for threshold in thresholds:
        scores = evaluate([SequencePair(pair.truth, _above(pair.results, float(threshold))) for pair in pairs])
        for kind, raw in scores.combined.items():
            clear = raw["CLEAR"]
            lines.setdefault(kind, []).append((100 * clear["MOTA"], 100 * clear["CLR_Re"]))
    for number, (kind, rows) in enumerate(lines.items()):
        table = np.array(rows)
        axes.plot(thresholds, table[:, 0], "o-", color=f"C{number}", markersize=3, label=f"{kind} MOTA")
        axes.plot(thresholds, table[:, 1], "s--", color=f"C{number}", markersize=3, label=f"{kind} recall")
    axes.set(xlabel="minimum score", ylabel="%")
    axes.legend(fontsize=7)
    return _svg(figure)


def devkit_curves(curves: Mapping[str, Mapping[str, Sequence[float | None]]], *figures: str) -> str:
    """The devkit's figures over its thresholds of the score: a colour for each class, a line style for each figure."""
    figure, axes = _figure(5.4, 3.4)
    for number, (kind, curve) in enumerate(sorted(curves.items())):
        for name, style in zip(figures, ("o-", "s--"), strict=False):
            values = [np.nan if value is None else value for value in curve[name]]
            axes.plot(curve["score"], values, style, color=f"C{number}", markersize=2.5, label=f"{kind} {name}")
    axes.set(xlabel="minimum score")
    if curves:
        axes.legend(fontsize=6, ncols=2)
    return _svg(figure)


def _above(results: VideoSequence, threshold: float) -> VideoSequence:
    frames = tuple(frame.select(frame.tracks.detections.scores >= threshold) for frame in results)
    return replace(results, frames=frames)


def depth_errors(errors: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Mean errors of the depth and of the position on the ground, by distance."""
    figure, axes = _figure(5.4, 3.4)
    labels = [label for label in dict.fromkeys(b for bins in errors.values() for b in bins) if label != "all"]
    labels.sort(key=lambda label: float(label.split("-")[0]))
    for number, (kind, bins) in enumerate(errors.items()):
        for figure_name, style in (("depth", "o-"), ("translation", "s:")):
            values = [np.nan if (v := bins.get(b, {}).get(figure_name)) is None else v for b in labels]
            axes.plot(range(len(labels)), values, style, color=f"C{number}", label=f"{kind} {figure_name}")
    axes.set_xticks(range(len(labels)), labels)
    axes.set(xlabel="distance (m)", ylabel="mean error (m)")
    axes.legend(fontsize=7)
    return _svg(figure)


def latency(values: Mapping[str, Sequence[float]]) -> str:
    """The distribution of the results' latency."""
    figure, axes = _figure(5.4, 3.4)
    for topic, latencies in values.items():
        axes.hist(latencies, bins=40, histtype="step", label=topic)
    axes.set(xlabel="time of recording minus stamp (ms)", ylabel="messages")
    axes.legend(fontsize=7)
    return _svg(figure)


def timeline(trajectories: Mapping[int, Trajectory]) -> str:
    """A line for each ground-truth track, coloured by the matched track; thin: missed; a cross: an id switch."""
    chosen = sorted(trajectories.items(), key=lambda item: (-len(item[1].switches), -len(item[1].frames)))[:_MAX_LINES]
    chosen.sort(key=lambda item: item[1].frames[0])
    figure, axes = _figure(9.0, 0.9 + 0.16 * len(chosen))
    for row, (_, trajectory) in enumerate(chosen):
        for start, end, track in _runs(trajectory):
            color, width = ("0.75", 0.8) if track < 0 else (f"C{track % 10}", 3.5)
            axes.plot([start - 0.4, end + 0.4], [row, row], color=color, linewidth=width, solid_capstyle="butt")
        if trajectory.switches:
            axes.plot(trajectory.switches, [row] * len(trajectory.switches), "x", color="black", markersize=5)
    axes.set_yticks(range(len(chosen)), [str(identity) for identity, _ in chosen], fontsize=6)
    axes.set(xlabel="frame", ylabel="ground-truth id")
    axes.set_ylim(len(chosen) - 0.4, -0.6)
    return _svg(figure)


def _runs(trajectory: Trajectory) -> list[tuple[int, int, int]]:
    """(first frame, last frame, track id) of each uninterrupted stretch with the same matched track."""
    runs: list[tuple[int, int, int]] = []
    for frame, track in zip(trajectory.frames, trajectory.tracks, strict=True):
        if runs and runs[-1][2] == track and frame - runs[-1][1] == 1:
            runs[-1] = (runs[-1][0], frame, track)
        else:
            runs.append((frame, frame, track))
    return runs


def annotated_image(frame: FrameErrors, image: NDArray[np.uint8]) -> str:
    """The image with matches (green), misses (red), false positives (orange) and id switches (magenta).

    Args:
        frame: The errors of the frame.
        image: BGR uint8.

    Returns:
        A JPEG as a data URL.
    """
    import cv2

    image = image.copy()
    truth, results = frame.truth.tracks, frame.results.tracks
    for row, column in frame.matches:
        color = (255, 0, 255) if row in frame.switched else (60, 200, 60)
        _draw(cv2, image, results.detections.boxes[column], color, str(int(results.ids[column])))
    for row in frame.missed:
        _draw(cv2, image, truth.detections.boxes[row], (40, 40, 230), "")
    for column in frame.false_positives:
        _draw(cv2, image, results.detections.boxes[column], (0, 150, 255), str(int(results.ids[column])))
    scale = min(1.0, 900 / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _draw(cv2: Any, image: Any, box: Any, color: tuple[int, int, int], text: str) -> None:
    left, top, right, bottom = (round(float(value)) for value in box)
    cv2.rectangle(image, (left, top), (right, bottom), color, 2)
    if text:
        cv2.putText(image, text, (left, max(12, top - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 2)
