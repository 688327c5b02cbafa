# SPDX-License-Identifier: Apache-2.0
"""The TensorRT engine around TensorRT: what is built when, kept where, and which addresses run.

TensorRT itself is a stand-in here (see `support.tensorrt_stand_in`); `test_cuda.py` runs the real one on a GPU.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.engine import export, tensorrt_plan, verification
from centertrack_ros.engine.registry import EngineOptions
from centertrack_ros.engine.tensorrt_engine import TensorRtEngine
from centertrack_ros.engine.torch_engine import TorchEngine
from support.small_network import small_network

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed: test_cuda.py runs it")
HERE = {"gpu": "Orin", "capability": "8.7", "tensorrt": "10.3.0"}
SIZE, OTHER = (64, 96), (96, 64)


@pytest.fixture(scope="module")
def model():
    return small_network({"hm": 3, "reg": 2, "wh": 2, "tracking": 2})


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export.to_onnx(export.trace(*model), path)
    return path


@pytest.fixture
def built(monkeypatch) -> list[dict]:
    """The shapes of everything that TensorRT builds, on an Orin."""
    from support import tensorrt_stand_in

    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_stand_in)
    monkeypatch.setattr(tensorrt_plan, "machine", lambda device="cuda": HERE)
    tensorrt_stand_in.BUILT.clear()
    return tensorrt_stand_in.BUILT


def agrees(model, engine, size=SIZE, batch: int = 1) -> bool:
    reference = verification.run_reference(TorchEngine(*model), size, batch)
    return verification.compare(reference, verification.run_reference(engine, size, batch)).exact


def test_it_builds_once_for_each_size_and_keeps_it(model, onnx_file, built, tmp_path, caplog) -> None:
    options = EngineOptions(compiled=tmp_path)
    engine = TensorRtEngine(onnx_file, options)
    assert agrees(model, engine) and agrees(model, engine) and agrees(model, engine, OTHER)
    assert [one["image"] for one in built] == [[[1, 3, *size]] * 2 for size in (SIZE, OTHER)]
    assert len(list(tmp_path.glob("*.engine"))) == 2
    assert sum("this takes minutes" in message for message in caplog.messages) == 2
    assert agrees(model, TensorRtEngine(onnx_file, options))
    assert len(built) == 2  # the next start finds it


def test_larger_batches_than_it_was_built_for_run_in_parts(model, onnx_file, built, tmp_path) -> None:
    engine = TensorRtEngine(onnx_file, EngineOptions(compiled=tmp_path, batch=2))
    for batch in (1, 5, 2):
        assert agrees(model, engine, batch=batch), batch
    assert [one["image"] for one in built] == [[[1, 3, *SIZE], [2, 3, *SIZE]]]
    assert {shape[0] for shape in engine._contexts} == {1, 2}


def test_another_tensorrt_builds_again(onnx_file, built, tmp_path, monkeypatch) -> None:
    for version in ("10.3.0", "10.4.0"):
        monkeypatch.setattr(tensorrt_plan, "machine", lambda device="cuda", v=version: {**HERE, "tensorrt": v})
        verification.run_reference(TensorRtEngine(onnx_file, EngineOptions(compiled=tmp_path)), SIZE)
    assert len(built) == 2


def test_a_file_for_one_size_runs_and_refuses_others(model, built, tmp_path) -> None:
    network, profile = model
    traced = export.trace(network, profile, export.InputShape(None, SIZE))
    export.to_onnx(traced, tmp_path / "model.onnx")
    export.to_tensorrt(tmp_path / "model.onnx", tmp_path / "model.engine", SIZE, 2, traced.profile)
    engine = TensorRtEngine(tmp_path / "model.engine", EngineOptions())
    assert (engine.profile.input_height, engine.profile.input_width, engine.profile.resize) == (*SIZE, "fixed")
    assert agrees((network, engine.profile), engine, batch=3)
    with pytest.raises(ValueError, match="takes an input of 96x64 px only, got 64x96"):
        verification.run_reference(engine, OTHER)
    with pytest.raises(ValueError, match="takes an input of 96x64 px only: export it without --size"):
        TensorRtEngine(tmp_path / "model.engine", EngineOptions(input_size=(128, 64)))
    assert len(built) == 1


def test_a_cache_that_cannot_be_written_is_one_line(model, onnx_file, built, tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("")
    assert agrees(model, TensorRtEngine(onnx_file, EngineOptions(compiled=tmp_path / "file" / "folder")))
    assert sum("is not kept" in message for message in caplog.messages) == 1


def test_a_network_that_tensorrt_does_not_take_is_one_sentence(built, tmp_path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ValueError, match="TensorRT cannot read the network") as problem:
        tensorrt_plan.build(path, SIZE, 1)
    assert len(str(problem.value).splitlines()) == 1
    with pytest.raises(ValueError, match=r"broken.onnx (is no ONNX file|has no model profile)"):
        TensorRtEngine(path, EngineOptions())


def test_the_previous_image_and_the_prior_reach_the_network(model, onnx_file, built, tmp_path) -> None:
    engine, reference = TensorRtEngine(onnx_file, EngineOptions(compiled=tmp_path)), TorchEngine(*model)
    found = []
    for one in (reference, engine):
        last, results = None, []
        for seed in range(3):
            image = one.prepare(verification.make_test_image(SIZE, seed), np.eye(2, 3), SIZE)
            results += one.infer([image], [last if last is not None else image], [np.array([[20, 30, 4 + seed]])])
            last = image
        found.append(results)
    assert verification.compare(*found).exact
