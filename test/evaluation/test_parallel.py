# SPDX-License-Identifier: Apache-2.0
"""Evaluating recordings elsewhere and in parts gives the same numbers, and finished ones are not repeated."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import mot
from centertrack_ros.evaluation.parallel import Executor, evaluate_pairs
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from support.environment import unmeasured_environment

pytest.importorskip("trackeval")


def _files(folder: Path, recordings: int = 4) -> tuple[str, str]:
    (folder / "results").mkdir(parents=True)
    for number in range(recordings):
        (folder / "truth" / f"r{number}").mkdir(parents=True)
        rows = [f"{frame},{i},{20 * frame + 100 * i},50,40,80,1,1,1\n" for frame in range(1, 9) for i in range(1, 4)]
        (folder / "truth" / f"r{number}" / "gt.txt").write_text("".join(rows))
        kept = [",".join(row.split(",")[:6]) + ",1\n" for i, row in enumerate(rows) if (i + number) % 5]
        (folder / "results" / f"r{number}.txt").write_text("".join(kept))
    return str(folder / "results"), str(folder / "truth")


def _evaluate(folder: Path, out: Path, *options: str) -> bytes:
    results, truth = str(folder / "results"), str(folder / "truth")
    assert main(["evaluate", "mot", "--results", results, "--truth", truth, "--json", str(out), *options]) == 0
    return out.read_bytes()


def test_finished_recordings_are_not_evaluated_again_unless_their_files_changed(tmp_path):
    _files(tmp_path)
    whole = _evaluate(tmp_path, tmp_path / "whole.json")
    done = tmp_path / "done"
    _evaluate(tmp_path, tmp_path / "part.json", "--finished", str(done), "--sequences", "r0", "r2")
    before = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}
    assert len(before) == 2
    assert _evaluate(tmp_path, tmp_path / "again.json", "--finished", str(done)) == whole
    after = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}
    assert len(after) == 4 and all(after[name] == time for name, time in before.items())
    (tmp_path / "results" / "r0.txt").write_text("1,1,120,50,40,80,1\n")
    changed = _evaluate(tmp_path, tmp_path / "changed.json", "--finished", str(done))
    assert changed != whole and len(list(done.iterdir())) == 5
    assert changed == _evaluate(tmp_path, tmp_path / "fresh.json")


def test_an_unknown_engine_is_rejected():
    with pytest.raises(ValueError, match="engine must be one of local, ray"):
        Executor("cloud")


_DRIVER = """
import os, pathlib, signal, sys, threading, time
done = pathlib.Path(sys.argv[1])

def watch():
    while len(list(done.glob('[!.]*.json'))) < 2:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
from centertrack_ros.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def _killed_in_the_middle(tmp_path: Path, *options: str) -> None:
    """A driver that is killed without warning after two recordings; another run does the rest, and only that."""
    _files(tmp_path, recordings=24)
    done = tmp_path / "done"
    done.mkdir()
    files = ["--results", str(tmp_path / "results"), "--truth", str(tmp_path / "truth"), "--finished", str(done)]
    command = [sys.executable, "-c", _DRIVER, str(done), "evaluate", "mot", *files, *options]
    killed = subprocess.run([*command, "--json", str(tmp_path / "killed.json")], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in done.glob("[!.]*.json")}
    assert 2 <= len(before) < 24
    again = _evaluate(tmp_path, tmp_path / "again.json", "--finished", str(done), *options)
    after = {path.name: path.stat().st_mtime_ns for path in done.glob("[!.]*.json")}
    assert len(after) == 24 and all(after[name] == time for name, time in before.items())
    assert again == _evaluate(tmp_path, tmp_path / "undisturbed.json")


def test_a_killed_driver_loses_no_finished_recording(tmp_path):
    _killed_in_the_middle(tmp_path)


@pytest.mark.slow
def test_a_killed_driver_of_ray_loses_no_finished_recording(tmp_path):
    pytest.importorskip("ray")
    _killed_in_the_middle(tmp_path, "--engine", "ray")


@pytest.mark.slow
def test_on_a_machine_without_free_memory_ray_ends_with_one_sentence(tmp_path):
    pytest.importorskip("ray")
    results, truth = _files(tmp_path, recordings=2)
    command = ["evaluate", "mot", "--results", results, "--truth", truth, "--engine", "ray"]
    done = subprocess.run(
        [sys.executable, "-m", "centertrack_ros.cli.main", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_memory_usage_threshold": "0.001"},
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "memory was full" in done.stderr.splitlines()[-1]


def test_a_damaged_finished_file_is_evaluated_again(tmp_path):
    _files(tmp_path, recordings=2)
    whole = _evaluate(tmp_path, tmp_path / "whole.json", "--finished", str(tmp_path / "done"))
    next((tmp_path / "done").iterdir()).write_text('{"pedestrian": {"HO')
    assert _evaluate(tmp_path, tmp_path / "again.json", "--finished", str(tmp_path / "done")) == whole


def test_a_full_disk_keeps_the_finished_recordings_and_the_older_document(tmp_path):
    """A limit on the size of files fails as a full disk does: recordings are small enough, the document is not."""
    _files(tmp_path, recordings=12)
    out, done = tmp_path / "out.json", tmp_path / "done"
    before = _evaluate(tmp_path, out, "--sequences", "r0")
    largest = 2 * len(_evaluate(tmp_path, tmp_path / "one.json", "--sequences", "r1"))
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); limit = int(sys.argv[1]); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); "
        "from centertrack_ros.cli.main import main; sys.exit(main(sys.argv[2:]))"
    )
    files = ["--results", str(tmp_path / "results"), "--truth", str(tmp_path / "truth"), "--finished", str(done)]
    command = [sys.executable, "-c", code, str(largest), "evaluate", "mot", *files, "--json", str(out)]
    failed = subprocess.run(command, capture_output=True, text=True, env=unmeasured_environment())
    assert failed.returncode == 1 and "Traceback" not in failed.stderr and "File too large" in failed.stderr
    assert out.read_bytes() == before and len(list(done.iterdir())) == 12
    assert _evaluate(tmp_path, out, "--finished", str(done)) == _evaluate(tmp_path, tmp_path / "fresh.json")


def _dies_once(pair: SequencePair, marker: Path) -> dict:
    """Is killed at the first attempt; the score is the length."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"length": pair.truth.length}


@pytest.mark.slow
def test_ray_gives_the_same_bytes_and_outlives_a_killed_worker(tmp_path):
    ray = pytest.importorskip("ray")
    _files(tmp_path)
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert _evaluate(tmp_path, tmp_path / "ray.json", "--engine", "ray") == _evaluate(
            tmp_path, tmp_path / "one.json"
        )
        truth = mot.read_truth(tmp_path / "truth" / "r0" / "gt.txt")
        evaluate = partial(_dies_once, marker=tmp_path / "died")
        scores = dict(evaluate_pairs(Executor("ray"), [SequencePair(truth, truth)], evaluate, "test"))
        assert (tmp_path / "died").exists() and scores == {"r0": {"length": 8}}
    finally:
        ray.shutdown()


def test_changed_scores_are_evaluated_again(tmp_path):
    _files(tmp_path, recordings=2)
    whole = _evaluate(tmp_path, tmp_path / "whole.json", "--finished", str(tmp_path / "done"))
    for file in (tmp_path / "done").glob("*.json"):
        text = file.read_text()
        changed = text.replace('"CLR_TP": ', '"CLR_TP": 1', 1)
        assert changed != text
        file.write_text(changed)
    assert _evaluate(tmp_path, tmp_path / "again.json", "--finished", str(tmp_path / "done")) == whole
