# SPDX-License-Identifier: Apache-2.0
"""The models inside the package: each has a card, which says what is true of the file and what it scores."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from centertrack_ros.engine.caching import CachingEngine
from centertrack_ros.engine.loading import load_engine
from centertrack_ros.network import checkpoints, registry
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from experiments.paper_rows import evaluate, track

ROOT = Path(__file__).resolve().parents[2]
CARDS = (registry.WEIGHTS_FOLDER / "README.md").read_text(encoding="utf-8")
FRAME = Path(__file__).parents[1] / "data" / "centernet_tfjs" / "street_512x320.png"


def card(name: str) -> str:
    """The section of one model."""
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", CARDS, re.MULTILINE | re.DOTALL))
    assert name in sections, f"weights/README.md has no card for {name}"
    return sections[name]


def row(name: str, title: str) -> list[str]:
    """The cells beside `title` in a table of a model's card."""
    found = re.search(rf"^\| {re.escape(title)} \| (.*) \|$", card(name), re.MULTILINE)
    assert found, f"the card of {name} has no row '{title}'"
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize("name", registry.embedded_models())
def test_the_card_describes_the_file(name) -> None:
    path = registry.weights_path(name)
    network, profile = checkpoints.load(path)
    facts = {key: row(name, key)[0] for key in ("file", "network", "input", "heads", "training", "licence")}
    assert f"`{path.name}`" in facts["file"] and f"{path.stat().st_size / 1e6:.1f} MB" in facts["file"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert f"{parameters / 1e6:.1f} M parameters" in facts["network"]
    for head, channels in profile.heads.items():
        assert f"`{head}` ({channels}" in facts["heads"]
    assert profile.name == name and profile.licence.split()[0] in facts["licence"]
    assert path.stat().st_size < 10e6


def test_the_tracker_on_coco_detects_the_same_as_the_detector_to_the_bit() -> None:
    pixels = torch.from_numpy(cv2.imread(str(FRAME))[:, :, ::-1].copy()).float().permute(2, 0, 1)[None]
    detector, tracker = (
        checkpoints.load(registry.weights_path(n))[0] for n in ("mobilenetv3-coco", "mobilenetv3-coco-track")
    )
    with torch.inference_mode():
        was, now = detector(pixels), tracker(pixels, pixels.roll(8, 3), torch.rand(1, 1, *pixels.shape[2:]))
    assert torch.equal(was["hm"], now["hm"]) and torch.equal(was["ltrb"], now["ltrb"])
    assert now["tracking"].abs().max() > 0.5


@pytest.mark.parametrize("shift", [(12, 0), (-8, 4)])
def test_the_tracker_on_coco_measures_the_shift_of_an_image(shift) -> None:
    """A real image that moves as a whole: what is found was where it came from, and nowhere when nothing moves."""
    pixels = np.ascontiguousarray(cv2.imread(str(FRAME)))
    height, width = pixels.shape[:2]
    moved = cv2.warpAffine(
        pixels, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), (width, height), borderMode=cv2.BORDER_REFLECT
    )
    engine = load_engine("mobilenetv3-coco-track", engine="torch", threads=1)
    for second, expected in ((moved, -np.array(shift)), (pixels, np.zeros(2))):
        tracker = Tracker(engine, TrackerConfig.official())
        tracker.step(pixels, None, 0.0)
        found = tracker.step(second, None, 0.1).tracks.detections
        assert len(found) >= 3
        # A displacement leads from the cell of a peak (official code) to where the object's middle was.
        middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        errors = np.linalg.norm(found.centers + found.displacements - (middles + expected), axis=1)
        assert np.median(errors) < 3.0, expected


@pytest.mark.slow
def test_the_tracker_on_coco_has_the_scores_of_its_card(shared_data, tmp_path) -> None:
    pytest.importorskip("trackeval")
    from experiments import real_tracks

    recording = real_tracks.read_pets(shared_data / "pets09_s2l1", tmp_path)
    engine = CachingEngine(load_engine("mobilenetv3-coco-track", engine="torch", threads=1))
    for found in real_tracks.compare({"PETS": [recording]}, engine, {"paper": {}}):
        if found.detections == "own":
            rate = "every frame" if found.every == 1 else "every third frame"
            said = row("mobilenetv3-coco-track", f"PETS 1 to 69, {rate}, {found.motion}")
            measured = [found.figures[name] for name in ("MOTA", "IDF1", "IDSW")]
            assert [float(cell) for cell in said[:3]] == pytest.approx(measured, abs=0.15), f"{rate}, {found.motion}"


@pytest.mark.slow
def test_the_3d_model_has_the_scores_of_its_card(tmp_path) -> None:
    pytest.importorskip("panda3d")
    pytest.importorskip("trackeval")
    from experiments.street_clips import FIRST_SEED, Clip, read_clip
    from experiments.track_counts import track_figures

    engine = load_engine("mobilenetv3-street-3d", engine="torch", threads=1)
    counts, errors = [], {"translation": [], "yaw": [], "velocity": []}
    for seed in range(FIRST_SEED, FIRST_SEED + 6):
        truth = read_clip(Clip(seed, 5.0, 16), tmp_path)
        outcome = evaluate(truth, track(truth, engine, {}), with_errors=True)
        counts.append(outcome.counts)
        for kind in outcome.errors.values():
            for name, values in errors.items():
                values.extend(kind[name])
    found = {
        "IDF1": float(track_figures(counts, np.ones((1, len(counts))))["IDF1"][0]),
        "translation": 100 * float(np.mean(errors["translation"])),
        "yaw": float(np.degrees(np.median(errors["yaw"]))),
        "velocity": float(np.mean(errors["velocity"])),
    }
    said = row("mobilenetv3-street-3d", "six streets at 5 Hz")
    for (name, value), cell in zip(found.items(), said, strict=True):
        assert value == pytest.approx(float(cell.split()[0]), rel=0.02), name
