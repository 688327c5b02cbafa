# SPDX-License-Identifier: Apache-2.0
"""Writes sequences with their ground truth as rosbag2: images, camera_info, tf and detections, as a robot records them.

Each camera NAME has `/NAME/image_raw/compressed` (or `/NAME/image_raw`), `/NAME/camera_info`, and its ground truth in
`/truth/NAME/detections_2d` and `…_3d`; a frame that has a name of its own (nuScenes' sample) has it in
`/truth/NAME/token`, and an image whose number is not its place on its topic has it in `/truth/NAME/frame_number`. tf
leads from `map` to `NAME_optical` where the sequence has poses, else from `base_link` to a
camera that looks forward.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.bag_tracks import detection_messages
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import matrix_to_quaternion
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.frame_numbers import NUMBER_TYPE, number_topic
from centertrack_ros.io.image_files import load_image, upright_bytes
from centertrack_ros.io.rosbag import BagWriter, message_types, time_message
from centertrack_ros.io.source_base import DEFAULT_RATE

_LOG = logging.getLogger(__name__)
START_NS = 1_000_000_000 * 1_000_000_000  # stamp of a frame at 0 s: tf and filters take 0 for "no time"
_END_NS = 2**31 * 1_000_000_000  # builtin_interfaces/Time has 31 bits for s
# Optical axes (x right, y down, z forward) of a camera that looks along base_link's x, as columns.
_FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
TOKEN_TOPIC = "token"  # a String, recorded at the stamp of its frame
# Types of `message_types()`, header of an image, name of its camera, frame -> topics and messages.
Beside = Callable[[Any, Any, str, AnnotatedFrame], Iterable[tuple[str, Any]]]
_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


def write_bag(
    path: Path | str,
    cameras: Mapping[str, VideoSequence],
    *,
    storage: str = "mcap",
    raw: bool = False,
    start_ns: int = START_NS,
    progress: Callable[[int, int], Any] = lambda done, total: None,
    unreadable: list[DataError] | None = None,
    beside: Beside | None = None,
    mounts: Mapping[str, tuple[str, NDArray[np.float64]]] | None = None,
) -> int:
    """Writes the sequences of one or more cameras in the order of time. Equal sequences give equal bytes.

    A sequence without times is stamped at DEFAULT_RATE, which is logged.

    Args:
        path: The new bag.
        cameras: Camera name -> its sequence.
        storage: 'mcap' or 'sqlite3'.
        raw: Write decoded bgr8 images; else the files' own bytes, JPEG or PNG.
        start_ns: Is added to the frames' stamps, for sequences that start at 0, ns.
        progress: Called with the number of frames so far and in all.
        unreadable: Gets the errors of images that cannot be read and are left out; None: the first one is raised.
        beside: Gives further messages of a frame with an image, which are written before it: types, header of the
            image, camera name, frame -> (topic, message).
        mounts: Frame -> frame that is fixed in it, and its pose (4, 4), for /tf_static.

    Returns:
        The number of frames.

    Raises:
        FileExistsError: `path` exists.
        DataError: An image cannot be read (all of them, with `unreadable`), or has another size than its annotations.
        ValueError: There are no frames, or a stamp is beyond what ROS can tell.
        OSError: The bag cannot be written.

    After an error or a signal nothing is left at `path`.
    """
    cameras = {name: _timed(one) for name, one in cameras.items()}
    unsorted = ((frame.stamp, name, frame) for name, one in cameras.items() for frame in one)
    frames = sorted(unsorted, key=lambda item: item[:2])
    if not frames:
        raise ValueError("no frames to write")
    writer = BagWriter(path, storage)
    try:
        with writer:
            _write_static_tf(writer, cameras, mounts or {}, start_ns + round(frames[0][0] * 1e9))
            written = dict.fromkeys(cameras, 0)
            for done, (stamp, name, frame) in enumerate(frames, start=1):
                time_ns = start_ns + round(stamp * 1e9)
                if not 0 <= time_ns < _END_NS:
                    raise ValueError(
                        f"{name}: frame {frame.index} is at {stamp:g} s; ROS counts times from 1970 to 2038"
                    )
                for topic, message in _messages(name, cameras[name], frame, time_ns, raw, unreadable, beside):
                    if "/image_raw" in topic:
                        written[name] += 1
                        _write_number(writer, cameras[name], name, frame, written[name], time_ns)
                    writer.write(topic, message, time_ns)
                progress(done, len(frames))
            if unreadable and len(unreadable) == sum(frame.image is not None for *_, frame in frames):
                raise unreadable[0]
    except BaseException:  # also a signal: half of a data set would pass for the whole
        writer.discard()
        raise
    return len(frames)


def _write_number(
    writer: BagWriter, sequence: VideoSequence, name: str, frame: AnnotatedFrame, count: int, time_ns: int
) -> None:
    """Writes the number of an image, from 1, where it is not that of its message: images before it are missing."""
    number = frame.index + (sequence.first == 0)
    if number != count:
        writer.write(number_topic(name), message_types().types[NUMBER_TYPE](data=number), time_ns)


def _timed(sequence: VideoSequence) -> VideoSequence:
    if all(math.isfinite(frame.stamp) for frame in sequence):
        return sequence
    _LOG.warning("%s: no rate is told, so its frames are stamped at %g frames/s", sequence.name, DEFAULT_RATE)
    return sequence.at_rate(DEFAULT_RATE)


def _messages(
    name: str,
    sequence: VideoSequence,
    frame: AnnotatedFrame,
    time_ns: int,
    raw: bool,
    unreadable: list[DataError] | None,
    beside: Beside | None,
) -> Iterator[tuple[str, Any]]:
    types = message_types().types
    header = types["std_msgs/msg/Header"](stamp=time_message(time_ns), frame_id=f"{name}_optical")
    if frame.camera is not None:
        yield f"/{name}/camera_info", camera_info(types, header, frame.camera)
    if frame.pose is not None:
        yield "/tf", _tf(types, [_transform(types, header.stamp, "map", header.frame_id, frame.pose)])
    if frame.image is not None:
        if beside is not None:
            yield from beside(types, header, name, frame)
        suffix = "" if raw else "/compressed"
        picture = _picture(frame, raw, unreadable)
        if picture is not None:
            make = _raw_image if raw else _compressed_image
            yield f"/{name}/image_raw{suffix}", make(types, header, frame.image, picture)
    if frame.token:
        yield f"/truth/{name}/{TOKEN_TOPIC}", types["std_msgs/msg/String"](data=frame.token)
    array2d, array3d = detection_messages(types, header, frame, sequence.classes)
    yield f"/truth/{name}/detections_2d", array2d
    if array3d is not None:
        yield f"/truth/{name}/detections_3d", array3d


def _picture(frame: AnnotatedFrame, raw: bool, unreadable: list[DataError] | None) -> NDArray[np.uint8] | None:
    """The frame's image, decoded or as the bytes of a file; None if it cannot be read, which is added to `unreadable`.

    The bytes are the file's own, unless its EXIF says to turn it: readers of bags do not turn images.
    """
    path = frame.image
    assert path is not None
    if not raw and path.suffix.lower() not in _FORMATS:
        raise DataError(path, f"expected {', '.join(_FORMATS)}; other images can be written with raw images")
    try:
        if raw:
            picture = load_image(path)
            size = (picture.shape[0], picture.shape[1])
        else:
            content, size = upright_bytes(path)
            picture = np.frombuffer(content, np.uint8)
    except DataError as error:
        if unreadable is None:
            raise
        unreadable.append(error)
        return None
    _check_size(frame, size)
    return picture


def _compressed_image(types: Any, header: Any, path: Path, raw: NDArray[np.uint8]) -> Any:
    name = _FORMATS[path.suffix.lower()]
    return types["sensor_msgs/msg/CompressedImage"](header=header, format=f"bgr8; {name} compressed bgr8", data=raw)


def _check_size(frame: AnnotatedFrame, size: tuple[int, int]) -> None:
    """Raises DataError when the annotations are for an image of another size: their boxes would be wrong."""
    assert frame.image is not None
    if frame.image_size is not None and size != frame.image_size:
        height, width = frame.image_size
        raise DataError(frame.image, f"has {size[1]}x{size[0]} px, its annotations are for {width}x{height}")


def _raw_image(types: Any, header: Any, path: Path, image: NDArray[np.uint8]) -> Any:
    height, width = image.shape[:2]
    return types["sensor_msgs/msg/Image"](
        header=header,
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(image).reshape(-1),
    )


def camera_info(types: Any, header: Any, camera: Camera) -> Any:
    """sensor_msgs/CameraInfo of a camera. K is the left part of P: the images of data sets are rectified."""
    names = {"none": "plumb_bob"}
    distortion = camera.distortion if len(camera.distortion) else np.zeros(5)
    region = types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model=names.get(camera.distortion_model, camera.distortion_model),
        d=np.asarray(distortion, np.float64),
        k=np.ascontiguousarray(camera.matrix, np.float64).reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.ascontiguousarray(camera.projection, np.float64).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def _write_static_tf(
    writer: BagWriter,
    cameras: Mapping[str, VideoSequence],
    mounts: Mapping[str, tuple[str, NDArray[np.float64]]],
    time_ns: int,
) -> None:
    """base_link -> the optical frame of each camera without poses; and what is mounted."""
    types = message_types().types
    pose = np.eye(4)
    pose[:3, :3] = _FORWARD
    fixed = [name for name, one in cameras.items() if all(frame.pose is None for frame in one)]
    transforms = [_transform(types, time_message(time_ns), "base_link", f"{name}_optical", pose) for name in fixed]
    for parent, (child, mounted) in mounts.items():
        transforms.append(_transform(types, time_message(time_ns), parent, child, mounted))
    if transforms:
        writer.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", (latched(),))
        writer.write("/tf_static", _tf(types, transforms), time_ns)


def latched() -> Any:
    """The QoS of a topic whose last message reaches late subscribers."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    forever = QosTime(2147483647, 4294967295)
    return Qos(
        QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, forever, forever,
        QosLiveliness.AUTOMATIC, forever, False,
    )  # fmt: skip


def _tf(types: Any, transforms: Iterable[Any]) -> Any:
    return types["tf2_msgs/msg/TFMessage"](transforms=list(transforms))


def _transform(types: Any, stamp: Any, parent: str, child: str, pose: NDArray[np.float64]) -> Any:
    x, y, z, w = (float(value) for value in matrix_to_quaternion(pose[:3, :3]))
    location = [float(value) for value in pose[:3, 3]]
    return types["geometry_msgs/msg/TransformStamped"](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=parent),
        child_frame_id=child,
        transform=types["geometry_msgs/msg/Transform"](
            translation=types["geometry_msgs/msg/Vector3"](x=location[0], y=location[1], z=location[2]),
            rotation=types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
        ),
    )
