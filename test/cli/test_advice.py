# SPDX-License-Identifier: Apache-2.0
"""What an error advises works, and breaks nothing else."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from centertrack_ros.cli.main import main
from centertrack_ros.network.registry import embedded_models

ROOT = Path(__file__).resolve().parents[2]


def advised_packages() -> set[str]:
    """The packages that `pip install` lines of the package's sources install with their dependencies."""
    found = set()
    for file in (ROOT / "centertrack_ros").rglob("*.py"):
        for words in re.findall(r"pip install ((?:[\w-]+ ?)+)", file.read_text(encoding="utf-8")):
            if not words.startswith("--no-deps"):
                found.update(words.split())
    return found


def test_no_advice_replaces_the_headless_opencv():
    packages = advised_packages()
    assert {"matplotlib", "pycocotools", "tabulate"} <= packages and "trackeval" not in packages
    for package in packages:
        try:
            wanted = requires(package) or []
        except PackageNotFoundError:
            continue
        assert not [name for name in wanted if re.match(r"opencv[-_]python(?!-headless)", name)], package


def test_weights_are_shown_by_name(capsys):
    for name in ("default", *embedded_models()):
        assert main(["weights", "info", name]) == 0
    assert "80: person, bicycle" in capsys.readouterr().out
    assert main(["weights", "info", "coco_tracking"]) == 1
    assert "`centertrack weights fetch coco_tracking`" in capsys.readouterr().err
