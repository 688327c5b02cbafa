# SPDX-License-Identifier: Apache-2.0
"""`centertrack VERB …`: finds the verb's file, lets it read its arguments, runs it.

A verb is a module `centertrack_ros/cli/<verb>.py` (an underscore in the file name is a hyphen on the command line) with

    HELP = "one line, a plain string literal"
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(args: argparse.Namespace) -> int: ...      # exit status

A module whose name begins with an underscore is not a verb. A ValueError, OSError or ImportError that leaves `run` is
an error that the user can correct: it becomes one line on stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from centertrack_ros import __version__

_TRACEBACK_VARIABLE = "CENTERTRACK_TRACEBACK"


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something: not those of flags, nor the absence of a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default in ([], ()):
            return action.help
        return super()._get_help_string(action)


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


def _overview() -> argparse.ArgumentParser:
    found = verbs()
    width = max((len(verb) for verb in found), default=0)
    lines = "\n".join(f"  {verb:<{width}}  {_help_line(file)}" for verb, file in found.items())
    parser = argparse.ArgumentParser(
        prog="centertrack",
        usage="centertrack VERB …",
        description="CenterTrack for ROS 2: real-time multi-object tracking from camera images.",
        epilog=f"verbs:\n{lines}\n\n`centertrack VERB --help` tells more about one of them.",
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
        The exit status: 1 for an error that the user can correct, 130 for Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = _overview().parse_args(arguments[:1]).verb
    try:
        module = importlib.import_module("centertrack_ros.cli." + verb.replace("-", "_"))
        parser = argparse.ArgumentParser(
            prog=f"centertrack {verb}", description=module.HELP, formatter_class=_HelpFormatter
        )
        module.add_arguments(parser)
        return int(module.run(parser.parse_args(arguments[1:])) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `centertrack … | head` closes the pipe early, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get(_TRACEBACK_VARIABLE):
            raise
        print(f"centertrack {verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
