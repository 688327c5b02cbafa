# SPDX-License-Identifier: Apache-2.0
"""No process outlives the benchmark that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import children

LONG = "import time; time.sleep(60)"
# A benchmark as they are: it starts a process, says which, and waits for it.
BENCHMARK = f"""
import sys
from benchmarks import children
children.exit_on_sigterm()
with children.child([sys.executable, "-c", {LONG!r}]) as process:
    print(process.pid, flush=True)
    process.wait()
"""


def wait_until_gone(pid: int) -> None:
    """A process that nobody waits for stays as a zombie where there is no init: that is gone, too."""
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        assert time.monotonic() < until, f"process {pid} was left behind"
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_ending_a_benchmark_ends_what_it_started() -> None:
    process = subprocess.Popen([sys.executable, "-c", BENCHMARK], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    os.kill(child, 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    wait_until_gone(child)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_benchmark_that_takes_too_long_is_ended_with_what_it_started(tmp_path) -> None:
    told = tmp_path / "pid"
    script = BENCHMARK.replace("print(process.pid, flush=True)", f"open({str(told)!r}, 'w').write(str(process.pid))")
    with pytest.raises(subprocess.TimeoutExpired):
        children.run([sys.executable, "-c", script], 5.0)
    wait_until_gone(int(told.read_text()))


def test_what_a_command_says_is_handed_on() -> None:
    code, out, err = children.run([sys.executable, "-c", "import sys; print(7); sys.exit('no')"], 30.0)
    assert (code, out, err) == (1, "7\n", "no\n")
