# SPDX-License-Identifier: Apache-2.0
"""The table of all readers of files: a new one is a line in `READERS`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.records import AnnotatedFrame
from support.file_fuzzing import bag_mutators, seeds
from support.file_fuzzing.mutators import mutate_file

ALL_FILES = ("**/*",)
LISTING = 2000  # characters of a refusal that lists what there is: the topics of a bag, the parameters of a network


@dataclass(frozen=True)
class Reader:
    """How a kind of files is written, changed and read.

    Attributes:
        make: Writes valid files into an empty folder.
        read: Reads them.
        files: Patterns of the files that are changed.
        share: How many files it gets, compared with the others: slow ones get fewer.
        covers: Names in the registries of the package: 'datasets.registry:mot', 'training.sources:yolo'.
        says: What a refusal holds when it does not name the file: the caller does.
        longest: Characters of a refusal, without the path.
        needs: Packages without which it is left out.
        mutate: Changes the files in a folder; None: `mutate_file` of one of `files`.
    """

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    files: tuple[str, ...] = ALL_FILES
    share: float = 1.0
    covers: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    says: str = ""
    longest: int = 300
    mutate: Callable[[Path, random.Random], str] | None = None

    def change(self, folder: Path, source: random.Random) -> str:
        """Changes a file; says which and how."""
        if self.mutate is not None:
            return self.mutate(folder, source)
        found = sorted({path for pattern in self.files for path in folder.glob(pattern) if path.is_file()})
        path = source.choice(found)
        return f"{path.relative_to(folder)} by {mutate_file(path, source)}"


def _dataset(name: str, folder: Path, /, **options: Any) -> None:
    """The sequences of a data set; what is read is sound as well."""
    from centertrack_ros.datasets.registry import DatasetLocation, read_dataset

    path = folder / options.pop("file", "")
    for sequence in read_dataset(name, DatasetLocation(path, **options)):
        for frame in sequence:
            _assert_sound(frame)


def _assert_sound(frame: AnnotatedFrame) -> None:
    """What every user of a data set counts on, whatever was in the file."""
    detections = frame.tracks.detections
    ids = frame.tracks.ids[frame.tracks.ids >= 0].tolist()
    assert len(set(zip(ids, detections.class_ids[frame.tracks.ids >= 0].tolist(), strict=True))) == len(ids), (
        "an id twice"
    )
    known = detections.boxes[~np.isnan(detections.boxes).any(axis=1)]
    assert np.isfinite(known).all() and (known[:, 2:] >= known[:, :2]).all(), f"boxes {known}"
    assert np.isfinite(detections.scores).all(), f"scores {detections.scores}"
    assert not np.isinf(frame.ignore).any(), f"ignored regions {frame.ignore}"
    assert not math.isinf(frame.stamp), f"stamp {frame.stamp}"
    for name in ("locations", "dimensions", "rotations_y", "velocities", "depths"):
        values = getattr(detections, name)
        assert values is None or not np.isinf(values).any(), f"{name} {values}"
    if detections.dimensions is not None:
        assert not (detections.dimensions < 0).any(), f"dimensions {detections.dimensions}"


def _training(kind: str, folder: Path, /, **options: Any) -> Any:
    """The training images of a recipe's entry."""
    from centertrack_ros.training.recipe import DataEntry
    from centertrack_ros.training.sources import load
    from support.training_sets import CLASSES

    paths = {key: str(folder / value) for key, value in options.items() if isinstance(value, str)}
    others = {key: value for key, value in options.items() if not isinstance(value, str)}
    return load(DataEntry(kind, **paths, **others), CLASSES)


def _kitti_raw(folder: Path) -> Any:
    from centertrack_ros.datasets import kitti

    return kitti.read_raw(folder)


def _verb(*arguments: str) -> Callable[[Path], None]:
    """A verb of the command line; words that begin with @ are below the folder. Errors are raised, not printed."""

    def read(folder: Path) -> None:
        from centertrack_ros.cli.main import main

        status = main([str(folder / word[1:]) if word.startswith("@") else word for word in arguments])
        assert status == 0, f"exit status {status}"

    return read


def _frames(name: str, folder: Path) -> int:
    """Counts the frames of a source, and reads the header alone where it is an image."""
    from centertrack_ros.io.image_files import image_size
    from centertrack_ros.io.sources import open_source

    if (folder / name).is_file():
        image_size(folder / name)
    return sum(1 for frame in open_source(folder / name) if frame.image.size)


