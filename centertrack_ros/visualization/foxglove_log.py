# SPDX-License-Identifier: Apache-2.0
"""Results for Foxglove: an MCAP with its own schemas, images with annotations and a scene of 3D boxes.

config/foxglove/track.json is the layout for it. Bags of the node's topics need none of this: Foxglove reads their
messages, with the layout config/foxglove/node.json.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from centertrack_ros.geometry.boxes3d import BODY_FROM_OPTICAL
from centertrack_ros.geometry.transform import matrix_to_quaternion
from centertrack_ros.network.joints import bones_of
from centertrack_ros.visualization.views import View, unwritten

IMAGE, CALIBRATION, ANNOTATIONS = "/camera/image", "/camera/calibration", "/camera/annotations"
SCENE, PRIOR, TRANSFORM = "/objects", "/camera/prior_heatmap", "/tf"
WORLD, OPTICAL = "vehicle", "camera_optical"
_FONT_PX, _LINE_PX = 16.0, 3.0
_TEXT_M = 0.5
_OPACITY = 0.35


def require_foxglove() -> Any:
    """The module of the Foxglove SDK.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import foxglove
        import foxglove.channels
        import foxglove.messages
    except ImportError:
        raise ImportError("--foxglove needs the Foxglove SDK: pip install 'centertrack_ros[viewers]'") from None
    return foxglove


