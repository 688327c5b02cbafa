# SPDX-License-Identifier: Apache-2.0
"""The library, the command line and the node's replay give the same tracks: defaults live in one place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs.msg")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.mot import read_results
from centertrack_ros.engine import load_engine
from centertrack_ros.io.rosbag import BagReader, BagWriter
from centertrack_ros.io.sources import CAMERA_INFO_TYPE, COMPRESSED_TYPE, IMAGE_TYPE, open_source
from centertrack_ros.tracking.pipeline import Tracker

CLIP = Path(__file__).resolve().parents[2] / "demo" / "pets09_s2l1"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 35 images of the demo clip."""
    bag = tmp_path_factory.mktemp("clip") / "clip"
    with BagReader(CLIP) as reader, BagWriter(bag) as writer:
        topics = [topic.name for topic in reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE, CAMERA_INFO_TYPE)]
        for record in list(reader.records(topics))[:70]:
            writer.add_topic(record.topic, record.type, source=reader)
            writer.write(record.topic, record.data, record.time_ns)
    return bag


@pytest.mark.parametrize("weights", ["mobilenetv3-coco-track", "mobilenetv3-coco"])
def test_library_command_line_and_replay_give_the_same_tracks(clip: Path, tmp_path: Path, weights: str) -> None:
    """With and without a trained displacement."""
    tracker = Tracker(load_engine(weights, engine="torch", threads=1))
    library = []
    for frame in open_source(clip):
        tracks = tracker.step(frame.image, frame.camera, frame.stamp).tracks
        library.append(tracks.select(tracks.hits > 0))
    network = ["--weights", weights, "--engine", "torch", "--threads", "1"]
    assert main(["track", str(clip), *network, "--save-txt", "--output", str(tmp_path / "track")]) == 0
    parameters = [f"model.weights:={weights}", "model.engine:=torch", "model.threads:=1"]
    options = [word for parameter in parameters for word in ("-p", parameter)]
    assert main(["replay", str(clip), *options, "--results", "mot", "--output", str(tmp_path / "replay")]) == 0
    track = read_results(tmp_path / "track" / "clip.txt")
    replayed = read_results(tmp_path / "replay" / "clip.txt")
    assert len(library) > 30 and sum(map(len, library)) > 100
    for results in (track, replayed):
        found = {frame.index - results.first: frame.tracks for frame in results}
        for index, expected in enumerate(library):
            one = found.get(index)
            order = np.argsort(expected.ids)
            assert sorted(expected.ids.tolist()) == ([] if one is None else sorted(one.ids.tolist()))
            if one is not None:
                boxes = one.detections.boxes[np.argsort(one.ids)]
                np.testing.assert_allclose(boxes, expected.detections.boxes[order], atol=0.02)  # as text has it
