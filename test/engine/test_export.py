# SPDX-License-Identifier: Apache-2.0
"""Exported networks: the reference's answers from a file, whatever the model, the batch and the size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from centertrack_ros.cli.main import main
from centertrack_ros.engine import load_engine, openvino_engine, verification
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.network import checkpoints, decode
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.network.registry import build, weights_path
from support.network_reference import seeded_network

pytest.importorskip("onnxscript")
export = pytest.importorskip("centertrack_ros.engine.export")

NUSCENES = {"hm": 10, "reg": 2, "wh": 2, "tracking": 2, "dep": 1, "rot": 8, "dim": 3, "amodel_offset": 2}
POSE = {"hm": 1, "reg": 2, "wh": 2, "tracking": 2, "hps": 34, "hm_hp": 17, "hp_offset": 2}


def mobilenet(**head_options) -> tuple[nn.Module, ModelProfile]:
    """The embedded network, whose peaks differ as trained ones do, with stems (or a branch) and heads that all say
    something.
    """
    torch.manual_seed(4)
    embedded, known = checkpoints.load(weights_path("mobilenetv3-coco"))
    profile = replace(known, name="mobile", heads={**known.heads, "dep": 1}, head_options=head_options)
    network = build(profile)
    ours, theirs = network.state_dict(), embedded.state_dict()
    network.load_state_dict({**ours, **{n: v for n, v in theirs.items() if n in ours and ours[n].shape == v.shape}})
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return network, profile


MODELS = {
    "nuscenes": lambda: seeded_network(NUSCENES),
    "pose": lambda: seeded_network(POSE),
    "mobilenet": mobilenet,
    "mobilenet with a branch": lambda: mobilenet(motion=True, conditioned_heatmap=True, coordinates=True),
    "no stems": lambda: seeded_network({"hm": 3, "reg": 2, "wh": 2}, previous_image=False, prior_heatmap=False),
}


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory) -> tuple[nn.Module, ModelProfile, Path]:
    network, profile = MODELS[request.param]()
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export.to_onnx(export.trace(network, profile), path)
    return network, profile, path


def engine_of(path: Path, runtime: str):
    pytest.importorskip(runtime)
    if runtime == "openvino":
        export.to_openvino(path, path.with_suffix(".xml"))
        path = path.with_suffix(".xml")
    return load_engine(path, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_one_file_equals_the_reference_for_any_batch_and_size(exported, runtime) -> None:
    network, profile, path = exported
    engine = engine_of(path, runtime)
    assert engine.profile == profile, "the profile travels in the file"
    reference = TorchEngine(network, profile, dense=True, fuse=False)
    for size, batch in (((64, 96), 1), ((96, 64), 3)):
        agreement = verification.compare(
            verification.run_reference(reference, size, batch), verification.run_reference(engine, size, batch)
        )
        assert agreement.exact, str(agreement)


def test_a_fixed_size_with_the_flip_test_equals_the_reference(tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    network, profile = seeded_network({"hm": 2, "reg": 2, "wh": 2, "amodel_offset": 2, "dep": 1})
    traced = export.trace(network, profile, export.InputShape(1, (64, 96)), flip_test=True)
    export.to_onnx(traced, tmp_path / "model.onnx")
    engine = load_engine(tmp_path / "model.onnx", threads=1)
    reference = TorchEngine(network, profile, flip_test=True, dense=True, fuse=False)
    agreement = verification.compare(
        verification.run_reference(reference, (64, 96)), verification.run_reference(engine, (64, 96))
    )
    assert agreement.exact, str(agreement)
    with pytest.raises(ValueError, match=r"onnxruntime: .*invalid dimensions"):
        verification.run_reference(engine, (96, 96))
    assert len(verification.run_reference(engine, (64, 96))) == 1, "the next good input works"


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_a_file_of_a_fixed_size_fits_images_into_it_and_says_that_it_takes_no_other(tmp_path, name) -> None:
    pytest.importorskip("onnxruntime" if name == "model.onnx" else "openvino")
    network, profile = mobilenet()
    traced = export.trace(network, replace(profile, resize="budget"), export.InputShape(1, (64, 96)))
    export.to_onnx(traced, tmp_path / "model.onnx")
    if name == "model.xml":
        export.to_openvino(tmp_path / "model.onnx", tmp_path / name)
    engine = load_engine(tmp_path / name, threads=1)
    assert engine.profile.place((1000, 300)).input_size == (64, 96)
    assert load_engine(tmp_path / name, threads=1, input_size=(96, 64)).profile == engine.profile
    for options in ({"input_pixels": 128 * 128}, {"input_size": (128, 64)}):
        with pytest.raises(ValueError, match=r"takes an input of 96x64 px only: export it without --size"):
            load_engine(tmp_path / name, threads=1, **options)


def test_up_sampling_by_pixel_shuffles_is_the_same() -> None:
    network, _ = seeded_network({"hm": 2})
    inputs = torch.randn(1, 3, 64, 96), torch.randn(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        expected = network(*inputs)["hm"]
        export.shuffle_upsampling(network)
        assert not any(isinstance(module, nn.ConvTranspose2d) for module in network.modules())
        torch.testing.assert_close(network(*inputs)["hm"], expected, atol=1e-4, rtol=1e-4)


def test_the_graph_is_portable(tmp_path) -> None:
    """Standard operators only, sparse heads as matrix products, and the names that other programs read."""
    onnx = pytest.importorskip("onnx")
    network, profile = seeded_network(NUSCENES)
    export.to_onnx(export.trace(network, profile, export.InputShape(1, (64, 96))), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"} and not model.functions
    assert max(opset.version for opset in model.opset_import) >= 20
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("DeformConv") == 16 and "TopK" in kinds
    assert [given.name for given in model.graph.input] == ["image", "previous_image", "prior_heatmap"]
    names = {output.name for output in model.graph.output}
    assert {"scores", "class_ids", "cells", "value.dep"} <= names and "value.hm" not in names


@pytest.mark.slow
@pytest.mark.parametrize(("format_", "name"), [("openvino", "model.xml"), ("torch-export", "model.pt2")])
def test_the_command_writes_a_checked_file(tmp_path, capsys, format_, name) -> None:
    if format_ == "openvino":
        pytest.importorskip("openvino")
    network, profile = mobilenet()
    checkpoints.save(tmp_path / "weights.safetensors", network, profile)
    arguments = [
        str(tmp_path / "weights.safetensors"),
        "-o",
        str(tmp_path / name),
        "--format",
        format_,
        "--size",
        "96x64",
    ]
    assert main(["export", *arguments]) == 0
    assert "checked against the reference: 100 % of the peaks" in capsys.readouterr().out
    made = {path.name for path in tmp_path.iterdir()} - {"weights.safetensors"}
    assert made == ({"model.xml", "model.bin"} if format_ == "openvino" else {name})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "0"], "--batch must be at least 1"),
        (["--format", "openvino", "-o", "out.onnx"], "a file of format openvino ends in .xml"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tmp_path, monkeypatch, capsys, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    from centertrack_ros.network.registry import weights_path

    assert main(["export", str(weights_path("mobilenetv3-coco")), *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line and not list(tmp_path.iterdir())


def test_a_file_without_a_profile_is_an_error(tmp_path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["image"], ["scores"])
    graph = onnx.helper.make_graph([node], "g", [value("image", 1, [1])], [value("scores", 1, [1])])
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="no model profile in its metadata"):
        load_engine(tmp_path / "foreign.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(ValueError, match="onnxruntime cannot run"):
        load_engine(tmp_path / "broken.onnx")


def test_agreement_detects_each_kind_of_error() -> None:
    """The measure itself: another class, another score or another value is no agreement; a tie at the end is one."""
    network, profile = seeded_network({"hm": 3, "reg": 2})
    (peaks,) = verification.run_reference(TorchEngine(network, profile), (64, 96))
    assert verification.compare([peaks], [peaks]).exact
    arrays = {
        "scores": peaks.scores,
        "class_ids": peaks.class_ids,
        "cells": peaks.cells,
        "value.reg": peaks.values["reg"],
    }

    def changed(name: str, index: int, by: float):
        from centertrack_ros.network.peaks import from_arrays

        copy = {key: value.copy()[None] for key, value in arrays.items()}
        copy[name][0, index] += np.asarray(by, copy[name].dtype)
        return from_arrays(copy, peaks.grid)

    for name, by in (("scores", 0.01), ("class_ids", 5), ("cells", 40), ("value.reg", 0.1)):
        assert not verification.compare([peaks], changed(name, 0, by)).exact, name
    assert verification.compare([peaks], changed("cells", len(peaks.scores) - 1, 40)).overlap == 1.0


class _TopK(nn.Module):
    def forward(self, heat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return decode.top_k(heat, 100)


@pytest.fixture(scope="module")
def exported_top_k(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("top_k") / "top_k.onnx"
    names = ["scores", "channels", "cells"]
    with torch.no_grad():
        program = torch.export.export(_TopK(), (torch.zeros(2, 10, 48, 64),), strict=False)
        torch.onnx.export(program, (), str(path), input_names=["heat"], output_names=names, opset_version=export.OPSET)
    return path


@pytest.mark.parametrize("levels", [2, 50, 1 << 20])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_top_k_takes_the_first_of_equal_scores(exported_top_k, runtime, levels) -> None:
    """By channel and then by cell, as the official code ranks; with 2 levels nearly all scores are equal."""
    heat = (np.random.default_rng(levels).integers(0, levels, (2, 10, 48, 64)) / levels).astype(np.float32)
    if runtime == "onnxruntime":
        session = pytest.importorskip(runtime).InferenceSession(str(exported_top_k))
        scores, channels, cells = session.run(None, {"heat": heat})
    else:
        pytest.importorskip(runtime)
        core = openvino_engine.runtime().Core()
        compiled = core.compile_model(str(exported_top_k), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results = compiled(heat)
        scores, channels, cells = (results[name] for name in ("scores", "channels", "cells"))
    flat = heat.reshape(2, -1)
    expected = np.argsort(-flat, axis=1, kind="stable")[:, :100]
    np.testing.assert_array_equal(channels * 48 * 64 + cells, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(flat, expected, 1))


def test_fewer_rows_than_peaks_are_exported_too() -> None:
    """A fixed input of 32x32 px has 80 rows of ten classes, and a hundred cells to find."""
    heat = torch.rand(1, 10, 8, 8)
    with torch.no_grad():
        program = torch.export.export(_TopK(), (heat,), strict=False)
    for found, expected in zip(program.module()(heat), decode.top_k(heat, 100), strict=True):
        assert torch.equal(found, expected)
