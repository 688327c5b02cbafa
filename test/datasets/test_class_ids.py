# SPDX-License-Identifier: Apache-2.0
"""Class ids are places in a list: they follow when the list changes."""

from __future__ import annotations

import numpy as np

from centertrack_ros.datasets import mot
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, renumbered, tracks_of


def test_classes_keep_their_names_in_another_list() -> None:
    tracks = tracks_of(np.array([1, 2]), np.array([1, 0]), np.ones(2), np.array([[0.0, 0, 9, 9]] * 2))
    sequence = VideoSequence("a", ("person", "sports ball"), (AnnotatedFrame(1, 0.0, tracks),), 1, 1)
    found = renumbered(sequence, ("person", "bicycle", "sports ball"))
    assert found.classes == ("person", "bicycle", "sports ball")
    assert found.frames[0].tracks.detections.class_ids.tolist() == [2, 0]
    assert mot.class_numbers(found.classes)[2] == 103  # whatever else was seen
    assert renumbered(sequence, ()).frames[0].tracks.detections.class_ids.tolist() == [1, 0]
