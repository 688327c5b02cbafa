# SPDX-License-Identifier: Apache-2.0
"""The model profile: a small record that is stored in the file of the weights and travels with them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from centertrack_ros.geometry.affine import LARGEST_INPUT, Placement, place
from centertrack_ros.typed_records import construct, shown

# Normalization of every official checkpoint (BGR order, after division by 255).
OFFICIAL_MEAN = (0.40789654, 0.44719302, 0.47026115)
OFFICIAL_STD = (0.28863828, 0.27408164, 0.27809835)
VELOCITY_PARTS = 6  # channels of a velocity head with two parts: m since the previous image, and m/s

ASSOCIATION_POINTS = ("official", "box")
PRECISIONS = ("bf16", "fp16")  # besides float32, in which every network runs
RESIZE_MODES = ("fixed", "keep_aspect", "budget", "keep_resolution", "fix_short")
SMALLEST_BUDGET, LARGEST_BUDGET = 64 * 64, 4096 * 4096  # px of an input
MOST_CHANNELS, MOST_DETECTIONS = 65536, 10_000  # beyond, memory would end before an error


@dataclass(frozen=True)
class Thresholds:
    """Scores in 0..1 as in the official options; `resolved` gives the effective ones.

    Attributes:
        track: A detection above this continues a track.
        out: A detection below this is not decoded.
        pre: A tracklet above this is drawn into the prior heatmap.
        new: An unmatched detection above this starts a track.
    """

    track: float = 0.3
    out: float = -1.0
    pre: float = -1.0
    new: float = 0.3

    def resolved(self) -> Thresholds:
        """The effective thresholds: `track` is the minimum of the other three, as in the official code."""
        return Thresholds(self.track, max(self.track, self.out), max(self.track, self.pre), max(self.track, self.new))


@dataclass(frozen=True)
class PrecisionCheck:
    """What was measured before a set of weights may run in a lower precision.

    Attributes:
        command: Repeats the measurement.
        figures: Name of a figure -> (in float32, in the lower precision).
    """

    command: str
    figures: Mapping[str, tuple[float, float]]

    def __str__(self) -> str:
        return ", ".join(f"{name} {lower:g} ({exact:g} in float32)" for name, (exact, lower) in self.figures.items())


def _leaves(value: Any) -> list[Any]:
    """What lists and mappings in a value hold in the end."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
        else:
            found.append(one)
    return found


@dataclass(frozen=True)
class ModelProfile:
    """The properties of a set of weights.

    Attributes:
        name: Name of the model.
        architecture: Key of `registry.ARCHITECTURES`: 'dla_34', 'mobilenetv3_centernet', …
        classes: Class names in the order of the heatmap's channels.
        heads: Head name -> channels, in the official order (hm first).
        previous_image: Whether the network has a stem for the previous image.
        prior_heatmap: Whether the network has a stem for the prior heatmap.
        input_height: Nominal height of the network input, px, a multiple of 32.
        input_width: Nominal width of the network input, px, a multiple of 32.
        resize: How an image is scaled into the input, see `geometry.affine.place`: 'fixed' (official), 'keep_aspect',
            'budget', 'keep_resolution' or 'fix_short'.
        input_pixels: Px of the input for resize 'budget'; 0: as many as the nominal input has.
        mean: Of pixel * pixel_scale, in the channel order of `color_order`.
        std: Of pixel * pixel_scale, in the channel order of `color_order`.
        color_order: Channel order of the network input, 'bgr' or 'rgb'.
        pixel_scale: Factor on pixel values 0..255 before the mean is subtracted (1/255 for official weights).
        thresholds: The scores with which these weights were evaluated.
        trained_focal_length: Focal length at network input size that depths belong to, px; None: no depth head, or
            unknown.
        association_point: The point that the displacement moves: 'official' (the peak's cell, with 3D heads the amodal
            center) or 'box' (the center of the box, where the training targets lie).
        velocity_per_frame: Unit of the velocity head. True: metres since the previous image, which the tracker converts
            to m/s; with 6 channels, the sum of a part in metres since the previous image and a part in m/s for objects
            whose motion is not visible. False (official): m/s.
        trained_tracking: False while the tracking head is untrained and its displacements are meaningless.
        displacement_noise: How far displacements of `trained_tracking` are off, on each axis: standard deviation of an
            object at rest, px of the network's input, and a part of the displacement's length. Motion 'fused' weighs
            them by it. None: unknown. `experiments.motion_noise` measures it.
        box_bias: Class -> width and height of the model's boxes, relative to what the objects' 3D boxes cover in the
            image, and the relative standard deviation of both. Distances by size are corrected by it. Classes that are
            not in it: boxes are taken as they are, with the usual noise of detectors. `experiments.distances` and
            `experiments.box_noise` measure it.
        max_detections: K of the top K.
        head_options: Further options of the architecture: {'head_conv': 256, 'num_head_conv': 1, …}.
        class_groups: Names of classes that can be the same object, one list for each group; None: those of
            `network.class_groups`.
        verified_precisions: Precision of `PRECISIONS` -> what was measured. Engine 'auto' uses such a precision where
            the CPU ('bf16') or a GPU ('fp16') has it; weights without an entry stay in float32.
        licence: Of the weights.
        source: Of the weights.

    Raises:
        ValueError: Fields that do not fit together.
    """

    name: str
    architecture: str
    classes: tuple[str, ...]
    heads: Mapping[str, int]
    previous_image: bool = True
    prior_heatmap: bool = True
    input_height: int = 512
    input_width: int = 512
    resize: str = "fixed"
    input_pixels: int = 0
    mean: tuple[float, float, float] = OFFICIAL_MEAN
    std: tuple[float, float, float] = OFFICIAL_STD
    color_order: str = "bgr"
    pixel_scale: float = 1.0 / 255.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    trained_focal_length: float | None = None
    association_point: str = "official"
    velocity_per_frame: bool = False
    trained_tracking: bool = True
    displacement_noise: tuple[float, float] | None = None
    box_bias: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    max_detections: int = 100
    head_options: Mapping[str, Any] = field(default_factory=dict)
    class_groups: tuple[tuple[str, ...], ...] | None = None
    verified_precisions: Mapping[str, PrecisionCheck] = field(default_factory=dict)
    licence: str = "unknown"
    source: str = "unknown"

    down_ratio: ClassVar[int] = 4  # input px per output-grid cell, the same for every CenterTrack network

    def __post_init__(self) -> None:
        if "hm" not in self.heads:
            raise ValueError(f"{self._where}: heads must hold 'hm', got {shown(sorted(self.heads))}")
        if self.heads["hm"] != len(self.classes):
            raise ValueError(
                f"{self._where}: {len(self.classes)} class names for a heatmap of {self.heads['hm']} channels"
            )
        self._check_sizes()
        self._check_box_bias()
        if self.resize not in RESIZE_MODES:
            raise ValueError(f"{self._where}: resize must be one of {RESIZE_MODES}, got {shown(self.resize)}")
        if self.association_point not in ASSOCIATION_POINTS:
            raise ValueError(
                f"{self._where}: association_point must be one of {ASSOCIATION_POINTS}, "
                f"got {shown(self.association_point)}"
            )
        if self.heads.get("velocity") == VELOCITY_PARTS and not self.velocity_per_frame:
            raise ValueError(f"{self._where}: a velocity head of {VELOCITY_PARTS} channels needs velocity_per_frame")
        if self.color_order not in ("bgr", "rgb"):
            raise ValueError(f"{self._where}: color_order must be 'bgr' or 'rgb', got {shown(self.color_order)}")
        for precision, check in self.verified_precisions.items():
            if precision not in PRECISIONS:
                raise ValueError(
                    f"{self._where}: verified_precisions must name some of {', '.join(PRECISIONS)}, "
                    f"got {shown(precision)}"
                )
            if not check.figures or not check.command.strip():
                raise ValueError(f"{self._where}: verified_precisions: {precision} needs figures and their command")

    def _check_sizes(self) -> None:
        """Raises ValueError for an input, heads or a number of detections that no network has."""
        for side in (self.input_height, self.input_width):
            if side % 32 or not 0 < side <= LARGEST_INPUT:
                raise ValueError(
                    f"{self._where}: input size must be multiples of 32 up to {LARGEST_INPUT}, "
                    f"got {self.input_height}x{self.input_width}"
                )
        if self.input_pixels and not SMALLEST_BUDGET <= self.input_pixels <= LARGEST_BUDGET:
            raise ValueError(
                f"{self._where}: input_pixels must be 0 or from {SMALLEST_BUDGET} to {LARGEST_BUDGET} px, "
                f"got {self.input_pixels}"
            )
        if self.displacement_noise is not None and not all(0 <= value < math.inf for value in self.displacement_noise):
            raise ValueError(
                f"{self._where}: displacement_noise must be two numbers from 0 on, got {shown(self.displacement_noise)}"
            )
        for head, channels in self.heads.items():
            if not 1 <= channels <= MOST_CHANNELS:
                raise ValueError(f"{self._where}: head '{head}' cannot have {channels} channels")
        if not 1 <= self.max_detections <= MOST_DETECTIONS:
            raise ValueError(
                f"{self._where}: max_detections must be from 1 to {MOST_DETECTIONS}, got {self.max_detections}"
            )
        for name, option in self.head_options.items():
            if not all(isinstance(one, int) and 0 <= one <= MOST_CHANNELS for one in _leaves(option)):
                raise ValueError(f"{self._where}: head option '{name}' cannot be {shown(option)}")

    def _check_box_bias(self) -> None:
        for name, bias in self.box_bias.items():
            if not (all(0.2 <= value <= 5 for value in bias[:2]) and 0 <= bias[2] <= 1):
                raise ValueError(
                    f"{self._where}: box_bias of '{name[:40]}' must be relative width and height from 0.2 to 5 and a "
                    f"standard deviation from 0 to 1, got {shown(bias)}"
                )

    @property
    def _where(self) -> str:
        return f"model profile '{self.name[:60]}'"

    def to_json(self) -> str:
        """One line of JSON, as stored in a safetensors file's metadata under 'profile'."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str = "model profile") -> ModelProfile:
        """The inverse of `to_json`.

        Args:
            text: JSON of one profile.
            where: Begins each message; names the file.

        Raises:
            ValueError: It is not JSON, a key is unknown or missing, or a field has an invalid value; the message names
                the key.
        """
        try:
            raw = json.loads(text)
        except RecursionError:
            raise ValueError(f"{where} is not JSON: it is nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"{where} is not JSON ({str(error)[:120]})") from None
        if not isinstance(raw, dict):
            raise ValueError(f"{where} must be a JSON object, got {shown(raw)}")
        if unknown := sorted(set(raw) - set(cls.__dataclass_fields__)):
            raise ValueError(f"{where} has unknown fields: {', '.join(name[:60] for name in unknown[:5])}")
        return construct(cls, raw, where)

    def with_input_size(self, width: int, height: int) -> ModelProfile:
        """The same profile for exactly this network input, with resize 'fixed'.

        Args:
            width: Px, a multiple of 32.
            height: Px, a multiple of 32.

        Raises:
            ValueError: A size that is not a multiple of 32.
        """
        return replace(self, input_width=width, input_height=height, resize="fixed")

    def with_input_pixels(self, pixels: int) -> ModelProfile:
        """The same profile for an input of about this many px in each image's own aspect (resize 'budget').

        Args:
            pixels: Of the input.

        Raises:
            ValueError: A number of px that no input has; or the model has a depth head, whose depths belong to the
                scale of its nominal input.
        """
        if "dep" in self.heads:
            raise ValueError(
                f"{self._where}: its depths belong to an input of {self.input_width}x{self.input_height} px; "
                "another number of input pixels is for models without a depth head"
            )
        changed = replace(self, input_pixels=pixels, resize="budget")
        if not pixels:
            raise ValueError(f"{self._where}: input_pixels must be at least {SMALLEST_BUDGET} px, got {pixels}")
        return changed

    def place(self, image_size: tuple[int, int]) -> Placement:
        """Where an image lies in the network input.

        Args:
            image_size: (height, width) px.

        Raises:
            ValueError: The image is empty.
        """
        nominal = (self.input_height, self.input_width)
        return place(image_size, nominal, self.resize, self.down_ratio, self.input_pixels)

    @property
    def input_text(self) -> str:
        """The size of the network input, as logs state it."""
        if self.resize == "budget":
            return f"{self.input_pixels or self.input_width * self.input_height} px in the image's aspect"
        return f"{self.input_width}x{self.input_height}"


def stored_profile(path: Path) -> ModelProfile | None:
    """The profile in a file of weights, read without torch; None where `checkpoints.load` finds it or says why not.

    Args:
        path: A safetensors file, or any other.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            return ModelProfile.from_json((file.metadata() or {})["profile"])
    except (SafetensorError, KeyError, ValueError, OSError):
        return None
