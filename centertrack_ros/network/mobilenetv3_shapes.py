# SPDX-License-Identifier: Apache-2.0
"""The shapes of the layers of `network.mobilenetv3`, without torch: other runtimes build the same network from them."""

from __future__ import annotations

from dataclasses import dataclass

FEATURE_CHANNELS = 128
DETECTION_HEADS = ("hm", "ltrb")  # the two heads of the published network

# The published graph stores the 1/6 of its hard swish and hard sigmoid as float16. The error is only 0.02 %, but 28 of
# them follow each other, and the outputs must agree with the graph to 0.001.
SIXTH = 0.1666259765625
ACTIVATION_SCALE = 6.0 * SIXTH


@dataclass(frozen=True)
class BlockShape:
    """The shape of one inverted residual.

    Attributes:
        kernel: Of the depthwise convolution.
        stride: Of the depthwise convolution.
        expanded: Channels of the expansion; None: no expansion.
        out: Channels of the output.
        activation: Key of `_ACTIVATIONS`.
        squeezed: Channels inside the squeeze-and-excitation; None: there is none.
    """

    kernel: int
    stride: int
    expanded: int | None
    out: int
    activation: str
    squeezed: int | None = None


BLOCKS = (
    BlockShape(3, 1, None, 16, "relu"),
    BlockShape(3, 2, 64, 24, "relu"),
    BlockShape(3, 1, 72, 24, "relu"),
    BlockShape(5, 2, 72, 32, "relu", 24),
    BlockShape(5, 1, 96, 32, "relu", 24),
    BlockShape(5, 1, 96, 32, "relu", 24),
    BlockShape(3, 2, 192, 64, "hard_swish"),
    BlockShape(3, 1, 160, 64, "hard_swish"),
    BlockShape(3, 1, 144, 64, "hard_swish"),
    BlockShape(3, 1, 144, 64, "hard_swish"),
    BlockShape(3, 1, 384, 88, "hard_swish", 96),
    BlockShape(3, 1, 528, 88, "hard_swish", 136),
    BlockShape(5, 2, 528, 120, "hard_swish", 136),
    BlockShape(5, 1, 720, 120, "hard_swish", 184),
    BlockShape(5, 1, 720, 120, "hard_swish", 184),
)
STEM_CHANNELS = 16
LAST_CHANNELS = 480
# The neck reads the expansions of blocks 3 and 5 (strides 4 and 8) and the output of block 11 (stride 16).
LATERAL_EXPANSIONS = (3, 5)
LATERAL_OUTPUT = 11

# Of the motion branch, `network.correlation`.
MOTION_SCALE = 1 / 128  # the input is 0..255
SEARCH_RADIUS = 3  # cells to each side: 24 px at stride 8, 48 px at stride 16
INVERSE_TEMPERATURE = 8.0  # initial factor on the correlation before the softmax
# Stride 4 has many cells: a window of 4 px to each side.
FINE_SEARCH_RADIUS = 1
# Side of the tiles in which cells are compared together, cells: a size of the input is a multiple of 32 px.
MATCH_TILES = {"match4": 8, "match8": 4, "match16": 2, "match32": 1}
