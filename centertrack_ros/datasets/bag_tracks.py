# SPDX-License-Identifier: Apache-2.0
"""Tracks in bags: vision_msgs detections in 2D and 3D, of a tracker or the ground truth, as sequences; and back.

Topics that end in `detections_2d` and `detections_3d` under the same name belong together:
`/centertrack/output/detections_2d` is a tracker's, `/truth/front/detections_2d` the ground truth of the camera `front`.
Other names are read as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import (
    NO_IDENTITY,
    AnnotatedFrame,
    VideoSequence,
    checked,
    frames_of,
    identity_numbers,
    tracks_of,
)
from centertrack_ros.geometry.transform import box_quaternions, quaternion_to_matrix
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.frame_numbers import told_numbers
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.sources import camera_names, image_topics
from centertrack_ros.io.stamps import nanoseconds, record_stamp, stamp_or_arrival

TYPE_2D, TYPE_3D = "vision_msgs/msg/Detection2DArray", "vision_msgs/msg/Detection3DArray"
# Parts of a topic's name that do not name the camera.
_GENERIC = {"centertrack", "output", "truth", "ground_truth", "detections", "detections_2d", "detections_3d", ""}


@dataclass(frozen=True)
class _Object:
    """One detection of a message: stamp in ns, class name, id, score, 2D box and 3D box (as `_sequence` has it)."""

    stamp: int
    name: str
    identity: str
    score: float
    box: tuple[float, ...]
    box3d: tuple[float, ...] | None = None


def read_tracks(
    path: Path | str, prefix: str = "", numbers: Mapping[str, Mapping[int, int]] | None = None
) -> dict[str, VideoSequence]:
    """Reads the tracks of a bag.

    Objects in 2D and 3D are joined by stamp and id, those with an empty id (NO_IDENTITY) by their place in the message;
    an object without a 2D box has NaN there. A frame's index is that of its image on the image's topic, from 0, where
    the images are known; else frames are numbered by their stamps. Their tokens are the stamps in ns.

    Args:
        path: The bag.
        prefix: Only topics that begin with it are read.
        numbers: Camera name -> `image_numbers`, where another bag has the images; None: of this bag.

    Returns:
        Camera name -> its sequence; '' is the name of an only camera.

    Raises:
        DataError: The bag is broken or has no such topics.
    """
    with BagReader(path) as reader:
        topics = [t for t in reader.of_type(TYPE_2D, TYPE_3D) if t.name.startswith(prefix)]
        if not topics:
            raise DataError(path, f"no detections (Detection2DArray, Detection3DArray); the bag has {reader.listing()}")
        objects2d: dict[str, dict[tuple[int, str], _Object]] = defaultdict(dict)
        objects3d: dict[str, dict[tuple[int, str], _Object]] = defaultdict(dict)
        stamps: dict[str, set[int]] = defaultdict(set)
        for record, message in reader.messages([topic.name for topic in topics]):
            camera = camera_name(record.topic)
            stamp = stamp_or_arrival(nanoseconds(message.header.stamp), record.time_ns)
            stamps[camera].add(stamp)
            table = objects2d if record.type == TYPE_2D else objects3d
            for row, item in enumerate(_objects(path, record.topic, message, stamp)):
                # Objects without identity are told apart by their place in the message.
                key = (item.stamp, item.identity or f"\0{row}")
                if key in table[camera]:
                    identity = f"id {item.identity}" if item.identity else f"object {row} without id"
                    raise DataError(path, f"'{record.topic}': {identity} appears twice at {item.stamp / 1e9:.3f} s")
                table[camera][key] = item
        if numbers is None:
            numbers = {camera: _numbers_of(reader, camera) for camera in stamps}
    indices = {camera: _indices(stamps[camera], numbers.get(camera)) for camera in sorted(stamps)}
    return {
        camera: checked(_sequence(camera, objects2d[camera], objects3d[camera], index), path)
        for camera, index in indices.items()
    }


def image_numbers(reader: BagReader, topic: str) -> dict[int, int]:
    """Stamp, ns, of each image on a topic -> its number, from 1: that which the bag tells, else that of its message.

    Of equal stamps the first counts.
    """
    numbers: dict[int, int] = {}
    told = told_numbers(reader, topic)
    for count, record in enumerate(reader.records([topic]), start=1):
        stamp = record_stamp(record.data, record.time_ns)
        numbers.setdefault(stamp, told.get(stamp, count))
    return numbers


def _numbers_of(reader: BagReader, camera: str) -> dict[int, int]:
    """`image_numbers` of a camera; empty when the bag has no images that are certainly its own."""
    topics = [topic.name for topic in image_topics(reader)]
    named = dict(zip(camera_names(topics), topics, strict=True)) if topics else {}
    if camera not in named and len(topics) == 1:
        named[camera] = topics[0]
    return image_numbers(reader, named[camera]) if camera in named else {}


def _indices(stamps: set[int], numbers: Mapping[int, int] | None) -> dict[int, int]:
    """Stamp -> index of its frame, from 0. Where a frame has no image, all stamps of both count, in their order."""
    if numbers and stamps <= numbers.keys():
        return {stamp: numbers[stamp] - 1 for stamp in stamps}
    known = sorted({*stamps, *(numbers or ())})
    return {stamp: index for index, stamp in enumerate(known) if stamp in stamps}


def camera_name(topic: str) -> str:
    """The camera that a topic's name contains: '/truth/front/detections_2d' -> 'front'; '' when it contains none."""
    return "/".join(part for part in topic.split("/") if part not in _GENERIC)


