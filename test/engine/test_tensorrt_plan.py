# SPDX-License-Identifier: Apache-2.0
"""Files of what TensorRT builds: found again, told apart by machine and size, and refused when they do not fit."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.engine import tensorrt_plan
from centertrack_ros.engine.loading import load_engine
from centertrack_ros.engine.tensorrt_plan import Plan

HERE = {"gpu": "Orin", "capability": "8.7", "tensorrt": "10.3.0"}
FACTS = {"onnx": "ab12", "size": [320, 512], "batch": 1, "profile": "{}", **HERE}


def test_what_was_written_is_read_again(tmp_path) -> None:
    plan = Plan(FACTS, bytes(range(256)) * 40 + b"\n{}\n")
    tensorrt_plan.write(tmp_path / "made" / "one.engine", plan)
    assert tensorrt_plan.read(tmp_path / "made" / "one.engine") == plan
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["one.engine"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "facts", "list"])
def test_damaged_files_are_refused_in_one_sentence(tmp_path, damage) -> None:
    path = tmp_path / "one.engine"
    tensorrt_plan.write(path, Plan(FACTS, b"network" * 100))
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-5],
            "flipped": content[:-5] + b"?" + content[-4:],
            "empty": b"",
            "other": b"ftrt" + content,
            "facts": content.replace(b'"digest"', b'"digest'),
            "list": content.splitlines(True)[0] + b"[1]\nnetwork",
        }[damage]
    )
    with pytest.raises(ValueError, match="export it again") as problem:
        tensorrt_plan.read(path)
    assert len(str(problem.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpu": "RTX 4090"}, "built for GPU 'Orin', here is 'RTX 4090'"),
        ({"capability": "8.9"}, "built for compute capability '8.7', here is '8.9'"),
        ({"tensorrt": "10.4.0"}, "built for TensorRT '10.3.0', here is '10.4.0'"),
    ],
)
def test_a_plan_of_another_machine_is_refused(tmp_path, change, words) -> None:
    tensorrt_plan.check_fits(tmp_path / "one.engine", FACTS, HERE)
    with pytest.raises(ValueError, match=words):
        tensorrt_plan.check_fits(tmp_path / "one.engine", FACTS, {**HERE, **change})


def test_the_cache_gives_the_largest_batch_that_was_built_for_just_this(tmp_path) -> None:
    assert tensorrt_plan.find(tmp_path / "none", FACTS) is None
    for batch in (1, 12, 6):
        facts = {**FACTS, "batch": batch}
        tensorrt_plan.write(tmp_path / tensorrt_plan.file_name(facts), Plan(facts, b"for %d" % batch))
    found = tensorrt_plan.find(tmp_path, {**FACTS, "batch": 2})
    assert found is not None and found.content == b"for 12"
    (tmp_path / tensorrt_plan.file_name({**FACTS, "batch": 12})).write_bytes(b"damaged")
    found = tensorrt_plan.find(tmp_path, FACTS)
    assert found is not None and found.content == b"for 6"
    for key, value in (("onnx", "cd"), ("size", [320, 544]), ("gpu", "RTX"), ("capability", "9.0"), ("tensorrt", "11")):
        assert tensorrt_plan.find(tmp_path, {**FACTS, key: value}) is None


def test_shapes_leave_the_batch_open_and_keep_what_the_file_fixes() -> None:
    assert tensorrt_plan.input_shapes((-1, 3, -1, -1), (320, 512), 6) == ((1, 3, 320, 512), (6, 3, 320, 512))
    assert tensorrt_plan.input_shapes((-1, 1, 320, 512), (320, 512), 1) == ((1, 1, 320, 512), (1, 1, 320, 512))
    assert tensorrt_plan.input_shapes((2, 3, 320, 512), (320, 512), 2) == ((2, 3, 320, 512), (2, 3, 320, 512))


def test_a_version_without_deformable_convolutions_is_refused() -> None:
    for version in ("10.1.0", "10.13.3.9", "11.4.0.106"):
        tensorrt_plan.check_version(version)
    for version in ("8.6.1", "10.0.1"):
        with pytest.raises(ImportError, match=f"TensorRT {version} is too old"):
            tensorrt_plan.check_version(version)


needs_absence = pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed")


@needs_absence
def test_without_tensorrt_one_sentence_names_the_command(tmp_path, capsys) -> None:
    with pytest.raises(ImportError, match=r"not installed: pip install 'centertrack_ros\[tensorrt\]'"):
        tensorrt_plan.runtime()
    assert main(["export", "--format", "tensorrt", "-o", str(tmp_path / "one.engine")]) != 0
    message = capsys.readouterr().err
    assert "TensorRT is not installed" in message and "Traceback" not in message and not list(tmp_path.iterdir())
    tensorrt_plan.write(tmp_path / "one.engine", Plan(FACTS, b"network"))
    with pytest.raises(
        ValueError, match=r"engine tensorrt needs tensorrt, .*pip install 'centertrack_ros\[tensorrt\]'"
    ):
        load_engine(tmp_path / "one.engine")


@needs_absence
def test_a_broken_installation_says_which_library_is_missing(tmp_path, monkeypatch) -> None:
    """As TensorRT's own package does without its libraries."""
    (tmp_path / "tensorrt.py").write_text("import ctypes\nctypes.CDLL('libnvinfer.so.10')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match=r"TensorRT is incomplete \(libnvinfer.so.10"):
        tensorrt_plan.runtime()
    sys.modules.pop("tensorrt", None)
    (tmp_path / "tensorrt.py").write_text("import tensorrt_libs_of_nobody\n")
    with pytest.raises(ImportError, match=r"incomplete \(No module named 'tensorrt_libs_of_nobody'\)"):
        tensorrt_plan.runtime()
    sys.modules.pop("tensorrt", None)
