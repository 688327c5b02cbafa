#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what follows from the declarations of parameters: presets in config/, and the tables in docs/parameters.md.

    tools/run python tools/parameter_docs.py

The tables stand between lines such as <!-- parameters --> and <!-- /parameters -->. test/ros/test_parameters.py fails
when the declarations have changed and this was not run again.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from centertrack_ros.ros.class_parameters import CLASS_PARAMETERS, default_of
from centertrack_ros.ros.parameter_specs import LIVE, READ_ONLY, SPECS, UNCONFIGURED, Spec
from centertrack_ros.tracking.config import OFFICIAL

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = ROOT / "config" / "default.yaml"
OFFICIAL_PRESET = ROOT / "config" / "official.yaml"
PAGE = ROOT / "docs" / "parameters.md"
_TABLE = re.compile(r"(<!-- parameters -->\n).*?(<!-- /parameters -->)", re.S)
_CLASS_TABLE = re.compile(r"(<!-- class parameters -->\n).*?(<!-- /class parameters -->)", re.S)


def value_text(spec: Spec) -> str:
    """The default as YAML."""
    if isinstance(spec.default, str):
        return f'"{spec.default}"'
    if isinstance(spec.default, list):
        return "[" + ", ".join(f'"{item}"' for item in spec.default) + "]"
    return str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)


def allowed(spec: Spec) -> str:
    """The choices, or the range; empty where every value of the type is allowed."""
    if spec.choices:
        return ", ".join(spec.choices)
    return "" if spec.low is None else f"{spec.low:g} to {spec.high:g}"


def default_yaml() -> str:
    """The text of config/default.yaml."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Every parameter of the node with its default, sound for the embedded COCO model: a file to copy and change.",
        "# Written by tools/parameter_docs.py from the declarations in centertrack_ros/ros/parameter_specs.py.",
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


def official_yaml() -> str:
    """The text of config/official.yaml."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# The settings of the official code: what differs from default.yaml. For the weights give model.weights.",
        "# Written by tools/parameter_docs.py from OFFICIAL in centertrack_ros/tracking/config.py.",
        "/**:",
        "  ros__parameters:",
    ]
    chosen = [spec for spec in SPECS if spec.field in OFFICIAL]
    for group, specs in groupby(chosen, lambda spec: spec.name.partition(".")[0]):
        lines.append(f"    {group}:")
        for spec in specs:
            value = OFFICIAL[spec.field]
            value = (list(value) or [""]) if isinstance(value, tuple) else value
            lines.append(f"      {spec.name.partition('.')[2]}: {value_text(replace(spec, default=value))}")
    return "\n".join(lines) + "\n"


def table() -> str:
    """The table in Markdown, one row for each parameter."""
    when = {LIVE: "live", UNCONFIGURED: "unconfigured", READ_ONLY: "at start"}
    lines = ["| parameter | default | allowed | changes | meaning |", "|---|---|---|---|---|"]
    for spec in SPECS:
        row = (f"`{spec.name}`", f"`{value_text(spec)}`", allowed(spec), when[spec.change], spec.text)
        text = "| " + " | ".join(row) + " |"
        lines.append(text.replace("<", "&lt;").replace(">", "&gt;"))  # Markdown takes them for HTML
    return "\n".join(lines) + "\n"


def class_table() -> str:
    """The table of the limits of single classes in Markdown."""
    lines = ["| limit | default | allowed | meaning |", "|---|---|---|---|"]
    for name, (low, high, text) in CLASS_PARAMETERS.items():
        lines.append(f"| `{name}` | `{default_of(name)}` | {low:g} to {high:g} | {text} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with the current tables between their marks; unchanged if it has no marks."""
    page = _CLASS_TABLE.sub(lambda found: found[1] + class_table() + found[2], page)
    return _TABLE.sub(lambda found: found[1] + table() + found[2], page)


def main() -> None:
    """Writes the files."""
    DEFAULTS.write_text(default_yaml())
    OFFICIAL_PRESET.write_text(official_yaml())
    PAGE.write_text(with_table(PAGE.read_text()))


if __name__ == "__main__":
    main()
