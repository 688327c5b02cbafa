# SPDX-License-Identifier: Apache-2.0
"""Docstrings of this package are plain text: code in backticks, Google's sections, and tables that are set with spaces.

What reStructuredText would read into that text is escaped, and a paragraph with a layout of its own becomes a literal
block.
"""

import re

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.S)
_SIGNS = re.compile(r"(?<!\\)([*|])")
_TRAILING_UNDERSCORE = re.compile(r"(?<=\w)_(?=\W|$)")
_SECTION = re.compile(r"(Args|Arguments|Attributes|Examples?|Keyword Args|Notes?|Raises|Returns|Yields|Warns):$")
_LIST_ITEM = re.compile(r"\s*([-*]|\d+\.) ")


def escape(text: str) -> str:
    """The text with `*`, `|` and underscores at the end of a word escaped, outside of code."""
    parts = _CODE.split(text)
    for index in range(0, len(parts), 2):
        parts[index] = _TRAILING_UNDERSCORE.sub(r"\\_", _SIGNS.sub(r"\\\1", parts[index]))
        if index and parts[index][:1].isalnum():  # a plural: `name`s
            parts[index] = "\\ " + parts[index]
    return "".join(parts)


def has_layout(paragraph: list[str]) -> bool:
    """Whether lines of a paragraph begin in different columns, as those of a table or of a formula do."""
    if _SECTION.match(paragraph[0].strip()) or _LIST_ITEM.match(paragraph[0]):
        return False
    return len({len(line) - len(line.lstrip()) for line in paragraph}) > 1


def paragraphs(lines: list[str]) -> list[list[str]]:
    """The groups of lines between empty lines."""
    result: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            result[-1].append(line)
        else:
            result.append([])
    return [paragraph for paragraph in result if paragraph]


def convert(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText, for napoleon to read."""
    result: list[str] = []
    in_section = literal = False
    for paragraph in paragraphs(lines):
        indented = paragraph[0].startswith(" ")
        in_section = bool(_SECTION.match(paragraph[0])) or (in_section and indented)
        if literal and indented:
            result += [*paragraph, ""]
            continue
        if not in_section and has_layout(paragraph):
            result += ["::", "", *(f"    {line}" for line in paragraph), ""]
        else:
            result += [*escape("\n".join(paragraph)).split("\n"), ""]
        literal = paragraph[-1].rstrip().endswith("::")
    return result


def convert_docstring(app, what, name, obj, options, lines) -> None:
    """Converts the lines in place."""
    lines[:] = convert(lines)


def setup(app) -> dict[str, bool]:
    """Called by Sphinx. Before napoleon (priority 500), whose output has signs that mean something."""
    app.connect("autodoc-process-docstring", convert_docstring, priority=400)
    return {"parallel_read_safe": True}
