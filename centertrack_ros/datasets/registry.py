# SPDX-License-Identifier: Apache-2.0
"""The data sets by name: `read_dataset("kitti", DatasetLocation(folder))`.

To add a data set, write a module with a reader that returns `VideoSequence`s, and add one entry to `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from centertrack_ros.datasets import bag_tracks, coco_video, crowdhuman, dgp, kitti, mot, nuscenes
from centertrack_ros.datasets.image_names import files_in, is_hidden
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.io.errors import DataError


@dataclass(frozen=True)
class DatasetLocation:
    """Where a data set lies, and which part of it to read. A reader uses the fields that its data set has.

    Attributes:
        path: The data set's folder, or its annotation file.
        images: The folder of the images, where the annotations do not tell it.
        sequences: Names of the sequences (KITTI, MOTChallenge) or scenes (nuScenes); empty: all.
        version: Of a nuScenes database.
        rate: Of COCO-style videos, frames/s; None: unknown.
        box: Of CrowdHuman: 'fbox' (whole body) or 'vbox' (its visible part).
        prefix: Of a bag's topics with the tracks.
    """

    path: Path
    images: Path | None = None
    sequences: tuple[str, ...] = ()
    version: str = "v1.0-mini"
    rate: float | None = None
    box: str = "fbox"
    prefix: str = ""


Reader = Callable[[DatasetLocation], Iterable[VideoSequence]]


def read_dataset(name: str, location: DatasetLocation) -> tuple[VideoSequence, ...]:
    """Reads the annotated sequences of a data set.

    A frame that has ground truth but no image is among them, without `image`.

    Args:
        name: One of READERS.
        location: Where it lies, and which part to read.

    Raises:
        DataError: The data are missing or broken; the text names the file.
        ValueError: There is no data set of that name.
    """
    if name not in READERS:
        raise ValueError(f"unknown data set '{name}'; expected one of {', '.join(READERS)}")
    return tuple(READERS[name](location))


def _kitti(location: DatasetLocation) -> Iterable[VideoSequence]:
    root = location.path
    names = location.sequences or [path.stem for path in files_in(root / "label_02", [".txt"])]
    if not names:
        raise DataError(root, "no label_02/*.txt: not KITTI's tracking benchmark")
    for name in names:
        labels = root / "label_02" / f"{name}.txt"
        sequence = kitti.read_tracking(root, name)
        yield _with_missing(sequence, kitti.read_labels(labels)) if labels.is_file() else sequence


def _mot(location: DatasetLocation) -> Iterable[VideoSequence]:
    root = location.path
    folders = [root / name for name in location.sequences]
    found = [path for path in root.glob("**/gt/gt.txt") if not is_hidden(path.relative_to(root))]
    folders = folders or sorted(path.parents[1] for path in found)
    if not folders:
        raise DataError(root, "no SEQUENCE/gt/gt.txt in this folder: not MOTChallenge data")
    for folder in folders:
        yield _with_missing(mot.read_sequence(folder), mot.read_truth(folder / "gt" / "gt.txt"))


def _with_missing(sequence: VideoSequence, ground_truth: VideoSequence) -> VideoSequence:
    """The sequence with the frames that have ground truth but no image, so that they are counted."""
    present = {frame.index for frame in sequence}
    missing = [frame for frame in ground_truth if frame.index not in present]
    return replace(sequence, frames=tuple(sorted([*sequence, *missing], key=lambda frame: frame.index)))


def _nuscenes(location: DatasetLocation) -> Iterable[VideoSequence]:
    if location.path.is_file() or location.path.suffix == ".json":
        return nuscenes.read_sample_info(location.path)
    return nuscenes.read_database(location.path, location.version, location.sequences)


def _dgp(location: DatasetLocation) -> Iterable[VideoSequence]:
    return (sequence for scene in dgp.find_scenes(location.path) for sequence in dgp.read_scene(scene))


def _crowdhuman(location: DatasetLocation) -> Iterable[VideoSequence]:
    return crowdhuman.read_images(location.path, location.images or location.path.parent, location.box)


def _coco_video(location: DatasetLocation) -> Iterable[VideoSequence]:
    return coco_video.read_videos(location.path, location.images, location.rate)


def _bag(location: DatasetLocation) -> Iterable[VideoSequence]:
    """The tracks alone: images of a bag are not files."""
    return bag_tracks.read_tracks(location.path, location.prefix).values()


READERS: Mapping[str, Reader] = {
    "kitti": _kitti,
    "mot": _mot,
    "nuscenes": _nuscenes,
    "dgp": _dgp,
    "crowdhuman": _crowdhuman,
    "coco_video": _coco_video,
    "bag": _bag,
}
