# SPDX-License-Identifier: Apache-2.0
"""Changes fields of the model profile in a file of weights; the weights stay as they are.

    python -m tools.edit_profile WEIGHTS.safetensors FIELD=JSON …

For example `input_pixels=262144` or `thresholds='{"track": 0.3, "new": 0.45}'`. `FIELD=` takes the field out, so that
its default holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from centertrack_ros.network.profile import ModelProfile


def edit(path: Path, changes: Sequence[str]) -> ModelProfile:
    """Rewrites the file with a changed profile.

    Args:
        path: Weights with a profile in their metadata.
        changes: 'FIELD=JSON' each, 'FIELD=' to take a field out.

    Returns:
        The profile that the file has now.

    Raises:
        ValueError: A change is not of this form, or the profile would not be valid. The file is unchanged then.
    """
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    fields = json.loads(metadata["profile"])
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"a change must be FIELD=JSON, got '{change}'")
        fields.pop(name, None)
        if text:
            fields[name] = json.loads(text)
    profile = ModelProfile.from_json(json.dumps(fields), str(path))
    path.write_bytes(save(load_file(path), {**metadata, "profile": profile.to_json()}))
    return profile


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("changes", nargs="+", metavar="FIELD=JSON")
    args = parser.parse_args(arguments)
    print(edit(args.weights, args.changes).to_json())


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"edit_profile: {error}")
