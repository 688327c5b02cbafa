# SPDX-License-Identifier: Apache-2.0
"""The command on narrow terminals, without characters beyond ASCII, and without anybody who reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from centertrack_ros.cli import _streams
from centertrack_ros.cli.main import main, verbs

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = {
    "ablate": ("mot", "kitti"),
    "bag": ("from-kitti", "from-nuscenes", "from-mot", "from-coco", "from-video"),
    "evaluate": ("mot", "kitti", "bag", "nuscenes"),
    "weights": ("info", "convert", "fetch"),
}
CALLS = [[verb, *action] for verb in verbs() for action in ([], *([name] for name in ACTIONS.get(verb, ())))]


def shell(script: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a shell script in which "$@" is the command."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **variables}
    command = ["/bin/sh", "-c", script, "sh", sys.executable, "-m", "centertrack_ros.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("call", [[], *CALLS], ids=" ".join)
def test_every_help_fits_a_narrow_terminal_in_plain_characters(call, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "40")
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(SystemExit) as stop:
            main([*call, "--help"])
    lines = (tmp_path / "out").read_text(encoding="ascii").splitlines()
    assert stop.value.code == 0 and lines[0].startswith("usage: centertrack")
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_help_and_an_error_are_printed_in_every_encoding(encoding):
    helped = shell('"$@"', "--help", PYTHONIOENCODING=encoding)
    assert helped.returncode == 0 and helped.stdout.startswith(b"usage: centertrack VERB") and not helped.stderr
    failed = shell('"$@" track "$(printf \'f\\374r \\342\\202\\254\')"', PYTHONIOENCODING=encoding)
    assert failed.returncode == 1 and b"Traceback" not in failed.stderr
    assert rb"f\xfcr" in failed.stderr and b"no such file" in failed.stderr


@pytest.mark.parametrize("call", [["--help"], ["track", "--help"], ["weights", "fetch", "list"]], ids=" ".join)
@pytest.mark.parametrize("buffering", ["", "1"], ids=["buffered", "unbuffered"])
def test_an_output_that_cannot_be_written_is_an_error(call, buffering):
    full = shell('"$@" >/dev/full', *call, PYTHONUNBUFFERED=buffering)
    assert full.returncode == 1 and full.stderr.count(b"\n") == 1 and b"No space left on device" in full.stderr
    neither = shell('"$@" >/dev/full 2>/dev/full', *call, PYTHONUNBUFFERED=buffering)
    assert neither.returncode == 1


@pytest.mark.parametrize("call", [["--help"], ["track", "--help"], ["weights", "fetch", "list"]], ids=" ".join)
def test_closed_streams_and_readers_that_leave_are_no_errors(call):
    closed = shell('"$@" <&- >&- 2>&-', *call)
    assert closed.returncode == 0 and not closed.stdout and not closed.stderr
    left = shell('{ "$@"; echo "status $?" >&2; } | true', *call)
    assert left.stderr.decode().splitlines() in (["status 0"], ["status 141"])


def test_closed_streams_do_not_give_their_numbers_to_files(tmp_path):
    """Else a library that prints to the standard output would write into a result."""
    code = f"""
import os
from centertrack_ros.cli import _streams
_streams.prepare()
file = open({str(tmp_path / "result")!r}, "w")
os.write(1, b"printed"); os.write(2, b"printed"); print("printed")
file.write(str(file.fileno() > 2))
"""
    subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True
    )
    assert (tmp_path / "result").read_text() == "True"


def test_characters_have_readable_substitutes():
    _streams.prepare()
    assert "a … → \udcfc é €".encode("ascii", "centertrack") == b"a ... -> \\xfc \\xe9 \\u20ac"
    assert "é \udcfc".encode("utf-8", "centertrack") == "é \\xfc".encode()
