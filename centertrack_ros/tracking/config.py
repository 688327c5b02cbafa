"""Everything that a user may choose about tracking, apart from the weights."""

from __future__ import annotations

from dataclasses import dataclass

ASSOCIATIONS = ("greedy", "hungarian")
LIFTS = ("auto", "heads", "size_prior", "none")


@dataclass(frozen=True)
class TrackerConfig:
    """How detections become tracks. Scores in 0..1; None takes the value from the model profile's `thresholds`.

    association   'greedy' (the paper) or 'hungarian'
    max_age       frames a track lives without a detection, plus 1; -1 drops it at once (official default)
    rebirth       seconds within which a lost track may be found again (the paper's rebirth, in time instead of frames); 0: off.
                  The longer of `max_age` and `rebirth` counts
    max_gap_s     a longer pause between two frames resets the tracks
    classes       names of the classes that are kept; empty: all
    lift          'auto' (heads if the model has them, else size priors when the camera is known), 'heads', 'size_prior', 'none'
    zero_tracking  ignore the network's displacement
    depth_scale, correct_focal_length   factor on depths; correction of depth by the focal length (design page 3.4)
    """

    track_threshold: float | None = None
    out_threshold: float | None = None
    pre_threshold: float | None = None
    new_threshold: float | None = None
    association: str = "greedy"
    max_age: int = -1
    rebirth: float = 0.0
    max_gap_s: float = 1.0
    classes: tuple[str, ...] = ()
    lift: str = "auto"
    zero_tracking: bool = False
    depth_scale: float = 1.0
    correct_focal_length: bool = False

    def __post_init__(self) -> None:
        if self.association not in ASSOCIATIONS:
            raise ValueError(f"association must be one of {ASSOCIATIONS}, got '{self.association}'")
        if self.lift not in LIFTS:
            raise ValueError(f"lift must be one of {LIFTS}, got '{self.lift}'")
        for name in ("track_threshold", "out_threshold", "pre_threshold", "new_threshold"):
            value = getattr(self, name)
            if value is not None and not -1.0 <= value <= 1.0:
                raise ValueError(f"{name} must be between -1 and 1, got {value}")
