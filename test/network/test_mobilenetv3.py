# SPDX-License-Identifier: Apache-2.0
"""The embedded network: the published graph's answers, TensorFlow's padding, untrained parts that add nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.engine.loading import load_engine
from centertrack_ros.network import checkpoints
from centertrack_ros.network.heads import SparseHeads, gather_cells
from centertrack_ros.network.mobilenetv3 import ConvLayer, MobileNetV3CenterNet, coordinates, upsample_twice
from centertrack_ros.network.registry import weights_path

REFERENCE = Path(__file__).parents[1] / "data" / "centernet_tfjs"
FRAMES = ("pedestrians_512x512", "street_512x320")
HEADS = {"hm": 80, "ltrb": 4, "tracking": 2}


@pytest.fixture(scope="module")
def embedded() -> MobileNetV3CenterNet:
    torch.set_num_threads(1)
    network, _ = checkpoints.load(weights_path("mobilenetv3-coco"))
    assert isinstance(network, MobileNetV3CenterNet)
    return network


def network_input(name: str) -> torch.Tensor:
    image = cv2.imread(str(REFERENCE / f"{name}.png"))[:, :, ::-1]
    return torch.from_numpy(image.copy()).float().permute(2, 0, 1)[None]


def graph_sides(ltrb: torch.Tensor) -> np.ndarray:
    """CenterTrack's signed sides (4, h, w) in output-grid px as the graph has them: distances (h, w, 4) in input px."""
    return (ltrb.permute(1, 2, 0) * torch.tensor([-4.0, -4.0, 4.0, 4.0])).numpy()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", FRAMES)
