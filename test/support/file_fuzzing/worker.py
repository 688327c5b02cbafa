# SPDX-License-Identifier: Apache-2.0
"""Tries files in this process: `python -m support.file_fuzzing.worker SEED FOLDER` reads tasks from its input.

A task is a JSON list: name of a reader, number. Before and after each file a line goes to the first standard output;
whatever libraries print goes to FOLDER/log. `--only READER NUMBER` tries one file and keeps it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import re
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from support.file_fuzzing.readers import READERS, Reader

ADDRESS_SPACE = 3 << 30  # bytes that a file may take beyond what is in use when it is opened
RESIDENT_KB = 700 << 10  # of it in use
SECONDS = 40.0  # of processor time; a recording of a million frames takes 20 to evaluate
# Words of Python, NumPy and others that tell nobody what is wrong with a file.
_PYTHON = re.compile(
    r"object has no attribute|object is not|not subscriptable|not iterable|positional argument|keyword argument"
    r"|NoneType"
    r"|Traceback|unhashable|invalid literal|could not convert|unsupported operand|not supported between|out of bounds"
    r"|argument must be|must be str|<class|codec can't|index out of|list indices|cannot reshape|inhomogeneous|unpack"
    r"|broadcast|\b(Key|Type|Index|Attribute|Value|Runtime)Error\b|an integer is required|dtype\("
    r"|'int'|'str'|'list'|'dict'|'float'|not JSON serializable|recursion depth|errno|\(-215|0x7f|c10::|\.cpp|\bat::"
)
_QUOTED = re.compile(r"\([^()]*\)")  # what a library said, after the package's own words


def verdict(error: BaseException, folder: Path, reader: Reader) -> str:
    """'' for a refusal in one sentence that names the file, else what is wrong with it."""
    if not isinstance(error, (ValueError, OSError, ImportError)):
        return f"a traceback: {type(error).__name__}: {error}"
    text = str(error)
    if "\n" in text or "\r" in text:
        return f"more than a line: {text}"
    if folder.name not in text and not (reader.says and reader.says in text):
        return f"does not name the file: {type(error).__name__}: {text}"
    said = text.replace(str(folder), "")
    if len(said) > reader.longest:
        return f"{len(said)} characters: {text}"
    while said != (said := _QUOTED.sub("", said)):
        pass  # the innermost brackets first
    if found := _PYTHON.search(said):
        return f"speaks Python ({found[0]}): {text}"
    return ""


def attempt(reader: Reader, folder: Path) -> tuple[str, str]:
    """Reads a folder: ('read' or 'refused' or 'fault', what was said)."""
    _reset_peak()
    start = time.process_time()
    try:
        reader.read(folder)
        outcome, said = "read", ""
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        problem = verdict(error, folder, reader)
        outcome, said = ("fault", problem + _origin(error)) if problem else ("refused", str(error))
    seconds, peak = time.process_time() - start, _peak_kb()
    if outcome != "fault" and seconds > SECONDS:
        return "fault", f"took {seconds:.0f} s ({outcome}: {said})"
    if outcome != "fault" and peak > RESIDENT_KB:
        return "fault", f"took {peak >> 10} MB ({outcome}: {said})"
    return outcome, said


def _origin(error: BaseException) -> str:
    """The innermost line of the package in a traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "centertrack_ros" in frame.filename]
    return f" [{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}]" if frames else ""


def _reset_peak() -> None:
    """Lets the kernel measure the largest resident memory from now on."""
    gc.collect(0)
    global _before_kb
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    _before_kb = _status("VmRSS")


_before_kb = 0


def _peak_kb() -> int:
    return _status("VmHWM") - _before_kb


def _status(key: str) -> int:
    match = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(match[1]) if match else 0


def _limit_memory() -> None:
    used = _status("VmSize") << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, resource.RLIM_INFINITY))


class Trial:
    """Makes the files of a run below a folder, each reader's valid ones once."""

    def __init__(self, seed: str, folder: Path) -> None:
        self.seed, self.folder = seed, folder

    def valid(self, name: str) -> Path:
        """The folder with the valid files of a reader."""
        folder = self.folder / "valid" / _file_name(name)
        if not folder.is_dir():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            READERS[name].make(unfinished)
            unfinished.rename(folder)
        return folder

    def files(self, name: str, number: int) -> tuple[Path, str]:
        """A folder with changed files, and what was changed. Number 0 is the valid one."""
        source, target = self.valid(name), self.folder / f"{_file_name(name)}-{number}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        change = READERS[name].change(target, random.Random(f"{self.seed}/{name}/{number}")) if number else "nothing"
        return target, change


def _file_name(name: str) -> str:
    return name.replace(" ", "_").replace("'", "")


def main(arguments: list[str]) -> None:
    """Answers tasks until the input ends."""
    seed, folder = arguments[0], Path(arguments[1])
    trial = Trial(seed, folder)
    if arguments[2:3] == ["--only"]:
        target, change = trial.files(arguments[3], int(arguments[4]))
        print(f"{target}: {change}")
        READERS[arguments[3]].read(target)
        return
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for line in sys.stdin:
        os.ftruncate(log, 0)
        name, number = json.loads(line)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        target, change = trial.files(name, number)
        _answer(answers, "start", name, number, str(target), change)
        _limit_memory()
        outcome, said = attempt(READERS[name], target)
        if outcome != "fault":
            shutil.rmtree(target, ignore_errors=True)
        _answer(answers, "end", name, number, outcome, said)


def _answer(answers: Any, *content: Any) -> None:
    answers.write(json.dumps(content) + "\n")


if __name__ == "__main__":
    import cv2

    cv2.setNumThreads(1)
    os.environ["CENTERTRACK_TRACEBACK"] = "1"  # the command line raises errors instead of printing them
    main(sys.argv[1:])
