# SPDX-License-Identifier: Apache-2.0
"""Converts sensor_msgs/CameraInfo into the `Camera` of an image: picks the matrix, scales it, checks it.

Sources: the comments of sensor_msgs/CameraInfo.msg (K and D belong to the raw image, P to the rectified one; binning
and ROI are applied to the full-resolution calibration; K[0] == 0 means uncalibrated) and REP 104.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera

# sensor_msgs/distortion_models.hpp, and how many coefficients OpenCV knows for each.
DISTORTION_MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_FOCAL_RANGE = (1.0, 1e6)  # px


class CameraInfoError(ValueError):
    """The message does not describe a calibrated camera; the text says why."""


def camera_from_info(info: Any, image_size: tuple[int, int], rectified: bool = False) -> Camera:
    """Converts the calibration that came with an image.

    The calibration is cropped to the ROI, divided by the binning and, where the image has yet another size, scaled to
    it.

    Args:
        info: A sensor_msgs/CameraInfo.
        image_size: (height, width) px of the image.
        rectified: The image is undistorted: P with its translation column holds, else K and D.

    Raises:
        CameraInfoError: The message does not describe a calibrated camera.
    """
    projection = _projection(info, rectified)
    to_image = _full_resolution_to_image(info, image_size)
    with np.errstate(over="ignore", invalid="ignore"):
        projection = to_image @ projection
    if not np.isfinite(projection).all():
        raise CameraInfoError("camera_info has numbers beyond all measure; expected px, and a translation in px m")
    _check_focal_length(projection, "after binning, ROI and scaling to the image")
    model, coefficients = ("none", np.zeros(0)) if rectified else _distortion(info)
    height, width = image_size
    return Camera(width, height, projection, model, coefficients)


def _projection(info: Any, rectified: bool) -> NDArray[np.float64]:
    """(3, 4) of the full-resolution image."""
    name = "P" if rectified else "K"
    matrix = np.array(info.p if rectified else info.k, dtype=np.float64).reshape(3, -1)
    if not np.isfinite(matrix).all():
        raise CameraInfoError(f"camera_info has NaN or infinite values in {name}; expected finite intrinsics")
    if matrix[0, 0] == 0.0:
        hint = "; is this a raw image (camera.rectified: false)?" if rectified and info.k[0] != 0.0 else ""
        raise CameraInfoError(f"camera_info is uncalibrated: {name}[0] == 0; expected a focal length in px{hint}")
    _check_focal_length(matrix, f"in {name}")
    if not np.allclose(matrix[2, :3], (0, 0, 1)) or matrix[1, 0] != 0.0:
        raise CameraInfoError(f"camera_info has {matrix[2, :3].tolist()} as last row of {name}; expected [0, 0, 1]")
    return matrix if rectified else np.hstack([matrix, np.zeros((3, 1))])


def _check_focal_length(matrix: NDArray[np.float64], where: str) -> None:
    low, high = _FOCAL_RANGE
    focal, center = (matrix[0, 0], matrix[1, 1]), matrix[:2, 2]
    if not all(low <= f <= high for f in focal):
        raise CameraInfoError(
            f"camera_info has focal lengths {focal[0]:g}, {focal[1]:g} px {where}; expected {low:g} to {high:g}"
        )
    if not (np.abs(center) <= high).all():
        raise CameraInfoError(
            f"camera_info has its principal point at {center.tolist()} {where}; expected it near the image"
        )


def _full_resolution_to_image(info: Any, image_size: tuple[int, int]) -> NDArray[np.float64]:
    """(3, 3) from pixels of the calibrated image to pixels of this one: minus ROI offset, over binning, times scale."""
    bin_x, bin_y = max(info.binning_x, 1), max(info.binning_y, 1)
    roi = info.roi
    width, height = roi.width or info.width, roi.height or info.height
    if info.width and (roi.x_offset + width > info.width or roi.y_offset + height > info.height):
        raise CameraInfoError(
            f"camera_info has a ROI of {width}x{height} px at ({roi.x_offset}, {roi.y_offset}); "
            f"expected it inside its image of {info.width}x{info.height} px"
        )
    # 0x0 leaves the size open: then the calibration belongs to the image at its own size.
    scale_x = image_size[1] * bin_x / width if width else 1.0
    scale_y = image_size[0] * bin_y / height if height else 1.0
    scale_x, scale_y = scale_x / bin_x, scale_y / bin_y
    return np.array([[scale_x, 0.0, -roi.x_offset * scale_x], [0.0, scale_y, -roi.y_offset * scale_y], [0.0, 0.0, 1.0]])


def _distortion(info: Any) -> tuple[str, NDArray[np.float64]]:
    coefficients = np.array(info.d, dtype=np.float64)
    if not np.isfinite(coefficients).all():
        raise CameraInfoError("camera_info has NaN or infinite values in D; expected finite distortion coefficients")
    if not coefficients.any() and info.distortion_model != "equidistant":
        return "none", np.zeros(0)
    counts = DISTORTION_MODELS.get(info.distortion_model)
    if counts is None:
        raise CameraInfoError(
            f"camera_info has an unknown distortion_model '{info.distortion_model[:40]}'; "
            f"expected one of {', '.join(DISTORTION_MODELS)}"
        )
    if len(coefficients) not in counts:
        raise CameraInfoError(
            f"camera_info has {len(coefficients)} coefficients in D; "
            f"expected {' or '.join(map(str, counts))} for {info.distortion_model}"
        )
    return info.distortion_model, coefficients


class Calibration:
    """The newest CameraInfo of one camera, as the `Camera` of its images.

    Attributes:
        problem: Why images are not calibrated; '' if they are. For logs and diagnostics.
    """

    def __init__(self) -> None:
        self.problem = "no camera_info yet"
        self._info: Any = None
        self._camera: Camera | None = None
        self._key: Any = None

    @property
    def is_known(self) -> bool:
        """Whether a CameraInfo has come at all."""
        return self._info is not None

    def update(self, info: Any) -> None:
        """Takes a message with the fields of sensor_msgs/CameraInfo."""
        if self._info is None:
            self.problem = ""  # none is known before the next image
        self._info = info

    def camera(self, image_size: tuple[int, int], rectified: bool = False) -> Camera | None:
        """Gives the camera of an image of this size; None, with the reason in `problem`, if it is not calibrated.

        Args:
            image_size: (height, width) px.
            rectified: The images are undistorted: P holds, else K and D.
        """
        if self._info is None:
            return None
        key = (image_size, rectified, _content(self._info))
        if key != self._key:
            try:
                self._camera, self.problem = camera_from_info(self._info, image_size, rectified), ""
            except CameraInfoError as error:
                self._camera, self.problem = None, str(error)
            self._key = key
        return self._camera


def _content(info: Any) -> tuple[Any, ...]:
    """All of a CameraInfo that the camera depends on, to see whether it changed."""
    roi = info.roi
    size = (info.width, info.height, info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height)
    matrices = tuple(np.asarray(values, np.float64).tobytes() for values in (info.k, info.p, info.d))
    return (*size, info.distortion_model, *matrices)
