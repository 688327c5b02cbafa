"""What must travel with a set of weights: one small record, stored in the weights' own file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# The normalisation of every official checkpoint (BGR order, after division by 255).
OFFICIAL_MEAN = (0.40789654, 0.44719302, 0.47026115)
OFFICIAL_STD = (0.28863828, 0.27408164, 0.27809835)
VELOCITY_PARTS = 6  # channels of a velocity head that tells m since the previous image and m/s

ASSOCIATION_POINTS = ("official", "box")
RESIZE_MODES = ("fixed", "keep_aspect", "keep_resolution", "fix_short")


@dataclass(frozen=True)
class Thresholds:
    """Scores in 0..1 as the official options state them; `resolved` gives the ones in force.

    track  a track goes on with a detection above this
    out    a detection below this is not decoded
    pre    a tracklet above this is drawn into the prior heatmap
    new    an unmatched detection above this starts a track
    """

    track: float = 0.3
    out: float = -1.0
    pre: float = -1.0
    new: float = 0.3

    def resolved(self) -> Thresholds:
        """`track` is a floor under the other three, as in the official code."""
        return Thresholds(self.track, max(self.track, self.out), max(self.track, self.pre), max(self.track, self.new))


@dataclass(frozen=True)
class ModelProfile:
    """Facts that belong to the weights and to nothing else.

    name            what a user calls the model
    architecture    key into `network.build`: 'dla_34', 'mobilenetv3_centernet', …
    classes         class names in the order of the heatmap's channels
    heads           head name -> channels, in the official order (hm first)
    previous_image, prior_heatmap   whether the network has these stems
    input_height, input_width       nominal network input, px; multiples of 32
    resize          'fixed' (official: uniform scale by the longer side into exactly that input), 'keep_aspect' (the
                    longer side of the input is kept, the shorter follows the image, rounded up to 32),
                    'keep_resolution', 'fix_short'
    mean, std       of pixel * pixel_scale, in the channel order of `color_order`
    color_order     'bgr' or 'rgb': the order in which the network wants its channels
    pixel_scale     factor from 0..255 before the mean is subtracted (1/255 for official weights)
    thresholds      the scores that these weights were evaluated with
    trained_focal_length  px at network input size that depths belong to; None: no depth head, or unknown
    association_point  what moves by the displacement: 'official' (the peak's cell, with 3D heads the amodal centre) or
                    'box' (the box's middle, where the targets of training lie)
    velocity_per_frame  True: the velocity head tells metres since the previous image, from which the tracker makes m/s;
                    with 6 channels in two parts that add up, metres since the previous image and m/s, of which the
                    second is for what cannot be seen to move. False (official): m/s, at which a network can only guess
                    that is not told its frame rate
    trained_tracking  False while the tracking head is untrained (its displacement says nothing)
    max_detections  K of the top-K
    head_options    {'head_conv': 256, 'num_head_conv': 1, …}: what the architecture needs beside `heads`
    licence, source  of the weights
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
    mean: tuple[float, float, float] = OFFICIAL_MEAN
    std: tuple[float, float, float] = OFFICIAL_STD
    color_order: str = "bgr"
    pixel_scale: float = 1.0 / 255.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    trained_focal_length: float | None = None
    association_point: str = "official"
    velocity_per_frame: bool = False
    trained_tracking: bool = True
    max_detections: int = 100
    head_options: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    source: str = "unknown"

    down_ratio = 4  # input px per output-grid cell; the same for every CenterTrack network

    def __post_init__(self) -> None:
        if "hm" not in self.heads:
            raise ValueError(f"model profile '{self.name}': heads must hold 'hm', got {sorted(self.heads)}")
        if self.heads["hm"] != len(self.classes):
            raise ValueError(
                f"model profile '{self.name}': {len(self.classes)} class names "
                f"for a heatmap of {self.heads['hm']} channels"
            )
        if self.resize not in RESIZE_MODES:
            raise ValueError(f"model profile '{self.name}': resize must be one of {RESIZE_MODES}, got '{self.resize}'")
        if self.association_point not in ASSOCIATION_POINTS:
            raise ValueError(
                f"model profile '{self.name}': association_point must be one of {ASSOCIATION_POINTS}, "
                f"got '{self.association_point}'"
            )
        if self.heads.get("velocity") == VELOCITY_PARTS and not self.velocity_per_frame:
            raise ValueError(
                f"model profile '{self.name}': a velocity head of {VELOCITY_PARTS} channels needs velocity_per_frame"
            )
        if self.color_order not in ("bgr", "rgb"):
            raise ValueError(
                f"model profile '{self.name}': color_order must be 'bgr' or 'rgb', got '{self.color_order}'"
            )
        if self.input_height % 32 or self.input_width % 32:
            raise ValueError(
                f"model profile '{self.name}': input size must be multiples of 32, "
                f"got {self.input_height}x{self.input_width}"
            )

    def to_json(self) -> str:
        """One line of JSON, as stored in a safetensors file's metadata under 'profile'."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelProfile:
        """The inverse of `to_json`. Raises ValueError naming any key that is unknown or missing."""
        raw = json.loads(text)
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(raw) - known):
            raise ValueError(f"model profile has unknown fields: {', '.join(unknown)}")
        raw["thresholds"] = Thresholds(**raw.get("thresholds", {}))
        for key in ("classes", "mean", "std"):
            if key in raw:
                raw[key] = tuple(raw[key])
        try:
            return cls(**raw)
        except TypeError as error:
            raise ValueError(f"model profile is incomplete: {error}") from None
