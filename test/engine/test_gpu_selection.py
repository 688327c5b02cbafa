# SPDX-License-Identifier: Apache-2.0
"""Which engine runs on a GPU, and what is said where one cannot: everything up to the device."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from centertrack_ros.cli.main import main
from centertrack_ros.engine import export_cache, gpu, loading, registry, selection, verification
from centertrack_ros.engine.loading import load_engine
from centertrack_ros.engine.registry import ENGINES, EngineEntry, EngineOptions, ExportForm
from centertrack_ros.network import checkpoints
from centertrack_ros.network.profile import PrecisionCheck
from support.network_reference import seeded_network

HEADS = {"hm": 3, "reg": 2, "wh": 2, "tracking": 2, "dep": 1}
ORIN = {"GPU": "Orin", "compute capability": "8.7", "CUDA": "12.6", "tensorrt": "10.3.0", "onnxruntime-gpu": "absent"}
NAMES = [name for name, entry in ENGINES.items() if entry.gpu]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "small.safetensors"
    checkpoints.save(path, *seeded_network(HEADS, input_height=64, input_width=96, trained_focal_length=633.0))
    return path


@pytest.fixture
def on_orin(monkeypatch) -> None:
    """The choice for a GPU, which is then made for this CPU: the facts of the machine are all that is invented."""
    monkeypatch.setattr(selection, "_graphics", lambda options: ORIN)


def verified(path: Path) -> None:
    network, profile = checkpoints.load(path)
    check = PrecisionCheck("python -m experiments.verify_precision DATA", {"AP": (0.3, 0.3)})
    checkpoints.save(path, network, replace(profile, verified_precisions={"fp16": check}))


def built(path: Path, engines: dict, variant: str = "f32", facts: dict = ORIN) -> export_cache.CachedExport:
    """An export as `centertrack export --build-only` leaves it, with these results."""
    key = export_cache.cache_key(path, False, variant, facts)
    with export_cache.writing(path, key) as folder:
        (folder / "model.onnx").write_bytes(path.read_bytes())
        (folder / "compiled").mkdir()
        (folder / "compiled" / "one.engine").write_bytes(b"built")
        export_cache.write_manifest(folder, key, {"engines": engines})
    found, warnings = export_cache.find(path, False, variant, facts)
    assert found is not None and not warnings
    return found


@pytest.fixture
def on_torch(monkeypatch) -> list[Path]:
    """An engine for GPUs by the name of TensorRT's that torch runs here; gives what it was asked to open."""
    asked: list[Path] = []

    def open_it(path: Path, options: EngineOptions):
        asked.append(path)
        engine = ENGINES["torch"].open(path.parent.parent.with_name("small.safetensors"), options)
        engine.name = "tensorrt"  # type: ignore[misc]
        return engine

    monkeypatch.setitem(
        ENGINES, "tensorrt", EngineEntry("tensorrt", open_it, export=ExportForm("model.onnx"), gpu=True)
    )
    monkeypatch.setattr(registry, "has_gpu", lambda: True)
    return asked


@pytest.mark.parametrize("name", NAMES)
@no_gpu
def test_a_named_engine_that_is_not_here_is_one_sentence_and_torch_runs(weights, caplog, name) -> None:
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        engine = load_engine(weights, engine=name, threads=1)
    (line,) = caplog.messages
    assert engine.name == "torch" and engine.device == "cpu"
    assert line.startswith(f"engine {name} needs ") and line.endswith("; torch is used instead")
    if "needs an NVIDIA GPU" not in line:  # which is what comes next
        assert f"pip install 'centertrack_ros[{ENGINES[name].extra}]'" in line
    assert len(verification.run_reference(engine, (64, 96))) == 1


def test_every_extra_that_a_sentence_names_exists() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for extra in {entry.extra for entry in ENGINES.values()} - {""}:
        assert f"\n{extra} = [" in text


@no_gpu
def test_float16_is_never_built_without_a_gpu(capsys) -> None:
    assert main(["export", "--build-only", "--precision", "fp16"]) != 0
    assert "float16 is built for NVIDIA GPUs only" in capsys.readouterr().err
    assert main(["export", "--build-only", "--device", "cuda"]) != 0
    assert "device 'cuda' is not there" in capsys.readouterr().err


def test_engines_of_a_gpu_take_no_part_in_the_choice_on_a_cpu() -> None:
    assert not {entry.name for entry in registry.exported_engines("bf16")} & set(NAMES)
    assert {entry.name for entry in registry.exported_engines("fp16", gpu=True)} == {n for n in NAMES if "fp16" in n}
    assert {entry.name for entry in registry.exported_engines("f32", gpu=True)} == {n for n in NAMES if "fp16" not in n}


def test_the_key_of_an_export_changes_with_the_gpu_and_its_libraries(weights) -> None:
    keys = [export_cache.cache_key(weights), export_cache.cache_key(weights, gpu=ORIN)]
    keys += [export_cache.cache_key(weights, gpu={**ORIN, name: "other"}) for name in ORIN]
    assert len({json.dumps(key, sort_keys=True) for key in keys}) == len(keys)
    built(weights, {})
    for name in ORIN:
        found, warnings = export_cache.find(weights, False, "f32", {**ORIN, name: "other"})
        assert found is None and len(warnings) == 1
        assert f"it was made with {name} {ORIN[name]}, here is other" in warnings[0]
    assert export_cache.find(weights) == (None, [])  # that of the CPU is another matter


