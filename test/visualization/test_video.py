# SPDX-License-Identifier: Apache-2.0
"""A video under its final name holds every image, whatever the disk, the name and the images are like."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.visualization.video import CODECS, VideoWriter
from support.environment import largest_file

NOISE = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)


def images_in(path: Path) -> list[np.ndarray]:
    capture, found = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        found.append(read[1])
    return found


def write(path: Path, images: Iterable[np.ndarray], then: type[BaseException] | None = None) -> None:
    """Writes a video; `then` ends it by an exception."""
    with VideoWriter(path, 10.0) as writer:
        for image in images:
            writer.write(image)
        if then is not None:
            raise then


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video_that_lost_frames_is_an_error_and_does_not_stay(suffix, tmp_path):
    target = tmp_path / f"video{suffix}"
    target.write_bytes(b"of an earlier run")
    with largest_file(100_000), pytest.raises(OSError, match=r"video\.\w+: only \d+ of 60 frames could be written"):
        write(target, [NOISE] * 60)
    assert [path.name for path in tmp_path.iterdir()] == [target.name] and target.read_bytes() == b"of an earlier run"


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("name", ["v", "10:20:00", b"f\xfcr".decode("utf-8", "surrogateescape"), "%d #?"])
def test_every_name_can_be_given_to_a_video(name, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(name)
    write(folder / f"{name}{suffix}", [NOISE] * 3)
    (written,) = folder.iterdir()
    assert written.name == f"{name}{suffix}"
    assert len(images_in(written.rename(tmp_path / f"copy{suffix}"))) == 3


def test_a_run_that_breaks_off_leaves_the_frames_up_to_it(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "v.webm", [NOISE] * 5, KeyboardInterrupt)
    assert len(images_in(tmp_path / "v.webm")) == 5 and len(list(tmp_path.iterdir())) == 1


def test_images_of_another_size_are_scaled_to_fit_and_said_once(tmp_path, caplog):
    white = np.full((120, 160, 3), 255, np.uint8)
    write(tmp_path / "v.webm", (white, white[:60], white[:, :40], white))
    first, wide, tall, last = images_in(tmp_path / "v.webm")
    for full in (first, last):
        assert full.shape == (120, 160, 3) and full.min() > 200
    assert wide[:25].max() < 50 and wide[35:85].min() > 200 and wide[95:].max() < 50  # 160x60 in the middle
    assert tall[:, :55].max() < 50 and tall[:, 65:95].min() > 200 and tall[:, 105:].max() < 50  # 40x120
    assert len(caplog.messages) == 1 and "image 2 has 160x60 px, the video 160x120" in caplog.text


def test_a_folder_in_the_place_of_a_video_and_a_full_disk_at_its_start_are_errors(tmp_path):
    (tmp_path / "v.webm").mkdir()
    with pytest.raises(IsADirectoryError, match=r"v\.webm"):
        write(tmp_path / "v.webm", [NOISE])
    with largest_file(1000), pytest.raises(OSError, match=r"other\.webm"):
        write(tmp_path / "other.webm", [NOISE])
    assert [path.name for path in tmp_path.iterdir()] == ["v.webm"]
