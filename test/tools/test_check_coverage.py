# SPDX-License-Identifier: Apache-2.0
"""The coverage of a module counts wherever it ran, and too little is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.environment import unmeasured_environment
from tools.check_coverage import find_problems, measured

CONFIGURATION = """
[tool.coverage.run]
source = ["package"]
patch = ["subprocess", "_exit"]
parallel = true
sigterm = true
[tool.coverage.paths]
source = ["package/", "*/package/"]
"""


def test_too_little_coverage_is_a_problem_unless_there_is_a_reason() -> None:
    shares = {"a.py": 85.0, "b.py": 84.9, "c.py": 10.0}
    assert find_problems(shares, 85, {"c.py": "needs a GPU"}) == ["b.py: 84.9 % is below 85 %"]
    assert find_problems(shares, 80, {"c.py": " "}) == ["c.py: an exception without a reason"]
    assert find_problems({}, 85, {"c.py": "needs a GPU"}) == ["c.py: an exception, but no such module"]


def test_what_runs_in_other_processes_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends by SIGTERM in another folder, and a worker that leaves without Python's clean-up."""
    (tmp_path / "pyproject.toml").write_text(CONFIGURATION)
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "terminated.py").write_text("import os, signal\n\nx = 1\nos.kill(os.getpid(), signal.SIGTERM)\n")
    (package / "exited.py").write_text("import os\n\nx = 1\nos._exit(0)\n")
    (package / "untouched.py").write_text("x = 1\ny = 2\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "main.py").write_text(
        "import subprocess, sys\n"
        "for name in ('terminated', 'exited'):\n"
        "    subprocess.run([sys.executable, '-m', f'package.{name}'], cwd='elsewhere')\n"
    )
    environment = {**unmeasured_environment(), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "coverage", "run", "main.py"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    monkeypatch.chdir(tmp_path)
    shares = measured(tmp_path)
    assert shares["package/terminated.py"] == shares["package/exited.py"] == 100.0
    assert shares["package/untouched.py"] == 0.0
