"""Judging recordings elsewhere and in pieces gives the same numbers, and what is finished is not done again."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import mot
from centertrack_ros.evaluation.engines import Place, judge_all
from centertrack_ros.evaluation.track_scores import Pair

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


def test_finished_recordings_are_not_judged_again_unless_their_files_changed(tmp_path):
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


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine must be one of local, ray"):
        Place("cloud")


def _dies_once(pair: Pair, marker: Path) -> dict:
    """Judges nothing but the pid, and is killed at the first attempt."""
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
        judge = partial(_dies_once, marker=tmp_path / "died")
        found = dict(judge_all(Place("ray"), [Pair(truth, truth)], judge, "test"))
        assert (tmp_path / "died").exists() and found == {"r0": {"length": 8}}
    finally:
        ray.shutdown()
