# SPDX-License-Identifier: Apache-2.0
"""Prints how much of each module the tests run, and fails where it is too little.

    COVERAGE=1 make test-slow test; tools/run python -m tools.check_coverage

The limit and the exceptions, each with its reason, are in pyproject.toml under [tool.centertrack.coverage].
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


def measured(root: Path) -> dict[str, float]:
    """Combines the measurements of all processes: path of a module -> per cent of its statements, 100 for none."""
    from coverage import Coverage

    coverage = Coverage(config_file=str(root / "pyproject.toml"))
    coverage.combine(keep=True)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "coverage.json"
        coverage.json_report(outfile=str(target), ignore_errors=True)  # modules that are gone since
        files: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))["files"]
    return {Path(name).as_posix(): float(entry["summary"]["percent_covered"]) for name, entry in files.items()}


def find_problems(shares: Mapping[str, float], minimum: float, exceptions: Mapping[str, str]) -> list[str]:
    """Compares every module with the minimum.

    Args:
        shares: Path of a module -> per cent.
        minimum: Per cent that every module needs.
        exceptions: Path of a module -> reason why it may have less.

    Returns:
        One sentence for each module that has less, each exception without a reason and each without a module.
    """
    problems = [
        f"{name}: {share:.1f} % is below {minimum:g} %"
        for name, share in sorted(shares.items())
        if share < minimum and name not in exceptions
    ]
    problems += [f"{name}: an exception without a reason" for name, reason in exceptions.items() if not reason.strip()]
    return problems + [f"{name}: an exception, but no such module" for name in exceptions if name not in shares]


def main() -> int:
    """Prints the table; the exit status is 1 when a module has too little."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["centertrack"]["coverage"]
    exceptions: dict[str, str] = settings["exceptions"]
    shares = measured(ROOT)
    for name, share in sorted(shares.items()):
        print(f"{share:6.1f} %  {name}{f'  ({exceptions[name]})' if name in exceptions else ''}")
    problems = find_problems(shares, settings["minimum"], exceptions)
    for problem in problems:
        print(f"coverage: {problem}", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
