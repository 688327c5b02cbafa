# SPDX-License-Identifier: Apache-2.0
"""Mutated files: each is read, or refused in one sentence that names it; none ends in a traceback or a crash.

`make fuzz` runs the long version and prints the figures; CENTERTRACK_FUZZ_SEED=… selects other files, and
CENTERTRACK_FUZZ_FILES=… their number.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from centertrack_ros.datasets.registry import READERS as DATASETS
from centertrack_ros.io.sources import IMAGE_SUFFIXES
from support.file_fuzzing.readers import PARSERS, READERS
from support.file_fuzzing.runner import Report, plan, try_files
from support.file_fuzzing.worker import attempt

PACKAGE = Path(__file__).resolve().parents[2] / "centertrack_ros"
# Calls of what takes a file apart.
PARSING = re.compile(
    r"\b(json\.loads?|load_json|parse_json|read_document|yaml\.(safe_)?load|load_yaml|parse_yaml|torch\.load|export\.load"
    r"|safe_open|imdecode|imread|VideoCapture|Image\.open|AnyReader|ConfigParser|sqlite3\.connect|np\.load|onnx\.load"
    r"|read_model|InferenceSession|read_rows|csv\.reader|pickle\.load|tomllib\.load|ElementTree\.parse)\("
)
SEED = os.environ.get("CENTERTRACK_FUZZ_SEED", "1")
FILES = int(os.environ.get("CENTERTRACK_FUZZ_FILES", "10000"))


def check(report: Report, count: int) -> None:
    assert not report.faults, report.failures()
    for name, outcomes in report.outcomes.items():
        assert outcomes["read"], f"{name}: not even the valid file is read"
    assert report.total("refused") > 0.2 * count, report.table()  # the mutations reach what matters


def test_every_reader_of_a_data_set_is_fuzzed() -> None:
    covered = {name for reader in READERS.values() for name in reader.covers}
    assert {f"datasets.registry:{name}" for name in DATASETS} <= covered


def test_every_kind_of_training_data_is_fuzzed() -> None:
    sources = pytest.importorskip("centertrack_ros.training.sources", reason="training needs Lightning")
    covered = {name for reader in READERS.values() for name in reader.covers}
    assert {f"training.sources:{kind}" for kind in (*sources.SEQUENCES, *sources.IMAGES)} <= covered


def test_every_module_that_parses_files_is_reached() -> None:
    """A new one belongs into `READERS`, and into the list beside it."""
    parsing = {file for file in PACKAGE.rglob("*.py") if PARSING.search(file.read_text(encoding="utf-8"))}
    names = {file.relative_to(PACKAGE).as_posix() for file in parsing}
    assert len(names) > 20
    assert not {name for name in names if not any(name.startswith(known) for known in PARSERS)}


def test_every_image_format_is_fuzzed() -> None:
    assert set(IMAGE_SUFFIXES) <= {Path(name).suffix for name in READERS if name.startswith("image ")}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("{}/a.txt:3: 7 columns, expected 9"), "refused"),
        (FileNotFoundError("{}/a.txt: no such file"), "refused"),
        (ImportError("{}/a.txt needs a library: pip install it"), "refused"),
        (ValueError("{}/a.txt: broken (no 'str' in 'dict' (inside))"), "refused"),  # a library's own words
        (KeyError("{}/a.txt"), "fault"),
        (MemoryError("{}/a.txt"), "fault"),
        (ValueError("expected 9 columns"), "fault"),  # of which file?
        (ValueError("{}/a.txt: two\nlines"), "fault"),
        (ValueError("{}/a.txt: " + "x" * 301), "fault"),
        (ValueError("{}/a.txt: could not convert string to float: ''"), "fault"),
        (ValueError("{}/a.txt: 'NoneType' object is not iterable"), "fault"),
    ],
)
def test_a_refusal_is_one_sentence_that_names_the_file(tmp_path, error, outcome) -> None:
    def read(folder: Path) -> None:
        raise type(error)(str(error.args[0]).replace("{}", str(folder)))

    reader = type(READERS["mot"])(make=lambda folder: None, read=read)
    assert attempt(reader, tmp_path)[0] == outcome


def test_hundreds_of_mutated_files_are_read_or_refused(tmp_path) -> None:
    tasks = plan(300)
    check(try_files(SEED, tmp_path / "files", tasks), len(tasks))


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_read_or_refused(tmp_path) -> None:
    tasks = plan(FILES)
    report = try_files(SEED, tmp_path / "files", tasks)
    print(f"\n{report.table()}")
    check(report, len(tasks))