def test_exports_for_another_gpu_stay_when_one_is_replaced(weights) -> None:
    first = built(weights, {}, facts={**ORIN, "tensorrt": "10.1"})
    other = built(weights, {}, facts={**ORIN, "GPU": "RTX"})
    now = built(weights, {})
    export_cache.prune(now)
    assert not first.folder.exists() and other.folder.exists() and now.folder.exists()


def test_auto_on_a_gpu_does_not_build_at_the_start(weights, on_orin, on_torch, caplog) -> None:
    """TensorRT needs minutes; a robot that starts has none."""
    with caplog.at_level(logging.INFO, "centertrack_ros"):
        engine = selection.select_on_gpu(weights, EngineOptions(threads=1))
    assert engine.name == "torch" and not on_torch and not weights.with_name("small.engines").exists()
    assert "`centertrack export --build-only` tries other engines" in caplog.text


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({"torch": {"ms": 3.0}, "tensorrt": {"ms": 2.0}}, "tensorrt"),
        ({"torch": {"ms": 3.0}, "tensorrt": {"ms": 4.0}}, "torch"),
        ({"torch": {"ms": 3.0}, "tensorrt": {"ms": 2.0, "problem": "its output differs"}}, "torch"),
        ({"torch": {"ms": 3.0}, "tensorrt": {"problem": "TensorRT cannot read the network"}}, "torch"),
        ({"torch": {"ms": 3.0}, "tensorrt-fp16": {"ms": 1.0}}, "torch"),
        ({}, "torch"),
    ],
)
def test_auto_takes_the_fastest_that_was_built_and_agreed(weights, on_orin, on_torch, results, expected) -> None:
    cached = built(weights, results)
    engine = selection.select_on_gpu(weights, EngineOptions(threads=1))
    assert engine.name == expected
    assert on_torch == ([cached.path("model.onnx")] if expected == "tensorrt" else [])


def test_an_engine_that_does_not_open_any_more_is_passed_over(weights, on_orin, monkeypatch, caplog) -> None:
    def fail(path, options):
        raise ValueError("the driver\nis too old")

    monkeypatch.setitem(ENGINES, "tensorrt", EngineEntry("tensorrt", fail, export=ExportForm("model.onnx"), gpu=True))
    built(weights, {"torch": {"ms": 3.0}, "tensorrt": {"ms": 2.0}})
    assert selection.select_on_gpu(weights, EngineOptions(threads=1)).name == "torch"
    assert "engine tensorrt is not used: the driver is too old" in caplog.text


def test_float16_needs_the_verification(weights, on_orin) -> None:
    assert selection.select_on_gpu(weights, EngineOptions(threads=1)).name == "torch"
    verified(weights)
    assert selection.select_on_gpu(weights, EngineOptions(threads=1)).name == "torch-fp16"
    assert not selection.verified_precisions(weights)  # which is about the CPU


def test_float16_can_be_asked_for(weights) -> None:
    engine = load_engine(weights, engine="torch-fp16", device="cpu", threads=1)
    assert engine.name == "torch-fp16"
    reference = verification.run_reference(load_engine(weights, engine="torch", threads=1), (64, 96))
    agreement = verification.compare(reference, verification.run_reference(engine, (64, 96)))
    assert agreement.close and agreement.value_error > 1e-4, agreement  # it rounds
    with pytest.raises(ValueError, match="at the peaks only"):
        load_engine(weights, engine="torch-fp16", device="cpu", dense=True)


def test_a_named_engine_uses_what_was_built_for_this_gpu(weights, on_orin, on_torch) -> None:
    cached = built(weights, {"tensorrt": {"ms": 2.0}})
    with pytest.raises(selection.EngineUnavailableError, match="runs on an NVIDIA GPU, and the device is 'cpu'"):
        selection.select_by_name("tensorrt", weights, EngineOptions(threads=1))
    entry = ENGINES["tensorrt"]
    assert selection._open(entry, cached, EngineOptions(threads=1)).name == "tensorrt"
    assert on_torch == [cached.path("model.onnx")]


def test_damage_to_what_tensorrt_built_does_not_lose_the_export(weights) -> None:
    """It has a digest of its own and is built again; the manifest answers for the rest."""
    cached = built(weights, {})
    (cached.folder / "compiled" / "one.engine").write_bytes(b"")
    assert export_cache.find(weights, False, "f32", ORIN) == (cached, [])
    (cached.folder / "model.onnx").write_bytes(b"")
    found, (warning,) = export_cache.find(weights, False, "f32", ORIN)
    assert found is None and "model.onnx is damaged" in warning


def test_versions_are_found_under_the_names_of_all_builds() -> None:
    found = gpu.libraries({"numpy": ("no-such-numpy", "numpy"), "other": ("no-such-distribution",)})
    assert found == {"numpy": np.__version__, "other": "absent"}
    assert set(gpu.libraries()) == {"tensorrt", "onnxruntime-gpu"}


@no_gpu
def test_facts_of_a_gpu_that_is_not_there_are_an_error() -> None:
    with pytest.raises(ValueError, match="no NVIDIA GPU"):
        gpu.facts("cuda")
    assert loading.resolve_device("auto") == "cpu"
