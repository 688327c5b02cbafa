"""The datasets of the field as training data, each by the evaluation's own reader."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from centertrack_ros.datasets import dgp, kitti, mot, nuscenes
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.io.errors import DataError
from centertrack_ros.training.annotations import Collection, map_by_name
from centertrack_ros.training.recordings import KITTI_LIKE, MOT_LIKE, NAMELESS, from_recordings

if TYPE_CHECKING:
    from centertrack_ros.training.recipe import DataEntry

_LOG = logging.getLogger(__name__)
CROWDHUMAN_SUFFIXES = (".jpg", ".png")


def read(entry: DataEntry, classes: Sequence[str]) -> Collection:
    """The collection that an entry of one of `READERS` describes, for a model with `classes`. Raises DataError."""
    recordings = list(READERS[entry.kind](entry))
    names = sorted({name for recording in recordings for name in recording.classes})
    chosen = _usual_map(entry.kind, names, classes) if entry.class_map is None else entry.class_map
    where = entry.folder or entry.annotations
    if not any(isinstance(target, str) for target in chosen.values()):
        raise DataError(
            where, f"none of its classes ({', '.join(names[:8])}) is a class of the model: give a class_map"
        )
    if unknown := sorted(set(chosen) - set(names)):
        raise DataError(where, f"class_map: it has no class '{unknown[0]}'; there are {', '.join(names)}")
    if background := [name for name in names if name not in chosen]:
        _LOG.warning("%s: classes that the model has none for are background: %s", where, ", ".join(background))
    return from_recordings(Path(where).name, recordings, classes, chosen, entry.labelled)


def _usual_map(kind: str, names: Sequence[str], classes: Sequence[str]) -> dict[str, str | None]:
    if kind == "kitti":
        return map_by_name(names, classes, KITTI_LIKE, NAMELESS)
    if kind == "mot":  # vehicles are marked only where they hide people
        return map_by_name([name for name in names if name in ("pedestrian", *MOT_LIKE)], classes, MOT_LIKE)
    return map_by_name(names, classes)


def _kitti(entry: DataEntry) -> Iterable[VideoSequence]:
    root = Path(entry.folder)
    names = entry.sequences or sorted(path.stem for path in (root / "label_02").glob("*.txt"))
    if not names:
        raise DataError(root, "no label_02/*.txt: not KITTI's tracking benchmark")
    found = []
    for name in names:
        labels = root / "label_02" / f"{name}.txt"
        recording = kitti.read_tracking(root, name)
        found.append(_with_missing(recording, kitti.read_labels(labels)) if labels.is_file() else recording)
    return found


def _with_missing(recording: VideoSequence, truth: VideoSequence) -> VideoSequence:
    """The recording with the frames that have truth but no picture, so that they are counted."""
    there = {frame.index for frame in recording}
    missing = [frame for frame in truth if frame.index not in there]
    return replace(recording, frames=tuple(sorted([*recording, *missing], key=lambda frame: frame.index)))


def _nuscenes(entry: DataEntry) -> Iterable[VideoSequence]:
    if entry.annotations:
        return nuscenes.read_sample_info(entry.annotations)
    return nuscenes.read_database(entry.folder, entry.version, entry.sequences)


def _mot(entry: DataEntry) -> Iterable[VideoSequence]:
    root = Path(entry.folder)
    folders = [root / name for name in entry.sequences] or sorted(path.parents[1] for path in root.glob("**/gt/gt.txt"))
    if not folders:
        raise DataError(root, "no SEQUENCE/gt/gt.txt in this folder: not MOTChallenge data")
    return [_with_missing(mot.read_sequence(folder), mot.read_truth(folder / "gt" / "gt.txt")) for folder in folders]


def _dgp(entry: DataEntry) -> Iterable[VideoSequence]:
    return [recording for scene in dgp.find_scenes(entry.folder) for recording in dgp.read_scene(scene)]


def _crowdhuman(entry: DataEntry) -> Iterable[VideoSequence]:
    """Each image a recording of its own; what is marked to be ignored, and crowds (`mask`), are ignored regions."""
    path, images = Path(entry.annotations), Path(entry.images)
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            rows = [(_crowd_box(row, entry.box), _is_person(row)) for row in document["gtboxes"]]
            name = str(document["ID"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(path, f"not a line of CrowdHuman's annotations: {error}", number) from None
        files = [images / f"{name}{suffix}" for suffix in CROWDHUMAN_SUFFIXES]
        boxes = np.array([box for box, person in rows if person], np.float64).reshape(-1, 4)
        count = len(boxes)
        tracks = tracks_of(np.arange(1, count + 1), np.zeros(count, np.int64), np.ones(count), boxes)
        ignore = np.array([box for box, person in rows if not person], np.float64).reshape(-1, 4)
        picture = next((file for file in files if file.is_file()), None)
        found.append(
            VideoSequence(name, ("person",), (AnnotatedFrame(0, 0.0, tracks, ignore=ignore, image=picture),), 0, 1)
        )
    return found


def _crowd_box(row: dict, key: str) -> list[float]:
    x, y, w, h = (float(value) for value in row[key])
    return [x, y, x + w, y + h]


def _is_person(row: dict) -> bool:
    return row["tag"] == "person" and not int(row.get("extra", {}).get("ignore", 0))


def _bag(entry: DataEntry) -> Iterable[VideoSequence]:
    """A bag's pictures, written into `images` on first use, with the detections under `prefix`."""
    from centertrack_ros.datasets.bag_tracks import read_tracks
    from centertrack_ros.training.bag_images import extract

    bag = Path(entry.folder)
    truths, pictures = read_tracks(bag, entry.prefix), extract(bag, Path(entry.images))
    found = []
    for camera, truth in truths.items():
        if len(truths) == len(pictures) == 1:  # which camera's truth it is needs not be told
            shots = next(iter(pictures.values()))
        elif camera in pictures:
            shots = pictures[camera]
        else:
            raise DataError(bag, f"truth for a camera '{camera}', but images of {', '.join(pictures)}")
        known = {shot.stamp: shot for shot in shots}
        frames = []
        for frame in truth:
            shot = known.get(int(frame.token) / 1e9)
            frames.append(replace(frame, image=shot and shot.path, camera=shot and shot.camera))
        found.append(replace(truth, frames=tuple(frames)))
    return found


READERS = {
    "kitti": _kitti,
    "nuscenes": _nuscenes,
    "mot": _mot,
    "crowdhuman": _crowdhuman,
    "dgp": _dgp,
    "bag": _bag,
}
