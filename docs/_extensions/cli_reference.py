# SPDX-License-Identifier: Apache-2.0
"""The directive `cli-reference`: a section for each verb of `centertrack`, made from its argparse parser."""

import argparse
import importlib

from docutils import nodes
from docutils.parsers.rst import Directive

from centertrack_ros.cli import main as command

WIDTH = 96


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts of one width, whatever terminal builds the pages."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=WIDTH)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Defaults that mean "not given" say nothing to a reader."""
        return action.help if action.default in (None, False, "", [], ()) else super()._get_help_string(action)


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb, as `centertrack VERB` makes it."""
    module = importlib.import_module("centertrack_ros.cli." + verb.replace("-", "_"))
    parser = argparse.ArgumentParser(
        prog=f"centertrack {verb}", description=module.HELP, formatter_class=_Formatter, add_help=False
    )
    module.add_arguments(parser)
    return parser


def forms(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The sub-commands of a verb by name; empty for a verb without any."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: form for group in groups for name, form in group.choices.items()}


def section(title: str, parser: argparse.ArgumentParser) -> nodes.section:
    """A section with the help text of a parser, and with one section for each of its forms."""
    parser.formatter_class = _Formatter
    # The id stands first in `ids`, so that links do not depend on where the section is on the page.
    result = nodes.section(ids=[nodes.make_id(title)], names=[title])
    result += nodes.title(title, "", nodes.literal(title, title))
    if parser.description:
        sentence = parser.description[:1].upper() + parser.description[1:]
        result += nodes.paragraph(sentence, sentence.rstrip(".") + ".")
    text = parser.format_help()
    if parser.description:
        text = text.split("\n\n", 1)[0] + "\n\n" + text.split("\n\n", 2)[-1]
    result += nodes.literal_block(text.strip(), text.strip(), language="none")
    for name, form in forms(parser).items():
        result += section(f"{title} {name}", form)
    return result


class CliReference(Directive):
    """All verbs, in the order in which `centertrack --help` lists them."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        return [section(f"centertrack {verb}", verb_parser(verb)) for verb in command.verbs()]


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("cli-reference", CliReference)
    return {"parallel_read_safe": True}
