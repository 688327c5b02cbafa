# SPDX-License-Identifier: Apache-2.0
"""Sources: the same images come out of a video, a folder and a bag; what cannot be read is named."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagReader, BagWriter, message_types, time_message
from centertrack_ros.io.sources import image_topics, open_source
from centertrack_ros.visualization.video import CODECS, VideoWriter

CLIP = Path(__file__).parents[2] / "demo" / "pets09_s2l1"
SECOND = 1_000_000_000


def gray_image(value: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A flat grey image, which survives any codec."""
    return np.full((*size, 3), value, np.uint8)


def image_message(stamp_ns: int, pixels: np.ndarray, encoding: str = "bgr8"):
    types = message_types().types
    header = types["std_msgs/msg/Header"](stamp=time_message(stamp_ns), frame_id="camera")
    height, width = pixels.shape[:2]
    build = types["sensor_msgs/msg/Image"]
    return build(header, height, width, encoding, 0, pixels.size // height, pixels.ravel())


def camera_info(stamp_ns: int, focal: float, size: tuple[int, int] = (48, 64)):
    types = message_types().types
    header = types["std_msgs/msg/Header"](stamp=time_message(stamp_ns), frame_id="camera")
    k = np.array([focal, 0, size[1] / 2, 0, focal, size[0] / 2, 0, 0, 1])
    p = np.insert(k.reshape(3, 3), 3, 0, axis=1).ravel()
    roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    build = types["sensor_msgs/msg/CameraInfo"]
    return build(header, size[0], size[1], "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), p, 0, 0, roi)


def levels(source) -> list[int]:
    return [round(float(frame.image.mean())) for frame in source]


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_a_video_gives_back_what_was_written(tmp_path, suffix, size):
    path = tmp_path / f"video{suffix}"
    with VideoWriter(path, 7.0) as writer:
        for value in (40, 90, 140, 190):
            writer.write(gray_image(value, size))
    source = open_source(path)
    assert (source.length, source.rate, source.name) == (4, pytest.approx(7.0, rel=1e-3), "video")
    assert np.allclose(levels(source), (40, 90, 140, 190), atol=3)
    assert np.allclose([frame.stamp for frame in source], np.arange(4) / 7.0, rtol=1e-3)


def test_a_video_takes_the_rate_that_the_user_knows(tmp_path):
    with VideoWriter(tmp_path / "v.webm", 10.0) as writer:
        for _ in range(3):
            writer.write(gray_image(99))
    assert [frame.stamp for frame in open_source(tmp_path / "v.webm", rate=2.0)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_is_a_positive_number(tmp_path, rate):
    with pytest.raises(ValueError, match="rate must be a number of frames/s above 0"):
        open_source(tmp_path, rate=rate)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    for number in (10, 9, 2, 100):
        cv2.imwrite(str(tmp_path / f"frame_{number}.png"), gray_image(number))
    (tmp_path / "notes.txt").write_text("not an image")
    source = open_source(tmp_path, rate=5.0)
    assert levels(source) == [2, 9, 10, 100]
    assert [frame.index for frame in source] == [2, 9, 10, 100]
    assert [frame.stamp for frame in source] == pytest.approx([0.0, 1.4, 1.6, 19.6])


def test_a_broken_image_is_named_and_left_out(tmp_path, caplog):
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), gray_image(number))
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n broken")
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(tmp_path, rate=1.0))
    assert [frame.stamp for frame in frames] == [0.0, 2.0]
    assert [record.message for record in caplog.records if "2.png" in record.message]


def test_one_image_is_a_source_of_one_frame(tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), gray_image(77))
    source = open_source(tmp_path / "one.png", intrinsics=(50.0, 60.0, 32.0, 24.0))
    (frame,) = source
    assert source.length == 1 and frame.camera is not None and frame.camera.focal == (50.0, 60.0)
    assert (frame.camera.width, frame.camera.height) == (64, 48)


def test_a_bag_gives_each_image_the_camera_before_it(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/cam/image_raw", image_message(1 * SECOND, gray_image(1)), 1 * SECOND)
        writer.write("/cam/camera_info", camera_info(2 * SECOND, 100.0), 2 * SECOND)
        writer.write("/cam/image_raw", image_message(2 * SECOND, gray_image(2)), 2 * SECOND)
        writer.write("/cam/camera_info", camera_info(3 * SECOND, 200.0), 3 * SECOND)
        writer.write("/cam/image_raw", image_message(3 * SECOND, gray_image(3)), 3 * SECOND)
    frames = list(open_source(tmp_path / "bag"))
    assert [frame.stamp for frame in frames] == [1.0, 2.0, 3.0]
    assert [frame.camera and frame.camera.focal[0] for frame in frames] == [None, 100.0, 200.0]
    fixed = list(open_source(tmp_path / "bag", intrinsics=(7.0, 7.0, 1.0, 1.0)))
    assert [frame.camera.focal[0] for frame in fixed if frame.camera] == [7.0, 7.0, 7.0]


def test_a_bad_message_in_a_bag_is_named_and_left_out(tmp_path, caplog):
    with BagWriter(tmp_path / "bag") as writer:
        for second, encoding in enumerate(("bgr8", "nonsense", "bgr8"), start=1):
            writer.write("/image", image_message(second * SECOND, gray_image(second), encoding), second * SECOND)
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(tmp_path / "bag"))
    assert [(frame.index, round(float(frame.image.mean()))) for frame in frames] == [(1, 1), (3, 3)]
    assert [record.message for record in caplog.records if "frame 2" in record.message and "nonsense" in record.message]
    assert "1 of 3 frames left out" in caplog.text


