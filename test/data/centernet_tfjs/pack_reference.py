# SPDX-License-Identifier: Apache-2.0
"""Keeps of the graph's answers (`make_reference.mjs`) what the tests compare with: IMAGE.npz for every IMAGE.png given.

peaks   (300, 3) int32: row, column, channel of the strongest 3x3 maxima of `keypoints`
scores  (300,) float32 there; sides (300, 4) float32: `wh` there
cells   (150, 2) int32: row, column of cells drawn at random; all_scores (150, 80) and all_sides (150, 4) float32 there
"""

import sys
from pathlib import Path

import cv2
import numpy as np


def pack(image: Path) -> None:
    height, width = (side // 4 for side in cv2.imread(str(image)).shape[:2])
    keypoints = np.fromfile(image.with_suffix(".keypoints.f32"), "<f4").reshape(height, width, 80)
    sides = np.fromfile(image.with_suffix(".wh.f32"), "<f4").reshape(height, width, 4)
    maxima = keypoints == cv2.dilate(keypoints, np.ones((3, 3)))
    strongest = np.argsort(-np.where(maxima, keypoints, 0).ravel(), kind="stable")[:300]
    row, column, channel = np.unravel_index(strongest, keypoints.shape)
    cells = np.random.default_rng(0).integers((0, 0), (height, width), (150, 2))
    np.savez_compressed(
        image.with_suffix(".npz"),
        peaks=np.stack([row, column, channel], 1).astype(np.int32),
        scores=keypoints[row, column, channel],
        sides=sides[row, column],
        cells=cells.astype(np.int32),
        all_scores=keypoints[cells[:, 0], cells[:, 1]],
        all_sides=sides[cells[:, 0], cells[:, 1]],
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        pack(Path(name))
