# SPDX-License-Identifier: Apache-2.0
"""A replayed bag as recordings that can be written in nuScenes' form: poses from tf, samples by name, velocities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.bag_tracks import TYPE_3D, camera_name, read_tracks
from centertrack_ros.datasets.bag_writer import TOKEN_TOPIC
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.io.bag_transforms import FIXED_FRAMES, pose_in_world, read_transforms
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.stamps import nanoseconds
from centertrack_ros.tracking.attributes import ATTRIBUTES

OUTPUT = "/centertrack/output"
_TOLERANCE_NS = 200_000_000  # beyond its first and last stamp a transform holds this long
_TRACKS = "centertrack_ros/msg/TrackArray"


def world_tracks(source: Path, replayed: Path) -> tuple[list[VideoSequence], list[str]]:
    """Reads the tracks of each camera of a replay, with the camera's pose in the world.

    A frame has the sample token that `bag from-nuscenes` left in the source, else its stamp in ns as a token.

    Args:
        source: The bag that was replayed: its tf tells where the cameras were.
        replayed: The replay's bag, with boxes in the cameras' optical frames.

    Returns:
        One sequence for each camera, and notes on what was left out.

    Raises:
        DataError: The source's tf gives the pose of no camera.
    """
    transforms = read_transforms(source, _TOLERANCE_NS)
    tokens, frame_ids = _tokens(source), _frame_ids(replayed)
    motions = _motions(replayed)
    recordings, notes, lost = [], [], 0
    for camera, recording in read_tracks(replayed, OUTPUT).items():
        frames = []
        for frame in recording:
            stamp = int(frame.token)
            pose = pose_in_world(transforms, frame_ids[camera], stamp)
            lost += pose is None
            if pose is not None:
                named = replace(frame, pose=pose, token=tokens.get(stamp, frame.token))
                frames.append(_with_motions(named, motions.get((camera, stamp), {})))
        recordings.append(replace(recording, frames=tuple(frames)))
    if lost and not any(one.frames for one in recordings):
        wanted = " or ".join(f"'{frame}'" for frame in set(frame_ids.values()))
        raise DataError(source, f"nuScenes results need tf from {', '.join(FIXED_FRAMES)} to {wanted}")
    if lost:
        notes.append(f"{lost} images without a pose in tf, left out of the results")
    if not tokens:
        notes.append("the bag has no sample tokens: results are named by their stamps in ns")
    return recordings, notes


def _tokens(path: Path) -> dict[int, str]:
    with BagReader(path) as reader:
        topics = [t.name for t in reader.of_type("std_msgs/msg/String") if t.name.endswith(f"/{TOKEN_TOPIC}")]
        return {record.time_ns: message.data for record, message in reader.messages(topics)}


def _frame_ids(path: Path) -> dict[str, str]:
    with BagReader(path) as reader:
        topics = [t.name for t in reader.of_type(TYPE_3D) if t.name.startswith(OUTPUT)]
        return {camera_name(record.topic): message.header.frame_id for record, message in reader.messages(topics)}


def _motions(path: Path) -> dict[tuple[str, int], dict[int, tuple[tuple[float, ...], str]]]:
    """(camera, stamp) -> id -> velocity, m/s, and attribute; of a replay that has track arrays."""
    found = {}
    with BagReader(path) as reader:
        topics = [t.name for t in reader.of_type(_TRACKS) if t.name.startswith(OUTPUT)]
        for record, message in reader.messages(topics):
            camera = camera_name(record.topic.removesuffix("/tracks"))
            found[camera, nanoseconds(message.header.stamp)] = {int(t.id): _motion(t) for t in message.tracks}
    return found


def _motion(track: Any) -> tuple[tuple[float, ...], str]:
    return (track.velocity.x, track.velocity.y, track.velocity.z), track.attribute


def _with_motions(frame: AnnotatedFrame, motions: dict[int, tuple[tuple[float, ...], str]]) -> AnnotatedFrame:
    ids = frame.tracks.ids.tolist()
    if not motions or not ids:
        return frame
    nothing = ((np.nan,) * 3, "")
    speeds = np.array([motions.get(identity, nothing)[0] for identity in ids], np.float64)
    logits = np.array([[float(motions.get(i, nothing)[1] == name) for name in ATTRIBUTES] for i in ids])
    detections = replace(frame.tracks.detections, velocities=np.nan_to_num(speeds))
    if logits.any():
        detections = replace(detections, attributes=logits)
    return replace(frame, tracks=replace(frame.tracks, detections=detections))
