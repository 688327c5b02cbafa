# SPDX-License-Identifier: Apache-2.0
"""Motion models compared with one network on real recordings, none of which was trained on: PETS 2009 and MOT17.

"The same detections" can be meant in two ways when the network sees a heatmap of its own tracks. `own`: each row's
network sees the heatmap of that row's tracks, as it would when used so. `same`: the detections of the row
'displacement', box by box, are given to the other rows. Both are measured. 'true': where a true person was found, the
displacement is the truth's, as a perfect one would be; only for models that have learnt one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets import mot
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.evaluation.ablation import every_nth
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_mot, summary
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import write_image
from experiments.caching_engine import RememberingEngine
from experiments.paper_rows import track

TRUE = "true"
MOTIONS = {"displacement": "displacement", "zero": "none", "kalman": "kalman", TRUE: "displacement"}
FIGURES = {"MOTA": "MOTA", "IDF1": "IDF1", "IDSW": "IDSW", "FP": "CLR_FP", "FN": "CLR_FN"}
PETS_FRAMES, PETS_RATE = 69, 7.0  # of which the truth is public; frames/s


@dataclass(frozen=True)
class RealRow:
    """One line: every n-th frame of a data set, a tracker's settings, whose detections, which motion."""

    data: str
    every: int
    settings: str
    detections: str
    motion: str
    figures: Mapping[str, float | int]


def read_pets(folder: Path, frames: Path) -> VideoSequence:
    """PETS 2009 S2.L1 with its pictures, which are written into the folder `frames`. Raises DataError."""
    import cv2

    truth = mot.read_truth(folder / "gt_frames_001_069.txt", "PETS09-S2L1", PETS_RATE).between(1, PETS_FRAMES)
    known = {frame.index: frame for frame in truth}
    frames.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoCapture(str(folder / "vtest.avi"))
    found = []
    for index in range(1, PETS_FRAMES + 1):
        is_there, image = video.read()
        if not is_there:
            raise DataError(folder / "vtest.avi", f"no picture of frame {index}")
        path = frames / f"{index:06d}.png"
        write_image(path, np.asarray(image))
        empty = AnnotatedFrame(index, (index - 1) / PETS_RATE, empty_tracks(), {"considered": np.zeros(0, bool)})
        found.append(replace(known.get(index, empty), image=path))
    return replace(truth, frames=tuple(found), image_size=(int(image.shape[0]), int(image.shape[1])))


def read_mot17(folder: Path) -> list[VideoSequence]:
    """The fragments of MOT17 for which there are both pictures and truth. Raises DataError when there are none."""
    found = []
    for place in sorted(path for path in folder.glob("MOT17-*") if (path / "img1").is_dir()):
        whole = mot.read_sequence(place)
        frames = tuple(frame for frame in whole if frame.image is not None)
        last = max(frame.index for frame in frames)
        found.append(replace(whole.between(1, last), frames=frames))
    if not found:
        raise DataError(folder, "no MOT17-*/img1")
    return found


def compare(
    data: Mapping[str, list[VideoSequence]], engine: RememberingEngine, settings: Mapping[str, Mapping[str, Any]],
    every: Iterable[int] = (1, 3),
) -> list[RealRow]:  # fmt: skip
    """Every data set at every rate with all settings, motions and both kinds of detections."""
    rows = []
    for name, recordings in data.items():
        for step in every:
            thinned = [every_nth(one, step) for one in recordings]
            for title, wish in settings.items():
                for (detections, motion), pairs in _answers(thinned, engine, wish).items():
                    figures = summary(score_mot(pairs).combined["pedestrian"])
                    chosen = {short: figures[field] for short, field in FIGURES.items()}
                    rows.append(RealRow(name, step, title, detections, motion, chosen))
    return rows


def _answers(
    recordings: list[VideoSequence], engine: RememberingEngine, settings: Mapping[str, Any]
) -> dict[tuple[str, str], list[SequencePair]]:
    """(whose detections, motion) -> a pair for each recording."""
    found: dict[tuple[str, str], list[SequencePair]] = {}
    motions = {name: value for name, value in MOTIONS.items() if name != TRUE or engine.profile.trained_tracking}
    for truth in recordings:
        people = replace(truth, classes=("pedestrian",))
        for motion, value in motions.items():
            results = track(people, engine, {**settings, "motion": value}, motion == TRUE)
            found.setdefault(("own", motion), []).append(SequencePair(truth, results))
        # Run again, from memory, so that what is repeated is what this row was told.
        track(people, engine, {**settings, "motion": MOTIONS["displacement"]})
        for motion, value in motions.items():
            results = track(people, engine.repeater(), {**settings, "motion": value}, motion == TRUE)
            found.setdefault(("same", motion), []).append(SequencePair(truth, results))
        engine.forget()
    return found


def verdicts(rows: Iterable[RealRow]) -> list[str]:
    """Of each group of rows: whether displacement is ahead of the others, or at least not behind, figure by figure."""
    groups: dict[tuple[str, int, str, str], dict[str, Mapping[str, float | int]]] = {}
    for row in rows:
        groups.setdefault((row.data, row.every, row.settings, row.detections), {})[row.motion] = row.figures
    said = []
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
        said.append(f"{title}: {'; '.join(parts)}; {switches}")
    return said


def _word(value: float) -> str:
    return "ahead" if value > 1e-9 else "behind" if value < -1e-9 else "equal"
