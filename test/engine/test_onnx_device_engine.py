# SPDX-License-Identifier: Apache-2.0
"""Exported graphs on torch's tensors, by ONNX Runtime's provider for CPUs: the code of the engines for GPUs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from centertrack_ros.engine import export, verification
from centertrack_ros.engine.cuda_engine import CudaEngine
from centertrack_ros.engine.onnx_device_engine import CPU_PROVIDER, OnnxDeviceEngine, provider_options
from centertrack_ros.engine.registry import EngineOptions
from centertrack_ros.engine.torch_engine import TorchEngine
from support.network_reference import seeded_network

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
HEADS = {"hm": 3, "reg": 2, "wh": 2, "tracking": 2, "dep": 1}
SIZE = (64, 96)


@cache
def network():
    """Engines copy the network: all tests share it."""
    return seeded_network(HEADS, input_height=SIZE[0], input_width=SIZE[1], trained_focal_length=633.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    for name, half in (("f32", False), ("fp16", True)):
        export.to_onnx(export.trace(*network(), half=half), folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in ("f32", "fp16")}


def opened(path: Path) -> OnnxDeviceEngine:
    return OnnxDeviceEngine(path, EngineOptions(threads=1), "onnxruntime-cuda", CPU_PROVIDER)


@pytest.mark.parametrize("batch", [1, 3])
def test_its_peaks_equal_those_of_the_reference(files, batch) -> None:
    reference = verification.run_reference(TorchEngine(*network()), SIZE, batch)
    agreement = verification.compare(reference, verification.run_reference(opened(files["f32"]), SIZE, batch))
    assert agreement.exact, agreement


def test_float16_in_the_graph_finds_the_same_peaks(files) -> None:
    graph = onnx.load(files["fp16"]).graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert onnx.TensorProto.FLOAT16 in kinds  # weights of convolutions
    assert {one.type.tensor_type.elem_type for one in graph.input} == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT16 not in {one.type.tensor_type.elem_type for one in graph.output}
    reference = verification.run_reference(TorchEngine(*network()), SIZE)
    agreement = verification.compare(reference, verification.run_reference(opened(files["fp16"]), SIZE))
    assert agreement.close and agreement.value_error > 1e-4, agreement  # it rounds


def test_samples_of_deformable_convolutions_are_in_float32(files) -> None:
    """Float16 has 11 bits: at 800 px a coordinate would be half a px off."""
    model = onnx.shape_inference.infer_shapes(onnx.load(files["fp16"]))
    kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.value_info}
    nodes = [node for node in model.graph.node if node.op_type == "DeformConv"]
    assert len(nodes) == 16
    assert {kinds[name] for node in nodes for name in (node.input[0], node.input[2])} == {onnx.TensorProto.FLOAT}


def test_outputs_have_fixed_sizes_so_that_they_are_bound_before_a_run(files) -> None:
    engine = opened(files["f32"])
    image = torch.zeros(2, 3, *SIZE)
    found = engine._network(image, image, torch.zeros(2, 1, *SIZE), None)
    assert found["scores"].shape == (2, 100) and found["cells"].dtype == torch.int64
    first = found["scores"].clone()
    engine._network(torch.rand(2, 3, *SIZE), image, torch.zeros(2, 1, *SIZE), None)
    assert torch.equal(found["scores"], first)  # each run has outputs of its own


def test_a_sequence_of_frames_gives_what_torch_gives(files) -> None:
    results = []
    for engine in (TorchEngine(*network()), opened(files["f32"])):
        last, found = None, []
        for seed in range(3):
            image = engine.prepare(verification.make_test_image(SIZE, seed), np.eye(2, 3), SIZE)
            found += engine.infer([image], [last if last is not None else image], [np.array([[20, 30, 4 + seed]])])
            last = image
        results.append(found)
    assert verification.compare(*results).exact


def test_a_provider_that_does_not_start_is_refused_in_one_sentence(files) -> None:
    """ONNX Runtime goes on by the CPU without a word."""
    with pytest.raises(ValueError, match=r"cannot (start|run)") as problem:
        OnnxDeviceEngine(files["f32"], EngineOptions(), "onnxruntime-cuda", "CUDAExecutionProvider")
    assert len(str(problem.value).splitlines()) == 1


def test_files_that_are_no_exports_are_refused(tmp_path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="onnxruntime cannot run"):
        opened(path)


def test_providers_are_told_to_compute_in_float32_and_where_to_keep_what_they_build(tmp_path) -> None:
    cuda = provider_options("CUDAExecutionProvider", 1, None, tmp_path, False)
    assert cuda == {"device_id": "1", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    for half in (False, True):
        options = provider_options("TensorrtExecutionProvider", 0, None, tmp_path / "made", half)
        assert options["trt_engine_cache_path"] == str(tmp_path / "made") and (tmp_path / "made").is_dir()
        assert options["trt_fp16_enable"] == str(int(half))


CELLS = [np.array([[3, 5], [0, 0], [23, 15]]), np.zeros((0, 2), np.int64)]


def test_heads_are_read_at_the_cells_that_a_caller_asks_for(files) -> None:
    """As of another detector's boxes; the peaks themselves stay."""
    found = []
    for engine in (TorchEngine(*network()), CudaEngine(*network(), "cpu"), opened(files["f32"])):
        images = [engine.prepare(verification.make_test_image(SIZE, seed), np.eye(2, 3), SIZE) for seed in (1, 2)]
        none = [np.zeros((0, 3), np.int64)] * 2
        alone = engine.infer(images, images, none)
        asked = engine.infer(images, images, none, CELLS)
        assert verification.compare(alone, engine.infer(images, images, none)).exact  # nothing of it stays
        found.append(asked)
    reference, *others = found
    for other in others:
        for one, got in zip(reference, other, strict=True):
            assert verification.compare([one], [got]).exact and one.asked is not None and got.asked is not None
            for name, values in one.asked.items():
                np.testing.assert_allclose(got.asked[name], values, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="can be read at 100 cells, got 101"):
        engine.infer(images, images, none, [np.zeros((101, 2), np.int64), CELLS[1]])
