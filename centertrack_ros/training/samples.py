# SPDX-License-Identifier: Apache-2.0
"""Training samples from annotated images, and their order: both are functions of a seed and a number."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from centertrack_ros.geometry.affine import transform
from centertrack_ros.geometry.gaussian import render
from centertrack_ros.io.image_files import read_image
from centertrack_ros.network.profile import VELOCITY_PARTS, ModelProfile
from centertrack_ros.training.annotations import AnnotatedImage, TrainingImages
from centertrack_ros.training.augmentation import (
    Augmentation,
    Crop,
    jittered,
    mapped_boxes,
    mirrored_alpha,
    noisy_prior,
    random_crop,
    vary_color,
)
from centertrack_ros.training.joints import mirrored_joints
from centertrack_ros.training.targets import GridObjects, make_targets, static_targets

Array = NDArray[Any]
RETRIES = 20  # other images tried in place of one that cannot be read


@dataclass(frozen=True)
class Draw:
    """Which sample: the image's number, and the seeds of its randomness."""

    index: int
    seeds: tuple[int, ...]


class TrackingSamples(Dataset[dict[str, torch.Tensor]]):
    """Samples of one or more sources for one model.

    A sample has image and previous, (H, W, 3) bytes in the model's order of colours, for `normalised`; prior
    (1, H, W); the arrays of `make_targets` and, drawn last, of `static_targets`; and 'skipped', the number of
    unreadable images that were passed over for it.
    """

    def __init__(
        self,
        sources: Sequence[TrainingImages],
        profile: ModelProfile,
        augmentation: Augmentation,
        max_objects: int = 128,
        static: bool = False,
    ) -> None:
        """Index the images.

        Args:
            sources: Each has its own videos.
            profile: Of the model; its input size is that of the samples.
            augmentation: How images vary.
            max_objects: Slots K of the targets.
            static: Give every image only itself as previous frame.

        Raises:
            ValueError: There are no images.
        """
        self.profile, self.augmentation, self.max_objects, self.static = profile, augmentation, max_objects, static
        self.images = [image for source in sources for image in source.images]
        self._unlabelled = [source.unlabelled for source in sources for _ in source.images]
        self._videos: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        place = 0
        self._keys: list[tuple[int, int] | None] = []
        for number, source in enumerate(sources):
            for image in source.images:
                key = (number, image.video) if image.video >= 0 else None
                self._keys.append(key)
                if key is not None:
                    self._videos[key][image.frame] = place
                place += 1
        if not self.images:
            raise ValueError("training data: no images in any of the sources")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw | int) -> dict[str, torch.Tensor]:
        chosen = Draw(draw, (0, draw)) if isinstance(draw, int) else draw
        for attempt in range(RETRIES):
            index = (chosen.index + attempt) % len(self)
            sample = self._sample(index, np.random.default_rng(chosen.seeds))
            if sample is not None:
                sample["skipped"] = np.array(attempt, np.int64)
                return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in sample.items()}
        raise FileNotFoundError(
            f"{self.images[chosen.index].path} and the {RETRIES - 1} images after it cannot be read, or are not of the "
            "size that their annotations say"
        )

    def previous_of(self, index: int, rng: np.random.Generator) -> int:
        """The image that serves as the previous frame; itself for a static image."""
        key = self._keys[index]
        if key is None or self.static:
            return index
        frames, frame = self._videos[key], self.images[index].frame
        reach = self.augmentation.max_frame_distance
        if not reach:
            return frames.get(frame - 1, index)
        latest = reach if self.augmentation.backwards else 1
        near = [frames[frame + step] for step in range(1 - reach, latest) if frame + step in frames]
        return int(rng.choice(near))

    def _sample(self, index: int, rng: np.random.Generator) -> dict[str, Array] | None:
        how, image = self.augmentation, self.images[index]
        other = self.previous_of(index, rng)
        previous = self.images[other]
        pixels = read_image(image.path)
        before = pixels if other == index else read_image(previous.path)
        if pixels is None or before is None:
            return None
        if pixels.shape[:2] != image.size or before.shape[:2] != previous.size:
            return None  # the annotations belong to another image
        crop = random_crop(rng, pixels.shape[:2], how)
        same = how.same_crop and (other != index or not how.crop)
        previous_crop = crop if same else jittered(rng, crop, how)
        size = (self.profile.input_height, self.profile.input_width)
        prior = noisy_prior(rng, mapped_boxes(previous_crop.affine(size), previous.boxes), size, how)
        objects = self._objects(image, previous, crop, prior.centers, self._unlabelled[index])
        grid = (size[0] // self.profile.down_ratio, size[1] // self.profile.down_ratio)
        shown = pixels.shape[:2] if other == index else (0, 0)
        return {
            "image": self._input(rng, pixels, crop, size),
            "previous": self._input(rng, before, previous_crop, size),
            "prior": render(prior.peaks, size)[None],
            **make_targets(objects, self.profile.heads, grid, self.max_objects),
            **static_targets(rng, crop.affine(grid), previous_crop.affine(grid), grid, shown),
        }

    def _input(
        self, rng: np.random.Generator, pixels: NDArray[np.uint8], crop: Crop, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        warped = cv2.warpAffine(pixels, crop.affine(size), (size[1], size[0]), flags=cv2.INTER_LINEAR)
        varied = vary_color(rng, np.asarray(warped, np.uint8), self.augmentation)
        if self.profile.color_order == "rgb":
            return np.asarray(cv2.cvtColor(varied, cv2.COLOR_BGR2RGB), np.uint8)
        return varied

    def _objects(
        self, image: AnnotatedImage, previous: AnnotatedImage, crop: Crop, centers: Array, unlabelled: Array
    ) -> GridObjects:
        profile = self.profile
        grid = (profile.input_height // profile.down_ratio, profile.input_width // profile.down_ratio)
        affine = crop.affine(grid)
        row_of = {int(track): row for row, track in enumerate(previous.track_ids)}
        rows = [row_of.get(int(track), -1) for track in image.track_ids]
        previous_centers = [[np.nan, np.nan] if row < 0 else centers[row] / profile.down_ratio for row in rows]
        # A smaller crop makes everything look nearer; a camera with another focal length does the same.
        depth_factor = crop.zoom
        if image.focal and profile.trained_focal_length:
            depth_factor = profile.trained_focal_length / (
                image.focal * abs(float(crop.affine((profile.input_height, profile.input_width))[0, 0]))
            )
        alphas = image.alphas
        return GridObjects(
            boxes=mapped_boxes(affine, image.boxes),
            class_ids=image.class_ids,
            previous_centers=np.array(previous_centers).reshape(-1, 2),
            depths=None if image.depths is None else image.depths * depth_factor,
            dimensions=image.dimensions,
            alphas=mirrored_alpha(alphas) if crop.mirrored and alphas is not None else alphas,
            amodal_centers=None if image.amodal_centers is None else transform(affine, image.amodal_centers),
            velocities=self._velocities(image, previous, crop.mirrored),
            interval=image.stamp - previous.stamp if previous is not image else math.nan,
            joints=_mapped_joints(affine, image.joints, crop.mirrored)
            if image.joints is not None and "hps" in profile.heads
            else None,
            ignored=mapped_boxes(affine, image.ignored) if len(image.ignored) else None,
            unlabelled=unlabelled,
        )

    def _velocities(self, image: AnnotatedImage, previous: AnnotatedImage, mirrored: bool) -> Array | None:
        """(N, 3), camera axes: m/s or, if the profile says so, m since the previous image."""
        if image.velocities is None or (mirrored and not self.augmentation.mirrored_velocity):
            return None
        velocities = image.velocities * np.array([-1.0 if mirrored else 1.0, 1.0, 1.0])
        if not self.profile.velocity_per_frame or self.profile.heads["velocity"] == VELOCITY_PARTS:
            return velocities
        return velocities * (0.0 if previous is image else image.stamp - previous.stamp)


def _mapped_joints(affine: Array, joints: Array, mirrored: bool) -> Array:
    """(N, J, 3) in px of the map's target; a left hand is a right one in the mirror."""
    placed = np.concatenate([transform(affine, joints[..., :2]), joints[..., 2:]], axis=2)
    return mirrored_joints(placed) if mirrored else placed


def normalised(images: torch.Tensor, profile: ModelProfile) -> torch.Tensor:
    """The network's input (B, 3, H, W) float32 from a batch of samples' bytes (B, H, W, 3).

    Computed on the network's device and not by the processes that load the data: it would be most of their work.
    """
    scale = np.float32(profile.pixel_scale) / np.asarray(profile.std, np.float32)
    shift = -np.asarray(profile.mean, np.float32) / np.asarray(profile.std, np.float32)
    factors, offsets = (torch.from_numpy(v).to(images.device)[None, :, None, None] for v in (scale, shift))
    return images.permute(0, 3, 1, 2).float() * factors + offsets  # channels last in memory, as bytes are


class ResumableBatches(Sampler[list[Draw]]):
    """Batches as a function of their number alone, so that training can resume at any of them.

    The draws of batch k of rank r depend on k and r only. One epoch has `steps` batches.
    """

    def __init__(
        self,
        weights: Array,
        batch: int,
        steps: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        """Define the order.

        Args:
            weights: (N,) whole numbers, how often each image is drawn per round.
            batch: Draws per batch.
            steps: Batches per epoch.
            seed: Of the order and of the samples.
            rank: Of this process.
            ranks: Number of processes.
            position: Returns the number of the next batch when an epoch starts.

        Raises:
            ValueError: All weights are 0.
        """
        self._entries = np.repeat(np.arange(len(weights)), np.asarray(weights, np.int64))
        self.batch, self.steps, self.seed, self.rank, self.ranks, self.position = (
            batch,
            steps,
            seed,
            rank,
            ranks,
            position,
        )
        self._round: tuple[int, Array] = (-1, self._entries)
        if not len(self._entries):
            raise ValueError("training data: every image has weight 0")

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Draw]]:
        first = self.position()
        for number in range(first, (first // self.steps + 1) * self.steps):
            yield self.batch_at(number)

    def batch_at(self, number: int) -> list[Draw]:
        """The draws of batch `number` of this rank."""
        start = (number * self.ranks + self.rank) * self.batch
        return [Draw(self._index(place), (self.seed, place)) for place in range(start, start + self.batch)]

    def _index(self, place: int) -> int:
        turn, offset = divmod(place, len(self._entries))
        if self._round[0] != turn:
            self._round = (turn, np.random.default_rng((self.seed, 1, turn)).permutation(self._entries))
        return int(self._round[1][offset])