def test_a_bag_in_which_nothing_decodes_is_an_error(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for second in (1, 2):
            writer.write("/image", image_message(second * SECOND, gray_image(second), "nonsense"), second * SECOND)
    with pytest.raises(DataError, match=r"not one of 2 images can be decoded; the last: frame 2 .*nonsense"):
        list(open_source(tmp_path / "bag"))


def test_two_cameras_in_a_bag_ask_for_a_name(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for name in ("left", "right"):
            writer.write(f"/{name}/image_raw", image_message(SECOND, gray_image(len(name))), SECOND)
            writer.write(f"/{name}/camera_info", camera_info(SECOND, 10.0 * len(name)), SECOND)
            writer.write(f"/{name}/image_raw", image_message(2 * SECOND, gray_image(len(name))), 2 * SECOND)
    with pytest.raises(ValueError, match=r"several image topics.*/left/image_raw, /right/image_raw"):
        open_source(tmp_path / "bag")
    frames = list(open_source(tmp_path / "bag", image_topic="/right/image_raw"))
    assert [frame.camera and frame.camera.focal[0] for frame in frames] == [None, 50.0]
    with pytest.raises(DataError, match="no topic '/rear'"):
        open_source(tmp_path / "bag", image_topic="/rear")
    with pytest.raises(ValueError, match="expected an Image"):
        open_source(tmp_path / "bag", image_topic="/left/camera_info")


def test_the_clip_is_a_source():
    source = open_source(CLIP)
    frames = [frame for frame, _ in zip(source, range(3), strict=False)]
    assert source.length == 100 and source.rate == pytest.approx(7.0, rel=0.02)
    assert all(frame.image.shape == (576, 768, 3) and frame.camera and frame.camera.is_distorted for frame in frames)
    assert np.allclose(np.diff([frame.stamp for frame in frames]), 1 / 7, atol=1e-6)


def test_the_clip_shows_the_video_it_was_made_from(shared_data):
    """Every frame in its place: JPEG keeps it closer to its own original than to any neighbour's."""
    video = open_source(shared_data / "pets09_s2l1" / "vtest.avi")
    originals = [frame.image for frame, _ in zip(video, range(12), strict=False)]
    for index, frame in zip(range(11), open_source(CLIP), strict=False):
        errors = [float(np.mean(cv2.absdiff(frame.image, original))) for original in originals]
        assert int(np.argmin(errors)) == index and errors[index] < 6.0


@pytest.mark.parametrize("name", ["missing.mp4", "text.mp4", "empty.mp4", "folder"])
def test_what_is_no_source_is_refused_in_a_sentence(tmp_path, name):
    (tmp_path / "text.mp4").write_text("this is not a video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        open_source(tmp_path / name)


def test_a_bag_without_images_lists_what_it_has(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/cam/camera_info", camera_info(SECOND, 1.0), SECOND)
    with pytest.raises(ValueError, match=r"no images in this bag; it has /cam/camera_info"):
        open_source(tmp_path / "bag")


def test_a_clip_cut_short_says_so(tmp_path):
    with BagReader(CLIP) as reader:
        assert reader.topics
    cut = tmp_path / "cut.mcap"
    cut.write_bytes((CLIP / "pets09_s2l1.mcap").read_bytes()[:1_000_000])
    with pytest.raises(DataError, match="cut short"):
        open_source(cut)


def test_raw_images_are_taken_beside_the_same_ones_compressed_and_depth_is_no_picture(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for second in (1, 2):
            writer.write("/front/image_raw", image_message(second * SECOND, gray_image(second)), second * SECOND)
            for topic in ("/front/image_raw/compressed", "/front/image_raw/compressedDepth"):
                data = np.frombuffer(b"no picture", np.uint8)
                header = image_message(second * SECOND, gray_image(0)).header
                message = message_types().types["sensor_msgs/msg/CompressedImage"](header=header, format="", data=data)
                writer.write(topic, message, second * SECOND)
    assert levels(open_source(tmp_path / "bag")) == [1, 2]
    with BagReader(tmp_path / "bag") as reader:
        assert [topic.name for topic in image_topics(reader)] == ["/front/image_raw"]
