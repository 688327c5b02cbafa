# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu.sh: what it says without a GPU, and that results survive whatever ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_steps

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
ENVIRONMENT = {**os.environ, "PYTHON": sys.executable}


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence_and_by_its_status(tmp_path) -> None:
    done = subprocess.run([SCRIPT, tmp_path / "results"], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 3 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu.sh: torch sees no NVIDIA GPU here")
    assert not (tmp_path / "results").exists()


def test_another_option_is_refused(tmp_path) -> None:
    done = subprocess.run([SCRIPT, "--turbo"], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "gpu.sh: unknown option --turbo\n")


def test_the_summary_keeps_what_was_written_before_a_cut(tmp_path) -> None:
    lines = ['{"of": "facts", "GPU": "RTX"}', '{"step": "facts", "status": 0, "seconds": 4}', '{"of": "engine", "infer']
    (tmp_path / "results.jsonl").write_text("\n".join(lines))
    (tmp_path / "tests.txt").write_text(
        "test/engine/test_cuda.py::test_a[torch with space] PASSED   [ 3%]\n"
        "test/engine/test_cuda.py::test_b FAILED   [ 6%]\ntest/engine/test_cuda.py::test_c "
    )
    assert gpu_steps.main(["summary", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found == {
        "records": [{"of": "facts", "GPU": "RTX"}],
        "steps": {"facts": {"status": 0, "seconds": 4}},
        "tests": {"passed": ["test_a[torch with space]"], "failed": ["test_b"]},
    }


def test_a_killed_script_leaves_its_figures_and_no_process(tmp_path) -> None:
    script = subprocess.Popen(
        [SCRIPT, tmp_path, "--device", "cpu"], env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    results = tmp_path / "results.jsonl"
    end = time.monotonic() + 120
    while time.monotonic() < end and '"status"' not in (results.read_text() if results.exists() else ""):
        time.sleep(0.2)
    time.sleep(1)  # the next step runs
    script.send_signal(signal.SIGTERM)
    script.communicate(timeout=60)
    assert script.returncode == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["records"][0]["of"] == "facts" and found["steps"]["facts"]["status"] == 0
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout.split()
    assert not running


def test_what_no_time_is_left_for_is_named(tmp_path) -> None:
    done = subprocess.run(
        [SCRIPT, tmp_path, "--device", "cpu"], capture_output=True, env={**ENVIRONMENT, "LIMIT_S": "0"}
    )
    assert done.returncode == 1
    steps = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    assert {"facts", "tests", "torch", "tensorrt-fp16", "onnxruntime-cuda"} <= set(steps)
    assert {one["status"] for one in steps.values()} == {"no time left"}
