#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Would the network's own features tell people apart better than colours do? Do colours carry from camera to camera?

    python -m experiments.reidentification DATA [--weights W] [--jitter 0.05] [--track [--clips FOLDER]]

1. True boxes of PETS 2009 and MOT17, described by the network's features, by colours, and by both.
2. True boxes of nuScenes and DDAD that two cameras see at once, by colours (`tracking.multi_camera.looks`).
3. `--track`: the tracker with each description, its constants of evidence measured for it on PETS; with the clips
   people-walking.mp4 and dance.mp4 of FOLDER (see `experiments.quality`).

Features: the output of the backbone's last block at stride 8 (`BLOCK`), sampled bilinearly at a grid of `GRID` points
in the box, at unit length. Colours: `tracking.appearance`, as the tracker uses them. Both: the sum of the two
distances, each divided by its median between different people.

rank-1: of all people `gap` frames later the same person looks most alike. pairs: of two people who are at most two box
sizes apart the right pairing looks more alike than the exchanged one, which is what a tracker decides when people meet.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from centertrack_ros.datasets import dgp, nuscenes
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.engine.preprocess import normalisation_table, warp_and_normalise
from centertrack_ros.evaluation.tables import table
from centertrack_ros.geometry.boxes2d import sizes_of
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.network import checkpoints
from centertrack_ros.network.mobilenetv3 import MobileNetV3CenterNet
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import weights_path
from centertrack_ros.tracking.appearance import appearances, distances
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from experiments import appearance_tracking, real_frames

Floats = NDArray[np.float64]
BLOCK, STRIDE = 5, 8
# TensorFlow's padding puts the middle of what cell i of stride 8 sees at this px of the input, besides 8 i.
FIRST_CENTER = 7.5
GRID = (3, 6)  # columns, rows
GAPS = (5, 15, 30)
NEAR = 2.0  # box sizes
SAME_KEY = 0.3


@dataclass(frozen=True)
class Looks:
    """The people of one frame.

    Attributes:
        ids: (N,).
        boxes: (N, 4) px.
        colors: (N, D) of unit length.
        features: (N, F) of unit length.
    """

    ids: NDArray[np.int64]
    boxes: Floats
    colors: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class CameraBoxes:
    """What one camera sees at one time.

    Attributes:
        keys: (N, K) places in m, or ids: those of one object differ by less than `SAME_KEY`.
        class_ids: (N,).
        looks: (N, D) colours.
    """

    keys: Floats
    class_ids: NDArray[np.int64]
    looks: NDArray[np.float32]


class FeatureSampler:
    """Runs the backbone up to `BLOCK` and samples its output in boxes."""

    def __init__(self, network: MobileNetV3CenterNet, profile: ModelProfile) -> None:
        self._stem, self._blocks = network.stem, network.blocks[: BLOCK + 1]
        self._profile, self._table = profile, normalisation_table(profile)

    def __call__(self, image: NDArray[np.uint8], boxes: Floats) -> NDArray[np.float32]:
        """(N, F) of unit length, in boxes (N, 4) px of a BGR image."""
        placement = self._profile.place((image.shape[0], image.shape[1]))
        size = placement.input_size
        pixels = warp_and_normalise(image, placement.to_input, size, self._table, self._profile.color_order)
        with torch.inference_mode():
            x = self._stem(torch.from_numpy(pixels).permute(2, 0, 1)[None])
            for block in self._blocks:
                x, _ = block(x)
            points = _grid(boxes) @ placement.to_input[:, :2].T + placement.to_input[:, 2]
            cells = (points - FIRST_CENTER) / STRIDE
            ends = np.array([x.shape[3] - 1, x.shape[2] - 1])
            grid = torch.from_numpy((2 * cells / ends - 1).astype(np.float32))[None]
            found = torch.nn.functional.grid_sample(x, grid, align_corners=True, padding_mode="border")[0]
        flat = found.permute(1, 0, 2).reshape(len(boxes), -1).numpy()
        return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9), np.float32)


def _grid(boxes: Floats) -> Floats:
    """(N, points, 2) px: the middles of the cells of a `GRID` in boxes (N, 4)."""
    columns, rows = ((np.arange(count) + 0.5) / count for count in GRID)
    unit = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    return np.asarray(boxes[:, None, :2] + unit * (boxes[:, None, 2:] - boxes[:, None, :2]))