def _objects(path: Path | str, topic: str, message: Any, stamp: int) -> Iterable[_Object]:
    for detection in message.detections:
        if not len(detection.results):
            raise DataError(path, f"'{topic}' at {stamp / 1e9:.3f} s: a detection without a class")
        hypothesis, box = detection.results[0].hypothesis, detection.bbox
        if hasattr(box, "size_x"):
            x, y = box.center.position.x, box.center.position.y
            edges = (x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2, y + box.size_y / 2)
            yield _Object(stamp, hypothesis.class_id, detection.id, hypothesis.score, edges)
        else:
            p, q, size = box.center.position, box.center.orientation, box.size
            try:
                forward = quaternion_to_matrix(np.array([q.x, q.y, q.z, q.w]))[:, 0]
            except ValueError as error:
                raise DataError(path, f"'{topic}' at {stamp / 1e9:.3f} s: {error}") from None
            rotation_y = float(np.arctan2(-forward[2], forward[0]))
            values = (size.z, size.y, size.x, p.x, p.y + size.z / 2, p.z, rotation_y)
            yield _Object(stamp, hypothesis.class_id, detection.id, hypothesis.score, (np.nan,) * 4, values)


def _sequence(
    camera: str,
    objects2d: Mapping[tuple[int, str], _Object],
    objects3d: Mapping[tuple[int, str], _Object],
    index: Mapping[int, int],
) -> VideoSequence:
    """The frames of a camera; `index`: stamp -> index."""
    times = sorted(index, key=index.__getitem__)
    keys = sorted({*objects2d, *objects3d}, key=lambda key: (index[key[0]], key[1]))
    items = [objects2d[key] if key in objects2d else objects3d[key] for key in keys]
    names = sorted({item.name for item in items})
    numbers = identity_numbers(sorted({item.identity for item in items if item.identity}))
    boxes = np.array([item.box for item in items], np.float64).reshape(-1, 4)
    table = np.array([objects3d[key].box3d if key in objects3d else (np.nan,) * 7 for key in keys], np.float64).reshape(
        -1, 7
    )
    extra = {}
    if objects3d:
        extra = {
            "dimensions": table[:, :3],
            "locations": table[:, 3:6],
            "depths": table[:, 5],
            "rotations_y": table[:, 6],
        }
    tracks = tracks_of(
        np.array([numbers.get(item.identity, NO_IDENTITY) for item in items], np.int64),
        np.array([names.index(item.name) for item in items], np.int64),
        np.array([item.score for item in items], np.float64),
        boxes,
        **extra,
    )
    with_objects = frames_of(np.array([index[stamp] for stamp, _ in keys], np.int64), tracks)
    filled = {frame.index: frame for frame in with_objects}
    nothing = AnnotatedFrame(0, 0.0, tracks.select(np.zeros(0, np.int64)))
    frames = tuple(
        replace(filled.get(index[stamp], nothing), index=index[stamp], stamp=stamp * 1e-9, token=str(stamp))
        for stamp in times
    )
    return VideoSequence(camera or "all", tuple(names), frames, 0, frames[-1].index + 1)


