# SPDX-License-Identifier: Apache-2.0
"""The package builds with colcon and with pip, and both put everything where ROS tools and Python look for it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXECUTABLES = ("centertrack", "centertrack_node")

pytestmark = pytest.mark.packaging


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Output of a command that must succeed, run without the source tree on PYTHONPATH; a variable '' is unset."""
    environment = {key: value for key, value in {**os.environ, "PYTHONPATH": "", **variables}.items() if value}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the package as a user would clone it: builds leave nothing in the checkout."""
    unwanted = shutil.ignore_patterns(".*", "build", "install", "log", "dist", "out", "*.egg-info", "__pycache__")
    return Path(shutil.copytree(ROOT, tmp_path / "src" / "centertrack_ros", ignore=unwanted))


def test_the_wheel_holds_the_package_and_nothing_beside_it(sources: Path, tmp_path: Path) -> None:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", tmp_path, sources, cwd=tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    names = {PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()}
    assert PurePosixPath("centertrack_ros/py.typed") in names  # PEP 561: type checkers read our annotations
    tops = {name.parts[0] for name in names}
    version = ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert tops == {"centertrack_ros", f"centertrack_ros-{version}.dist-info", f"centertrack_ros-{version}.data"}
    files = {name.relative_to("centertrack_ros") for name in names if name.parts[0] == "centertrack_ros"}
    assert {name for name in files if name.suffix == ".py"} == {
        PurePosixPath(path) for path in python_files(ROOT / "centertrack_ros")
    }


def python_files(package: Path) -> set[Path]:
    return {path.relative_to(package) for path in package.rglob("*.py")}


def check_prefix(prefix: Path) -> None:
    """What `ros2 run`, `ros2 launch` and `ros2 pkg` look for under an install prefix."""
    for name in EXECUTABLES:
        program = prefix / "lib" / "centertrack_ros" / name
        assert os.access(program, os.X_OK)
        # Whichever Python the user has activated, with torch in it, and not the one that built the package.
        assert program.read_text().startswith("#!/usr/bin/env python3\n")
    assert (prefix / "share/ament_index/resource_index/packages/centertrack_ros").is_file()
    share = prefix / "share" / "centertrack_ros"
    for name in ("package.xml", "LICENSE", "NOTICE"):
        assert (share / name).is_file()
    for folder in ("config", "demo", "launch"):
        expected = {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".yaml", ".xml", ".rviz", ".mcap")
        }
        assert {path.relative_to(share) for path in (share / folder).rglob("*")} >= expected


def test_colcon_sees_an_ament_cmake_package() -> None:
    """colcon takes a package.xml that does not validate for plain Python, and does not say so."""
    pytest.importorskip("colcon_core", reason="colcon is not installed here")
    listed = run(sys.executable, "-m", "colcon", "--log-base", os.devnull, "list", "--base-paths", ROOT, cwd=ROOT)
    assert listed.split("\t")[0] == "centertrack_ros"
    assert listed.strip().endswith("(ros.ament_cmake)")


def test_one_version_everywhere() -> None:
    from centertrack_ros import __version__

    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == __version__


def test_pip_installs_the_whole_package(sources: Path, tmp_path: Path) -> None:
    """A virtual environment that shares the packages of this one, so that pip has nothing to fetch."""
    folder = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
    python = folder / "bin" / "python"
    library = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (library / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run(python, "-m", "pip", "install", *options, sources, cwd=tmp_path, AMENT_PREFIX_PATH="")

    package = library / "centertrack_ros"
    assert python_files(package) == python_files(ROOT / "centertrack_ros")
    assert list(package.glob("weights/*.safetensors")), "the embedded weights are missing"
    assert (package / "py.typed").is_file()
    check_prefix(folder)
    where = run(python, "-c", "import centertrack_ros.tracking as t; print(t.__file__)", cwd=tmp_path)
    assert Path(where.strip()).parent == package / "tracking"
    for command in (folder / "bin" / "centertrack", folder / "lib" / "centertrack_ros" / "centertrack"):
        assert "usage" in run(command, "--help", cwd=tmp_path, PATH=f"{folder / 'bin'}:{os.environ['PATH']}")
    # pip builds no messages: the node asks for them and does without.
    code = "import importlib.util as u, centertrack_ros; print(u.find_spec('centertrack_ros.msg'))"
    assert run(python, "-c", code, cwd=tmp_path).strip() == "None"


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--symlink-install"]], ids=["copies", "symlinks"])
def test_colcon_builds_a_workspace(sources: Path, tmp_path: Path, options: list[str]) -> None:
    """As on a robot: a workspace with this package in src, vision_msgs and the generators from underneath."""
    pytest.importorskip("colcon_core", reason="colcon is not installed here")
    if not os.environ.get("AMENT_PREFIX_PATH"):
        pytest.skip("no AMENT_PREFIX_PATH: run it with tools/run")
    arguments = ["build", *options, "--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}"]
    below = os.environ["AMENT_PREFIX_PATH"]
    run(sys.executable, "-m", "colcon", *arguments, cwd=tmp_path, CMAKE_PREFIX_PATH=below)

    prefix = tmp_path / "install" / "centertrack_ros"
    check_prefix(prefix)
    (package,) = (path for path in prefix.glob("l*/**/centertrack_ros") if (path / "tracking").is_dir())
    assert python_files(package) >= python_files(ROOT / "centertrack_ros")
    variables = {
        "PYTHONPATH": f"{package.parent}:{os.environ['PYTHONPATH'].replace(str(ROOT) + ':', '', 1)}",
        "LD_LIBRARY_PATH": f"{prefix / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "AMENT_PREFIX_PATH": f"{prefix}:{below}",
    }
    code = (
        "import centertrack_ros, centertrack_ros.msg as msg, centertrack_ros.tracking as tracking\n"
        "from rclpy.serialization import serialize_message\n"
        "print(msg.__file__, tracking.__file__, centertrack_ros.__version__, len(serialize_message(msg.TrackArray())))"
    )
    message, tracking, version, size = run(sys.executable, "-c", code, cwd=tmp_path, **variables).split()
    assert package in Path(message).parents
    assert package in Path(tracking).parents
    assert version == ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert int(size) > 0
    assert "usage" in run(prefix / "lib" / "centertrack_ros" / "centertrack", "--help", cwd=tmp_path, **variables)
