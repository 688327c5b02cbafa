# SPDX-License-Identifier: Apache-2.0
"""Results for the Rerun viewer: image, 2D and 3D boxes, trails and prior heatmap on one timeline."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from centertrack_ros.network.joints import bones_of
from centertrack_ros.visualization.views import View, unwritten

CAMERA, IMAGE = "camera", "camera/image"
BOXES_2D, TRAILS, JOINTS = "camera/image/boxes", "camera/image/trails", "camera/image/joints"
BOXES_3D, PRIOR = "objects", "prior_heatmap"
_FLUSH_S = 60.0
_LEAST_FREE = 4_000_000  # bytes, of a disk that a frame is written to
_EPOCH = 1e8  # s; later stamps are dates, earlier ones count from the start of a video


def require_rerun() -> Any:
    """The module of the Rerun SDK.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import rerun
        import rerun.blueprint
    except ImportError:
        raise ImportError("--rerun needs the Rerun SDK: pip install 'centertrack_ros[viewers]'") from None
    return rerun


class RerunLog:
    """Writes views to a .rrd file, or sends them to a viewer that it starts. Use it in a `with` statement."""

    def __init__(self, name: str, path: Path | None) -> None:
        """Opens the file or the viewer.

        Args:
            name: Of the recording.
            path: The file; None: a viewer is started.

        Raises:
            ImportError: The Rerun SDK is not installed.
            OSError: The file cannot be written.
            RuntimeError: The viewer cannot be started.
        """
        self._rerun, self.path = require_rerun(), path
        if path is not None:
            path.open("wb").close()  # what cannot be written is an OSError with the system's words
        self._stream = self._rerun.RecordingStream("centertrack")
        blueprint = self._blueprint()
        if path is not None:
            self._stream.save(path, default_blueprint=blueprint)
        else:
            self._stream.spawn(default_blueprint=blueprint)
        self._stream.send_recording_name(name)
        self._stream.log("/", self._rerun.ViewCoordinates.RDF, static=True)

    def _blueprint(self) -> Any:
        """Image and heatmap on the left, space on the right."""
        views = self._rerun.blueprint
        images = views.Vertical(
            views.Spatial2DView(origin=CAMERA, name="Image"),
            views.Spatial2DView(origin=PRIOR, name="Prior heatmap"),
            row_shares=[2, 1],
        )
        space = views.Spatial3DView(origin="/", contents=[f"/{CAMERA}/**", f"/{BOXES_3D}"], name="Space")
        return views.Blueprint(views.Horizontal(images, space))

    def __enter__(self) -> RerunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stream.flush(timeout_sec=_FLUSH_S)  # without a limit it waits forever for a thread that has died
            self._stream.disconnect()
        except RuntimeError as problem:  # of the thread that writes, as on a full disk
            if self.path is None:
                raise
            raise unwritten(self.path, problem) from error

    def add(self, view: View) -> None:
        """Writes a frame. What is no longer there is cleared: each entity holds all objects of one frame.

        Raises:
            OSError: The disk is full; the file is removed.
        """
        # The library's thread ends on a full disk, and then it may wait for that thread forever.
        if self.path is not None and shutil.disk_usage(self.path.parent).free < _LEAST_FREE:
            raise unwritten(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        rerun, stream = self._rerun, self._stream
        stream.set_time("frame", sequence=view.index)
        if view.stamp > _EPOCH:
            stream.set_time("time", timestamp=view.stamp)
        else:
            stream.set_time("time", duration=view.stamp)
        if view.camera is not None:
            matrix, (width, height) = view.camera.projection[:, :3], view.size
            pinhole = rerun.Pinhole(image_from_camera=matrix, width=width, height=height, image_plane_distance=2.0)
            stream.log(CAMERA, pinhole)
        stream.log(IMAGE, rerun.EncodedImage(contents=view.jpeg, media_type="image/jpeg"))
        stream.log(PRIOR, rerun.EncodedImage(contents=view.prior, media_type="image/jpeg"))
        corners = view.objects.boxes.astype(np.float64)
        stream.log(
            BOXES_2D,
            rerun.Boxes2D(
                mins=corners[:, :2],
                sizes=np.maximum(corners[:, 2:] - corners[:, :2], 0.0),
                colors=view.colors,
                labels=view.captions,
            ),
        )
        moved = [i for i, way in enumerate(view.trails) if len(way) > 1]
        stream.log(TRAILS, rerun.LineStrips2D([view.trails[i] for i in moved], colors=view.colors[moved]))
        self._add_joints(view)
        boxes = view.boxes
        stream.log(
            BOXES_3D,
            rerun.Boxes3D(
                centers=boxes.centers,
                sizes=boxes.sizes,
                quaternions=boxes.quaternions,
                colors=view.colors[view.solid],
                labels=[view.captions[i] for i in view.solid.tolist()],
            ),
        )

    def _add_joints(self, view: View) -> None:
        joints = view.objects.joints
        if joints is None or not (bones := bones_of(joints.shape[1])):
            return
        lines = [person[list(bone)] for person in joints for bone in bones]
        self._stream.log(JOINTS, self._rerun.LineStrips2D(lines, colors=np.repeat(view.colors, len(bones), axis=0)))