class FoxgloveLog:
    """Writes views to an MCAP. Use it in a `with` statement, which completes the file."""

    def __init__(self, path: Path) -> None:
        """Opens the file; an existing one is overwritten.

        Raises:
            ImportError: The Foxglove SDK is not installed.
            OSError: The file cannot be written.
        """
        foxglove, self.path = require_foxglove(), path
        # A full disk is told once, at the end, and not at every message.
        logging.getLogger("foxglove").setLevel(logging.CRITICAL)
        path.open("wb").close()  # what cannot be written is an OSError with the system's words
        self._m, channels = foxglove.messages, foxglove.channels
        context = self._context = foxglove.Context()  # its channels close when it is gone
        self._file = foxglove.open_mcap(path, allow_overwrite=True, context=context)
        self._image = channels.CompressedImageChannel(IMAGE, context=context)
        self._prior = channels.CompressedImageChannel(PRIOR, context=context)
        self._calibration = channels.CameraCalibrationChannel(CALIBRATION, context=context)
        self._annotations = channels.ImageAnnotationsChannel(ANNOTATIONS, context=context)
        self._scene = channels.SceneUpdateChannel(SCENE, context=context)
        self._transform = channels.FrameTransformChannel(TRANSFORM, context=context)

    def __enter__(self) -> FoxgloveLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except RuntimeError as problem:  # as on a full disk
            raise unwritten(self.path, problem) from error

    def add(self, view: View) -> None:
        """Writes a frame, at its stamp."""
        m, stamp_ns = self._m, max(round(view.stamp * 1e9), 0)
        stamp = m.Timestamp(*divmod(stamp_ns, 1_000_000_000))
        for channel, frame, data in ((self._image, OPTICAL, view.jpeg), (self._prior, "network_input", view.prior)):
            if data:
                image = m.CompressedImage(timestamp=stamp, frame_id=frame, data=data, format="jpeg")
                channel.log(image, log_time=stamp_ns)
        self._annotations.log(self._annotations_of(view, stamp), log_time=stamp_ns)
        if view.camera is None:
            return
        x, y, z, w = matrix_to_quaternion(BODY_FROM_OPTICAL).tolist()
        turn = m.Quaternion(x=x, y=y, z=z, w=w)
        place = m.FrameTransform(timestamp=stamp, parent_frame_id=WORLD, child_frame_id=OPTICAL, rotation=turn)
        self._transform.log(place, log_time=stamp_ns)
        self._calibration.log(self._calibration_of(view, stamp), log_time=stamp_ns)
        self._scene.log(self._scene_of(view, stamp), log_time=stamp_ns)

    def _color(self, rgb: Any, alpha: float = 1.0) -> Any:
        red, green, blue = (float(value) / 255 for value in rgb)
        return self._m.Color(r=red, g=green, b=blue, a=alpha)

    def _points(self, points: Any) -> list[Any]:
        return [self._m.Point2(x=x, y=y) for x, y in np.asarray(points, np.float64).tolist()]

    def _annotations_of(self, view: View, stamp: Any) -> Any:
        m, lines, texts = self._m, [], []
        kinds = m.PointsAnnotationType
        boxes = view.objects.boxes.astype(np.float64)
        for box, caption, rgb, way in zip(boxes, view.captions, view.colors, view.trails, strict=True):
            color = self._color(rgb)
            outline = box[[[0, 1], [2, 1], [2, 3], [0, 3]]]
            lines.append(self._line(stamp, kinds.LineLoop, outline, color))
            if len(way) > 1:
                lines.append(self._line(stamp, kinds.LineStrip, way, color))
            place = m.Point2(x=float(box[0]), y=float(box[1]))
            back = m.Color(r=0.0, g=0.0, b=0.0, a=0.6)
            texts.append(
                m.TextAnnotation(
                    timestamp=stamp,
                    position=place,
                    text=caption,
                    font_size=_FONT_PX,
                    text_color=color,
                    background_color=back,
                )
            )
        joints = view.objects.joints
        if joints is not None and (pairs := bones_of(joints.shape[1])):
            bones = np.array(pairs).reshape(-1)
            lines += [
                self._line(stamp, kinds.LineList, person[bones], self._color(rgb))
                for person, rgb in zip(joints, view.colors, strict=True)
            ]
        return m.ImageAnnotations(timestamp=stamp, points=lines, texts=texts)

    def _line(self, stamp: Any, kind: Any, points: Any, color: Any) -> Any:
        return self._m.PointsAnnotation(
            timestamp=stamp, type=kind, points=self._points(points), outline_color=color, thickness=_LINE_PX
        )

    def _calibration_of(self, view: View, stamp: Any) -> Any:
        camera = view.camera
        assert camera is not None
        projection = camera.projection
        return self._m.CameraCalibration(
            timestamp=stamp,
            frame_id=OPTICAL,
            width=view.size[0],
            height=view.size[1],
            distortion_model="" if camera.distortion_model == "none" else camera.distortion_model,
            D=camera.distortion.tolist(),
            K=projection[:, :3].reshape(-1).tolist(),
            R=np.eye(3).reshape(-1).tolist(),
            P=projection.reshape(-1).tolist(),
        )

    def _scene_of(self, view: View, stamp: Any) -> Any:
        """All boxes of the frame; those of the frame before are deleted."""
        m, entities, boxes = self._m, [], view.boxes
        for row, i in enumerate(view.solid.tolist()):
            x, y, z = boxes.centers[row].tolist()
            turn = dict(zip("xyzw", boxes.quaternions[row].tolist(), strict=True))
            size = dict(zip("xyz", boxes.sizes[row].tolist(), strict=True))
            pose = m.Pose(position=m.Vector3(x=x, y=y, z=z), orientation=m.Quaternion(**turn))
            cube = m.CubePrimitive(pose=pose, size=m.Vector3(**size), color=self._color(view.colors[i], _OPACITY))
            above = m.Pose(position=m.Vector3(x=x, y=y - size["z"] / 2 - _TEXT_M, z=z), orientation=m.Quaternion(w=1.0))
            text = m.TextPrimitive(
                pose=above, billboard=True, font_size=_TEXT_M, color=self._color(view.colors[i]), text=view.captions[i]
            )
            entity = str(int(view.objects.ids[i]))
            entities.append(m.SceneEntity(timestamp=stamp, frame_id=OPTICAL, id=entity, cubes=[cube], texts=[text]))
        everything = m.SceneEntityDeletion(timestamp=stamp, type=m.SceneEntityDeletionType.All)
        return m.SceneUpdate(deletions=[everything], entities=entities)
