# SPDX-License-Identifier: Apache-2.0
"""Tracks of a replay in the world: by the source's tf and sample tokens, with the motions of the track arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from centertrack_ros.datasets import nuscenes
from centertrack_ros.datasets.bag_tracks import detection_messages
from centertrack_ros.datasets.bag_writer import START_NS, write_bag
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagWriter, message_types, time_message
from centertrack_ros.replay.nuscenes_results import OUTPUT, world_tracks
from centertrack_ros.tracking.attributes import ATTRIBUTES

STEP_NS = 500_000_000


def _scene(poses: bool = True, tokens: bool = True, frames: int = 3) -> VideoSequence:
    """A car 20 m ahead of a camera that moves 1 m along the world's x in each frame."""
    made = []
    for index in range(frames):
        pose = np.eye(4)
        pose[0, 3] = index
        tracks = tracks_of(
            np.array([7]), np.array([0]), np.array([0.9]), np.array([[10.0, 10, 50, 40]]),
            dimensions=np.array([[1.5, 1.8, 4.5]]), locations=np.array([[0.0, 1.0, 20.0]]), rotations_y=np.array([0.3]),
        )  # fmt: skip
        made.append(
            AnnotatedFrame(
                index, index * STEP_NS / 1e9, tracks, pose=pose if poses else None, token=f"s{index}" if tokens else ""
            )
        )
    return VideoSequence("front", ("car",), tuple(made), 0, frames)


def _default(kind: str) -> Any:
    """A message whose numbers are 0."""
    store = message_types()
    values: dict[str, Any] = {}
    for name, (node, argument) in store.fielddefs[kind][1]:
        if node == 1:  # a base type
            values[name] = {"string": "", "bool": False}.get(argument[0], 0)
        elif node == 2:  # a message
            values[name] = _default(argument)
        elif node == 3:  # an array of a fixed length
            values[name] = np.zeros(argument[1])
        else:  # of any length: rosbags wants arrays of numbers, lists of everything else
            kind_of_items, item = argument[0]
            values[name] = np.zeros(0) if kind_of_items == 1 and item[0] != "string" else []
    return store.types[kind](**values)


def _replayed(path: Path, scene: VideoSequence, motions: bool = False, late_ns: int = 0) -> Path:
    """The answers of a replay: the truth itself, and if asked for track arrays with a velocity and an attribute."""
    types = message_types().types
    with BagWriter(path) as writer:
        for frame in scene:
            stamp = START_NS + frame.index * STEP_NS + late_ns
            header = types["std_msgs/msg/Header"](stamp=time_message(stamp), frame_id="front_optical")
            two, three = detection_messages(types, header, frame, scene.classes)
            writer.write(f"{OUTPUT}/detections_2d", two, stamp)
            writer.write(f"{OUTPUT}/detections_3d", three, stamp)
            if motions:
                track = replace(_default("centertrack_ros/msg/Track"), id=7, attribute=ATTRIBUTES[0])
                track.velocity.x = 2.0
                array = replace(_default("centertrack_ros/msg/TrackArray"), header=header, tracks=[track])
                writer.write(f"{OUTPUT}/tracks", array, stamp)
    return path


def _source(path: Path, scene: VideoSequence) -> Path:
    write_bag(path, {"front": scene})
    return path


@pytest.mark.parametrize("motions", [False, True])
def test_boxes_are_where_the_camera_was_under_the_samples_names(tmp_path: Path, motions: bool) -> None:
    scene = _scene()
    recordings, notes = world_tracks(_source(tmp_path / "a", scene), _replayed(tmp_path / "b", scene, motions))
    assert notes == [] and [frame.token for frame in recordings[0]] == ["s0", "s1", "s2"]
    results = nuscenes.results_document(recordings)["results"]
    for index in range(3):
        [box] = results[f"s{index}"]
        assert box["translation"] == pytest.approx([index, 0.25, 20.0])
        assert box["tracking_id"].endswith("7") and box["tracking_name"] == "car"
        assert box["velocity"] == pytest.approx([2.0 if motions else 0.0, 0.0])
    detections = recordings[0].frames[0].tracks.detections
    assert (detections.attributes is not None) == motions


def test_without_tokens_the_stamps_are_the_names_and_that_is_said(tmp_path: Path) -> None:
    scene = _scene(tokens=False)
    recordings, notes = world_tracks(_source(tmp_path / "a", scene), _replayed(tmp_path / "b", scene))
    assert [frame.token for frame in recordings[0]] == [str(START_NS + n * STEP_NS) for n in range(3)]
    assert notes == ["the bag has no sample tokens: results are named by their stamps in ns"]


def test_images_outside_of_tf_are_counted(tmp_path: Path) -> None:
    source = _source(tmp_path / "a", _scene(frames=2))
    recordings, notes = world_tracks(source, _replayed(tmp_path / "b", _scene(frames=4)))
    assert len(recordings[0].frames) == 2 and notes == ["2 images without a pose in tf, left out of the results"]
    with pytest.raises(DataError, match=r"nuScenes results need tf from .* to 'front_optical'"):
        world_tracks(source, _replayed(tmp_path / "c", _scene(frames=2), late_ns=20_000_000_000))
