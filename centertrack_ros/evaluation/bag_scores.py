"""Bags against each other: which camera's results belong to which truth; and bags without truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from centertrack_ros.datasets.bag_tracks import aligned, read_tracks
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.evaluation.consistency import bag_figures, track_figures
from centertrack_ros.evaluation.matching import Pairs
from centertrack_ros.evaluation.tables import FORMAT
from centertrack_ros.evaluation.trackeval_metrics import Pair
from centertrack_ros.io.errors import DataError


def truth_pairs(results: Path, truth: Path, results_prefix: str = "", truth_prefix: str = "") -> Pairs:
    """The cameras of both bags, joined by name (or as the only ones), frames joined by equal stamps.

    A prefix keeps only the topics that begin with it. Raises DataError when nothing fits.
    """
    said, found = read_tracks(truth, truth_prefix), read_tracks(results, results_prefix)
    if len(said) == len(found) == 1:
        couples = [(next(iter(said.values())), next(iter(found.values())))]
    else:
        couples = [(said[name], found[name]) for name in said if name in found]
    if not couples:
        raise DataError(results, f"cameras {_listed(found)}, but the truth has {_listed(said)}")
    pairs, notes = [], []
    for one, other in couples:
        answer, unknown = aligned(one, other)
        if unknown:
            notes.append(f"{one.name}: {unknown} frames of the results have no stamp of the truth, left out")
        if not answer.frames:
            raise DataError(results, f"{one.name}: no result has the stamp of a frame of the truth")
        pairs.append(Pair(one, _renamed(answer, one.classes)))
    missing = sorted(set(said) - {name for name in said if name in found}) if len(couples) > 1 else []
    notes += [f"{name or 'all'}: no results of this camera, left out" for name in missing]
    return Pairs(tuple(pairs), tuple(notes))


def _renamed(results: VideoSequence, wanted: tuple[str, ...]) -> VideoSequence:
    """The results with the truth's spelling of their classes: COCO's person is a pedestrian, KITTI writes Car.

    A class that the truth does not have keeps its name, but for the only class of either side, which is the other's.
    """
    if len(wanted) == len(results.classes) == 1:
        return replace(results, classes=wanted)
    spelling = {_plain(name): name for name in wanted}
    return replace(results, classes=tuple(spelling.get(_plain(name), name) for name in results.classes))


def _plain(name: str) -> str:
    return {"person": "pedestrian"}.get(name.lower(), name.lower())


def _listed(names: dict[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def label_free_document(results: Path, prefix: str = "") -> dict[str, Any]:
    """The document of a bag without truth: tracks per camera, latency and drops per topic."""
    cameras = {recording.name: track_figures(recording) for recording in read_tracks(results, prefix).values()}
    return {"format": FORMAT, "benchmark": "bag without truth", "notes": [], "cameras": cameras, **bag_figures(results)}
