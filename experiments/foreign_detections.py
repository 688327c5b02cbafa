# SPDX-License-Identifier: Apache-2.0
"""What the network's motion is worth at the boxes of another detector, on the synthetic street.

    python -m experiments.foreign_detections [--weights mobilenetv3-street-3d] [--streets N] [--frames N] [--rate HZ]
        [--seed N] [--only PATTERN]

Another detector is made of the true boxes, or of the network's own: each side is off by some 5 % of the box (standard
deviation), 10 % of the boxes are missing, and 5 % are false. 'Own results' are tracks of the network's own peaks that
got these errors afterwards: what boxes lose by being worse, with the ids as good as before. The figures are of all road
users as one class; those that can hardly be seen are ignored. Switches count when a road user comes back after it was
hidden, too; lost ids are switches from one image to the next. 'Against own peaks' is the mean difference of IDF1 over
the streets and its standard deviation. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.no_network import NoNetworkEngine, with_classes
from centertrack_ros.evaluation.tables import table
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_mot, summary
from centertrack_ros.geometry.affine import transform
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.synthetic import Street, StreetConfig
from centertrack_ros.synthetic.actors import CLASSES
from centertrack_ros.synthetic.annotations import StreetFrame
from centertrack_ros.tracking.class_names import classes_with
from centertrack_ros.tracking.config import BOTH, EXTERNAL, TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.types import Detections, ForeignDetections

SEED = 7400
SAME_IOU = 0.5
OWN = "own peaks"
FIGURES = {"IDF1": "IDF1", "MOTA": "MOTA", "switches": "IDSW"}
Detector = Callable[[StreetFrame], ForeignDetections]


@dataclass(frozen=True)
class Errors:
    """How another detector errs: relative standard deviation of sides, share of missing and of false boxes."""

    sides: float = 0.05
    missing: float = 0.1
    false: float = 0.05


class TrueMotion(NoNetworkEngine):
    """Heads that know the true displacement of every detection of the image that comes next; see `show`."""

    def __init__(self) -> None:
        super().__init__(CLASSES)
        heads = {**self.profile.heads, "tracking": 2}
        self.profile = replace(self.profile, heads=heads, trained_tracking=True, displacement_noise=(0.5, 0.0))
        self._was = np.zeros((0, 2))

    def show(self, foreign: ForeignDetections, truth: Detections) -> None:
        """Looks up where the detections' objects were in the image before, px; an invented one was where it is."""
        found = foreign.select(np.argsort(-foreign.scores, kind="stable"))  # as the tracker asks for them
        self._was = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        if len(truth):
            overlaps = iou(found.boxes, truth.boxes)
            nearest, known = overlaps.argmax(axis=1), overlaps.max(axis=1) > SAME_IOU
            was = truth.centers + truth.displacements
            self._was = np.where(known[:, None], was[nearest], self._was)

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> None:
        """See `Engine.prepare`."""
        self._to_grid = affine / self.profile.down_ratio

    def infer(
        self,
        images: Sequence[Any],
        previous: Sequence[Any],
        priors: Sequence[NDArray[np.int64]],
        cells: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Peaks]:
        """See `Engine.infer`; for one image."""
        (found,) = super().infer(images, previous, priors, cells)
        if cells is None:
            return [found]
        was = transform(self._to_grid, self._was[: len(cells[0])])
        return [replace(found, asked={"tracking": (was - cells[0]).astype(np.float32)})]


def detector(errors: Errors, seed: int) -> Detector:
    """A detector of road users that can be seen."""
    rng = np.random.default_rng(seed)

    def detect(frame: StreetFrame) -> ForeignDetections:
        found = frame.tracks.detections.select(frame.clear())
        scores = 0.45 + 0.5 * frame.visibility[frame.clear()]  # what is half hidden has a lower score
        exact = ForeignDetections(found.boxes, scores.astype(np.float32), np.array(CLASSES)[found.class_ids])
        return disturbed(exact, errors, CLASSES, (frame.camera.width, frame.camera.height), rng)

    return detect


def own_boxes(engine: Engine, street: Sequence[StreetFrame], errors: Errors, seed: int) -> Detector:
    """The network's own detections, found beforehand, as those of another detector that errs as told."""
    rng, tracker = np.random.default_rng(seed), Tracker(engine)
    found: dict[int, ForeignDetections] = {}
    for frame in street:
        seen = tracker.step(frame.image, frame.camera, frame.stamp).detections
        assert seen is not None
        names = np.array(engine.profile.classes)
        own = ForeignDetections(seen.boxes, seen.scores, names[seen.class_ids])
        found[frame.index] = disturbed(own, errors, names, (frame.camera.width, frame.camera.height), rng)
    return lambda frame: found[frame.index]


