# SPDX-License-Identifier: Apache-2.0
"""The set-up behind `make`: it does nothing twice, starts again after an interruption, and names what is missing."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment() -> ModuleType:
    """tools/environment.py as a module."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interpreter(folder: Path, name: str, **facts: object) -> Path:
    """A program that prints what a Python with such properties would print."""
    complete = {"executable": name, "version": [3, 11, 4], "venv": True, "headers": True, "rclpy": False, **facts}
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(complete)}\nEND\n")
    program.chmod(0o755)
    return program


def finished(environment: ModuleType, folder: Path) -> Any:
    """An environment in `folder` whose set-up is complete."""
    made = environment.Environment(str(folder), "jazzy")
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    made.write_stamp({"root": str(ROOT), "ros": "jazzy", "base": sys.executable, "version": [3, 11, 4]})
    stamp = {
        **made.stamp(),
        **{g: made.packages_digest(g) for g in ("packages", "tests")},
        "interfaces": made.interfaces_digest(),
    }
    made.write_stamp(stamp)
    made.write_stamp({**stamp, "engine": made.engine_digest()})
    return made


def test_nothing_is_done_twice(environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty PATH neither pip nor colcon nor a compiler could even be looked for."""
    made = finished(environment, tmp_path / "venv")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "venv").rglob("*")}
    monkeypatch.setenv("PATH", "")
    made.set_up(tests=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "venv").rglob("*")} == before


def test_a_changed_message_is_built_again_but_installs_nothing(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = finished(environment, tmp_path / "venv")
    stamp = made.stamp()
    (tmp_path / "Other.msg").write_text("float64 x\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "INTERFACE_SOURCES", ["Other.msg"])
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    for path in (ROOT / "requirements").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = made.interfaces_digest()
    assert first != stamp["interfaces"]
    (tmp_path / "Other.msg").write_text("float32 x\n")
    assert made.interfaces_digest() != first


def test_a_changed_pin_is_installed(environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (ROOT / "requirements").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    made = environment.Environment("venv", "jazzy")
    before = made.packages_digest("packages")
    pins = tmp_path / "constraints.txt"
    pins.write_text(pins.read_text().replace("torch==", "torch==1"))
    assert made.packages_digest("packages") != before


@pytest.mark.parametrize(
    "damage", ["stamp cut short", "no stamp", "python gone", "checkout moved", "other distribution"]
)
def test_what_was_interrupted_is_not_trusted(environment: ModuleType, tmp_path: Path, damage: str) -> None:
    made = finished(environment, tmp_path / "venv")
    if damage == "stamp cut short":
        made.stamp_file.write_text(made.stamp_file.read_text()[:20])
    elif damage == "no stamp":
        made.stamp_file.unlink()
    elif damage == "python gone":
        made.python.unlink()
    elif damage == "other distribution":
        made.write_stamp({**made.stamp(), "ros": "kilted"})
    else:
        made.write_stamp({**made.stamp(), "root": "/elsewhere"})
    assert made.stamp() == {}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"version": [3, 9, 2]}, ["3.9.2", "3.10 to 3.14"]),
        ({"version": [3, 15, 0]}, ["3.15.0", "3.10 to 3.14"]),
        ({"venv": False}, ["venv", "apt-get install python3.11-venv"]),
        ({"headers": False}, ["Python.h", "apt-get install python3.11-dev"]),
    ],
)
def test_an_unfit_python_is_named_with_what_it_lacks(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, object], words: list[str]
) -> None:
    monkeypatch.setenv("PYTHON", str(interpreter(tmp_path, "python3", **facts)))
    with pytest.raises(environment.SetupError) as error:
        environment.find_python(need_rclpy=False)
    assert all(word in str(error.value) for word in words)


def test_a_fit_python_is_found_behind_an_unfit_one(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(tmp_path, "python3", version=[3, 8, 10])
    fit = interpreter(tmp_path, "python3.12", version=[3, 12, 3])
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    if any(Path("/bin", f"python{version}").exists() for version in ("3.14", "3.13")):
        pytest.skip("this system's own Python comes first")
    assert environment.find_python(need_rclpy=False)["executable"] == fit.name


def test_a_missing_compiler_is_reported(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(environment.SetupError, match=r"apt-get install g\+\+"):
        environment.find_compiler()


def test_an_unreachable_index_is_reported(environment: ModuleType, tmp_path: Path) -> None:
    """pip itself, sent to a port of this machine on which nobody listens."""
    made = finished(environment, tmp_path / "venv")
    index = ["--index-url", "http://127.0.0.1:9/simple", "--retries", "1", "--isolated"]
    target = ["--target", str(tmp_path / "target"), "no-such-package-centertrack"]
    with pytest.raises(environment.SetupError, match="the package index cannot be reached"):
        made.call([sys.executable, "-m", "pip", "install", *index, *target], "installing packages")


def test_a_failure_leaves_its_output_in_the_log(environment: ModuleType, tmp_path: Path) -> None:
    made = finished(environment, tmp_path / "venv")
    with pytest.raises(environment.SetupError, match=r"building failed with status 3; .*setup\.log"):
        made.call(["sh", "-c", "echo the reason; exit 3"], "building")
    assert "the reason" in made.log.read_text()


def test_every_pin_is_exact_and_every_requirement_has_one(environment: ModuleType) -> None:
    folder = ROOT / "requirements"
    pinned = set()
    for path in (folder / name for name in ("constraints.txt", "ros-kilted.txt", "ros-jazzy.txt", "docs.txt")):
        for line in environment.requirement_lines([path], set()):
            assert "==" in line.split(";")[0], f"{path.name}: {line}"
            pinned.add(environment.package_name(line).lower())
    for path in folder.glob("*.txt"):
        for line in environment.requirement_lines([path], set()):
            assert environment.package_name(line).lower() in pinned, f"{path.name}: {line}"


def test_run_reports_that_nothing_is_set_up(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    script = tmp_path / "tools" / "run"
    script.write_bytes((ROOT / "tools" / "run").read_bytes())
    variables = {key: value for key, value in os.environ.items() if key != "ROS_DISTRO"}
    done = subprocess.run(["sh", str(script), "true"], capture_output=True, text=True, env=variables)
    assert done.returncode == 1
    assert "make setup" in done.stderr


@pytest.mark.parametrize(
    "name", ["projekt\u00fc", "a:b", "a;b", "it's", 'a"b', "a$b", "a#b", "a\\b", "a\nb", "f\udcfcr"]
)
def test_a_place_where_the_messages_cannot_be_built_is_said_before_anything_is_done(name: str, tmp_path: Path) -> None:
    tools = tmp_path / name / "tools"
    tools.mkdir(parents=True)
    (tools / "environment.py").write_bytes((ROOT / "tools" / "environment.py").read_bytes())
    command = [sys.executable, str(tools / "environment.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1
    assert "move the checkout" in done.stderr and done.stderr.isascii()
    assert [path.name for path in (tmp_path / name).iterdir()] == ["tools"]


def test_spaces_and_common_signs_are_no_problem(environment: ModuleType) -> None:
    environment.check_place(Path("/home/me/my work/ros2_ws-1.0+x/src/centertrack_ros"))


# Packages that exist as sources only; they are pure Python, and pip builds them anywhere.
SOURCES_ONLY = {"empy"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["constraints.txt", "docs.txt", "ros-jazzy.txt", "ros-kilted.txt"])
def test_every_pin_has_a_wheel_for_the_newest_python(environment: ModuleType, tmp_path: Path, name: str) -> None:
    """Pin by pin: pip itself evaluates markers for the Python that runs it."""
    requirements = pytest.importorskip("packaging.requirements")
    version = ".".join(map(str, environment.NEWEST))
    lines = map(requirements.Requirement, environment.requirement_lines([ROOT / "requirements" / name], set()))
    there = {"python_version": version, "python_full_version": f"{version}.0"}
    pins = [f"{line.name}{line.specifier}" for line in lines if line.marker is None or line.marker.evaluate(there)]
    wanted = tmp_path / "pins.txt"
    wanted.write_text("\n".join(pin for pin in pins if pin.split("=")[0] not in SOURCES_ONLY) + "\n")
    options = ["--dry-run", "-q", "--no-deps", "--only-binary=:all:", "--python-version", version]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(tmp_path / "x"), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True)
    if any(sign in done.stderr for sign in environment.NO_NETWORK):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr[-1500:]
