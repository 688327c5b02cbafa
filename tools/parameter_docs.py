#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what follows from the table of parameters: config/default.yaml, and the tables in docs/ros.md and README.md.

    tools/run python tools/parameter_docs.py

A table is written between the lines <!-- parameters --> and <!-- /parameters -->. test/ros/test_parameters.py tells
when this must be run again.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from centertrack_ros.ros.parameters import LIVE, READ_ONLY, SPECS, UNCONFIGURED, Spec

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = ROOT / "config" / "default.yaml"
PAGES = (ROOT / "docs" / "ros.md", ROOT / "README.md")
_TABLE = re.compile(r"(<!-- parameters -->\n).*?(<!-- /parameters -->)", re.S)


def value_text(spec: Spec) -> str:
    """The default as YAML."""
    if isinstance(spec.default, str):
        return f'"{spec.default}"'
    if isinstance(spec.default, list):
        return "[" + ", ".join(f'"{item}"' for item in spec.default) + "]"
    return str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)


def allowed(spec: Spec) -> str:
    if spec.choices:
        return ", ".join(spec.choices)
    return "" if spec.low is None else f"{spec.low:g} to {spec.high:g}"


def default_yaml() -> str:
    lines = [
        "# Every parameter of the node with its default, sound for the embedded COCO model: a file to copy and change.",
        "# Written by tools/parameter_docs.py from the declarations in centertrack_ros/ros/parameters.py.",
        "/**:",
        "  ros__parameters:",
    ]
    for group, specs in groupby(SPECS, lambda spec: spec.name.rpartition(".")[0]):
        indent = "    "
        if group:
            lines.append(f"    {group}:")
            indent = "      "
        for spec in specs:
            limits = f" [{allowed(spec)}]" if allowed(spec) else ""
            lines += [f"{indent}# {spec.text}{limits}", f"{indent}{spec.name.rpartition('.')[2]}: {value_text(spec)}"]
    return "\n".join(lines) + "\n"


def table() -> str:
    when = {LIVE: "live", UNCONFIGURED: "unconfigured", READ_ONLY: "at start"}
    lines = ["| parameter | default | allowed | changes | meaning |", "|---|---|---|---|---|"]
    for spec in SPECS:
        row = (f"`{spec.name}`", f"`{value_text(spec)}`", allowed(spec), when[spec.change], spec.text)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with the table as it should be; unchanged if it has no place for one."""
    return _TABLE.sub(lambda found: found[1] + table() + found[2], page)


def main() -> None:
    DEFAULTS.write_text(default_yaml())
    for page in PAGES:
        if page.exists():
            page.write_text(with_table(page.read_text()))


if __name__ == "__main__":
    main()
