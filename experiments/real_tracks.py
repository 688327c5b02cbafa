# SPDX-License-Identifier: Apache-2.0
"""Compares motion models with one network on real recordings that it was not trained on: PETS 2009 and MOT17.

When the network sees a heatmap of its own tracks, its detections depend on the motion model, so that two comparisons
are made. `own`: each row's network sees the heatmap of that row's tracks, as in use. `same`: all rows get the
detections of the row 'displacement', box by box. Motion 'true': a detection that matches a person gets the ground
truth's displacement; only for models with a trained displacement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets import mot
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.caching import CachingEngine
from centertrack_ros.evaluation.ablation import every_nth
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_mot, summary
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import write_image
from experiments.paper_rows import track

TRUE = "true"
MOTIONS = {"displacement": "displacement", "zero": "none", "kalman": "kalman", "fused": "fused", TRUE: "displacement"}
FIGURES = {"MOTA": "MOTA", "IDF1": "IDF1", "IDSW": "IDSW", "FP": "CLR_FP", "FN": "CLR_FN"}
PETS_FRAMES, PETS_RATE = 69, 7.0  # frames with public ground truth; frames/s


@dataclass(frozen=True)
class MotionRow:
    """The figures of one data set, rate, setting of the tracker, kind of detections and motion model.

    Attributes:
        data: Name of the data set.
        every: n for every n-th frame.
        settings: Name of the tracker's settings.
        detections: 'own' or 'same'.
        motion: Name of the motion model.
        figures: MOTA and IDF1 in percent, IDSW, FP, FN.
    """

    data: str
    every: int
    settings: str
    detections: str
    motion: str
    figures: Mapping[str, float | int]


def read_pets(folder: Path, frames: Path) -> VideoSequence:
    """PETS 2009 S2.L1 with its images, which are written into the folder `frames`.

    Raises:
        DataError: A file is missing or malformed.
    """
    import cv2

    truth = mot.read_truth(folder / "gt_frames_001_069.txt", "PETS09-S2L1", PETS_RATE).between(1, PETS_FRAMES)
    known = {frame.index: frame for frame in truth}
    frames.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoCapture(str(folder / "vtest.avi"))
    found = []
    for index in range(1, PETS_FRAMES + 1):
        is_there, image = video.read()
        if not is_there:
            raise DataError(folder / "vtest.avi", f"no image of frame {index}")
        path = frames / f"{index:06d}.png"
        write_image(path, np.asarray(image))
        empty = AnnotatedFrame(index, (index - 1) / PETS_RATE, empty_tracks(), {"considered": np.zeros(0, bool)})
        found.append(replace(known.get(index, empty), image=path))
    return replace(truth, frames=tuple(found), image_size=(int(image.shape[0]), int(image.shape[1])))


def read_mot17(folder: Path) -> list[VideoSequence]:
    """The fragments of MOT17 with both images and ground truth.

    Raises:
        DataError: There are none.
    """
    found = []
    for place in sorted(path for path in folder.glob("MOT17-*") if (path / "img1").is_dir()):
        whole = mot.read_sequence(place)
        frames = tuple(frame for frame in whole if frame.image is not None)
        last = max(frame.index for frame in frames)
        found.append(replace(whole.between(1, last), frames=frames))
    if not found:
        raise DataError(folder, "no MOT17-*/img1")
    return found


def people_figures(recordings: Sequence[VideoSequence], engine: Engine, settings: Mapping[str, Any]) -> dict[str, Any]:
    """TrackEval's summary of people over all recordings.

    Args:
        recordings: The ground truth, with images.
        engine: The model.
        settings: Of the tracker, as `paper_rows.track` takes them.
    """
    return _people_summary([SequencePair(truth, track(_of_people(truth), engine, settings)) for truth in recordings])


def _of_people(truth: VideoSequence) -> VideoSequence:
    return replace(truth, classes=("pedestrian",))


def _people_summary(pairs: Sequence[SequencePair]) -> dict[str, Any]:
    return summary(score_mot(pairs).combined["pedestrian"])


def compare(
    data: Mapping[str, list[VideoSequence]], engine: CachingEngine, settings: Mapping[str, Mapping[str, Any]],
    every: Iterable[int] = (1, 3),
) -> list[MotionRow]:  # fmt: skip
    """Runs every data set at every rate with all settings, motion models and both kinds of detections."""
    rows = []
    for name, recordings in data.items():
        for step in every:
            reduced = [every_nth(one, step) for one in recordings]
            for title, values in settings.items():
                for (detections, motion), pairs in _results(reduced, engine, values).items():
                    figures = _people_summary(pairs)
                    chosen = {short: figures[field] for short, field in FIGURES.items()}
                    rows.append(MotionRow(name, step, title, detections, motion, chosen))
    return rows


def _results(
    recordings: list[VideoSequence], engine: CachingEngine, settings: Mapping[str, Any]
) -> dict[tuple[str, str], list[SequencePair]]:
    """(kind of detections, motion model) -> a pair for each recording."""
    found: dict[tuple[str, str], list[SequencePair]] = {}
    motions = {name: value for name, value in MOTIONS.items() if name != TRUE or engine.profile.trained_tracking}
    for truth in recordings:
        people = _of_people(truth)
        for motion, value in motions.items():
            results = track(people, engine, {**settings, "motion": value}, motion == TRUE)
            found.setdefault(("own", motion), []).append(SequencePair(truth, results))
        # Run this row again, from the cache, so that its detections are the last ones, which are repeated.
        track(people, engine, {**settings, "motion": MOTIONS["displacement"]})
        for motion, value in motions.items():
            results = track(people, engine.repeater(), {**settings, "motion": value}, motion == TRUE)
            found.setdefault(("same", motion), []).append(SequencePair(truth, results))
        engine.clear()
    return found


def conclusions(rows: Iterable[MotionRow]) -> list[str]:
    """A sentence for each group of rows: whether displacement is ahead of the others, figure by figure."""
    groups: dict[tuple[str, int, str, str], dict[str, Mapping[str, float | int]]] = {}
    for row in rows:
        groups.setdefault((row.data, row.every, row.settings, row.detections), {})[row.motion] = row.figures
    sentences = []
    for (data, every, settings, detections), motions in groups.items():
        ours = motions["displacement"]
        parts = []
        for other in ("zero", "kalman"):
            signs = {
                name: (ours[name] - motions[other][name]) * (-1 if name == "IDSW" else 1)
                for name in ("MOTA", "IDF1", "IDSW")
            }
            words = ", ".join(f"{name} {_word(value)}" for name, value in signs.items())
            parts.append(f"against {other}: {words}")
        switches = f"{ours['IDSW']} switches, zero displacement {motions['zero']['IDSW']}"
        switches += f", true displacements {motions[TRUE]['IDSW']}" if TRUE in motions else ""
        title = f"{data} 1/{every}, {settings}, {detections} detections"
        sentences.append(f"{title}: {'; '.join(parts)}; {switches}")
    return sentences


def _word(value: float) -> str:
    return "ahead" if value > 1e-9 else "behind" if value < -1e-9 else "equal"
