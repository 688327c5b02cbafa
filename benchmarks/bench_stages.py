#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The cost of a frame outside the network, on one core, over the number of objects; prints JSON.

    tools/run python -m benchmarks.bench_stages [--objects 10 60 100] [--frames 60]

Only the network's peaks are simulated: objects that move across the image, each with a displacement and 3D heads, as a
nuScenes model has them. "together" is the cost of every frame: image to network input, prior heatmap, decoding, 3D,
association. "messages", with ROS 2, is making and serialising the messages of all three topics, which a node does only
for topics with subscribers.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.networks import INPUT_SIZE, NUSCENES_HEADS, TRAINED_FOCAL_LENGTH
from centertrack_ros.engine.preprocess import normalisation_table, warp_to_planes
from centertrack_ros.geometry import gaussian
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.peaks import Peaks, from_arrays
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.types import (
    Frame,
    TrackState,
)

GRID = (INPUT_SIZE[0] // 4, INPUT_SIZE[1] // 4)


class MovingObjects:
    """An engine whose peaks are `count` strong ones that drift, one in ten missing in each frame, and weak ones."""

    name = "moving objects"
    device = "cpu"

    def __init__(self, count: int) -> None:
        most = max(100, count)
        self.profile = ModelProfile(
            "street", "dla_34", tuple("abcdefghij"), NUSCENES_HEADS, input_height=INPUT_SIZE[0],
            input_width=INPUT_SIZE[1], max_detections=most, trained_focal_length=TRAINED_FOCAL_LENGTH,
        )  # fmt: skip
        self._rng = np.random.default_rng(count)
        self._count, self._most = count, most
        self._centers = self._rng.uniform((5, 5), (GRID[1] - 5, GRID[0] - 5), (count, 2))
        self._speeds = self._rng.normal(0, 0.6, (count, 2))
        self._classes = self._rng.integers(0, 10, count)
        self._table = normalisation_table(self.profile)
        self.render_ms = 0.0

    def prepare(self, image: Any, affine: Any, size: tuple[int, int]) -> Any:
        """See `Engine.prepare`."""
        return warp_to_planes(image, affine, size, self._table)[None]

    def infer(
        self, images: Sequence[Any], previous: Sequence[Any], priors: Sequence[Any], cells: Any = None
    ) -> list[Peaks]:
        """See `Engine.infer`. The prior heatmaps are rendered, as an engine would."""
        start = time.perf_counter()
        for prior in priors:
            gaussian.render(prior, images[0].shape[-2:])
        rendered = time.perf_counter()
        arrays = self._arrays()
        decoded = time.perf_counter()
        peaks = from_arrays(arrays, GRID)
        self.render_ms = (rendered - start + time.perf_counter() - decoded) * 1e3
        return peaks

    def _arrays(self) -> dict[str, Any]:
        self._centers += self._speeds
        low, high = np.array((5.0, 5.0)), np.array((GRID[1] - 5.0, GRID[0] - 5.0))
        self._speeds[(self._centers < low) | (self._centers > high)] *= -1
        centers = np.clip(self._centers, low, high)
        seen = self._rng.random(self._count) > 0.1
        weak = self._most - int(seen.sum())
        cells = np.concatenate([centers[seen], self._rng.uniform(low, high, (weak, 2))])
        scores = np.concatenate([self._rng.uniform(0.5, 0.9, int(seen.sum())), self._rng.uniform(0, 0.05, weak)])
        classes = np.concatenate([self._classes[seen], self._rng.integers(0, 10, weak)])
        tracking = np.concatenate([-self._speeds[seen], np.zeros((weak, 2))])
        order = np.argsort(-scores)

        def put(values: Any, kind: Any = np.float32) -> Any:
            return np.ascontiguousarray(np.asarray(values)[order][None], kind)

        shape = (self._most,)
        return {
            "scores": put(scores), "class_ids": put(classes, np.int64), "cells": put(np.floor(cells), np.int64),
            "value.reg": put(cells % 1), "value.tracking": put(tracking),
            "value.wh": put(self._rng.uniform(6, 20, (*shape, 2))),
            "value.dep": put(self._rng.uniform(5, 60, (*shape, 1))),
            "value.rot": put(self._rng.normal(0, 1, (*shape, 8))),
            "value.dim": put(self._rng.uniform(1, 4, (*shape, 3))),
            "value.amodel_offset": put(self._rng.normal(0, 1, (*shape, 2))),
        }  # fmt: skip


def publishing_cost(classes: Sequence[str]) -> Callable[[Frame, Any], float] | None:
    """A function from a frame and its result to the cost of its messages, ms; None without ROS 2."""
    try:
        from rclpy.serialization import serialize_message
        from std_msgs.msg import Header

        import centertrack_ros.msg as track_types
        from centertrack_ros.ros.messages import MessageWriter
        from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
    except ImportError:
        return None
    writer = MessageWriter(classes, track_types)

    def cost(frame: Frame, result: Any) -> float:
        start = time.perf_counter()
        header = Header()
        index, boxes = boxes3d_of_tracks(result.tracks)
        size = (frame.image.shape[0], frame.image.shape[1])
        serialize_message(writer.detections_3d(header, result.tracks, index, boxes))
        serialize_message(writer.detections_2d(header, result.tracks))
        serialize_message(writer.track_array(header, result.tracks, index, boxes, size, frame.stamp, result.reset))
        return (time.perf_counter() - start) * 1e3

    return cost


def measure(count: int, frames: int, size: tuple[int, int] = (900, 1600)) -> dict[str, float]:
    """Medians of the stages, ms, for `count` objects."""
    engine = MovingObjects(count)
    pipeline = Pipeline(engine, TrackerConfig.official())
    publish = publishing_cost(engine.profile.classes)
    camera = Camera.from_focal(size[1], size[0], 1266.0)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    state, rows = TrackState(), []
    for index in range(frames + 10):
        frame = Frame(image, index / 12, camera)
        [(result, state)] = pipeline.step([frame], [state])
        row = {name: ms for name, ms in result.timing_ms.items() if name != "network"}
        row["prior heatmap"] = engine.render_ms
        if publish is not None:
            row["messages"] = publish(frame, result)
        row["tracks"] = len(result.tracks)
        rows.append(row)
    medians = {name: float(np.median([row[name] for row in rows[10:]])) for name in rows[0]}
    medians["together"] = sum(ms for name, ms in medians.items() if name not in ("tracks", "messages"))
    return medians


def official_preprocess_ms(frames: int) -> float:
    """Time of the official pre-processing of the same image, ms."""
    from torch import nn

    from benchmarks.reference_path import ReferencePath

    engine = MovingObjects(1)
    reference = ReferencePath(nn.Identity(), engine.profile)
    image = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), dtype=np.uint8)
    times = []
    for _ in range(frames):
        start = time.perf_counter()
        reference.prepare(image, np.array([[0.5, 0, 0], [0, 0.5, -1.0]]), INPUT_SIZE)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[60, 100])
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import cv2

    cv2.setNumThreads(1)
    costs: dict[str, Any] = {str(count): measure(count, args.frames) for count in args.objects}
    costs["official_preprocess"] = official_preprocess_ms(max(10, args.frames // 3))
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
