# SPDX-License-Identifier: Apache-2.0
"""JSON of data sets with a wrong value anywhere: it is read, or refused in one sentence with the file, never else."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from centertrack_ros.datasets import coco_video, crowdhuman, dgp, nuscenes
from centertrack_ros.io.errors import DataError
from centertrack_ros.training.recipe import DataEntry
from centertrack_ros.training.sources import load
from support.training_sets import WRITERS, truth

WRONG: tuple[Any, ...] = (None, "abc", "", -1, 7.5, 10**30, float("nan"), float("inf"), True, [], {}, [1, "x"])
TRIES = 150


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*place, key)
        yield from _places(child, (*place, key))


def _changed(document: Any, rng: random.Random) -> Any:
    document = copy.deepcopy(document)
    *way, last = rng.choice(list(_places(document)))
    inside = document
    for key in way:
        inside = inside[key]
    if isinstance(inside, dict) and rng.random() < 0.2:
        del inside[last]
    else:
        inside[last] = rng.choice(WRONG)
    return document


def _check(file: Path, lines: bool, read: Callable[[], Any], seed: int) -> None:
    """Reads the file with one wrong value after the other; a scene of DGP is several files, which an error may name."""
    folder = file.parents[1] if file.parent.name in ("calibration", "ontology", "boxes") else file.parent
    rng, text = random.Random(seed), file.read_text()
    document = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    said = []
    for _ in range(TRIES):
        changed = _changed(document, rng)
        file.write_text("\n".join(map(json.dumps, changed)) if lines else json.dumps(changed))
        try:
            read()
        except DataError as error:
            said.append(str(error))
    file.write_text(text)
    read()
    assert len(said) > TRIES // 10
    assert [text for text in said if not text.startswith(str(folder)) or len(text) > 600 or "Error" in text] == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _written(kind: str, folder: Path) -> DataEntry:
    return WRITERS[kind](truth(folder / "images"), folder)


def test_coco_documents(folder: Path) -> None:
    file = Path(_written("coco_video", folder).annotations)
    _check(file, False, lambda: coco_video.read_videos(file, folder / "images"), 1)


def test_sample_infos_of_nuscenes(folder: Path) -> None:
    file = Path(_written("nuscenes", folder).annotations)
    _check(file, False, lambda: nuscenes.read_sample_info(file), 2)


@pytest.mark.parametrize("name", ["scene_0a.json", "calibration/k.json", "ontology/o.json", "boxes/boxes3d1.json"])
def test_scenes_of_dgp(folder: Path, name: str) -> None:
    _written("dgp", folder)
    _check(folder / name, False, lambda: dgp.read_scene(folder / "scene_0a.json"), 3)


def test_lines_of_crowdhuman(folder: Path) -> None:
    file = Path(_written("crowdhuman", folder).annotations)
    _check(file, True, lambda: crowdhuman.read_images(file, folder / "images"), 4)


def test_tracking_files_of_nuscenes(folder: Path) -> None:
    box = {
        "sample_token": "s0", "translation": [100.0, 5, 1], "size": [1.8, 4.5, 1.6], "rotation": [1.0, 0, 0, 0],
        "velocity": [1.0, 0], "tracking_id": "1", "tracking_name": "car", "tracking_score": 0.9,
        "ego_translation": [0.0, 5, 1], "num_pts": 10,
    }  # fmt: skip
    document = {"meta": {}, "results": {"s0": [box, {**box, "tracking_id": "2"}]}}
    (folder / "r.json").write_text(json.dumps(document))
    _check(folder / "r.json", False, lambda: nuscenes.read_results(folder / "r.json", scored=True), 5)


def test_coco_documents_as_training_data(folder: Path) -> None:
    """What is wrong in an annotation is counted there, what is wrong in the document is refused."""
    entry = _written("coco_video", folder)
    file, rng = Path(entry.annotations), random.Random(6)
    document = json.loads(file.read_text())
    refused = 0
    for _ in range(TRIES):
        file.write_text(json.dumps(_changed(document, rng)))
        try:
            load(replace(entry, class_map={"car": "car", "pedestrian": "pedestrian"}), ("car", "pedestrian"))
        except DataError:
            refused += 1
    assert 0 < refused < TRIES
