# SPDX-License-Identifier: Apache-2.0
"""Cameras beyond all measure: the covariances of their boxes are long and thin, and nothing may fall over them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from centertrack_ros.datasets.records import tracks_of
from centertrack_ros.geometry.boxes2d import sizes_of
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking import kalman
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.fused_motion import DisplacementNoise, correct, initialize, pair_terms
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import BoxMemory, Detections, VelocityFilters

WIDTH, HEIGHT = 640, 480
CLASSES = ("car", "person", "bicycle")
FOCALS = [10.0**power for power in range(10)]


def some_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes of all sizes from 0 px to more than the image."""
    middles = rng.uniform((0, 0), (WIDTH, HEIGHT), (count, 2))
    halves = np.exp(rng.uniform(-3, 6, (count, 2))) * (rng.random((count, 1)) > 0.2)
    return np.concatenate([middles - halves, middles + halves], axis=1)


@pytest.mark.parametrize("focal", FOCALS)
@pytest.mark.filterwarnings("error")
def test_the_merged_view_holds_with_any_camera(focal):
    rng = np.random.default_rng(int(np.log10(focal)))
    camera = Camera.from_focal(WIDTH, HEIGHT, focal)
    view = MultiCameraTracker(["left", "right"], CLASSES)
    lifter = SizePriorLifter(CLASSES, camera_height=1.5)
    memories = {name: BoxMemory() for name in ("left", "right")}
    filters = {name: VelocityFilters() for name in ("left", "right")}
    boxes, classes, rotation = some_boxes(rng, 12), rng.integers(0, 3, 12), Rotation.random(random_state=4).as_matrix()
    for frame in range(8):
        seen = boxes + rng.normal(0, 2, (12, 1))
        for number, name in enumerate(memories):
            stamp, pose = 0.1 * frame + 0.03 * number, Transform(rotation, np.array([0.3 * frame, number, 1.5]))
            tracks = tracks_of(np.arange(1, 13), classes, np.full(12, 0.7), seen)
            tracks, memories[name] = lifter.lift_tracks(tracks, camera, stamp, memories[name])
            tracks, filters[name] = filter_velocities(filters[name], tracks, pose, stamp)
            fused = view.step([CameraTracks(name, stamp, tracks, pose)])
            assert len(set(fused.tracks.ids)) == len(fused.tracks.ids) >= 12
            assert np.isfinite(fused.tracks.boxes.centers).all()
    assert np.isfinite(filters["left"].covariances).all()


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1.0])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_filters_of_long_thin_covariances_stay_covariances(dimensions, noise):
    rng, zeros = np.random.default_rng(dimensions), np.zeros((20, dimensions))
    long = rng.normal(size=(20, dimensions, 1)) * 10.0 ** rng.uniform(0, 8, (20, 1, 1))
    thin, measured = long @ long.swapaxes(1, 2), np.tile(noise * np.eye(dimensions), (20, 1, 1))
    means, covariances = kalman.initialize(zeros, thin, zeros, 10.0)
    for _ in range(5):
        means, covariances = kalman.predict(means, covariances, 0.1, 3.0)
        means, covariances = kalman.correct(means, covariances, means[:, :dimensions] + 1, measured)
        eigenvalues = np.linalg.eigvalsh(covariances)
        assert (eigenvalues >= -1e-9 * eigenvalues.max(axis=1, keepdims=True)).all()
    assert (kalman.squared_distances(zeros + 1, thin) >= 0).all()
    assert np.isfinite(kalman.squared_distances(zeros + 1, 0 * thin)).all()


@pytest.mark.parametrize("step", [0.0, 1e-9, 0.1, 1e6])
@pytest.mark.filterwarnings("error")
def test_motion_in_the_image_holds_with_boxes_of_no_size(step):
    rng = np.random.default_rng(1)
    first, second = (Detections.from_boxes(some_boxes(rng, 30)) for _ in range(2))
    for noise in (DisplacementNoise(), DisplacementNoise(0.0, 0.0), DisplacementNoise(6.0, 0.3)):
        filters, sizes = initialize(first, step, noise), sizes_of(first.boxes)
        terms = pair_terms(filters, sizes, step, second, noise)
        assert np.isfinite(terms.squares).all() and np.isfinite(terms.log_determinants).all()
        for _ in range(5):
            filters = correct(filters, sizes, step, second, noise)
            assert all(np.isfinite(part).all() for part in filters)
            assert (np.diagonal(filters[1], axis1=1, axis2=2) >= 0).all()
