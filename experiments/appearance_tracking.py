# SPDX-License-Identifier: Apache-2.0
"""The tracker with other descriptions of what objects look like, see `experiments.reidentification`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.caching import CachingEngine
from centertrack_ros.evaluation.tables import table
from centertrack_ros.tracking import appearance, pipeline
from experiments import quality
from experiments.quality_settings import settings

Floats = NDArray[np.float64]
Describe = Callable[[NDArray[np.uint8], Floats], NDArray[np.float32]]
CLIPS = ("people-walking", "dance")
CLIP_FRAMES = 200
FIGURES = ("switches", "IDF1", "MOTA", "boxes", "ids", "leaps", "gaps")
RATE = 7.0  # frames/s of PETS
GAPS = (1, 3, 7, 15, 30)
JITTER = 0.05  # standard deviation of the boxes' sides, part of the box, as a detector's


@contextmanager
def replaced(module: ModuleType, **values: Any) -> Iterator[None]:
    """Other values of a module's names within a `with` block."""
    before = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def joined(features: Describe, share: float) -> Describe:
    """A description by colours and features whose dot product has this share of features."""

    def describe(image: NDArray[np.uint8], boxes: Floats) -> NDArray[np.float32]:
        colors = appearance.appearances(image, boxes)
        added = features(image, np.asarray(boxes, np.float64)) * appearance.is_known(colors)[:, None]
        return np.hstack([np.sqrt(1 - share) * colors, np.sqrt(share) * added]).astype(np.float32)

    return describe


def constants(sequence: VideoSequence, describe: Describe) -> dict[str, float]:
    """The constants of `tracking.appearance` for a description, by true boxes of people who are not covered."""
    random, looks = np.random.default_rng(0), {}
    for frame in sequence:
        boxes = np.asarray(frame.tracks.detections.boxes, np.float64)
        alone = appearance.covered_parts(boxes) < 0.2
        shaken = boxes + JITTER * np.tile(boxes[:, 2:] - boxes[:, :2], 2) * random.normal(size=boxes.shape)
        image = np.asarray(cv2.imread(str(frame.image)), np.uint8)
        looks[frame.index] = frame.tracks.ids[alone], describe(image, shaken[alone])
    same, other = [], []
    for gap in GAPS:
        parts: tuple[list[Floats], list[Floats]] = ([], [])
        for index, (ids, first) in looks.items():
            if index + gap in looks:
                later_ids, later = looks[index + gap]
                found, equal = appearance.distances(first, later), ids[:, None] == later_ids[None, :]
                parts[0].append(np.log(found[equal]))
                parts[1].append(np.log(found[~equal]))
        same.append(np.concatenate(parts[0]))
        other.append(np.concatenate(parts[1]))
    medians, root = np.array([np.nanmedian(one) for one in same]), np.sqrt(np.array(GAPS) / RATE)
    growth, noise = np.meshgrid(np.geomspace(0.005, 0.4, 80), np.geomspace(0.002, 0.4, 80), indexing="ij")
    errors = np.square(np.log(np.hypot(growth[..., None] * root, noise[..., None])) - medians).sum(axis=-1)
    best = np.unravel_index(errors.argmin(), errors.shape)
    return {
        "SAME_MEDIAN": float(growth[best]),
        "BOX_NOISE": float(noise[best]),
        "SAME_SIGMA": float(np.mean([np.nanstd(one) for one in same])),
        "OTHER_MEDIAN": float(np.exp(np.mean([np.nanmedian(one) for one in other]))),
        "OTHER_SIGMA": float(np.mean([np.nanstd(one) for one in other])),
    }


def compare(data: Path, clips: Path | None, features: Describe) -> str:
    """A table: recordings and clips, tracked with each description.

    Args:
        data: The folder with pets09_s2l1 and mot17.
        clips: The folder with the clips; None: without them.
        features: (N, F) of unit length for boxes (N, 4) px of an image.
    """
    engine, setting = CachingEngine(load_engine(engine="torch")), settings()["after"]
    describe: dict[str, Describe] = {
        "color": appearance.appearances, "both": joined(features, 0.5), "features": joined(features, 1.0),
    }  # fmt: skip
    lines = []
    with TemporaryDirectory() as folder:
        recordings = {name: found for name, (_, found) in quality.recordings(data, Path(folder)).items()}
        fitted = {name: constants(recordings[quality.PETS][0], one) for name, one in describe.items()}
        jobs: dict[str, Callable[[], dict[str, float]]] = {
            name: (lambda found=found: quality.score_people(found, engine, setting))  # type: ignore[misc]
            for name, found in recordings.items()
        }
        for name in CLIPS if clips else ():
            clip, path = quality.Clip(name, classes=("person",), frames=CLIP_FRAMES), Path(clips or "") / f"{name}.mp4"
            jobs[name] = lambda clip=clip, path=path: quality.measure_clip(path, clip, engine, setting)  # type: ignore[misc]
        for title, job in jobs.items():
            for name, one in describe.items():
                with replaced(pipeline, appearances=one), replaced(appearance, **fitted[name]):
                    figures = job()
                shown = [f"{key} {value:.4g}" for key, value in figures.items() if key in FIGURES]
                lines.append([title, name, ", ".join(shown)])
            engine.clear()
    return table(["tracked with the default settings", "by", "figures"], lines)
