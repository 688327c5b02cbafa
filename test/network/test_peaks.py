# SPDX-License-Identifier: Apache-2.0
"""Peaks of heatmaps: which cells, in which order, and what the flip test averages."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.network.decode import (
    MIRRORED_JOINTS,
    decode_peaks,
    extract_peaks,
    metric_depth,
    suppress_neighbours,
    top_k,
)
from support.network_reference import DATA


def test_peaks_are_the_official_ones() -> None:
    reference = np.load(DATA / "network" / "decode.npz")
    heat = torch.from_numpy(reference["in_hm"])
    found = decode_peaks({"hm": heat}, lambda cells: {}, None, reference["out_scores"].shape[1], None)
    np.testing.assert_array_equal(found["scores"], reference["out_scores"])
    np.testing.assert_array_equal(found["class_ids"], reference["out_clses"])
    np.testing.assert_array_equal(found["cells"], reference["out_cts"])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(3, 9), st.integers(3, 9))
def test_a_cell_survives_when_no_neighbour_exceeds_it(seed: int, channels: int, height: int, width: int) -> None:
    # Few different values, so that plateaus are common.
    heat = np.random.default_rng(seed).integers(1, 5, (1, channels, height, width)).astype(np.float32) / 5
    got = suppress_neighbours(torch.from_numpy(heat)).numpy()
    padded = np.pad(heat, ((0, 0), (0, 0), (1, 1), (1, 1)))
    around = np.stack([padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)])
    np.testing.assert_array_equal(got, np.where(heat == around.max(0), heat, 0))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.integers(1, 30))
def test_the_strongest_cells_come_first(seed: int, channels: int, height: int, width: int, count: int) -> None:
    heat = torch.from_numpy(np.random.default_rng(seed).permutation(channels * height * width).astype(np.float32))
    heat = heat.view(1, channels, height, width)
    scores, class_ids, cells = top_k(heat, count)
    # At most `count` of a channel can be among the best `count`: nothing is lost by looking channel by channel.
    expected = heat.flatten().sort(descending=True).values[: min(count, heat.numel())]
    assert torch.equal(scores[0, : len(expected)], expected)
    assert torch.equal(heat.flatten(2)[0, class_ids[0], cells[0]], scores[0])


def test_depth_is_the_inverse_of_a_sigmoid() -> None:
    raw = torch.tensor([-5.0, 0.0, 5.0])
    expected = 1 / (1 / (1 + np.exp(-raw.double().numpy())) + 1e-6) - 1
    np.testing.assert_allclose(metric_depth(raw), expected, rtol=1e-5)


HEADS = {"hm": 3, "reg": 2, "wh": 2, "tracking": 2, "dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2, "hps": 34,
         "hm_hp": 17, "hp_offset": 2}  # fmt: skip


def raw_maps(seed: int, batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, channels, 8, 12, generator=generator) for name, channels in HEADS.items()}


def seen_in_a_mirror(raw: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a network that is blind to left and right gives for the mirrored image."""
    mirrored = {name: value.flip(3) for name, value in raw.items()}
    mirrored["amodel_offset"] = mirrored["amodel_offset"] * torch.tensor([-1.0, 1.0])[:, None, None]
    mirrored["hm_hp"] = mirrored["hm_hp"][:, list(MIRRORED_JOINTS)]
    joints = mirrored["hps"].unflatten(1, (17, 2))[:, list(MIRRORED_JOINTS)]
    mirrored["hps"] = (joints * torch.tensor([-1.0, 1.0])[:, None, None]).flatten(1, 2)
    return mirrored


def test_a_symmetric_network_gains_nothing_by_the_flip_test() -> None:
    raw = raw_maps(1, 1)
    mirrored = seen_in_a_mirror(raw)
    (plain,) = extract_peaks(raw, 20)
    (flipped,) = extract_peaks({k: torch.cat((raw[k], mirrored[k])) for k in raw}, 20, flip_test=True)
    np.testing.assert_array_equal(plain.cells, flipped.cells)
    np.testing.assert_allclose(plain.scores, flipped.scores, atol=1e-6)
    for name in plain.values:
        np.testing.assert_allclose(plain.values[name], flipped.values[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert plain.joints is not None and flipped.joints is not None
    np.testing.assert_allclose(plain.joints.points, flipped.joints.points, atol=1e-5)


@pytest.mark.parametrize("name", ["wh", "dim", "dep", "amodel_offset", "hps"])
def test_the_flip_test_averages(name: str) -> None:
    raw = raw_maps(2, 1)
    changed = {**raw, name: raw[name] + 1.0}
    both = {k: torch.cat((raw[k], seen_in_a_mirror(changed)[k])) for k in raw}
    (first,), (second,) = extract_peaks(raw, 20), extract_peaks(changed, 20)
    (merged,) = extract_peaks(both, 20, flip_test=True)
    mean = (first.values[name] + second.values[name]) / 2
    np.testing.assert_allclose(merged.values[name], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["reg", "tracking", "rot"])
def test_the_flip_test_leaves_the_rest_as_it_is(name: str) -> None:
    raw = raw_maps(3, 1)
    mirrored = seen_in_a_mirror(raw) | {name: torch.full_like(raw[name], 1e3)}
    (merged,) = extract_peaks({k: torch.cat((raw[k], mirrored[k])) for k in raw}, 20, flip_test=True)
    np.testing.assert_array_equal(merged.values[name], extract_peaks(raw, 20)[0].values[name])


def test_values_and_joints_are_those_of_their_cells() -> None:
    raw = raw_maps(4, 2)
    for image, peaks in enumerate(extract_peaks(raw, 15)):
        assert peaks.grid == (8, 12)
        x, y = peaks.cells.T
        np.testing.assert_array_equal(peaks.values["rot"], raw["rot"][image].numpy()[:, y, x].T)
        heat = raw["hm"][image].sigmoid().numpy()
        np.testing.assert_array_equal(peaks.scores[peaks.scores > 0], heat[peaks.class_ids, y, x][peaks.scores > 0])
        assert peaks.joints is not None and peaks.joints.points.shape == (17, 15, 2)
        joints = suppress_neighbours(raw["hm_hp"][image : image + 1].sigmoid())[0].numpy()
        for joint in range(17):
            row, column = np.unravel_index(joints[joint].argmax(), joints[joint].shape)
            offset = raw["hp_offset"][image].numpy()[:, row, column]
            np.testing.assert_allclose(peaks.joints.points[joint, 0], (column + offset[0], row + offset[1]), atol=1e-5)
