# SPDX-License-Identifier: Apache-2.0
"""The heads of a network at cells that a caller asks for: the same numbers in every engine, and none at a cost."""

from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.engine import export, export_process, load_engine
from centertrack_ros.network import checkpoints
from centertrack_ros.network.peaks import places_of
from support.small_network import small_network

pytest.importorskip("cv2")
HEADS = {"hm": 2, "reg": 2, "wh": 2, "tracking": 2, "dep": 1}
PRIOR = np.array([[20, 30, 6]])


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("asked") / "small.safetensors"
    network, profile = small_network(HEADS, input_height=64, input_width=96)
    checkpoints.save(path, network, profile)
    export_process.export_weights(path, threads=1)
    return path


def infer(engine, count: int, cells=None):
    images = np.random.default_rng(3).integers(0, 255, (count + 1, 64, 96, 3), np.uint8)
    inputs = [engine.prepare(image, np.eye(2, 3), (64, 96)) for image in images]
    arguments = (inputs[1:], inputs[:-1], [PRIOR] * count)
    return engine.infer(*arguments) if cells is None else engine.infer(*arguments, cells)


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_heads_at_asked_cells_are_those_of_the_dense_maps(weights, name) -> None:
    if name != "torch":
        pytest.importorskip(name)
    engine, dense = load_engine(weights, engine=name, threads=1), load_engine(weights, dense=True, threads=1)
    rng = np.random.default_rng(5)
    cells = [np.stack([rng.integers(0, 24, n), rng.integers(0, 16, n)], 1) for n in (7, 0, 60)]
    cells[0][:2] = (0, 0), (23, 15)  # corners, whose neighbourhoods are padded
    own, found = infer(engine, 3), infer(engine, 3, cells)
    for asked, before, after, exact in zip(cells, own, found, infer(dense, 3, cells), strict=True):
        assert after.asked is not None and exact.asked is not None and before.asked is None
        kept = len(before.scores) - len(asked)
        for head, values in exact.asked.items():
            assert after.asked[head].shape == (len(asked), HEADS[head])
            np.testing.assert_allclose(after.asked[head], values, rtol=2e-3, atol=2e-3)
            np.testing.assert_allclose(after.values[head], before.values[head][:kept], rtol=1e-4, atol=1e-4)
        assert np.array_equal(after.cells, before.cells[:kept]) and len(after.scores) == kept
    again = infer(engine, 3)
    assert all(np.array_equal(one.scores, other.scores) for one, other in zip(own, again, strict=True))


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_a_peak_asked_for_has_its_own_values(weights, name) -> None:
    if name != "torch":
        pytest.importorskip(name)
    engine = load_engine(weights, engine=name, threads=1)
    (own,) = infer(engine, 1)
    (found,) = infer(engine, 1, [own.cells])  # all of them: no own one is left
    assert not len(found.scores) and found.asked is not None
    for head, values in own.values.items():
        np.testing.assert_allclose(found.asked[head], values, rtol=1e-4, atol=1e-4)


def test_the_flip_test_holds_for_asked_cells(weights) -> None:
    engine = load_engine(weights, engine="torch", flip_test=True, threads=1)
    (own,) = infer(engine, 1)
    (found,) = infer(engine, 1, [own.cells[:9]])
    assert found.asked is not None
    np.testing.assert_allclose(found.asked["wh"], own.values["wh"][:9], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_asked_is_one_sentence(weights, tmp_path) -> None:
    with pytest.raises(ValueError, match="can be read at 3 cells, got 4"):
        places_of([np.zeros((4, 2), np.int64)], 24, 3)
    network, profile = checkpoints.load(weights)
    traced = export.trace(network, profile, export.InputShape(1, (64, 96)))
    export.to_torch_export(traced, tmp_path / "m.pt2")
    with pytest.raises(ValueError, match="engine torch-export reads the network's heads at its own peaks only"):
        infer(export.ExportedProgramEngine(tmp_path / "m.pt2"), 1, [np.zeros((1, 2), np.int64)])
