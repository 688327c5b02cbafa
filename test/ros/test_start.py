# SPDX-License-Identifier: Apache-2.0
"""What the node's start costs: it imports what it uses, and compiles what an image needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from centertrack_ros.network.peaks import Peaks
from centertrack_ros.ros.parameter_specs import SPECS
from centertrack_ros.ros.parameters import node_parameters
from centertrack_ros.ros.warm_up import warm_up
from centertrack_ros.tracking.pipeline import Pipeline
from support.peaks import PeakEngine

UNUSED = ("torch", "onnx", "onnxruntime", "scipy.stats", "matplotlib", "pandas", "lightning", "rosbags", "openvino")


class CountingEngine(PeakEngine):
    """Finds nothing, and keeps the sizes of the images that it is run on, and their number in each run."""

    def __init__(self, device: str, resize: str) -> None:
        super().__init__(repeat(()))  # type: ignore[arg-type]  # a video without an end
        self.device = device
        self.profile = replace(self.profile, resize=resize, input_pixels=262144 if resize == "budget" else 0)
        self.runs: list[tuple[tuple[int, ...], int]] = []

    def infer(
        self, images: Sequence[np.ndarray], previous: Sequence[np.ndarray], priors: Sequence[np.ndarray]
    ) -> list[Peaks]:
        self.runs.append((images[0].shape[:2], len(images)))
        return super().infer(images, previous, priors)


def warmed(resize: str, shapes: list[tuple[int, int]], cameras: int = 1) -> list[tuple[tuple[int, ...], int]]:
    engine = CountingEngine("cpu", resize)
    warm_up(Pipeline(engine), cameras, shapes)
    return engine.runs


def test_the_sizes_of_images_decide_what_is_compiled() -> None:
    sizes = [(480, 640), (720, 1280), (480, 640)]
    assert warmed("budget", sizes) == warmed("keep_aspect", sizes) == [((480, 640), 1), ((720, 1280), 1)]
    assert warmed("budget", []) == []  # the first image does


def test_an_input_of_one_size_is_tried_with_one_image_and_with_those_of_all_cameras() -> None:
    assert warmed("fixed", [(480, 640)]) == [((128, 192), 1)]
    assert [count for _, count in warmed("fixed", [], cameras=6)] == [1, 6]


@pytest.mark.parametrize("size", ["640", "640x", "x480", "0x480", "640x480x3", "-640x480", "640.0x480", "9999999x1"])
def test_a_size_that_is_none_is_one_sentence(size: str) -> None:
    values = {spec.name: spec.default for spec in SPECS}
    parameters = node_parameters({**values, "model.image_sizes": ["640X480", size]})
    with pytest.raises(ValueError, match=f"model.image_sizes must be sizes in px such as 1280x720; got '{size}'"):
        _ = parameters.model.image_shapes


def test_the_node_imports_nothing_that_it_does_not_use() -> None:
    code = f"import sys, centertrack_ros.ros.process; print(*(name for name in {UNUSED!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr
