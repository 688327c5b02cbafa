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


def warmed(device: str, resize: str, cameras: int = 1) -> list[tuple[tuple[int, ...], int]]:
    engine = CountingEngine(device, resize)
    warm_up(Pipeline(engine), cameras)
    return engine.runs


def test_on_a_cpu_the_first_image_decides_what_is_compiled() -> None:
    assert warmed("cpu", "budget") == warmed("cpu", "keep_aspect", cameras=6) == []


def test_a_size_that_is_known_and_a_gpu_are_tried_beforehand() -> None:
    (known,) = warmed("cpu", "fixed")
    assert known == ((128, 192), 1)
    assert [count for _, count in warmed("cpu", "fixed", cameras=6)] == [1, 6]
    sizes = {size for size, _ in warmed("cuda", "budget")}
    assert (480, 640) in sizes and len(sizes) > 1


def test_the_node_imports_nothing_that_it_does_not_use() -> None:
    code = f"import sys, centertrack_ros.ros.process; print(*(name for name in {UNUSED!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr
