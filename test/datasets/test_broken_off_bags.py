# SPDX-License-Identifier: Apache-2.0
"""A bag that was broken off does not look like a whole recording."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_stays_of_a_bag_that_was_broken_off(storage, error, tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((4, 4, 3), np.uint8))
    frames = tuple(AnnotatedFrame(k, k / 10, empty_tracks(), image=tmp_path / "1.png") for k in range(1, 4))
    cameras = {"camera": VideoSequence("it", ("car",), frames, 1, 3)}

    def progress(done: int, total: int) -> None:
        if done == 2:
            raise error

    with pytest.raises(error):
        write_bag(tmp_path / "bag", cameras, storage=storage, progress=progress)
    assert not (tmp_path / "bag").exists()
    assert write_bag(tmp_path / "bag", cameras, storage=storage) == 3
    with pytest.raises(FileExistsError):
        write_bag(tmp_path / "bag", cameras, storage=storage)
    assert (tmp_path / "bag" / "metadata.yaml").exists()
