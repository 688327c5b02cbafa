# SPDX-License-Identifier: Apache-2.0
"""`colcon test` collects every test on a ROS installation, whose launch_testing extends pytest's collection."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ("-p", "support.launch_testing_like")
MODULES = {
    "test_plain.py": "",
    "test_skips_itself.py": "import pytest\npytest.importorskip('a_package_that_is_not_there')\n",
    "other/test_plain.py": "",  # the same name in another folder
    "other/test_has_a_bug.py": "from collections import no_such_name\n",
    "other/test_starts_processes_launch.py": "def generate_test_description():\n    raise AssertionError\n",
}


def collect(folder: Path, *options: str) -> tuple[int, set[str], str]:
    """(exit code, tests, output) of a collection as colcon starts it: from a build folder."""
    with tempfile.TemporaryDirectory() as build:
        command = [
            sys.executable,
            "-u",
            "-m",
            "pytest",
            str(folder),
            "-o",
            f"cache_dir={build}",
            "--collect-only",
            "-q",
        ]
        command += [f"--junit-xml={build}/pytest.xunit.xml", "--junit-prefix=centertrack_ros", *options]
        run = subprocess.run(command, capture_output=True, text=True, cwd=build)
    tests = {line for line in run.stdout.splitlines() if "::" in line and not line.startswith("ERROR")}
    return run.returncode, tests, run.stdout + run.stderr


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A small test suite with what a large one has."""
    folder = tmp_path / "test"
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n\ndef test_something() -> None:\n    pass\n")
    return folder


def test_the_plugin_ends_a_collection_that_nobody_protects(suite: Path) -> None:
    """Otherwise the next test would show nothing."""
    code, tests, output = collect(suite, *PLUGIN, "--ignore", str(suite / "other"))
    assert "imported by the plugin" in output
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED and not tests


def test_no_test_is_lost_to_the_plugin(suite: Path) -> None:
    shutil.copy(ROOT / "test" / "conftest.py", suite / "conftest.py")
    code, tests, output = collect(suite, *PLUGIN)
    assert "imported by the plugin" not in output
    assert tests == {f"test/{name}::test_something" for name in MODULES if "skips" not in name and "bug" not in name}
    assert (code, tests) == collect(suite)[:2] and "1 error" in output


@pytest.mark.slow
def test_of_the_whole_suite_no_test_is_lost() -> None:
    plain, with_plugin = collect(ROOT / "test"), collect(ROOT / "test", *PLUGIN)
    assert with_plugin[:2] == plain[:2] and len(plain[1]) > 1000
