# SPDX-License-Identifier: Apache-2.0
"""`centertrack track --detector`: an ONNX file of the user's own finds the objects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.mot import read_results
from support.detector_graphs import fixed_outputs, red_detector


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A red thing moves by 5 px a frame."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for step in range(5):
        image = np.full((120, 180, 3), 60, np.uint8)
        image[30:80, 20 + 5 * step : 70 + 5 * step] = (0, 0, 255)
        cv2.imwrite(str(folder / f"{step}.png"), image)
    return folder


def track(images: Path, *arguments: object) -> int:
    words = map(str, (images, "--rate", 10, "--output", images.parent / "out", "--threads", 1, *arguments))
    return main(["track", *words])


def test_what_the_detector_finds_is_tracked(images: Path) -> None:
    (images.parent / "names.txt").write_text("gnome\nforklift\n")
    detector = red_detector(images.parent / "red.onnx", (64, 96))
    options = ("--detector", detector, "--detector-class-names", images.parent / "names.txt", "--save-txt")
    assert track(images, "--weights", "none", *options) == 0
    found = read_results(images.parent / "out" / "frames.txt")
    assert [one.tracks.ids.tolist() for one in found] == [[1]] * 5
    for step, one in enumerate(found):
        expected = (20 + 5 * step, 30, 70 + 5 * step, 80)
        np.testing.assert_allclose(one.tracks.detections.boxes[0], expected, atol=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--detector-layout", "yolov99"), "detector.layout must be one of yolox, "),
        (("--detector-layout", "yolov8"), "but layout yolov8 is one output 1 x (4 + classes) x cells"),
        (("--detector-min-score", 3), "detector.min_score must be between 0 and 1, got 3"),
        (("--detections", "det.txt"), "--detections and --detector exclude each other"),
        (("--detector-class-names", "names.txt"), "names.txt: no such file"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    images: Path, capsys: pytest.CaptureFixture[str], options: tuple[object, ...], message: str
) -> None:
    detector = fixed_outputs(images.parent / "red.onnx", {"output0": np.zeros((1, 3, 6), np.float32)})
    assert track(images, "--weights", "none", "--detector", detector, *options) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
