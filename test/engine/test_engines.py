# SPDX-License-Identifier: Apache-2.0
"""Which engine runs a model, and what happens when a cached export is not valid."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.engine import export_cache, export_process, load_engine, registry, selection, verification
from centertrack_ros.network import checkpoints
from support.environment import unmeasured_environment
from support.network_reference import frames, seeded_network
from support.small_network import small_network

cv2 = pytest.importorskip("cv2")
SIZE = (64, 96)
HEADS = {"hm": 2, "reg": 2, "wh": 2, "tracking": 2}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Weights with a cached export, of a small network."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("exported") / "small.safetensors"
    network, profile = small_network(HEADS, input_height=64, input_width=96)
    checkpoints.save(path, network, profile)
    export_process.export_weights(path, threads=1)
    return path


@pytest.fixture
def weights(exported, tmp_path, monkeypatch) -> Path:
    """A copy of them for which no second export can be made: the engine is the cached one or torch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(selection, "_EXPORTERS", ("a_package_that_does_not_exist",))
    shutil.copytree(exported.parent, tmp_path / "w")
    return tmp_path / "w" / exported.name


def manifest_of(weights: Path) -> Path:
    (found,) = weights.parent.glob("*.engines/*/manifest.json")
    return found


def change(weights: Path, edit) -> None:
    path = manifest_of(weights)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def make_fastest(weights: Path, name: str) -> None:
    def edit(content) -> None:
        for other, result in content["engines"].items():
            result["ms"] = 1.0 if other == name else 2.0

    change(weights, edit)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_auto_is_the_fastest_engine(weights, caplog, name) -> None:
    if name != "torch":
        pytest.importorskip(name)
    make_fastest(weights, name)
    with caplog.at_level(logging.INFO, "centertrack_ros"):
        engine = load_engine(weights, threads=1)
    assert engine.name == name
    assert f"engine auto: {name}, the fastest here" in caplog.text
    assert verification.compare(
        verification.run_reference(load_engine(weights, engine="torch"), SIZE), verification.run_reference(engine, SIZE)
    ).exact


@pytest.mark.parametrize("streams", [1, 2])
def test_images_in_streams_equal_images_in_sequence(weights, streams) -> None:
    pytest.importorskip("openvino")
    make_fastest(weights, "openvino")
    assert json.loads(manifest_of(weights).read_text())["engines"]["openvino"]["streams"] in (1, 2)  # it was measured
    change(weights, lambda content: content["engines"]["openvino"].update(streams=streams))
    engine = load_engine(weights, threads=2)
    assert engine.name == "openvino"
    reference = load_engine(weights, engine="torch")
    for count in (1, 2, 5, 1):
        assert verification.compare(
            verification.run_reference(reference, SIZE, count), verification.run_reference(engine, SIZE, count)
        ).exact