def _bag(folder: Path) -> None:
    """Everything that is read from a bag: sequences, transforms, images with calibrations, figures."""
    from centertrack_ros.datasets.bag_tracks import read_tracks
    from centertrack_ros.evaluation.consistency import bag_figures
    from centertrack_ros.io.bag_transforms import read_transforms
    from centertrack_ros.io.sources import open_source

    refusals = []
    for read in (read_tracks, bag_figures, read_transforms, lambda bag: sum(1 for _ in open_source(bag))):
        try:
            read(folder / "drive")
        except (ValueError, OSError) as error:
            refusals.append(error)
    if refusals:
        raise max(refusals, key=lambda error: (str(folder) not in str(error), len(str(error))))


def _nuscenes_results(folder: Path) -> None:
    from centertrack_ros.datasets import nuscenes

    nuscenes.read_results(folder / "results.json")
    nuscenes.read_results(folder / "truth.json")


def _sample_info_truth(folder: Path) -> Any:
    from centertrack_ros.datasets import nuscenes

    return nuscenes.sample_info_truth(folder / "sample_info.json")


def _recipe(folder: Path) -> Any:
    from centertrack_ros.training.recipe import read_recipe
    from centertrack_ros.training.streets import street_configs

    recipe = read_recipe(folder / "recipe.yaml")
    return [street_configs(entry.street) for entry in (*recipe.train, *recipe.val) if entry.kind == "street"]


def _recipe_network(folder: Path) -> Any:
    from centertrack_ros.training.initialization import initialize_network
    from centertrack_ros.training.recipe import read_recipe

    return initialize_network(read_recipe(folder / "recipe.yaml"))


def _parameters(folder: Path) -> Any:
    from centertrack_ros.replay.parameters import load_parameters

    return load_parameters([folder / "parameters.yaml"])


def _class_limits(folder: Path) -> Any:
    from centertrack_ros.io.class_limit_files import read_class_limits

    return read_class_limits(folder / "limits.yaml")


def _weights(folder: Path) -> Any:
    from centertrack_ros.network import checkpoints

    [file] = [path for path in folder.iterdir() if path.is_file()]
    return checkpoints.read(file)


def _loaded_weights(folder: Path) -> Any:
    from centertrack_ros.network import checkpoints

    return checkpoints.load(folder / "weights.safetensors")


def _cached_export(folder: Path) -> Any:
    from centertrack_ros.engine import export_cache

    found, warnings = export_cache.find(folder / "weights.safetensors")
    assert found or warnings
    return found


def _exported_file(name: str, folder: Path) -> Any:
    from centertrack_ros.engine.loading import load_engine

    return load_engine(folder / name, device="cpu")


def _own_detector(folder: Path) -> Any:
    from centertrack_ros.engine.detector import load_detector

    return load_detector(folder / "detector.onnx", "yolov8", engine="onnxruntime", device="cpu", threads=1)


def _tfjs(folder: Path) -> Any:
    from tools.tfjs_graph import read_graph

    return read_graph(folder / "model.json")


_EVALUATE_MOT = ("evaluate", "mot", "--truth", "@MOT17-99", "--results", "@results")
_NUSCENES = ("nuscenes", "motmetrics")

