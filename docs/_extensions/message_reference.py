# SPDX-License-Identifier: Apache-2.0
"""The directive `message-reference`: a section for each `msg/*.msg`, with tables of its fields and its constants."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

MESSAGES = Path(__file__).resolve().parents[2] / "msg"
_CONSTANT = re.compile(r"(\S+)\s+([A-Z][A-Z0-9_]*)\s*=\s*(\S+)$")
_FIELD = re.compile(r"(\S+)\s+([a-z][a-z0-9_]*)$")


@dataclass
class Message:
    """What a .msg file says: the text at its head, constants (name, type, value, text), fields (name, type, text)."""

    name: str
    text: str = ""
    constants: list[tuple[str, str, str, str]] = field(default_factory=list)
    fields: list[tuple[str, str, str]] = field(default_factory=list)


def read_message(path: Path) -> Message:
    """Reads a .msg file. A comment belongs to the line that it ends, or to the declaration below it.

    Args:
        path: The file.

    Returns:
        Its declarations with their comments.

    Raises:
        ValueError: A line is neither a comment nor a declaration.
    """
    message = Message(path.stem)
    above: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        code, _, comment = (part.strip() for part in line.partition("#"))
        if not code:
            if comment and not comment.startswith("SPDX-"):
                above.append(comment)
            elif not comment:
                # A paragraph on its own is the head of the file, or of a group of declarations.
                if not (message.text or message.fields or message.constants):
                    message.text = " ".join(above)
                above = []
            continue
        text = comment or " ".join(above)
        if found := _CONSTANT.match(code):
            message.constants.append((found[2], found[1], found[3], text))
            above = [] if not comment else above
        elif found := _FIELD.match(code):
            message.fields.append((found[2], found[1], text))
            above = []
        else:
            raise ValueError(f"{path}:{number}: not a declaration: {line!r}")
    return message


def table(head: list[str], rows: list[tuple[str, ...]], code_columns: int) -> nodes.table:
    """A table; the first `code_columns` columns are set as code."""
    result = nodes.table()
    group = nodes.tgroup(cols=len(head))
    result += group
    for _ in head:
        group += nodes.colspec(colwidth=1)
    top, body = nodes.thead(), nodes.tbody()
    group += [top, body]
    top += row([nodes.paragraph(text, text) for text in head])
    for values in rows:
        cells = []
        for column, value in enumerate(values):
            cell = nodes.paragraph()
            cell += nodes.literal(value, value) if column < code_columns and value else nodes.Text(value)
            cells.append(cell)
        body += row(cells)
    return result


def row(cells: list[nodes.paragraph]) -> nodes.row:
    """A row of a table."""
    result = nodes.row()
    for cell in cells:
        entry = nodes.entry()
        entry += cell
        result += entry
    return result


def section(message: Message) -> nodes.section:
    """The section of one message."""
    title = f"centertrack_ros/msg/{message.name}"
    result = nodes.section(ids=[nodes.make_id(message.name)], names=[title])
    result += nodes.title(title, "", nodes.literal(title, title))
    result += nodes.paragraph(message.text, message.text)
    if message.constants:
        result += nodes.rubric("Constants", "Constants")
        result += table(["constant", "type", "value", "meaning"], message.constants, 3)
    result += nodes.rubric("Fields", "Fields")
    result += table(["field", "type", "meaning"], message.fields, 2)
    return result


class MessageReference(Directive):
    """All messages, sorted by name."""

    def run(self) -> list[nodes.Node]:
        """The sections; Sphinx reads the page again when a message changes."""
        paths = sorted(MESSAGES.glob("*.msg"))
        environment = self.state.document.settings.env
        for path in paths:
            environment.note_dependency(str(path))
        return [section(read_message(path)) for path in paths]


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("message-reference", MessageReference)
    return {"parallel_read_safe": True}
