# SPDX-License-Identifier: Apache-2.0
"""What simulated objects look like to cameras that expose differently, and a scene in which only looks can help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks import multi_camera_rig
from centertrack_ros.tracking import appearance
from centertrack_ros.tracking.multi_camera.records import CameraTracks

Color = Sequence[float]
# BGR: half of all is black, grey or white, as on streets.
PALETTE = (
    (40, 40, 45), (60, 60, 60), (110, 110, 110), (150, 150, 150), (200, 200, 200), (225, 225, 225),
    (40, 40, 160), (130, 70, 30), (60, 90, 50), (90, 120, 170),
)  # fmt: skip
SIGHTINGS = 8  # different ones of an object by a camera
GAIN_SIGMA = 0.4  # of the cameras, powers of 2


def painted(*colors: Color, stops: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """(N, SIZE) appearances of things in these colours (BGR), by a camera that exposes longer by `stops`."""
    random = np.random.default_rng(seed)
    image = np.full((60, 100 * len(colors), 3), 128.0)
    for index, color in enumerate(colors):
        image[:, 100 * index : 100 * index + 80] = color
        image[:18, 100 * index : 100 * index + 80] = 45  # windows, hair
    image = np.clip(image + random.normal(0, 6, image.shape), 0, 255) / 255
    exposed = 255 * np.clip(image**2.2 * 2**stops, 0, 1) ** (1 / 2.2)
    lefts = 100 * np.arange(len(colors))[:, None]
    return appearance.appearances(exposed.astype(np.uint8), np.hstack([lefts, 0 * lefts, lefts + 80, 0 * lefts + 60]))


def with_looks(observation: CameraTracks, looks: NDArray[np.float32]) -> CameraTracks:
    """The observation with what its tracks look like, (N, SIZE)."""
    stamps = np.where(observation.tracks.hits > 0, observation.stamp, observation.stamp - 0.1)
    return replace(observation, tracks=replace(observation.tracks, appearances=looks, appearance_stamps=stamps))


class SimulatedLooks:
    """Gives each object a colour of `PALETTE`, each camera a gain, and each sighting other light."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._gains = {name: self._random.normal() * GAIN_SIGMA for name in multi_camera_rig.MOUNTS}
        self._colors: dict[int, NDArray[np.float64]] = {}
        self._sightings: dict[tuple[int, str], NDArray[np.float32]] = {}

    def __call__(self, observation: CameraTracks, truth: Mapping[int, int]) -> CameraTracks:
        """The observation with looks; `truth` is local id -> number of the object."""
        looks = [self._look(truth[one], observation.camera) for one in observation.tracks.ids.tolist()]
        empty = np.zeros((0, appearance.SIZE), np.float32)
        return with_looks(observation, np.stack(looks) if looks else empty)

    def _look(self, number: int, camera: str) -> NDArray[np.float32]:
        random = self._random
        if number not in self._colors:
            self._colors[number] = np.clip(random.choice(PALETTE) + random.normal(0, 10, 3), 5, 245)
        if (number, camera) not in self._sightings:
            light = 1 + random.normal(0, 0.1, (SIGHTINGS, 1))
            colors = np.clip(self._colors[number] * light + random.normal(0, 6, (SIGHTINGS, 3)), 0, 255)
            seed = int(random.integers(2**31))
            self._sightings[number, camera] = painted(*colors.tolist(), stops=self._gains[camera], seed=seed)
        return self._sightings[number, camera][random.integers(SIGHTINGS)]


def crowd(seed: int) -> tuple[multi_camera_rig.Scene, float]:
    """A round between six groups of four people, who stand closer to each other than depths are known."""
    random = np.random.default_rng(seed)
    vehicle = multi_camera_rig.circling_drive(random.uniform(4, 6), random.uniform(9, 12))
    people = [
        multi_camera_rig.parked(4, multi_camera_rig.PEDESTRIAN, *(center + random.uniform(-1.2, 1.2, 2)))
        for angle in np.arange(0, 2 * np.pi, 2 * np.pi / 6) + random.uniform(0, 1)
        for center in [random.uniform(17, 22) * np.array([np.cos(angle), np.sin(angle)])]
        for _ in range(4)
    ]
    return multi_camera_rig.Scene(vehicle, tuple(people)), 16.0
