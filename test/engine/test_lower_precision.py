# SPDX-License-Identifier: Apache-2.0
"""bfloat16 runs where the weights are verified for it and the CPU has it, the user is told, and float32 stays there."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.engine import export_cache, export_process, load_engine, selection, verification
from centertrack_ros.network import checkpoints
from centertrack_ros.network.peaks import from_arrays
from centertrack_ros.network.profile import ModelProfile, PrecisionCheck, stored_profile
from support.small_network import small_network

CHECK = PrecisionCheck("python -m experiments.verify_precision DATA", {"AP": (0.32, 0.326)})
CPU = {"name": "Abacus", "flags": "avx2 avx512_bf16"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Verified weights with the export that 'auto' makes of them on a CPU with bfloat16."""
    for package in ("onnxscript", "openvino"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("exported") / "small.safetensors"
    network, profile = small_network({"hm": 2, "reg": 2, "wh": 2}, input_height=64, input_width=96)
    checkpoints.save(path, network, replace(profile, verified_precisions={"bf16": CHECK}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_cache, "cpu", lambda: CPU)
        export_process.export_weights(path, variant="bf16", threads=1)
    return path


@pytest.fixture
def weights(exported, tmp_path, monkeypatch) -> Path:
    """A copy of them for which nothing else can be exported."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(selection, "_EXPORTERS", ("a_package_that_does_not_exist",))
    monkeypatch.setattr(export_cache, "cpu", lambda: CPU)
    shutil.copytree(exported.parent, tmp_path / "w")
    return tmp_path / "w" / exported.name


def change(weights: Path, edit) -> None:
    (path,) = weights.parent.glob("*.engines/*/manifest.json")
    content = json.loads(path.read_text())
    edit(content["engines"])
    path.write_text(json.dumps(content))


def set_times(weights: Path, fastest: str) -> None:
    change(weights, lambda engines: [r.update(ms=1.0 if n == fastest else 2.0) for n, r in engines.items()])


def test_auto_runs_verified_weights_in_bfloat16_and_says_so_in_one_line(weights, caplog) -> None:
    change(weights, lambda engines: engines["openvino-bf16"].pop("doubt", None))
    set_times(weights, "openvino-bf16")
    with caplog.at_level(logging.INFO, "centertrack_ros"):
        engine = load_engine(weights, threads=1)
    assert engine.name == "openvino-bf16" and len(verification.run_reference(engine, (64, 96))) == 1
    (line,) = [message for message in caplog.messages if "engine auto" in message]
    assert "in bfloat16, which is verified for these weights: AP 0.326 (0.32 in float32)" in line
    assert "engine 'openvino' is float32" in line


@pytest.mark.parametrize("name", ["auto", "openvino"])
def test_float32_runs_on_the_same_export_and_equals_the_reference(weights, name) -> None:
    """'auto' where it is faster; by its name always, which nothing needs to be exported for."""
    set_times(weights, "openvino" if name == "auto" else "openvino-bf16")
    engine = load_engine(weights, engine=name, threads=1)
    assert engine.name == "openvino"
    reference = load_engine(weights, engine="torch")
    assert verification.compare(
        verification.run_reference(reference, (64, 96)), verification.run_reference(engine, (64, 96))
    ).exact


def test_bfloat16_that_differs_on_this_machine_is_not_used(weights, caplog) -> None:
    set_times(weights, "openvino-bf16")
    change(weights, lambda engines: engines["openvino-bf16"].update(doubt="its output differs from the reference"))
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        assert load_engine(weights, threads=1).name != "openvino-bf16"
    assert any("not openvino-bf16" in message and "differs" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("flags", "verified", "expected"),
    [("avx512_bf16", True, ["bf16"]), ("amx_bf16", True, ["bf16"]), ("avx512f", True, []), ("avx512_bf16", False, [])],
)
def test_bfloat16_needs_the_cpu_and_the_verification(weights, monkeypatch, flags, verified, expected) -> None:
    monkeypatch.setattr(export_cache, "cpu", lambda: {"name": "Abacus", "flags": flags})
    if not verified:
        network, profile = checkpoints.load(weights)
        checkpoints.save(weights, network, replace(profile, verified_precisions={}))
    assert list(selection.verified_precisions(weights)) == expected


def test_the_profile_carries_what_was_measured(weights, capsys) -> None:
    profile = stored_profile(weights)
    assert profile is not None and profile.verified_precisions == {"bf16": CHECK}
    assert main(["weights", "info", str(weights)]) == 0
    assert "bf16, verified: AP 0.326 (0.32 in float32), by python -m experiments" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"fp8": {"command": "c", "figures": {"AP": [1, 1]}}}, "must name some of bf16, fp16, got 'fp8'"),
        ({"bf16": {"command": "c", "figures": {}}}, "bf16 needs figures and their command"),
        ({"bf16": {"command": "c", "figures": {"AP": [1]}}}, "must be a list of 2"),
        ({"bf16": True}, "must be a mapping"),
    ],
)
def test_a_verification_without_figures_is_refused(entry, message) -> None:
    fields = {"name": "n", "architecture": "dla_34", "classes": ["car"], "heads": {"hm": 1}}
    with pytest.raises(ValueError, match=message):
        ModelProfile.from_json(json.dumps({**fields, "verified_precisions": entry}))


def test_close_means_the_same_objects_but_for_rounding_in_bfloat16() -> None:
    """Ranks of near-equal peaks may change; other places, other scores or other boxes may not."""
    rng = np.random.default_rng(0)
    places = rng.permutation(400)[:100]
    arrays = {
        "scores": np.linspace(0.9, 0.1, 100, dtype=np.float32)[None],
        "class_ids": np.zeros((1, 100), np.int64),
        "cells": np.stack([places % 20 * 4, places // 20 * 4], 1)[None],
        "value.wh": rng.uniform(5, 50, (1, 100, 2)).astype(np.float32),
    }
    (reference,) = from_arrays(arrays, (80, 80))

    def close(**changes) -> bool:
        (other,) = from_arrays({**arrays, **changes}, (80, 80))
        return verification.compare([reference], [other]).close

    noise = rng.normal(0, 2**-8, (1, 100, 2)).astype(np.float32)
    assert close(**{"scores": arrays["scores"] * (1 + noise[..., 0]), "value.wh": arrays["value.wh"] * (1 + noise)})
    fifth = (np.arange(100) % 5 == 0).astype(np.int64)[None, :, None]
    assert close(cells=arrays["cells"] + fifth), "a neighbouring cell is the same peak"
    assert not close(cells=arrays["cells"] + 2 * fifth)
    assert not close(scores=arrays["scores"] - np.float32(0.05))
    assert not close(**{"value.wh": arrays["value.wh"] * np.float32(1.1)})
    assert not close(class_ids=arrays["class_ids"] + 1)