READERS: dict[str, Reader] = {
    "mot": Reader(
        partial(seeds.training_set, "mot"),
        partial(_dataset, "mot"),
        ("**/gt.txt", "**/seqinfo.ini", "**/seqinfo.ini"),
        2,
        ("datasets.registry:mot",),
    ),
    "mot images": Reader(
        partial(seeds.training_set, "mot"), partial(_frames, "MOT17-99/img1"), ("**/seqinfo.ini", "**/*.png")
    ),
    "mot evaluation": Reader(
        seeds.mot_evaluation,
        _verb(*_EVALUATE_MOT),
        ("results/*", "**/gt.txt", "**/seqinfo.ini"),
        2,
        says="MOT17-99",
        needs=("trackeval",),
    ),
    "kitti": Reader(
        partial(seeds.training_set, "kitti"), partial(_dataset, "kitti"), ("*/*.txt",), 2, ("datasets.registry:kitti",)
    ),
    "kitti raw": Reader(seeds.kitti_raw, _kitti_raw, ("*.txt",)),
    "kitti evaluation": Reader(
        seeds.kitti_evaluation,
        _verb("evaluate", "kitti", "--labels", "@label_02", "--results", "@results"),
        ("results/*", "label_02/*", "*.training"),
        1,
        says="0007",
        needs=("trackeval",),
    ),
    "coco video": Reader(
        partial(seeds.training_set, "coco_video"),
        partial(_dataset, "coco_video", file="annotations.json"),
        ("*.json",),
        4,
        ("datasets.registry:coco_video",),
    ),
    "coco training": Reader(
        partial(seeds.training_set, "coco_video"),
        partial(_training, "coco_video", annotations="annotations.json", images="images"),
        ("*.json",),
        4,
        ("training.sources:coco_video", "training.sources:street"),
    ),
    "crowdhuman": Reader(
        partial(seeds.training_set, "crowdhuman"),
        partial(_dataset, "crowdhuman", file="annotation.odgt"),
        ("*.odgt",),
        2,
        ("datasets.registry:crowdhuman",),
    ),
    "dgp": Reader(
        partial(seeds.training_set, "dgp"), partial(_dataset, "dgp"), ("**/*.json",), 3, ("datasets.registry:dgp",)
    ),
    "nuscenes info": Reader(
        partial(seeds.training_set, "nuscenes"),
        partial(_dataset, "nuscenes", file="sample_info.json"),
        ("*.json",),
        3,
        ("datasets.registry:nuscenes",),
        ("nuscenes",),
    ),
    "nuscenes info as truth": Reader(seeds.nuscenes_info, _sample_info_truth, ("*.json",), 2, needs=("nuscenes",)),
    "nuscenes database": Reader(
        seeds.nuscenes_database, partial(_dataset, "nuscenes"), ("**/*.json",), 2, needs=_NUSCENES
    ),
    "nuscenes results": Reader(seeds.nuscenes_results, _nuscenes_results, ("*.json",), 3),
    "nuscenes evaluation": Reader(
        seeds.nuscenes_results,
        _verb("evaluate", "nuscenes", "--truth", "@truth.json", "--results", "@results.json"),
        ("*.json",),
        0.1,
        needs=_NUSCENES,
    ),
    "yolo": Reader(
        partial(seeds.training_set, "yolo"),
        partial(_training, "yolo", images="images", labels="labels", names=("car", "pedestrian")),
        ("labels/*",),
        1,
        ("training.sources:yolo",),
    ),
    "mot training": Reader(
        partial(seeds.training_set, "mot"),
        partial(_training, "mot", folder="."),
        ("**/*.txt", "**/*.ini", "**/*.png"),
        1,
        ("training.sources:mot",),
    ),
    "kitti training": Reader(
        partial(seeds.training_set, "kitti"),
        partial(_training, "kitti", folder="."),
        ("**/*.txt", "**/*.png"),
        1,
        ("training.sources:kitti",),
    ),
    "crowdhuman training": Reader(
        partial(seeds.training_set, "crowdhuman"),
        partial(_training, "crowdhuman", annotations="annotation.odgt", images="images"),
        ALL_FILES,
        1,
        ("training.sources:crowdhuman",),
    ),
    "dgp training": Reader(
        partial(seeds.training_set, "dgp"),
        partial(_training, "dgp", folder="."),
        ("**/*.json",),
        1,
        ("training.sources:dgp",),
    ),
    "nuscenes training": Reader(
        partial(seeds.training_set, "nuscenes"),
        partial(_training, "nuscenes", annotations="sample_info.json"),
        ("*.json",),
        1,
        ("training.sources:nuscenes",),
        ("nuscenes",),
    ),
    "bag training": Reader(
        seeds.extracted_bag,
        partial(_training, "bag", folder="drive", images="extracted"),
        ("extracted/bag.json",),
        1,
        ("training.sources:bag",),
    ),
    "evaluation document": Reader(
        seeds.evaluation_documents,
        _verb("compare", "@a.json", "@b.json", "--draws", "2"),
        ("*.json",),
        1,
        says="the documents",
        needs=("trackeval",),
    ),
    "kept scores": Reader(
        seeds.evaluation_documents,
        _verb(*_EVALUATE_MOT, "--finished", "@finished"),
        ("finished/*",),
        0.5,
        says="MOT17-99",
        needs=("trackeval",),
    ),
    "recipe": Reader(
        partial(seeds.copied, "config/training/mobilenetv3-coco-track.yaml", "recipe.yaml"),
        _recipe,
        share=2,
        longest=LISTING,
    ),
    "recipe's network": Reader(
        partial(seeds.copied, "config/training/street-small.yaml", "recipe.yaml"),
        _recipe_network,
        share=0.3,
        says="model",
        longest=LISTING,
    ),
    "parameters": Reader(
        partial(seeds.copied, "config/default.yaml", "parameters.yaml"), _parameters, share=2, needs=("rcl_interfaces",)
    ),
    "class limits": Reader(seeds.class_limits, _class_limits),
    "weights": Reader(seeds.small_weights, _weights, share=3, longest=LISTING),
    "loaded weights": Reader(seeds.embedded_weights, _loaded_weights, share=0.2, longest=LISTING),
    "checkpoint": Reader(seeds.checkpoint, _weights, share=2, longest=LISTING),
    "legacy checkpoint": Reader(partial(seeds.checkpoint, zipped=False), _weights, share=2, longest=LISTING),
    "cached export": Reader(seeds.cached_export, _cached_export, ("*.engines/*/*",)),
    "exported file": Reader(seeds.exported_file, partial(_exported_file, "model.onnx"), needs=("onnxruntime", "onnx")),
    "openvino file": Reader(seeds.openvino_file, partial(_exported_file, "model.xml"), needs=("openvino",)),
    "own detector": Reader(seeds.own_detector, _own_detector, needs=("onnxruntime", "onnx")),
    "tensorflow.js model": Reader(seeds.tfjs_model, _tfjs, ("*.json", "*.bin")),
    "mcap bag": Reader(seeds.bag, _bag, ("drive/*.mcap",), 2, ("datasets.registry:bag",), longest=LISTING),
    "sqlite3 bag": Reader(partial(seeds.bag, storage="sqlite3", raw=True), _bag, ("drive/*.db3",), longest=LISTING),
    "bag metadata": Reader(partial(seeds.bag, storage="sqlite3"), _bag, ("drive/metadata.yaml",), 2, longest=LISTING),
    "bag tables": Reader(
        partial(seeds.bag, storage="sqlite3"), _bag, longest=LISTING, mutate=bag_mutators.mutate_tables
    ),
    "bag messages": Reader(seeds.bag, _bag, share=4, longest=LISTING, mutate=bag_mutators.mutate_payload),
    "bag compressed by file": Reader(partial(seeds.compressed_bag, mode="FILE"), _bag, ("drive/*",), longest=LISTING),
    "bag compressed by message": Reader(
        partial(seeds.compressed_bag, mode="MESSAGE"), _bag, ("drive/*",), longest=LISTING
    ),
    **{
        f"image {name}": Reader(partial(seeds.image, name), partial(_frames, name))
        for name in (
            "plain.jpg",
            "turned.jpg",
            "progressive.jpg",
            "grey.jpg",
            "cmyk.jpg",
            "plain.png",
            "palette.png",
            "deep.png",
            "alpha.png",
            "plain.webp",
            "animated.webp",
            "animated.gif",
            "plain.bmp",
            "pages.tiff",
            "deflate.tif",
            "plain.ppm",
            "plain.pgm",
            "text.ppm",
            "plain.jpeg",
        )
    },
    **{
        f"video {suffix}": Reader(partial(seeds.video, suffix), partial(_frames, f"clip{suffix}"))
        for suffix in seeds.VIDEO_CODES
    },
}

