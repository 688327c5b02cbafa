#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks this project against numbers that the official CenterTrack code gave.

    python -m benchmarks.parity DIR [--config NAME ...]

DIR holds <config>.json files and functions/, or a folder parity/ with both. Weights and frames are made from seeds by
its parity_inputs.py. One line for each configuration and each file of functions/ states the worst error of each kind.
Files that hold no results are skipped, and a line says so. An official option that is not understood, or a value of
functions/ that nothing reads, is a failure. The exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from benchmarks.networks import PARITY_INPUTS, load_parity_inputs
from benchmarks.parity_compare import Errors
from benchmarks.parity_configs import check_config
from benchmarks.parity_functions import check_functions

FUNCTIONS = "functions"
# Files beside the configurations that hold no detector results: stem -> what they hold.
SKIPPED = {
    "stability": "how far the reference is from itself with other arithmetic",
    "state_dicts": "keys and shapes of the official networks' weights",
}


def load_inputs(folder: Path) -> ModuleType:
    """The module that makes weights and frames from seeds: the folder's own, else the bundled one."""
    own = folder / "parity_inputs.py"
    return load_parity_inputs(own if own.is_file() else PARITY_INPUTS)


def find_folder(directory: Path) -> Path:
    """The folder of the configurations and of functions/: `directory` itself, or its parity/."""
    inner = directory / "parity"
    return inner if inner.is_dir() and not (directory / FUNCTIONS).is_dir() else directory


def check_folder(directory: Path, names: Sequence[str] = ()) -> list[Errors]:
    """Checks configurations and functions, and prints a line for each.

    Args:
        directory: The reference.
        names: Stems of the configurations to check, 'functions' for the folder of that name; empty: everything.

    Returns:
        The errors of each configuration, and of all functions together.

    Raises:
        ValueError: The reference does not hold what is asked for, or nothing at all.
    """
    folder = find_folder(directory)
    files = {path.stem: path for path in sorted(directory.glob("*.json")) + sorted(folder.glob("*.json"))}
    for name in sorted(SKIPPED.keys() & files.keys()):
        del files[name]
        print(f"skip  {name:<32} no configuration: {SKIPPED[name]}")
    available = [*files, *([FUNCTIONS] if (folder / FUNCTIONS).is_dir() else [])]
    if not available:
        raise ValueError(f"{directory} holds neither a <config>.json nor functions/")
    if missing := [name for name in names if name not in available]:
        raise ValueError(f"{directory} has no {', '.join(missing)}; it has {', '.join(available)}")
    inputs = load_inputs(folder)
    results = []
    for name in names or available:
        if name == FUNCTIONS:
            results.append(check_functions(folder / FUNCTIONS, inputs))
        else:
            results.append(_check_config(files[name], inputs))
            results[-1].report(name)
    return results


def _check_config(path: Path, inputs: ModuleType) -> Errors:
    """Checks one configuration; one that cannot be checked is one failure among the others."""
    try:
        return check_config(path, inputs)
    except Exception as error:
        return Errors(messages=[f"{type(error).__name__}: {error}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns 0 when everything is within tolerance, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument(
        "--config", nargs="+", metavar="NAME", help="only these; 'functions' stands for the folder of that name"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default: 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if not options.directory.is_dir():
        parser.error(f"{options.directory} is not a folder")
    try:
        results = check_folder(options.directory, options.config or ())
    except ValueError as error:
        parser.error(str(error))
    passed = sum(errors.passed for errors in results)
    print(f"{passed} of {len(results)} within tolerance")
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