def test_openvino_reports_nothing_and_forks_nothing() -> None:
    """A fork of a process with threads, as a node is, can stand still for ever."""
    pytest.importorskip("openvino")
    code = (
        "import os, sys, threading, time\n"
        "forked = []\n"
        "os.register_at_fork(before=lambda: forked.append(1))\n"
        "from centertrack_ros.engine.openvino_engine import runtime\n"
        "core = runtime().Core()\n"
        "for thread in threading.enumerate():\n"
        "    thread is threading.main_thread() or thread.join(5)\n"
        "print(len(forked), sys.modules.get('openvino_telemetry'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert run.stdout.split() == ["0", "None"], run.stderr


def test_a_cached_export_runs_without_torch(weights) -> None:
    """The import of torch is the longest part of a start."""
    make_fastest(weights, "onnxruntime")
    code = (
        "import sys; from centertrack_ros.engine import load_engine\n"
        f"engine = load_engine({str(weights)!r}, threads=1)\n"
        "from centertrack_ros.engine import verification\n"
        "print(engine.name, len(verification.run_reference(engine, (64, 96))), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["onnxruntime", "1", "False"], run.stderr


STALE = {
    "it was made with openvino 1.0, here is": lambda content: content["facts"]["versions"].update(openvino="1.0"),
    "it was made for another CPU (Abacus)": lambda content: content["facts"]["cpu"].update(name="Abacus"),
    "it was made from other weights": lambda content: content["facts"].update(weights="0" * 64),
    "its manifest cannot be read": lambda content: content.pop("files"),
}


@pytest.mark.parametrize("warning", STALE)
def test_a_stale_or_foreign_export_costs_one_line_and_torch_runs(weights, caplog, warning) -> None:
    change(weights, STALE[warning])
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        engine = load_engine(weights, threads=1)
    assert engine.name == "torch" and len(verification.run_reference(engine, SIZE)) == 1
    assert sum(warning in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(path.read_bytes()[:-100]), lambda path: path.unlink()]
)
def test_a_damaged_export_costs_one_line(weights, caplog, damage) -> None:
    damage(manifest_of(weights).with_name("model.onnx"))
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        assert load_engine(weights, threads=1).name == "torch"
    assert sum("model.onnx is damaged or missing" in message for message in caplog.messages) == 1


def test_an_export_under_the_key_of_others_is_named(weights, caplog) -> None:
    """An export of another version is in the folder of another key."""
    change(weights, lambda content: content["facts"]["versions"].update(torch="1.0"))
    folder = manifest_of(weights).parent
    folder.rename(folder.with_name("0" * 20))
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        assert load_engine(weights, threads=1).name == "torch"
    assert sum("it was made with torch 1.0, here is" in message for message in caplog.messages) == 1


def test_an_engine_that_failed_its_check_is_not_used(weights, caplog) -> None:
    change(
        weights,
        lambda content: content["engines"]["onnxruntime"].update(problem="its output differs from the reference"),
    )
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        assert load_engine(weights, engine="onnxruntime", threads=1).name == "torch"
    (line,) = caplog.messages
    assert "its output differs from the reference; torch is used instead" in line


def test_an_engine_that_is_not_installed_is_replaced(weights, caplog, monkeypatch) -> None:
    absent = replace(registry.ENGINES["openvino"], package="a_package_that_does_not_exist")
    monkeypatch.setitem(registry.ENGINES, "openvino", absent)
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        assert load_engine(weights, engine="openvino", threads=1).name == "torch"
    (line,) = caplog.messages
    assert "engine openvino needs a_package_that_does_not_exist, which is not installed; torch is used instead" in line


def test_exports_of_read_only_weights_are_cached_at_home(exported, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    locked = tmp_path / "weights" / exported.name
    locked.parent.mkdir()
    shutil.copy(exported, locked)
    (tmp_path / "weights" / "small.engines").write_text("a file in place of the folder: nothing can be written here")
    key = export_cache.cache_key(locked)
    with export_cache.writing(locked, key) as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        export_cache.write_manifest(folder, key, {"engines": {}})
    cached, warnings = export_cache.find(locked)
    assert cached is not None and cached.folder.parent == tmp_path / "home" / "centertrack_ros" and not warnings


def test_a_full_disk_leaves_nothing_behind(exported, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    path = tmp_path / exported.name
    shutil.copy(exported, path)

    def write_until_full() -> None:
        with export_cache.writing(path, export_cache.cache_key(path)) as folder:
            (folder / "model.onnx").write_bytes(b"half a gra")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_until_full()
    assert export_cache.find(path) == (None, []) and not list((tmp_path / "small.engines").iterdir())


def test_an_export_that_fails_costs_one_line(weights, caplog, monkeypatch) -> None:
    shutil.rmtree(manifest_of(weights).parents[1])
    monkeypatch.setattr(selection, "_EXPORTERS", ())
    failing = [sys.executable, "-c", "import sys; sys.exit('[Errno 28] No space left on device')"]
    run = subprocess.run
    monkeypatch.setattr(selection.subprocess, "run", lambda command, **options: run(failing, **options))
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        assert load_engine(weights, threads=1).name == "torch"
    assert caplog.messages[-1].startswith(
        "engine auto: torch, because the export of small.safetensors failed: [Errno 28]"
    )


def without_export(weights: Path, monkeypatch) -> None:
    """As on the first start: nothing is cached, and the exporter is installed."""
    shutil.rmtree(manifest_of(weights).parents[1])
    monkeypatch.setattr(selection, "_EXPORTERS", ("onnx", "onnxscript"))


def lines_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("centertrack_ros")]


@pytest.mark.slow
def test_torch_runs_until_the_first_export_is_done(tmp_path, monkeypatch, caplog) -> None:
    """The embedded model, as a node starts it for the first time."""
    for package in ("onnxscript", "openvino", "onnxruntime"):
        pytest.importorskip(package)
    from centertrack_ros.network.registry import weights_path

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    shutil.copy(weights_path(None), tmp_path / "w.safetensors")
    with caplog.at_level(logging.INFO, "centertrack_ros"):
        engine = load_engine(tmp_path / "w.safetensors", threads=1, background=True)
        first = verification.run_reference(engine, (192, 256))
        assert engine.name == "torch" and engine.profile.name == "mobilenetv3-coco-track"
        early = engine.prepare(verification.make_test_image((192, 256), 0), np.eye(2, 3), (192, 256))
        assert engine.wait(600)
        assert engine.name in ("openvino", "openvino-bf16", "onnxruntime")
        assert lines_of(caplog)[-1] == f"{engine.name} runs from now on instead of torch"
    agreement = verification.compare(first, verification.run_reference(engine, (192, 256)))
    assert agreement.close if engine.name == "openvino-bf16" else agreement.exact
    # An image that torch prepared is the previous one of the first frame after the change.
    late = engine.prepare(verification.make_test_image((192, 256), 1), np.eye(2, 3), (192, 256))
    assert len(engine.infer([late], [early], [np.zeros((0, 3), np.int64)])) == 1
    again = load_engine(tmp_path / "w.safetensors", threads=1, background=True)
    assert again.name == engine.name and not hasattr(again, "wait")


# What can happen to the export process, as code that runs instead of it -> the reason in the log.
FAILURES = {
    "[Errno 28] No space left on device": "import sys; sys.exit('[Errno 28] No space left on device')",
    "it was ended by signal 9": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "it did not say why": "import os; os._exit(3)",
}


@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("requested", ["auto", "onnxruntime"])
def test_a_background_export_that_fails_costs_one_line_and_torch_continues(
    weights, caplog, monkeypatch, reason, requested
) -> None:
    without_export(weights, monkeypatch)
    run = subprocess.run
    failing = [sys.executable, "-c", FAILURES[reason]]
    monkeypatch.setattr(selection.subprocess, "run", lambda command, **options: run(failing, **options))
    with caplog.at_level(logging.INFO, "centertrack_ros"):
        engine = load_engine(weights, engine=requested, threads=1, background=True)
        before = verification.run_reference(engine, SIZE)
        assert engine.wait(60) and engine.name == "torch"
    started, ended = lines_of(caplog)
    assert started.startswith("exporting small.safetensors") and ended.endswith(
        f"the export of small.safetensors failed: {reason}" + ("; torch is used instead" if requested != "auto" else "")
    )
    assert verification.compare(before, verification.run_reference(engine, SIZE)).exact


def test_weights_that_cannot_be_loaded_are_refused_before_anything_is_exported(tmp_path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not a network")
    with pytest.raises(ValueError, match=r"w\.safetensors"):
        load_engine(tmp_path / "w.safetensors", background=True)


def test_an_export_process_ends_with_the_process_that_requested_it(tmp_path, monkeypatch) -> None:
    """And leaves nothing behind."""
    pytest.importorskip("onnxscript")
    network, profile = seeded_network(HEADS, architecture="dla_34", input_height=64, input_width=96)
    checkpoints.save(tmp_path / "w.safetensors", network, profile)
    command = [
        sys.executable,
        "-m",
        "centertrack_ros.engine.export_process",
        str(tmp_path / "w.safetensors"),
        "--attached",
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdin is not None and process.stderr is not None
    folder = tmp_path / "w.engines"
    while not folder.is_dir() or not list(folder.iterdir()):  # it works
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.stdin.close()
    assert process.wait(60) != 0 and "gone" in process.stderr.read()
    assert not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of a shell")
def test_a_disk_that_fills_up_under_the_export_is_one_line(tmp_path) -> None:
    """A real export that may write no file of more than 64 kB."""
    pytest.importorskip("onnxscript")
    path = tmp_path / "small.safetensors"
    checkpoints.save(path, *seeded_network(HEADS, architecture="dla_34_conv", input_height=64, input_width=96))
    command = f"ulimit -f 64; exec {sys.executable} -m centertrack_ros.engine.export_process {path}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=unmeasured_environment(),
    )
    assert done.returncode == 1 and "File too large" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "small.engines").iterdir())


def test_unfinished_exports_of_killed_processes_are_removed(exported, tmp_path) -> None:
    path = tmp_path / exported.name
    shutil.copy(exported, path)
    old, young = tmp_path / "small.engines" / ".old", tmp_path / "small.engines" / ".young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"half a gra")
    os.utime(old, (0, 0))
    with export_cache.writing(path, export_cache.cache_key(path)) as folder:
        export_cache.write_manifest(folder, export_cache.cache_key(path), {"engines": {}})
    assert not old.exists() and young.exists()


def test_unusable_weights_are_an_error(tmp_path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load_engine(tmp_path / "w.safetensors")


def test_wrong_inputs_are_an_error_and_the_next_ones_work(weights) -> None:
    make_fastest(weights, "onnxruntime")
    engine = load_engine(weights, threads=1)
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    small, large = (engine.prepare(frames(*size, 1, 5)[0], identity, size) for size in ((64, 64), SIZE))
    none = np.zeros((0, 3), np.int64)
    with pytest.raises(ValueError, match=r"one size, got \[\(64, 64\), \(64, 96\)\]"):
        engine.infer([large], [small], [none])
    with pytest.raises(ValueError, match="1 images with 0 previous"):
        engine.infer([large], [], [none])
    with pytest.raises(ValueError, match="multiples of 32, got 64x90"):
        engine.infer([large[..., :90]], [large[..., :90]], [none])
    assert engine.infer([], [], []) == [] and len(engine.infer([large], [large], [none])) == 1
    torch_input = load_engine(weights, engine="torch").prepare(frames(*SIZE, 1, 5)[0], identity, SIZE)
    np.testing.assert_array_equal(torch_input.numpy(), large)


def test_without_a_compiler_the_network_runs_uncompiled(weights, caplog, monkeypatch) -> None:
    from torch._inductor import exc

    from centertrack_ros.engine.compiled_engine import CompiledEngine

    engine = CompiledEngine(*checkpoints.load(weights))

    def no_compiler(*_):
        raise exc.InvalidCxxCompiler()

    monkeypatch.setattr(engine._network, "_compiled", no_compiler)
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        got = verification.run_reference(engine, SIZE) + verification.run_reference(engine, SIZE)
    (line,) = caplog.messages
    assert "the network runs uncompiled" in line
    reference = load_engine(weights, engine="torch")
    assert verification.compare(verification.run_reference(reference, SIZE) * 2, got).exact


def test_too_little_memory_on_the_gpu_makes_the_batches_smaller(weights, caplog) -> None:
    """The engine's reaction, on a device that takes two images at once."""
    import torch

    from centertrack_ros.engine.cuda_engine import CudaEngine

    class Small(CudaEngine):
        most = 2

        def _network(self, image, *others):
            if len(image) > self.most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super()._network(image, *others)

    engine = Small(*checkpoints.load(weights), "cpu", half=False)
    with caplog.at_level(logging.WARNING, "centertrack_ros"):
        got = verification.run_reference(engine, SIZE, 5) + verification.run_reference(engine, SIZE, 5)
    (line,) = caplog.messages
    assert "does not suffice for 5 images at once: 2 from now on" in line
    reference = verification.run_reference(load_engine(weights, engine="torch"), SIZE, 5)
    assert verification.compare(reference * 2, got).exact
    engine.most = 0
    with pytest.raises(RuntimeError, match="does not suffice for one image"):
        verification.run_reference(engine, SIZE)


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_the_input_size_is_an_option_of_loading_and_the_profile_is_read_only(weights, name) -> None:
    if name != "torch":
        pytest.importorskip(name)
    engine = load_engine(weights, engine=name, threads=1, input_size=(128, 64))
    assert engine.name == name and engine.device == "cpu"
    profile = engine.profile
    assert (profile.input_width, profile.input_height, profile.resize) == (128, 64, "fixed")
    with pytest.raises(AttributeError):
        engine.profile = profile
    with pytest.raises(ValueError, match="multiples of 32"):
        load_engine(weights, engine="torch", input_size=(100, 64))


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_a_number_of_input_px_is_an_option_of_loading_and_every_aspect_runs(weights, name) -> None:
    if name != "torch":
        pytest.importorskip(name)
    engine = load_engine(weights, engine=name, threads=1, input_pixels=96 * 96)
    assert (engine.profile.resize, engine.profile.input_pixels) == ("budget", 96 * 96)
    reference = load_engine(weights, engine="torch", dense=True, threads=1)
    for image_size in ((90, 160), (160, 90), (100, 400)):
        size = engine.profile.place(image_size).input_size
        expected = verification.run_reference(reference, size, 2)
        assert verification.compare(expected, verification.run_reference(engine, size, 2)).exact
    with pytest.raises(ValueError, match="not both"):
        load_engine(weights, engine=name, input_pixels=96 * 96, input_size=(96, 64))


def test_the_pixels_of_a_model_with_depths_cannot_be_chosen(tmp_path) -> None:
    network, profile = small_network({**HEADS, "dep": 1}, input_height=64, input_width=96)
    checkpoints.save(tmp_path / "deep.safetensors", network, profile)
    with pytest.raises(ValueError, match="depths belong to an input of 96x64 px"):
        load_engine(tmp_path / "deep.safetensors", engine="torch", input_pixels=96 * 96)


def test_a_registered_engine_can_be_loaded_by_its_name(weights, monkeypatch) -> None:
    monkeypatch.setattr(registry, "ENGINES", dict(registry.ENGINES))
    monkeypatch.setattr("centertrack_ros.engine.loading.ENGINES", registry.ENGINES)
    opened = []

    @registry.register_engine("mine")
    def _mine(path: Path, options: registry.EngineOptions):
        opened.append((path, options.threads))
        return registry.ENGINES["torch"].open(path, options)

    assert load_engine(weights, engine="mine", device="cpu", threads=1).name == "torch"
    assert opened == [(weights, 1)]
    with pytest.raises(ValueError, match="'mine' is registered already"):
        registry.register_engine("mine")(_mine)
