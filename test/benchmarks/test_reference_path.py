# SPDX-License-Identifier: Apache-2.0
"""The baseline of the speeds gives the network's own numbers: what it is compared with does the same work."""

import pytest

from benchmarks.default_speed import FORMER, TODAY, compare
from benchmarks.reference_path import ReferencePath
from centertrack_ros.engine import verification
from centertrack_ros.engine.torch_engine import TorchEngine
from support.network_reference import seeded_network


def test_the_reference_sampled_tap_by_tap_is_the_network() -> None:
    network, profile = seeded_network({"hm": 3, "reg": 2, "wh": 2, "dep": 1})
    reference = verification.run_reference(ReferencePath(network, profile), (64, 96))
    agreement = verification.compare(reference, verification.run_reference(TorchEngine(network, profile), (64, 96)))
    assert agreement.exact, str(agreement)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that gets ten times slower in the middle changes no ratio."""
    calls = {FORMER: 0, TODAY: 0}

    def row(name: str, ms: float):
        def run() -> float:
            calls[name] += 1
            return ms * (10 if calls[name] > 4 else 1)

        return run

    figures = compare({FORMER: row(FORMER, 8.0), TODAY: row(TODAY, 6.0)}, rounds=7)
    assert figures[TODAY]["ratio"] == pytest.approx(0.75) and figures[FORMER]["ratio"] == 1.0
    assert calls[FORMER] == calls[TODAY] == 8, "the first one compiles and does not count"