def look(sequence: VideoSequence, sampler: FeatureSampler, jitter: float = 0.0) -> dict[int, Looks]:
    """Frame number -> its people. The sides of the boxes move by `jitter` (standard deviation, part of the box)."""
    random, found = np.random.default_rng(0), {}
    for frame in sequence:
        considered = frame.flags.get("considered", np.ones(len(frame.tracks), bool))
        tracks = frame.tracks.select(np.flatnonzero(considered))
        boxes = np.asarray(tracks.detections.boxes, np.float64)
        extents = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        seen = boxes + jitter * extents * random.normal(size=boxes.shape)
        image = np.asarray(cv2.imread(str(frame.image)), np.uint8)
        found[frame.index] = Looks(tracks.ids, boxes, appearances(image, seen), sampler(image, seen))
    return found


def comparisons(looks: dict[int, Looks], gap: int) -> list[tuple[Looks, Looks]]:
    """Frames `gap` apart: the people who are in both, and all later ones."""
    found = []
    for index, now in looks.items():
        if index + gap in looks:
            later = looks[index + gap]
            rows = np.flatnonzero(np.isin(now.ids, later.ids))
            if len(rows):
                chosen = Looks(now.ids[rows], now.boxes[rows], now.colors[rows], now.features[rows])
                found.append((chosen, later))
    return found


def all_distances(pairs: Sequence[tuple[Looks, Looks]]) -> dict[str, list[Floats]]:
    """Name of a description -> (N, M) distances of each comparison; 'both' is their weighted sum."""
    found: dict[str, list[Floats]] = {
        "color": [1.0 - np.float64(first.colors @ later.colors.T) for first, later in pairs],
        "features": [1.0 - np.float64(first.features @ later.features.T) for first, later in pairs],
    }
    scales = {}
    for name, parts in found.items():
        others = [d[a.ids[:, None] != b.ids[None, :]] for d, (a, b) in zip(parts, pairs, strict=True)]
        scales[name] = float(np.median(np.concatenate(others)))
    found["both"] = [
        one / scales["color"] + two / scales["features"]
        for one, two in zip(found["color"], found["features"], strict=True)
    ]
    return found


def rank_1(pairs: Sequence[tuple[Looks, Looks]], distances: Sequence[Floats]) -> tuple[int, int]:
    """How many people were found again, of how many."""
    right = sum(int((b.ids[d.argmin(axis=1)] == a.ids).sum()) for d, (a, b) in zip(distances, pairs, strict=True))
    return right, sum(len(a.ids) for a, _ in pairs)


def right_pairs(pairs: Sequence[tuple[Looks, Looks]], distances: Sequence[Floats]) -> tuple[int, int]:
    """How many pairs of neighbours were not exchanged, of how many; neighbours later, where the tracker decides."""
    right = count = 0
    for table_, (first, later) in zip(distances, pairs, strict=True):
        columns = np.array([int(np.flatnonzero(later.ids == one)[0]) for one in first.ids])
        boxes = later.boxes[columns]
        centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, sizes_of(boxes)
        apart = np.hypot(*np.moveaxis(centers[:, None] - centers[None, :], -1, 0))
        one, two = np.nonzero(np.triu(apart < NEAR * np.sqrt(sizes[:, None] * sizes[None, :]), 1))
        kept = table_[one, columns[one]] + table_[two, columns[two]]
        exchanged = table_[one, columns[two]] + table_[two, columns[one]]
        right, count = right + int((kept < exchanged).sum()), count + len(one)
    return right, count


def rows(name: str, recordings: Sequence[VideoSequence], sampler: FeatureSampler, jitter: float) -> list[list[str]]:
    """The table's rows of one data set; frames without ground truth are left out."""
    looks = [look(replace(s, frames=tuple(f for f in s if len(f.tracks))), sampler, jitter) for s in recordings]
    lines = []
    for gap in GAPS:
        pairs = [pair for one in looks for pair in comparisons(one, gap)]
        if not pairs:
            continue
        for title, apart in all_distances(pairs).items():
            (found, people), (right, neighbours) = rank_1(pairs, apart), right_pairs(pairs, apart)
            shares = [f"{found / people:.3f}", f"{right / max(neighbours, 1):.3f}"]
            lines.append([name, str(gap), title, shares[0], str(people), shares[1], str(neighbours)])
    return lines


