# SPDX-License-Identifier: Apache-2.0
"""The first runs of a network, before the first image comes."""

from __future__ import annotations

import numpy as np

from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.types import ForeignDetections, Frame, TrackState


def warm_up(pipeline: Pipeline, images: int) -> None:
    """Runs the network once for one image and for `images`.

    Real frames are then as fast from the first one on, and a full GPU shows at once.
    """
    profile = pipeline.engine.profile
    # Where the input follows the image's shape an engine prepares itself for each new one: those that cameras have.
    shapes = ((480, 640), (360, 640), (400, 640)) if profile.resize in ("keep_aspect", "budget") else ()
    for shape in shapes or ((profile.input_height, profile.input_width),):
        image = np.zeros((*shape, 3), np.uint8)
        boxes, scores = np.array([[0, 0, *shape]], np.float32), np.ones(1, np.float32)  # else no other detector is read
        frame = Frame(image, 0.0, foreign=ForeignDetections(boxes, scores, np.array(profile.classes[:1])))
        for count in sorted({1, images}):
            pipeline.step([frame] * count, [TrackState()] * count)
