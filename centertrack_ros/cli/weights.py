# SPDX-License-Identifier: Apache-2.0
"""`centertrack weights`: show, convert and fetch network weights."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from centertrack_ros.cli._arguments import SIZE, network_pixels, network_size
from centertrack_ros.io.whole_files import whole_file
from centertrack_ros.network.profile import ModelProfile

HELP = "show, convert or fetch network weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `centertrack weights`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    info = actions.add_parser("info", help="show the contents of a weights file or an embedded model")
    info.add_argument("file", help="the weights file, or the name of an embedded model; 'default' is one")
    info.add_argument("--json", action="store_true", help="the model profile as one line of JSON")
    info.set_defaults(act=_info)

    convert = actions.add_parser(
        "convert", help="official checkpoint (.pth, .pth.tar) or safetensors file to safetensors"
    )
    convert.add_argument("input", type=Path, help="the file to read")
    convert.add_argument("output", type=Path, help="the .safetensors file to write")
    add_profile_arguments(convert)
    convert.set_defaults(act=_convert)

    fetch = actions.add_parser("fetch", help="download an official model and convert it (needs gdown)")
    fetch.add_argument("name", help="a model of the official zoo; 'list' prints them")
    fetch.add_argument("output", type=Path, nargs="?", help="default: NAME.safetensors")
    fetch.set_defaults(act=_fetch)


def add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `changed_profile` reads."""
    parser.add_argument("--name", help="of the model; the name of an official model selects its profile")
    parser.add_argument("--classes", help="class names, comma-separated, in the order of the heatmap's channels")
    parser.add_argument(
        "--input-size", type=network_size, metavar=SIZE, help="network input, px, for instance 800x448; multiples of 32"
    )
    parser.add_argument(
        "--input-pixels",
        type=network_pixels,
        metavar="N",
        help="px of the network input, in the images' own aspect, for instance 262144 or 512x512",
    )
    parser.add_argument("--thresholds", metavar="NAME=SCORE,…", help="of track, out, pre, new; e.g. track=0.4,pre=0.5")
    parser.add_argument(
        "--focal-length", type=float, metavar="PX", help="focal length that the depths belong to, at input size"
    )
    parser.add_argument("--licence", help="of the weights")
    parser.add_argument("--half", action="store_true", help="store as float16")


def run(args: argparse.Namespace) -> int:
    """Runs the action."""
    return int(args.act(args))


def _info(args: argparse.Namespace) -> int:
    from centertrack_ros.network import checkpoints
    from centertrack_ros.network.registry import weights_path

    network, profile = checkpoints.load(weights_path(args.file))
    if args.json:
        print(profile.to_json())
        return 0
    count = sum(parameter.numel() for parameter in network.parameters())
    shown = ", ".join(profile.classes[:10]) + (", …" if len(profile.classes) > 10 else "")
    stems = [name for name in ("previous_image", "prior_heatmap") if getattr(profile, name)]
    rows = {
        "architecture": f"{profile.architecture}, {count / 1e6:.2f} M parameters",
        "classes": f"{len(profile.classes)}: {shown}",
        "heads": ", ".join(f"{head} {channels}" for head, channels in profile.heads.items()),
        "stems": ", ".join(stems) or "none",
        "input": f"{profile.input_text} ({profile.resize}, {profile.color_order})",
        "thresholds": ", ".join(f"{name} {score:g}" for name, score in asdict(profile.thresholds).items()),
        "focal length": "unknown" if profile.trained_focal_length is None else f"{profile.trained_focal_length:g} px",
        "precision": _precision(profile),
        "tracking head": "trained" if profile.trained_tracking else "untrained or absent",
        "licence": profile.licence,
        "source": profile.source,
    }
    print(profile.name)
    for label, value in rows.items():
        print(f"  {label:<14}{value}")
    return 0


def _precision(profile: ModelProfile) -> str:
    checks = [f"{name}, verified: {check}, by {check.command}" for name, check in profile.verified_precisions.items()]
    return "; ".join(["float32", *checks])


def _convert(args: argparse.Namespace) -> int:
    from centertrack_ros.network import checkpoints

    weights = checkpoints.read(args.input, args.name)
    profile = changed_profile(weights.profile, args)
    with whole_file(args.output) as unfinished:
        checkpoints.save(unfinished, weights.state, profile, half=args.half)
    if weights.ignored:
        print(f"left out: {', '.join(weights.ignored)}", file=sys.stderr)
    print(f"{args.output}: {profile.name}, {profile.architecture}, {len(profile.classes)} classes")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from centertrack_ros.network.registry import ZOO

    if args.name == "list":
        for name, model in ZOO.items():
            print(f"{name:<28}{model.licence}")
        return 0
    if args.name not in ZOO:
        raise ValueError(f"no official model '{args.name}', expected one of {', '.join(ZOO)}")
    from centertrack_ros.network.checkpoints import fetch

    output = args.output or Path(f"{args.name}.safetensors")
    with whole_file(output) as unfinished:
        fetch(args.name, unfinished)
    print(f"{output}: {ZOO[args.name].licence}")
    return 0


def changed_profile(profile: ModelProfile, args: argparse.Namespace) -> ModelProfile:
    """Sets the fields of a profile that the options of `add_profile_arguments` state.

    Raises:
        ValueError: An option cannot be read or does not fit.
    """
    changes: dict[str, Any] = {}
    if args.classes:
        changes["classes"] = tuple(name.strip() for name in args.classes.split(","))
    if args.input_size:
        changes["input_width"], changes["input_height"] = args.input_size
    if args.thresholds:
        changes["thresholds"] = replace(profile.thresholds, **_scores(args.thresholds))
    if args.focal_length is not None:
        if not args.focal_length > 0:
            raise ValueError(f"--focal-length must be above 0 px, got {args.focal_length}")
        changes["trained_focal_length"] = args.focal_length
    if args.licence:
        changes["licence"] = args.licence
    changed = replace(profile, **changes)
    return changed.with_input_pixels(args.input_pixels) if args.input_pixels else changed


def _scores(text: str) -> dict[str, float]:
    scores = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            scores[name.strip()] = float(value)
        except ValueError:
            raise ValueError(f"--thresholds must be NAME=SCORE,…, e.g. track=0.4,pre=0.5, got '{text}'") from None
    if unknown := sorted(set(scores) - {"track", "out", "pre", "new"}):
        raise ValueError(f"--thresholds knows track, out, pre and new, got {', '.join(unknown)}")
    return scores
