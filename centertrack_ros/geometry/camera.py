# SPDX-License-Identifier: Apache-2.0
"""The camera that took an image: projection, distortion and the size that they refer to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The official code assumes this focal length for an unknown camera, px.
OFFICIAL_FOCAL_LENGTH = 1200.0

UNDISTORT_STEPS = 5

# Model -> allowed numbers of coefficients.
DISTORTION_MODELS = {
    "none": (0,),
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 5, 8, 12, 14),
    "equidistant": (0, 4),
}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in its optical frame (x right, y down, z forward; REP 103).

    Attributes:
        width: Width of the image that `projection` belongs to, px.
        height: Height of that image, px.
        projection: (3, 4) float64, px: pixel ~ projection @ (X, Y, Z, 1); the last column is 0 except for rectified
            stereo.
        distortion_model: 'none', 'plumb_bob', 'rational_polynomial' or 'equidistant'; of the raw image.
        distortion: Coefficients in the order of sensor_msgs/CameraInfo; empty without distortion.

    Raises:
        ValueError: A value is impossible for a camera (NaN, zero focal length, wrong shape or coefficient count).
    """

    width: int
    height: int
    projection: NDArray[np.float64]
    distortion_model: str = "none"
    distortion: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        projection = np.array(self.projection, np.float64)
        distortion = np.array(self.distortion, np.float64).reshape(-1)
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"camera: image size must be positive, got {self.width}x{self.height}")
        if projection.shape != (3, 4):
            raise ValueError(f"camera: projection must have shape (3, 4), got {projection.shape}")
        if not np.isfinite(projection).all():
            raise ValueError("camera: projection holds NaN or infinity; expected finite px values")
        if projection[0, 0] <= 0 or projection[1, 1] <= 0:
            raise ValueError(
                f"camera: focal lengths must be positive, got fx={projection[0, 0]:g}, fy={projection[1, 1]:g}"
                " (uncalibrated?)"
            )
        if self.distortion_model not in DISTORTION_MODELS:
            raise ValueError(
                f"camera: distortion model must be one of {tuple(DISTORTION_MODELS)}, got '{self.distortion_model}'"
            )
        if not np.isfinite(distortion).all():
            raise ValueError("camera: distortion coefficients hold NaN or infinity")
        if len(distortion) not in DISTORTION_MODELS[self.distortion_model]:
            raise ValueError(
                f"camera: '{self.distortion_model}' has {DISTORTION_MODELS[self.distortion_model]} coefficients, "
                f"got {len(distortion)}"
            )
        projection.flags.writeable = distortion.flags.writeable = False
        object.__setattr__(self, "projection", projection)
        object.__setattr__(self, "distortion", distortion)

    @classmethod
    def from_focal(
        cls,
        width: int,
        height: int,
        focal: float | tuple[float, float] = OFFICIAL_FOCAL_LENGTH,
        center: tuple[float, float] | None = None,
    ) -> Camera:
        """Make a camera from its focal length; the default is the one of the official code for an unknown camera.

        Args:
            width: Px.
            height: Px.
            focal: Focal length, px: one number, or fx and fy.
            center: Principal point, px; None: the center of the image.

        Raises:
            ValueError: A value is impossible for a camera.
        """
        fx, fy = (focal, focal) if np.isscalar(focal) else focal  # type: ignore[misc]
        cx, cy = (width / 2, height / 2) if center is None else center
        return cls(width, height, np.array([[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0]], np.float64))

    @classmethod
    def from_matrix(
        cls, width: int, height: int, matrix: ArrayLike, distortion_model: str = "none", distortion: ArrayLike = ()
    ) -> Camera:
        """Make a camera from a camera matrix.

        Args:
            width: Px.
            height: Px.
            matrix: K (3, 3) or P (3, 4), px; can be flat.
            distortion_model: Of the raw image.
            distortion: Coefficients.

        Raises:
            ValueError: A value is impossible for a camera.
        """
        values = np.asarray(matrix, np.float64)
        if values.size not in (9, 12):
            raise ValueError(f"camera: matrix must hold 9 (K) or 12 (P) numbers, got {values.size}")
        values = values.reshape(3, -1)
        projection = np.zeros((3, 4))
        projection[:, : values.shape[1]] = values
        return cls(width, height, projection, distortion_model, np.asarray(distortion, np.float64))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """K, (3, 3) px."""
        return self.projection[:, :3]

    @property
    def focal(self) -> tuple[float, float]:
        """fx, fy in px."""
        return float(self.projection[0, 0]), float(self.projection[1, 1])

    @property
    def is_distorted(self) -> bool:
        """Whether the raw image has distortion."""
        return bool(np.any(self.distortion != 0))

    def scaled_to(self, width: int, height: int) -> Camera:
        """The same camera for a resized image (binning, a resize in the driver).

        Args:
            width: New width, px.
            height: New height, px.
        """
        if (width, height) == (self.width, self.height):
            return self
        scale = np.array([[width / self.width], [height / self.height], [1.0]])
        return replace(self, width=width, height=height, projection=self.projection * scale)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project points into the undistorted image.

        Args:
            points: (N, 3), m, optical frame. Points behind the camera give meaningless pixels.

        Returns:
            (N, 2) px.
        """
        values = np.asarray(points, np.float64)
        pixels = values @ self.projection[:, :3].T + self.projection[:, 3]
        return pixels[:, :2] / pixels[:, 2:]

    def unproject(self, pixels: NDArray[np.floating], depths: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `project`.

        Args:
            pixels: (N, 2) px of the undistorted image.
            depths: (N,) m: the third coordinate of projection @ (X, Y, Z, 1), as the official depth head predicts it. A
                translation in the last row of P is its difference from Z.

        Returns:
            (N, 3) m, optical frame.
        """
        p = self.projection
        uv, depth = np.asarray(pixels, np.float64), np.asarray(depths, np.float64)
        z = depth - p[2, 3]
        xy = (uv * depth[:, None] - p[:2, 3] - z[:, None] * p[:2, 2]) / (p[0, 0], p[1, 1])
        if p[0, 1]:
            xy[:, 0] -= p[0, 1] / p[0, 0] * xy[:, 1]
        return np.concatenate([xy, z[:, None]], axis=1)

    def undistort(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Remove the distortion.

        Args:
            pixels: (N, 2) px of the raw image.

        Returns:
            (N, 2) px of the undistorted image with the same projection.
        """
        values = np.asarray(pixels, np.float64).reshape(-1, 2)
        if not self.is_distorted or not len(values):
            return values.copy()
        import cv2

        k = np.ascontiguousarray(self.matrix)
        undistort = cv2.fisheye.undistortPoints if self.distortion_model == "equidistant" else cv2.undistortPoints
        ideal = np.asarray(undistort(values[:, None], k, self.distortion, P=k), np.float64)[:, 0]
        for _ in range(UNDISTORT_STEPS):  # OpenCV leaves some hundredths of a px where the distortion is strong
            ideal += values - self.distort(ideal)
        return ideal

    def distort(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `undistort`.

        Args:
            pixels: (N, 2) px of the undistorted image.

        Returns:
            (N, 2) px of the raw image.
        """
        values = np.asarray(pixels, np.float64).reshape(-1, 2)
        if not self.is_distorted or not len(values):
            return values.copy()
        import cv2

        k = np.ascontiguousarray(self.matrix)
        rays = np.linalg.solve(k, np.column_stack([values, np.ones(len(values))]).T).T
        if self.distortion_model == "equidistant":
            bent = cv2.fisheye.distortPoints(np.ascontiguousarray(rays[:, None, :2]), k, self.distortion)
        else:
            bent = cv2.projectPoints(rays[:, None], np.zeros(3), np.zeros(3), k, self.distortion)[0]
        return np.asarray(bent, np.float64)[:, 0]
