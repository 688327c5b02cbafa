# SPDX-License-Identifier: Apache-2.0
"""`centertrack VERB …`: finds the verb's file, lets it read its arguments, runs it.

A verb is a module `centertrack_ros/cli/<verb>.py` (an underscore in the file name is a hyphen on the command line) with

    HELP = "one line, a plain string literal"
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(args: argparse.Namespace) -> int: ...      # exit status

A module whose name begins with an underscore is not a verb. A ValueError, OSError or ImportError that leaves `run` is
an error that the user can correct: it becomes one line on stderr and exit status 1. SIGINT, SIGTERM and SIGHUP leave
`run` as a KeyboardInterrupt: the verb finishes or removes its files by `with` statements and `finally`.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from centertrack_ros import __version__
from centertrack_ros.cli import _streams
from centertrack_ros.cli._signals import Signals

_TRACEBACK_VARIABLE = "CENTERTRACK_TRACEBACK"
_LONGEST_CHOICES = 16  # characters; a terminal may have 40 columns


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something: not those of flags, nor the absence of a value.

    Long lists of choices stand in the text, where they can be wrapped.
    """

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default in ([], ()):
            text = action.help
        else:
            text = super()._get_help_string(action)
        if _has_long_choices(action):
            choices = ", ".join(map(str, action.choices or ())).replace("%", "%%")
            text = f"{text}; one of: {choices}" if text else f"one of: {choices}"
        return text

    def _format_usage(self, *args: Any) -> str:
        usage = super()._format_usage(*args)
        if max(map(len, usage.splitlines())) > self._width:  # the indentation by the command's name leaves no room
            usage = re.sub(r"\n +", "\n  ", usage)
        return usage

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Callable[[int], tuple[str, ...]]:
        if _has_long_choices(action):
            name = action.dest.upper() if action.option_strings else action.dest
            return lambda size: (name,) * size
        return super()._metavar_formatter(action, default_metavar)


def _has_long_choices(action: argparse.Action) -> bool:
    choices = action.choices if action.metavar is None and action.help is not argparse.SUPPRESS else None
    shown = 2 if action.nargs in ("+", "*") else 1  # times in a usage
    return choices is not None and shown * sum(len(str(choice)) + 1 for choice in choices) > _LONGEST_CHOICES


class _Parser(argparse.ArgumentParser):
    """The parser of the command, of its verbs and of their actions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _HelpFormatter, **options})

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own swallows what goes wrong: a help that nobody can read


def verbs() -> dict[str, Path]:
    """Finds the verbs: name -> file, sorted by name. Nothing is imported."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return {f.stem.replace("_", "-"): f for f in files if f.stem != "main" and not f.stem.startswith("_")}


def _help_line(file: Path) -> str:
    """Reads HELP from a verb's source, so that `centertrack --help` imports no verb (some import torch)."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "HELP" for t in node.targets):
            return str(ast.literal_eval(node.value))
    return ""


def _wrapped(text: str, indent: str = "") -> str:
    width = max(shutil.get_terminal_size().columns - 2, len(indent) + 16)
    return textwrap.fill(text, width, subsequent_indent=indent)


def _verb_lines(found: dict[str, Path]) -> str:
    width = max(map(len, found), default=0)
    lines = (f"  {verb:<{width}}  {_help_line(file)}" for verb, file in found.items())
    return "\n".join(_wrapped(line, " " * (width + 4)) for line in lines)


def _overview() -> argparse.ArgumentParser:
    found = verbs()
    parser = _Parser(
        prog="centertrack",
        usage="centertrack VERB …",
        description=_wrapped("CenterTrack for ROS 2: real-time multi-object tracking from camera images."),
        epilog=f"verbs:\n{_verb_lines(found)}\n\n{_wrapped('`centertrack VERB --help` tells more about one of them.')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"centertrack {__version__}")
    parser.add_argument("verb", metavar="VERB", choices=list(found), help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: Verb and arguments; None: those of the process.

    Returns:
        The exit status: 1 for an error that the user can correct, 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, 141
        for a verb that could not go on because the reader of its output had gone.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _streams.prepare()
    status: int | None = None
    try:
        status = _run(arguments)
    finally:  # argparse leaves by SystemExit
        problem = _streams.flush()
        if problem is not None:
            _streams.complain(f"centertrack: the standard output cannot be written: {_words(problem)}")
            status = status or 1
            if isinstance(sys.exc_info()[1], SystemExit):
                raise SystemExit(status) from None
    return status


def _run(arguments: list[str]) -> int:
    name = "centertrack"
    with Signals() as signals:
        try:
            verb = _overview().parse_args(arguments[:1]).verb
            name = f"centertrack {verb}"
            module = importlib.import_module("centertrack_ros.cli." + verb.replace("-", "_"))
            parser = _Parser(prog=name, description=module.HELP)
            module.add_arguments(parser)
            return int(module.run(parser.parse_args(arguments[1:])) or 0)
        except BaseException as error:
            # A library in which the signal arrived may have made any error of it.
            if signals.received is not None or isinstance(error, KeyboardInterrupt):
                return signals.status
            if isinstance(error, BrokenPipeError):  # `centertrack … | head` has seen enough
                _streams.silence(sys.stdout)
                return 128 + signal.SIGPIPE
            if not isinstance(error, ValueError | OSError | ImportError) or os.environ.get(_TRACEBACK_VARIABLE):
                raise
            _streams.complain(f"{name}: {_words(error)}")
            return 1


def _words(error: BaseException) -> str:
    """An error as one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    elif isinstance(error, OSError) and error.strerror:
        text = str(error.strerror)
    elif isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "torch":
        text = "this needs torch, which is not installed: pip install 'centertrack_ros[torch]'"
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
