# SPDX-License-Identifier: Apache-2.0
"""The first runs of a network, before the first image comes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.types import ForeignDetections, Frame, TrackState


def warm_up(pipeline: Pipeline, images: int, shapes: Sequence[tuple[int, int]]) -> None:
    """Runs the network once for one image and for `images` at once.

    Real frames are then as fast from the first one on, and a full GPU shows at once.

    Args:
        pipeline: With the network.
        images: Of all cameras.
        shapes: (height, width) px of images. Where the network's input follows them an engine prepares itself for each
            new one; another network has one input.
    """
    profile = pipeline.engine.profile
    if profile.resize not in ("keep_aspect", "budget"):
        shapes = ((profile.input_height, profile.input_width),)
    for shape in dict.fromkeys(shapes):
        image = np.zeros((*shape, 3), np.uint8)
        boxes, scores = np.array([[0, 0, *shape]], np.float32), np.ones(1, np.float32)  # else no other detector is read
        frame = Frame(image, 0.0, foreign=ForeignDetections(boxes, scores, np.array(profile.classes[:1])))
        for count in sorted({1, images}):
            pipeline.step([frame] * count, [TrackState()] * count)