def test_a_real_frame_gives_the_output_of_the_published_graph(embedded, name, fused):
    expected = np.load(REFERENCE / f"{name}.npz")
    image = network_input(name)
    network = embedded.fused() if fused else embedded
    with torch.inference_mode():
        raw = network(image, image, torch.rand(1, 1, *image.shape[-2:]))
    scores = raw["hm"][0].sigmoid().permute(1, 2, 0).numpy()
    sides = graph_sides(raw["ltrb"][0])
    row, column = expected["cells"].T
    np.testing.assert_allclose(scores[row, column], expected["all_scores"], atol=1e-5)
    np.testing.assert_allclose(sides[row, column], expected["all_sides"], atol=4e-3)  # of up to 300 px, in float32
    row, column, channel = expected["peaks"].T
    np.testing.assert_allclose(scores[row, column, channel], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(sides[row, column], expected["sides"], atol=1e-3)


@pytest.mark.parametrize("name", FRAMES)
def test_the_engine_gives_the_peaks_of_the_graph(name):
    expected = np.load(REFERENCE / f"{name}.npz")
    image = cv2.imread(str(REFERENCE / f"{name}.png"))
    engine = load_engine(engine="openvino", threads=1)  # in float32, as the graph
    tensor = engine.prepare(image, np.eye(2, 3), image.shape[:2])
    (peaks,) = engine.infer([tensor], [tensor], [np.array([[50, 60, 8]])])
    np.testing.assert_allclose(peaks.scores, expected["scores"][: len(peaks.scores)], atol=1e-5)
    found = {
        (y, x, c): i for i, ((x, y), c) in enumerate(zip(peaks.cells.tolist(), peaks.class_ids.tolist(), strict=True))
    }
    common = [(place, i) for place, i in enumerate(map(tuple, expected["peaks"].tolist())) if i in found]
    assert len(common) >= len(found) - 1  # the last two may change places
    places, keys = zip(*common, strict=True)
    sides = peaks.values["ltrb"][[found[key] for key in keys]] * np.array([-4, -4, 4, 4])
    np.testing.assert_allclose(sides, expected["sides"][list(places)], atol=1e-3)


def test_it_detects_the_people_and_the_cars():
    engine = load_engine(threads=1)
    for name, what, count in (("pedestrians_512x512", "person", 3), ("street_512x320", "car", 6)):
        image = cv2.imread(str(REFERENCE / f"{name}.png"))
        tensor = engine.prepare(image, np.eye(2, 3), image.shape[:2])
        (peaks,) = engine.infer([tensor], [tensor], [np.zeros((0, 3), np.int64)])
        names = [engine.profile.classes[i] for i in peaks.class_ids[peaks.scores > 0.35]]
        assert names.count(what) >= count


def test_untrained_stems_and_displacement_change_nothing(embedded):
    image, other = network_input("street_512x320"), torch.rand(1, 3, 320, 512) * 255
    with torch.inference_mode():
        alone = embedded(image)
        beside = embedded(image, other, torch.rand(1, 1, 320, 512))
    assert torch.equal(alone["hm"], beside["hm"]) and torch.equal(alone["ltrb"], beside["ltrb"])
    assert not beside["tracking"].any()
    assert embedded.fused().previous_stem is None and embedded.fused().prior_stem is None


def test_untrained_parts_learn(embedded):
    """After two steps the previous image, the prior heatmap and the displacement all have a say."""
    network = MobileNetV3CenterNet(HEADS)
    network.load_state_dict(embedded.state_dict())
    network.train()
    generator = torch.Generator().manual_seed(0)
    image, previous = torch.rand(2, 2, 3, 64, 96, generator=generator) * 255
    prior = torch.rand(2, 1, 64, 96, generator=generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for _ in range(2):
        raw = network(image, previous, prior)
        loss = (raw["tracking"] - 1).square().mean() + raw["hm"].sigmoid().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for stem in (network.previous_stem, network.prior_stem):
        assert stem.layer.conv.weight.grad.abs().max() > 0 and stem.layer.norm.weight.grad.abs().max() > 0
    assert network.tracking[0].weight.grad.abs().max() > 0
    network.eval()
    with torch.inference_mode():
        full = network(image, previous, prior)
        assert not torch.equal(full["hm"], network(image, None, prior)["hm"])
        assert not torch.equal(full["hm"], network(image, previous, None)["hm"])
        assert full["tracking"].abs().max() > 0


def test_further_heads_start_at_zero_and_an_untrained_heatmap_near_it():
    torch.manual_seed(0)
    network = MobileNetV3CenterNet(
        {"hm": 3, "ltrb": 4, "tracking": 2, "dep": 1, "rot": 8, "dim": 3}, batch_norm=True
    ).eval()
    with torch.inference_mode():
        raw = network(torch.rand(1, 3, 64, 64))
    assert all(not raw[name].any() for name in ("tracking", "dep", "rot", "dim"))
    assert list(raw) == ["hm", "ltrb", "tracking", "dep", "rot", "dim"]
    assert raw["hm"].sigmoid().median() < 0.05


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 2))
def test_any_multiple_of_32_goes_through(rows, columns, batch):
    network = MobileNetV3CenterNet(HEADS).eval()
    with torch.inference_mode():
        raw = network(torch.zeros(batch, 3, 32 * rows, 32 * columns))
    assert {name: tuple(value.shape) for name, value in raw.items()} == {
        name: (batch, channels, 8 * rows, 8 * columns) for name, channels in HEADS.items()
    }


