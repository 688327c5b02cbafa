# SPDX-License-Identifier: Apache-2.0
"""Imports a MobileNetV3 CenterNet from a TensorFlow.js graph model as a safetensors file with a model profile.

tools/run python -m tools.import_tfjs MODEL.json OUTPUT.safetensors [--half] [--name NAME] [--classes A,B] …
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from centertrack_ros.cli.weights import add_profile_arguments, changed_profile
from centertrack_ros.network import checkpoints
from tools.tfjs import import_centernet


def main(argv: Sequence[str] | None = None) -> int:
    """Imports the model.

    Args:
        argv: The arguments; None: those of the process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Import a MobileNetV3 CenterNet from a TensorFlow.js graph model.")
    parser.add_argument("input", type=Path, help="the model's .json; its weight files lie beside it")
    parser.add_argument("output", type=Path)
    add_profile_arguments(parser)
    args = parser.parse_args(argv)
    network, profile = import_centernet(args.input)
    profile = changed_profile(replace(profile, name=args.name or profile.name), args)
    checkpoints.save(args.output, network, profile, half=args.half)
    print(f"{args.output}: {profile.name}, {profile.architecture}, {len(profile.classes)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
