# SPDX-License-Identifier: Apache-2.0
"""The official numbers in test/data, and networks with the seeded weights that they belong to."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.networks import load_parity_inputs, moving_rectangles, profile_for, seeded_network, seeded_state

__all__ = ["DATA", "frames", "parity_inputs", "profile_for", "read", "seeded_network", "seeded_state"]

DATA = Path(__file__).parents[1] / "data"
parity_inputs = load_parity_inputs()
frames = moving_rectangles


@lru_cache
def read(name: str) -> Any:
    """A gzipped JSON file of test/data/network."""
    return json.loads(gzip.decompress((DATA / "network" / name).read_bytes()))