def disturbed(
    found: ForeignDetections, errors: Errors, names: Any, size: tuple[int, int], rng: np.random.Generator
) -> ForeignDetections:
    """The detections with errors: false ones have scores and classes (of `names`) at random.

    Sides, missing and false boxes are drawn from generators of their own: each error is the same with and without the
    others.
    """
    off, gone, made_up = rng.spawn(3)
    boxes = found.boxes.astype(np.float64)
    boxes = boxes + off.normal(0, errors.sides, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    keep = gone.random(len(boxes)) >= errors.missing
    made = int(made_up.binomial(len(boxes), errors.false))
    corners = made_up.uniform(0, 0.8, (made, 2)) * size
    invented = np.concatenate([corners, corners + made_up.uniform(10, 80, (made, 2))], axis=1)
    return ForeignDetections(
        np.concatenate([boxes[keep], invented]).astype(np.float32),
        np.concatenate([found.scores[keep], made_up.uniform(0.3, 0.7, made)]).astype(np.float32),
        np.concatenate([np.asarray(found.class_names)[keep], made_up.choice(names, made)]),
    )


def track(
    street: Sequence[StreetFrame], engine: Engine, config: TrackerConfig, detect: Detector | None
) -> SequencePair:
    """Tracks in one street; the truth and the results, all of one class."""
    tracker, truth, results = Tracker(engine, config), [], []
    for frame in street:
        foreign = None if detect is None else detect(frame)
        if isinstance(engine, TrueMotion) and foreign is not None:
            engine.show(foreign, frame.tracks.detections)
        tracks = tracker.step(frame.image, frame.camera, frame.stamp, foreign=foreign).tracks
        tracks = tracks.select(tracks.hits > 0)
        number = frame.index + 1
        flags = {"considered": frame.clear()}
        truth.append(AnnotatedFrame(number, frame.stamp, _of_one_class(frame.tracks), flags))
        results.append(AnnotatedFrame(number, frame.stamp, _of_one_class(tracks)))
    name, classes, length = f"street {id(street)}", ("pedestrian",), len(truth)
    return SequencePair(
        VideoSequence(name, classes, tuple(truth), 1, length), VideoSequence(name, classes, tuple(results), 1, length)
    )


def _of_one_class(tracks: Any) -> Any:
    found = tracks.detections
    bare = Detections.from_boxes(found.boxes, found.scores)
    return replace(tracks, detections=bare, class_votes=None)


def spoiled(pair: SequencePair, errors: Errors, seed: int) -> SequencePair:
    """The results with errors that come after tracking: no id changes, and each false box has one of its own."""
    off, gone, made_up = np.random.default_rng(seed).spawn(3)
    frames, next_id = [], 1_000_000
    for frame in pair.results:
        boxes = frame.tracks.detections.boxes
        moved = boxes + off.normal(0, errors.sides, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        keep = np.flatnonzero(gone.random(len(boxes)) >= errors.missing)
        tracks = replace(frame.tracks, detections=replace(frame.tracks.detections, boxes=moved.astype(np.float32)))
        false = tracks.select(np.flatnonzero(made_up.random(len(boxes)) < errors.false))
        corners = made_up.uniform(0, 400, (len(false), 2))
        places = np.concatenate([corners, corners + made_up.uniform(10, 80, (len(false), 2))], axis=1)
        ids = np.arange(next_id, next_id + len(false))
        false = replace(
            false, ids=ids, detections=Detections.from_boxes(places.astype(np.float32), false.detections.scores)
        )
        next_id += len(false)
        frames.append(replace(frame, tracks=type(tracks).concatenate([tracks.select(keep), false])))
    return SequencePair(pair.truth, replace(pair.results, frames=tuple(frames)))


def lost_ids(pair: SequencePair) -> int:
    """How often a road user that was found in two images in a row has another id in the second."""
    before: dict[int, int] = {}
    count = 0
    for truth, result in zip(pair.truth, pair.results, strict=True):
        overlaps = iou(truth.tracks.detections.boxes, result.tracks.detections.boxes)
        rows, columns = linear_sum_assignment(-overlaps)
        good = (overlaps[rows, columns] > SAME_IOU) & truth.flags["considered"][rows]
        ids = dict(zip(truth.tracks.ids[rows[good]].tolist(), result.tracks.ids[columns[good]].tolist(), strict=True))
        count += sum(before.get(one, other) != other for one, other in ids.items())
        before = ids
    return count


def run(
    streets: Sequence[Sequence[StreetFrame]], engine: Engine, errors: Errors, only: str = ""
) -> dict[str, dict[str, Any]]:
    """Name of a way, of those that the pattern `only` is in, and of 'own peaks' -> figures over all streets."""
    known, external = (
        with_classes(engine, classes_with(engine.profile.classes, CLASSES)),
        TrackerConfig(detector_source=EXTERNAL),
    )
    any_size, both = replace(external, max_size_ratio=0.0), TrackerConfig(detector_source=BOTH)
    alone, exact = replace(external, bridge_misses=False), Errors(0.0, 0.0, 0.0)
    single = {
        "sides off": replace(exact, sides=errors.sides),
        "missing": replace(exact, missing=errors.missing),
        "false": replace(exact, false=errors.false),
        "all errors": errors,
    }

    def of_own(kind: Errors) -> Callable[[int], Detector]:
        return lambda n: own_boxes(engine, streets[n], kind, n)

    ways: dict[str, tuple[Engine, TrackerConfig, Callable[[int], Detector | None]]] = {
        OWN: (engine, TrackerConfig(), lambda n: None),
        "true boxes, true displacement, any change of size": (TrueMotion(), any_size, lambda n: detector(exact, n)),
        "true boxes, true displacement": (TrueMotion(), external, lambda n: detector(exact, n)),
        "true boxes, network's displacement": (known, external, lambda n: detector(exact, n)),
        "true boxes, no network": (NoNetworkEngine(CLASSES), external, lambda n: detector(exact, n)),
        "detector, true displacement": (TrueMotion(), external, lambda n: detector(errors, n)),
        "detector, network's displacement": (known, external, lambda n: detector(errors, n)),
        "detector, not bridged": (known, alone, lambda n: detector(errors, n)),
        "detector, no network": (NoNetworkEngine(CLASSES), external, lambda n: detector(errors, n)),
        "own boxes given back": (known, external, of_own(exact)),
        **{f"own boxes, {name}": (known, external, of_own(kind)) for name, kind in single.items()},
        "own boxes, all errors, not bridged": (known, alone, of_own(errors)),
        "own boxes, all errors, both": (known, both, of_own(errors)),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, (used, config, detect) in ways.items():
        if not re.search(only, name) and name != OWN:
            continue
        pairs = [track(street, used, config, detect(number)) for number, street in enumerate(streets)]
        kinds = {name: pairs}
        if name == OWN:
            spoilt = [
                (f"own results, {key}", kind) for key, kind in single.items() if re.search(only, f"own results, {key}")
            ]
            kinds |= {key: [spoiled(one, kind, n) for n, one in enumerate(pairs)] for key, kind in spoilt}
        for key, tracked in kinds.items():
            found[key] = _figures(tracked)
            changes = np.subtract(found[key]["streets"], found[OWN]["streets"])
            found[key] |= {"change": float(changes.mean()), "spread": float(changes.std())}
            print(f"{key}: {found[key]}", file=sys.stderr, flush=True)
    return found


def _figures(pairs: Sequence[SequencePair]) -> dict[str, Any]:
    figures = summary(score_mot(pairs, "MOT15").combined["pedestrian"])
    each = [float(summary(score_mot([one], "MOT15").combined["pedestrian"])["IDF1"]) for one in pairs]
    return {
        **{short: figures[field] for short, field in FIGURES.items()},
        "lost ids": sum(map(lost_ids, pairs)),
        "streets": each,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Renders the streets, tracks in them in every way and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="mobilenetv3-street-3d", help="name or file")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--streets", type=int, default=6, help="half of them of a fixed camera beside a square")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rate", type=float, default=10.0, help="frames/s")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first street")
    parser.add_argument("--only", default="", help="only ways whose names this pattern is in, and own peaks")
    args = parser.parse_args(arguments)
    scenarios = ("drive", "fixed")
    streets = [
        list(Street(StreetConfig(args.seed + n, args.frames, args.rate, scenario=scenarios[n % 2], look="test")))
        for n in range(args.streets)
    ]
    found = run(streets, load_engine(args.weights, engine=args.engine, threads=args.threads), Errors(), args.only)
    rows = [
        [
            name,
            f"{one['IDF1']:.1f}",
            f"{one['MOTA']:.1f}",
            f"{one['switches']}",
            f"{one['lost ids']}",
            f"{one['change']:+.1f} ± {one['spread']:.1f}",
        ]
        for name, one in found.items()
    ]
    print(table(["detections", *FIGURES, "lost ids", "against own peaks"], rows))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