def camera_rows(data: Path) -> list[list[str]]:
    """How far one object and two of one class are apart in two cameras, by data set; boxes of 15 x 30 px and more."""
    groups: dict[str, list[list[CameraBoxes]]] = {}
    if (data / "nuscenes_sample_6cam").is_dir():
        sequences = nuscenes.read_sample_info(data / "nuscenes_sample_6cam" / "sample_info.json")
        groups["nuScenes"] = [[_camera_boxes(one.frames[0], by_place=True) for one in sequences]]
    for scene in dgp.find_scenes(data / "dgp_ddad") if (data / "dgp_ddad").is_dir() else []:
        moments = zip(*(sequence.frames for sequence in dgp.read_scene(scene)), strict=False)
        groups.setdefault("DDAD", []).extend([_camera_boxes(frame) for frame in frames] for frames in moments)
    lines = []
    for name, moments_ in groups.items():
        same, other = [np.zeros(0)], [np.zeros(0)]
        for first, second in (pair for cameras in moments_ for pair in combinations(cameras, 2)):
            found = distances(first.looks, second.looks)
            gaps = np.linalg.norm(first.keys[:, None] - second.keys[None, :], axis=2)
            same.append(found[gaps < SAME_KEY])
            other.append(found[(gaps >= SAME_KEY) & (first.class_ids[:, None] == second.class_ids)])
        parts = [np.concatenate(one) for one in (same, other)]
        cells = [f"{np.nanmedian(one):.3f}" for one in parts] + [f"{np.nanmean(one < 0.06):.2f}" for one in parts]
        lines.append([name, *(str(len(one)) for one in parts), *cells])
    return lines


def _camera_boxes(frame: AnnotatedFrame, by_place: bool = False) -> CameraBoxes:
    """The boxes of a frame; objects without ids of their own are told by their place."""
    image = np.asarray(cv2.imread(str(frame.image)), np.uint8)
    limits = [image.shape[1], image.shape[0]] * 2
    index, boxes3d = boxes3d_of_tracks(frame.tracks)
    to_world = Transform.identity() if frame.pose is None else Transform.from_matrix(frame.pose)
    centers = to_world.boxes(boxes3d).centers if by_place else None
    tracks = frame.tracks.select(index) if by_place else frame.tracks
    boxes = np.clip(tracks.detections.boxes, 0, limits)
    large = np.flatnonzero(((boxes[:, 2:] - boxes[:, :2]) >= (15, 30)).all(axis=1))
    keys = centers if centers is not None else tracks.ids[:, None].astype(np.float64)
    return CameraBoxes(keys[large], tracks.detections.class_ids[large], appearances(image, boxes[large]))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with pets09_s2l1 and mot17")
    parser.add_argument("--weights", default="")
    parser.add_argument("--jitter", type=float, default=0.0, help="of the boxes' sides, as a detector's are")
    parser.add_argument("--track", action="store_true", help="run the tracker with each description, too")
    parser.add_argument("--clips", type=Path, help="folder with people-walking.mp4 and dance.mp4, for --track")
    args = parser.parse_args()
    network, profile = checkpoints.load(weights_path(args.weights))
    if not isinstance(network, MobileNetV3CenterNet):
        parser.error(f"expected weights of a MobileNetV3, got {profile.architecture}")
    sampler = FeatureSampler(network.eval(), profile)
    lines: list[list[str]] = []
    with TemporaryDirectory() as folder:
        for name, sequences in real_frames.recordings(args.data, Path(folder)).items():
            lines += rows(name, sequences, sampler, args.jitter)
    heading = ["recordings", "frames later", "by", "rank-1", "people", "pairs", "pairs of neighbours"]
    print(table(heading, lines))
    heading = ["two cameras", "same", "others", "same: median", "others: median", "same < 0.06", "others < 0.06"]
    print(f"\n{table(heading, camera_rows(args.data))}")
    if args.track:
        print(f"\n{appearance_tracking.compare(args.data, args.clips, sampler)}")


if __name__ == "__main__":
    main()
