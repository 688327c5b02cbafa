# SPDX-License-Identifier: Apache-2.0
"""The true depths of the street: those of its road users, of the ground, and of meshes of known shape."""

import numpy as np
import pytest

from centertrack_ros.synthetic.depth import draw_depths

pytest.importorskip("panda3d")


def test_a_slanted_triangle_has_the_depth_of_its_plane_everywhere() -> None:
    corners = np.array([[[-4.0, -3, 8], [4, -3, 12], [0, 4, 10]]])
    inverse = np.zeros((120, 160), np.float32)
    draw_depths(inverse, corners, 100.0)
    rows, columns = np.nonzero(inverse)
    assert len(rows) > 2000
    normal = np.cross(corners[0, 1] - corners[0, 0], corners[0, 2] - corners[0, 0])
    rays = np.stack([(columns + 0.5 - 80) / 100, (rows + 0.5 - 60) / 100, np.ones(len(rows))], axis=1)
    np.testing.assert_allclose(1 / inverse[rows, columns], normal @ corners[0, 0] / (rays @ normal), rtol=1e-4)


def test_the_nearer_of_two_triangles_is_seen_in_whatever_order() -> None:
    near, far = (np.array([[-1.0, -1, z], [1, -1, z], [0, 1, z]]) for z in (2.0, 5.0))
    for order in ([near, far], [far, near]):
        inverse = np.zeros((60, 80), np.float32)
        draw_depths(inverse, np.array(order), 40.0)
        assert 1 / inverse[30, 40] == pytest.approx(2.0)


def test_road_users_stand_where_their_depths_say() -> None:
    from centertrack_ros.synthetic.config import StreetConfig
    from centertrack_ros.synthetic.renderer import Renderer
    from centertrack_ros.synthetic.street import Scene

    config = StreetConfig(seed=3, frames=1, width=256, height=144)
    with Renderer.acquire(config.width, config.height, config.supersampling) as renderer:
        frame = next(iter(Scene(config, renderer).frames()))
        depths = renderer.depths(frame.pose[:3, :3], frame.pose[:3, 3], frame.camera.focal[0])
    assert depths.shape == (144, 256) and (depths > 0).all()
    clear = np.flatnonzero(frame.clear(0.8, 12) & (frame.truncation < 0.05))
    assert len(clear)
    for box, middle, size in zip(
        frame.tracks.detections.boxes[clear],
        frame.tracks.detections.depths[clear],
        frame.tracks.detections.dimensions[clear],
        strict=True,
    ):
        x, y = ((box[:2] + box[2:]) / 2).astype(int)
        assert abs(np.median(depths[y - 1 : y + 2, x]) - middle) <= 0.6 * np.hypot(*size[1:])
