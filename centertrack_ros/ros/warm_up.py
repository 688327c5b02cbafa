# SPDX-License-Identifier: Apache-2.0
"""The first runs of a network, before the first image comes."""

from __future__ import annotations

import numpy as np

from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.types import ForeignDetections, Frame, TrackState


def warm_up(pipeline: Pipeline, images: int) -> None:
    """Runs the network once for one image and for `images`, unless only the camera can tell the size of its input.

    Real frames are then as fast from the first one on, and a full GPU shows at once. Where the input follows the
    image's shape an engine prepares itself for each new one: a GPU's in seconds, so the shapes of most cameras are
    tried; a CPU's in some tenths of one, but each takes 70 MB, so it waits for the first image.
    """
    engine = pipeline.engine
    profile = engine.profile
    shapes: tuple[tuple[int, int], ...] = ((profile.input_height, profile.input_width),)
    if profile.resize in ("keep_aspect", "budget"):
        shapes = () if engine.device == "cpu" else ((480, 640), (360, 640), (400, 640))
    for shape in shapes:
        image = np.zeros((*shape, 3), np.uint8)
        boxes, scores = np.array([[0, 0, *shape]], np.float32), np.ones(1, np.float32)  # else no other detector is read
        frame = Frame(image, 0.0, foreign=ForeignDetections(boxes, scores, np.array(profile.classes[:1])))
        for count in sorted({1, images}):
            pipeline.step([frame] * count, [TrackState()] * count)
