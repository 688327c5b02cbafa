#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the small copies of parity references that the tests use: trim.py OUT.json.gz SOURCE.json [FRAMES]."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

SAMPLES, ROWS = 24, 12


def rounded(value: Any) -> Any:
    """The same structure with 7 significant digits, as many as a float32 has."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def trim_samples(stored: dict[str, Any]) -> dict[str, Any]:
    step = max(1, len(stored["idx"]) // SAMPLES)
    return {**stored, "idx": stored["idx"][::step], "val": stored["val"][::step]}


def trim_frame(frame: dict[str, Any]) -> dict[str, Any]:
    result = dict(frame)
    for name in ("input", "pre_hm"):
        result[name] = frame[name] and trim_samples(frame[name])
    result["raw_heads"] = {head: trim_samples(stored) for head, stored in frame["raw_heads"].items()}
    result["decoded_top40"] = {name: rows[:ROWS] for name, rows in frame["decoded_top40"].items()}
    return result


def main() -> None:
    target, source = Path(sys.argv[1]), Path(sys.argv[2])
    golden = json.loads(source.read_text())
    count = int(sys.argv[3]) if len(sys.argv) > 3 else len(golden["per_frame"])
    golden["per_frame"] = [trim_frame(frame) for frame in golden["per_frame"][:count]]
    text = json.dumps(rounded(golden), separators=(",", ":"))
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
