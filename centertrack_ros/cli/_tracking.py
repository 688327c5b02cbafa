"""Command line options about the network and the tracking, for every verb that tracks."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from centertrack_ros.engine.base import Engine
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.config import ASSOCIATIONS, LIFTS, MOTIONS, TrackerConfig

# What is sound for a small detector. Boxes of two people in one, which come and go in a crowd, are kept off by their
# size; a lost track competes with live ones, since it is expected where it should come out from behind them.
# `config/demo.yaml` says the same to the node.
_SMALL_DETECTOR: dict[str, Any] = {
    "association": "hungarian",
    "max_size_ratio": 2.0,
    "rebirth": 2.0,
    "duplicate_iou": 0.7,
}
WITH_DISPLACEMENT: dict[str, Any] = {**_SMALL_DETECTOR, "propagate_lost": True, "correct_focal_length": True}
# For a model that has learnt no displacements: a Kalman filter says where a track is expected.
WITHOUT_DISPLACEMENT: dict[str, Any] = {**_SMALL_DETECTOR, "motion": "kalman", "new_threshold": 0.45}


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--weights", metavar="FILE", help="checkpoint; the embedded COCO model otherwise")
    group.add_argument("--engine", default="auto", help="what runs it")
    group.add_argument("--device", default="auto", help="where: auto, cpu, cuda, cuda:1, …")
    group.add_argument("--threads", type=int, help="CPU threads")
    group.add_argument("--input-size", type=_size, metavar="WxH", help="network input, px, multiples of 32")


def add_tracker_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tracking", "what is not given is chosen by the model")
    group.add_argument("--classes", nargs="+", metavar="NAME", help="only these, for example: person car")
    group.add_argument("--track-threshold", type=float, metavar="S", help="a track goes on above this score")
    group.add_argument("--new-threshold", type=float, metavar="S", help="a track begins above this score")
    group.add_argument("--rebirth", type=float, metavar="SECONDS", help="a lost track may be found again so long")
    group.add_argument("--min-hits", type=int, metavar="N", help="a track is reported from its n-th match on")
    group.add_argument("--association", choices=ASSOCIATIONS)
    group.add_argument("--motion", choices=MOTIONS, help="where a track is expected")
    group.add_argument("--max-size-ratio", type=float, metavar="R", help="most that areas of matched boxes differ by")
    group.add_argument("--lift", choices=LIFTS, help="whence 3D boxes come")


def load(args: argparse.Namespace) -> Engine:
    """The engine that `add_engine_arguments` asks for. Raises ValueError or OSError with a sentence."""
    from centertrack_ros.engine import load_engine

    return load_engine(
        args.weights, engine=args.engine, device=args.device, threads=args.threads, input_size=args.input_size
    )


def tracker_config(args: argparse.Namespace, profile: ModelProfile) -> TrackerConfig:
    """The configuration that `add_tracker_arguments` asks for, with sound values for the rest. Raises ValueError."""
    chosen = dict(WITH_DISPLACEMENT if profile.trained_tracking else WITHOUT_DISPLACEMENT)
    for field in fields(TrackerConfig):
        value = getattr(args, field.name, None)
        if value is not None:
            chosen[field.name] = tuple(value) if field.name == "classes" else value
    return TrackerConfig(**chosen)


def _size(text: str) -> tuple[int, int]:
    """'768x576' as (768, 576)."""
    width, _, height = text.partition("x")
    if (
        not (width.isdigit() and height.isdigit())
        or int(width) % 32
        or int(height) % 32
        or not int(width) * int(height)
    ):
        raise argparse.ArgumentTypeError(
            f"expected WIDTHxHEIGHT in multiples of 32, for instance 768x576, got '{text}'"
        )
    return int(width), int(height)