# Modules that parse files -> the readers that reach them, or why none does.
PARSERS: dict[str, str] = {
    "cli/train.py": "words of the command line",
    "datasets/": "mot, kitti, coco video, crowdhuman, dgp, nuscenes …",
    "engine/asked_cells.py": "the exported file that an engine has read a moment before",
    "engine/detector_graph.py": "own detector",
    "engine/export.py": "what it has written itself a moment before",
    "engine/export_cache.py": "cached export",
    "engine/onnx_engine.py": "exported file",
    "engine/openvino_engine.py": "openvino file",
    "engine/tensorrt_engine.py": "ONNX files for a GPU's builder, which is not here",
    "engine/tensorrt_plan.py": "plans for one GPU, whose digest is compared first: test_tensorrt_plan.py",
    "evaluation/nuscenes_metrics.py": "nuscenes evaluation",
    "evaluation/parallel.py": "kept scores",
    "evaluation/tables.py": "evaluation document",
    "io/": "images, videos, bags; text, JSON and YAML for all others",
    "network/checkpoints.py": "weights, checkpoint, legacy checkpoint",
    "network/weights_file.py": "weights",
    "network/profile.py": "weights, exported file",
    "replay/parameters.py": "parameters",
    "ros/command_line.py": "parameters, by the same function",
    "ros/events.py": "lines that the package's own processes write",
    "training/bag_images.py": "bag training",
    "training/coco_images.py": "coco training",
    "training/recipe.py": "recipe",
    "training/run.py": "checkpoints of a run may hold code: they are cut in test_resume.py, not mutated",
    "visualization/video.py": "the video that it has written itself",
}
