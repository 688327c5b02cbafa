# SPDX-License-Identifier: Apache-2.0
"""Paired bootstrap between two evaluations."""

import json
from pathlib import Path

import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.evaluation.tables import read_json
from centertrack_ros.io.errors import DataError

pytest.importorskip("trackeval")


def _evaluation(folder: Path, name: str, switches: set[int]) -> Path:
    """Five recordings of one object in ten frames; its id switches in the recordings named."""
    for number in range(5):
        truth, results = folder / "truth" / f"r{number}", folder / name
        truth.mkdir(parents=True, exist_ok=True)
        results.mkdir(exist_ok=True)
        rows = [f"{frame},1,{10 * frame},50,40,80,1,1,1\n" for frame in range(1, 11)]
        (truth / "gt.txt").write_text("".join(rows))
        ids = [2 if number in switches and frame > 5 else 1 for frame in range(1, 11)]
        results_rows = [f"{frame},{ids[frame - 1]},{10 * frame},50,40,80,1\n" for frame in range(1, 11)]
        (results / f"r{number}.txt").write_text("".join(results_rows))
    out = folder / f"{name}.json"
    command = ["evaluate", "mot", "--results", str(folder / name), "--truth", str(folder / "truth"), "--json", str(out)]
    assert main(command) == 0
    return out


def _compare(a: Path, b: Path, out: Path) -> dict[str, dict]:
    assert main(["compare", str(a), str(b), "--draws", "60", "--json", str(out)]) == 0
    return {row["figure"]: row for row in json.loads(out.read_text())["differences"]}


def test_the_same_evaluation_does_not_differ(tmp_path):
    a = _evaluation(tmp_path, "a", {0, 1})
    for row in _compare(a, a, tmp_path / "d.json").values():
        assert (row["difference"], row["low"], row["high"], row["better"]) == (0, 0, 0, 0)


def test_an_improvement_everywhere_is_clear_and_one_recording_alone_is_not(tmp_path):
    worse = _evaluation(tmp_path, "worse", {0, 1, 2, 3, 4})
    better = _evaluation(tmp_path, "better", set())
    nearly = _evaluation(tmp_path, "nearly", {0, 1, 2, 3})
    rows = _compare(worse, better, tmp_path / "d.json")
    assert (
        rows["IDF1"]["low"] == rows["IDF1"]["high"] == pytest.approx(rows["IDF1"]["difference"]) == pytest.approx(50.0)
    )
    assert rows["IDSW"]["difference"] == -5
    rows = _compare(worse, nearly, tmp_path / "d.json")
    assert rows["IDSW"]["low"] < 0 <= rows["IDSW"]["high"]
    assert rows["MOTP"]["difference"] == 0


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    a, b = _evaluation(tmp_path, "a", {0}), _evaluation(tmp_path, "b", {1, 2})
    _compare(a, b, tmp_path / "one.json")
    _compare(a, b, tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_what_cannot_be_compared_is_named(tmp_path, capsys):
    a = _evaluation(tmp_path, "a", set())
    document = json.loads(a.read_text())
    del document["raw"]["r4"]
    (tmp_path / "less.json").write_text(json.dumps(document))
    (tmp_path / "other.json").write_text("{}")
    for name, message in (
        ("less.json", "only one has r4"),
        ("other.json", "not a document of"),
        ("none.json", "none.json"),
    ):
        assert main(["compare", str(a), str(tmp_path / name)]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["HOTA"].update(HOTA=[0.5] * 18), r"raw\..*\.HOTA\.HOTA: expected 19 numbers"),
        (lambda raw: raw["CLEAR"].update(MT="many"), r"raw\..*\.CLEAR\.MT: expected a number, got 'many'"),
        (lambda raw: raw["CLEAR"].update(CLR_TP=10**300), r"CLR_TP: expected a number of objects or frames"),
        (lambda raw: raw.pop("Identity"), r"'Identity' is missing"),
    ],
)
def test_a_value_that_was_changed_is_named_by_its_place(tmp_path, change, message):
    file = _evaluation(tmp_path, "a", set())
    document = json.loads(file.read_text())
    change(next(iter(next(iter(document["raw"].values())).values())))
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=rf"^{file}: .*{message}"):
        read_json(file)