@pytest.mark.parametrize("size", [(64, 100), (48, 64), (0, 64)])
def test_other_sizes_are_an_error(size):
    with pytest.raises(ValueError, match="multiples of 32"):
        MobileNetV3CenterNet(HEADS)(torch.zeros(1, 3, *size))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_upsampling_is_tensorflows_legacy_bilinear(height, width):
    """Output pixel o samples the input at o / 2, without half pixels, clamped at the far border."""
    values = np.random.default_rng(height * 10 + width).normal(size=(1, 2, height, width)).astype(np.float32)
    rows, columns = (np.minimum(np.arange(2 * size) / 2, size - 1) for size in (height, width))

    def along(array: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, array.shape[axis] - 1)
        part = (places - low).reshape([-1 if i == axis else 1 for i in range(4)])
        return array.take(low, axis) * (1 - part) + array.take(high, axis) * part

    expected = along(along(values, rows, 2), columns, 3)
    np.testing.assert_allclose(upsample_twice(torch.from_numpy(values)).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows_same(kernel, stride):
    """SAME: ceil(n / stride) outputs; of the padding they need, the smaller half before, the larger after."""
    size = (12, 8)
    layer = ConvLayer(2, 3, kernel, stride)
    image = torch.randn(1, 2, *size)
    margins: list[int] = []
    for length in reversed(size):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        margins += [total // 2, total - total // 2]
    expected = F.conv2d(F.pad(image, margins), layer.conv.weight, layer.conv.bias, stride)
    torch.testing.assert_close(layer(image), expected)


def test_fused_is_the_same_network_with_batch_norm_too():
    torch.manual_seed(1)
    network = MobileNetV3CenterNet(HEADS, batch_norm=True)
    network.train()
    image, previous, prior = torch.rand(4, 3, 64, 64) * 255, torch.rand(4, 3, 64, 64) * 255, torch.rand(4, 1, 64, 64)
    with torch.no_grad():
        for _ in range(5):
            network(image, previous, prior)  # running statistics
        for name in ("previous_stem", "prior_stem"):
            torch.nn.init.uniform_(getattr(network, name).layer.norm.weight, 0.5, 1.0)
        network.eval()
        plain, fused = network(image, previous, prior), network.fused()
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
        assert fused.previous_stem is not None and fused.prior_stem is not None
        for name, value in fused(image, previous, prior).items():
            torch.testing.assert_close(value, plain[name], rtol=1e-3, atol=1e-3 * float(plain[name].abs().max() + 1e-6))


def with_branch(embedded, **options) -> MobileNetV3CenterNet:
    """The embedded network with a branch for motion whose weights and statistics are not those of the beginning."""
    torch.manual_seed(2)
    network = MobileNetV3CenterNet(HEADS, motion=True, **options)
    state = network.state_dict()
    state.update(
        {name: value for name, value in embedded.state_dict().items() if name in state and "tracking" not in name}
    )
    network.load_state_dict(state)
    network.train()
    with torch.no_grad():
        torch.nn.init.normal_(network.tracking[-1].weight)
        network(*torch.rand(2, 4, 3, 64, 64) * 255, torch.rand(4, 1, 64, 64))
    return network.eval()


def test_the_motion_branch_does_not_change_the_detector(embedded):
    network = with_branch(embedded)
    image, previous, prior = (
        network_input("street_512x320"),
        torch.rand(1, 3, 320, 512) * 255,
        torch.rand(1, 1, 320, 512),
    )
    with torch.inference_mode():
        alone, beside = embedded(image), network(image, previous, prior)
        assert torch.equal(alone["hm"], beside["hm"]) and torch.equal(alone["ltrb"], beside["ltrb"])
        assert not torch.equal(beside["tracking"], network(image, image, prior)["tracking"])
        assert not torch.equal(beside["tracking"], network(image, previous, None)["tracking"])
        assert torch.equal(network(image)["tracking"], network(image, image, torch.zeros_like(prior))["tracking"])


def test_a_conditioned_heatmap_starts_as_the_published_one_and_can_learn_the_prior(embedded):
    network = with_branch(embedded, conditioned_heatmap=True)
    image, prior = network_input("street_512x320"), torch.rand(1, 1, 320, 512)
    with torch.inference_mode():
        assert torch.equal(network(image, image, prior)["hm"], embedded(image)["hm"])
        torch.nn.init.normal_(network.hm.correction.weight)
        assert not torch.equal(network(image, image, prior)["hm"], network(image, image)["hm"])


@pytest.mark.parametrize("stride", [4, 32])
def test_a_further_stride_starts_at_zero_and_can_learn_both_images(embedded, stride):
    without, network = with_branch(embedded), with_branch(embedded, motion_strides=[stride])
    network.load_state_dict(without.state_dict(), strict=False)
    image, previous = network_input("street_512x320"), torch.rand(1, 3, 320, 512) * 255
    with torch.inference_mode():
        before = without(image, previous)["tracking"]
        assert torch.equal(network(image, previous)["tracking"], before)
    added = network.motion.add4 if stride == 4 else network.motion.add32
    network(image, previous)["tracking"].square().sum().backward()
    assert added[-1].weight.grad.any()  # it can learn
    with torch.inference_mode():
        torch.nn.init.normal_(added[-1].weight)
        after = network(image, previous)["tracking"] - before
        assert after.any() and not torch.equal(after, network(image, image)["tracking"] - without(image)["tracking"])
    with pytest.raises(ValueError, match="motion_strides: expected some of \\(4, 32\\), got 2"):
        with_branch(embedded, motion_strides=[4, 2])


@pytest.mark.parametrize("strides", [(), (4, 32)])
def test_a_fused_motion_branch_is_the_same(embedded, strides):
    network = with_branch(embedded, conditioned_heatmap=True, motion_strides=strides)
    inputs = network_input("street_512x320"), torch.rand(1, 3, 320, 512) * 255, torch.rand(1, 1, 320, 512)
    with torch.inference_mode():
        plain, fused = network(*inputs), network.fused()
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
        for name, value in fused(*inputs).items():
            torch.testing.assert_close(value, plain[name], rtol=1e-3, atol=1e-3 * float(plain[name].abs().max()))


def test_only_added_heads_read_the_coordinates_of_a_cell(embedded):
    network = with_branch(embedded, coordinates=True)
    image = network_input("street_512x320")
    with torch.inference_mode():
        features = network.features(image)
        assert torch.equal(network(image)["hm"], embedded(image)["hm"])
        column, row = features[0, -2:]
        # From the middle of the image, in 32 cells: a network input of 512 px is 128 cells wide.
        assert column[0, 0] == pytest.approx(-63.5 / 32) and row[0, 0] == pytest.approx(-39.5 / 32)
        torch.testing.assert_close(column, -column.flip(1))
        torch.testing.assert_close(row, -row.flip(0))
        middle, larger = coordinates(torch.zeros(2, 1, 20, 30)), coordinates(torch.zeros(2, 1, 24, 34))
        torch.testing.assert_close(larger[:, :, 2:-2, 2:-2], middle)  # the same direction of view, whatever the size
        features[0, -2:] = 0
        assert not torch.equal(network.tracking(features), network.tracking(network.features(image)))
        assert torch.equal(network.hm(features), embedded(image)["hm"])


@pytest.mark.parametrize("motion", [False, True])
def test_sparse_heads_equal_dense_heads_on_a_real_frame(embedded, motion):
    if motion:
        embedded = with_branch(embedded, coordinates=True)
    image = network_input("street_512x320")
    index = torch.tensor([[0, 127, 79 * 128, 79 * 128 + 127, 40 * 128 + 64]])  # all corners, and inside
    heads = {name: embedded.heads[name] for name in ("ltrb", "tracking")}
    with torch.inference_mode():
        features = embedded.features(image)
        sparse = SparseHeads(heads)(features, index)
        for name, head in heads.items():
            torch.testing.assert_close(sparse[name], gather_cells(head(features), index), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_average_precision_on_coco_is_the_graphs(shared_data):
    pytest.importorskip("pycocotools", reason="the benchmark scores with pycocotools")
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.coco_ap", str(shared_data / "coco"), "--json"],
        capture_output=True, text=True, check=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    scores = json.loads(answer.stdout)
    assert scores["images"] == 64
    assert scores["ap"] == pytest.approx(0.319, abs=0.003) and scores["ap50"] == pytest.approx(0.489, abs=0.003)
