# SPDX-License-Identifier: Apache-2.0
"""Depth cameras and LiDARs of the street in a bag: both tell the same distances, each in its own frame."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("panda3d")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.io.bag_transforms import read_transforms
from centertrack_ros.io.depth_decoding import depth_of
from centertrack_ros.io.point_decoding import points_of
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.stamps import nanoseconds
from centertrack_ros.synthetic.config import StreetConfig
from centertrack_ros.synthetic.street import Street

SIZE = ("256", "144")
OPTIONS = ("--seed", "3", "--frames", "2", "--size", "x".join(SIZE))


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    assert main(["street", str(folder), "--format", "bag", *OPTIONS, "--depth", "--points"]) == 0
    return folder / "train_000003"


def test_points_and_depths_of_a_bag_tell_the_same_distances(bag) -> None:
    with BagReader(bag) as reader:
        camera = next(iter(Street(StreetConfig(seed=3, frames=1, width=256, height=144)))).camera
        depths = [
            (nanoseconds(m.header.stamp), depth_of(m).depths)
            for _, m in reader.messages(["/cam_front/depth/compressedDepth"])
        ]
        clouds = [(m.header, points_of(m).points) for _, m in reader.messages(["/cam_front/points"])]
        kinds = [record.type for record in reader.records() if "/cam_front/" in record.topic]
    assert len(depths) == len(clouds) == 2
    transforms = read_transforms(bag)
    for (stamp, depth), (header, points) in zip(depths, clouds, strict=True):
        assert header.frame_id == "cam_front_lidar" and nanoseconds(header.stamp) == stamp
        assert points[:, 0].min() > 0, "a LiDAR looks along its x axis"
        seen = transforms.lookup("cam_front_optical", header.frame_id, stamp).points(points)
        pixels = np.floor(camera.project(seen)).astype(int)
        inside = ((pixels >= 0) & (pixels < (256, 144))).all(axis=1)
        across, down = pixels[inside].T
        told = depth[down, across]
        measured = told > 0
        assert measured.sum() > 1000
        relative = np.abs(seen[inside, 2][measured] / told[measured] - 1)
        assert np.median(relative) < 0.02
    order = [kind for kind in kinds if kind.endswith(("PointCloud2", "CompressedImage"))]
    assert order[-1].endswith("CompressedImage"), "an image comes after what belongs to it"
    [(_, truth)] = read_tracks(bag, "/truth").items()
    assert len(truth.frames) == 2


def test_sensors_change_no_pixel_and_equal_seeds_give_equal_measurements() -> None:
    plain, one, other = (
        next(iter(Street(StreetConfig(seed=3, frames=1, width=256, height=144, depth=on, points=on))))
        for on in (False, True, True)
    )
    assert plain.depth is None and plain.points is None and np.array_equal(plain.image, one.image)
    assert np.array_equal(one.depth.depths, other.depth.depths) and np.array_equal(one.points, other.points)
    missing = (one.depth.depths == 0).mean()
    assert 0.04 < missing < 0.9


def test_sensors_without_a_bag_are_one_sentence(tmp_path, capsys) -> None:
    assert main(["street", str(tmp_path), *OPTIONS, "--depth"]) == 1
    assert capsys.readouterr().err == "centertrack street: --depth and --points are for bags: add --format bag\n"