def aligned(truth: VideoSequence, results: VideoSequence) -> tuple[VideoSequence, int]:
    """Numbers the frames of results as the ground truth does, by equal stamps (`token`).

    Returns:
        The results without the frames that the ground truth lacks, and the number of those.
    """
    index = {frame.token: frame.index for frame in truth}
    shared = [replace(frame, index=index[frame.token]) for frame in results if frame.token in index]
    return replace(results, frames=tuple(shared), length=truth.length), len(results.frames) - len(shared)


def detection_messages(
    types: Any, header: Any, frame: AnnotatedFrame, classes: Sequence[str]
) -> tuple[Any, Any | None]:
    """A frame's Detection2DArray, and its Detection3DArray where objects have 3D boxes (types of `message_types()`)."""
    detections, messages2d, messages3d = frame.tracks.detections, [], []
    for row, number in enumerate(frame.tracks.ids.tolist()):
        identity = "" if number == NO_IDENTITY else str(number)
        name, score = classes[int(detections.class_ids[row])] or "object", float(detections.scores[row])
        messages2d.append(_message_2d(types, header, identity, name, score, detections.boxes[row]))
        if (
            detections.locations is not None
            and detections.dimensions is not None
            and np.isfinite(detections.locations[row]).all()
        ):
            rotation_y = 0.0 if detections.rotations_y is None else float(detections.rotations_y[row])
            location, size = detections.locations[row], detections.dimensions[row]
            messages3d.append(_message_3d(types, header, identity, name, score, location, size, rotation_y))
    arrays = types["vision_msgs/msg/Detection2DArray"](header=header, detections=messages2d)
    if detections.locations is None:
        return arrays, None
    return arrays, types["vision_msgs/msg/Detection3DArray"](header=header, detections=messages3d)


def _hypothesis(types: Any, name: str, score: float, pose: Any) -> Any:
    hypothesis = types["vision_msgs/msg/ObjectHypothesis"](class_id=name, score=score)
    pose_with_covariance = types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36))
    return types["vision_msgs/msg/ObjectHypothesisWithPose"](hypothesis=hypothesis, pose=pose_with_covariance)


def _message_2d(types: Any, header: Any, identity: str, name: str, score: float, box: NDArray[Any]) -> Any:
    left, top, right, bottom = (float(value) for value in box)
    point = types["vision_msgs/msg/Point2D"](x=(left + right) / 2, y=(top + bottom) / 2)
    center = types["vision_msgs/msg/Pose2D"](position=point, theta=0.0)
    bbox = types["vision_msgs/msg/BoundingBox2D"](center=center, size_x=right - left, size_y=bottom - top)
    results = [_hypothesis(types, name, score, _pose(types, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))]
    return types["vision_msgs/msg/Detection2D"](header=header, results=results, bbox=bbox, id=identity)


def _message_3d(
    types: Any,
    header: Any,
    identity: str,
    name: str,
    score: float,
    location: NDArray[Any],
    size: NDArray[Any],
    rotation_y: float,
) -> Any:
    height, width, length = (float(value) for value in size)
    x, y, z = (float(value) for value in location)
    pose = _pose(types, (x, y - height / 2, z), tuple(box_quaternions(np.array([rotation_y]))[0].tolist()))
    extent = types["geometry_msgs/msg/Vector3"](x=length, y=width, z=height)
    bbox = types["vision_msgs/msg/BoundingBox3D"](center=pose, size=extent)
    results = [_hypothesis(types, name, score, pose)]
    return types["vision_msgs/msg/Detection3D"](header=header, results=results, bbox=bbox, id=identity)


def _pose(types: Any, position: tuple[float, ...], orientation: tuple[float, ...]) -> Any:
    x, y, z, w = orientation
    return types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=position[0], y=position[1], z=position[2]),
        orientation=types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
    )
