# SPDX-License-Identifier: Apache-2.0
"""Mutations of files: of bytes, of the words of a text, of the values of a JSON or YAML document.

Each takes the content of a valid file and a generator of random numbers, and returns the content of another file.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from support.byte_mutations import cut, flip, grow, overwrite, resize_header, splice

Mutator = Callable[[bytes, random.Random], bytes]

WORDS = (
    "", "nan", "inf", "-inf", "-1", "0", "1", "-0", "1e309", "-1e308", "1e18", "9007199254740993",
    "9223372036854775808", "300000000", "2147483648", "-2147483649", "1.5", "0.1", "x", "ü", "\uff11\uff12", "1_000",
    "0x10", "1,5", "1 2", "None", "true", "[]", "\x00", "\x1b[2J", "\u2028", "'", '"', "%", "{}", "#", "../..", "/",
    "a" * 3000, "9" * 5000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"), 2**31, 2**53 + 1,
    2**63, -(2**63) - 1, 10**400, 3 * 10**8, "", "1", "abc", "nan", "ü", "\x00", "\ud800", "a/b", "../..", "/",
    "x" * 300, "x" * 5000, [], [[]], [1], [1, 2, 3, 4], ["a"], [None, None, None, None], [[1, 2], [3]], {}, {"a": 1},
    {"": None}, [{}], [0.0] * 7, [float("nan")] * 4, [1e308] * 4, [-5, -5, -5, -5], [10**400] * 4,
)  # fmt: skip
# What no document of values holds, as text.
LITERALS = (
    "[" * 100_000 + "]" * 100_000, '{"a":' * 2000 + "1" + "}" * 2000, "1e999", "-1e999", "9" * 5000, "00", "0x1F",
    "'a'", "undefined", '"\\ud800"', '"\\u0000"', "[1,]", "[1 2]", "1.", "",
)  # fmt: skip
YAML_LITERALS = (
    "!!python/object/apply:os.getcwd []", "!!int abc", "!!float abc", "!!timestamp abc", "!!binary a", "!!set {a, b}",
    "!!omap [a: 1]", "!!null abc", "!!bool abc", "2020-13-45", "2020-01-01", "0b", "0o9", "1:99", "=", "{? [a] : b}",
    "*none", "&a [*a]", "[" * 3000 + "]" * 3000, "{a: 1, a: 2}", "@", "`", "\t- 1", "| \n x",
    "!<tag:yaml.org,2002:map> 3", "<<", "~", "0x", "1_000", ".inf", ".nan", "1e400", "12e03", "y", "on", '"\\x00"',
    '"\\ud800"', "9" * 5000,
)  # fmt: skip
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
)
_MARK = "\ue000mark"


def mutate_bytes(data: bytes, source: random.Random) -> bytes:
    """Bits, pieces and numbers."""
    result = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 5))):
        result = source.choice((flip, cut, splice, grow, overwrite))(result, source)
    return bytes(result)


def mutate_image(data: bytes, source: random.Random) -> bytes:
    """As bytes, and the size that a header claims."""
    return bytes(resize_header(bytearray(data), source)) if source.random() < 0.2 else mutate_bytes(data, source)


def mutate_encoding(data: bytes, source: random.Random) -> bytes:
    """The same text, or nearly so, as other programs write it."""
    text = data.decode()
    return source.choice(
        (
            lambda: b"\xef\xbb\xbf" + data,
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-16-le"),
            lambda: text.encode("utf-32"),
            lambda: text.replace("\n", "\r\n").encode(),
            lambda: text.replace("\n", "\r").encode(),
            lambda: data + b"\x1a",
            lambda: b"\xfc" + data,
            lambda: data[: len(data) // 2] + b"\xe9\xff" + data[len(data) // 2 :],
            lambda: b"",
            lambda: b"\n\n \t\n",
            lambda: b"\x00" * source.choice((1, 4096)),
            lambda: data + b"\x00" * 512,
            lambda: data + data,
            lambda: source.randbytes(400),
        )
    )()


def mutate_words(data: bytes, source: random.Random) -> bytes:
    """A table of words: one replaced, missing or too many, lines twice, moved or missing, other separators."""
    lines = data.decode().split("\n")
    for _ in range(source.choice((1, 1, 1, 2, 6))):
        at = source.randrange(len(lines))
        separator = next((mark for mark in (",", "=", ":", " ") if mark in lines[at]), " ")
        words = lines[at].split(separator)
        place, way = source.randrange(len(words)), source.random()
        if way < 0.6:
            words[place] = source.choice(WORDS)
        elif way < 0.66:
            del words[place]
        elif way < 0.72:
            words.insert(place, source.choice(WORDS))
        elif way < 0.76:
            words = words * source.choice((2, 40))
        elif way < 0.82:
            separator = source.choice((";", "\t", "  ", " ", ",", ", ", "="))
        elif way < 0.88:
            lines.insert(source.randrange(len(lines)), lines[at])
        elif way < 0.92:
            words = [source.choice(WORDS) for _ in words]
        elif way < 0.96:
            lines[at], lines[0] = lines[0], lines[at]
            continue
        else:
            words = [source.choice(("# comment", "frame,id,x,y", "[Other]", "[Sequence]", "}{", "\\"))]
        lines[at] = separator.join(words)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def mutate_json(data: bytes, source: random.Random) -> bytes:
    """One value or more of a JSON document replaced, removed, repeated or moved."""
    document = [json.loads(data)]  # in a list, so that the document itself is a value that can be replaced
    literals: list[str] = []
    for _ in range(source.choice((1, 1, 1, 2, 5))):
        _mutate_value(document, source, lambda: literals.append(source.choice(LITERALS)))
    text = json.dumps(document[0])
    for literal in literals:
        text = text.replace(json.dumps(_MARK), literal, 1)
    return text.encode()


def mutate_json_lines(data: bytes, source: random.Random) -> bytes:
    """One line of a file that has a JSON document on each."""
    lines = data.splitlines()
    at = source.randrange(len(lines))
    lines[at] = mutate_json(lines[at], source)
    return b"\n".join(lines)


def mutate_yaml(data: bytes, source: random.Random) -> bytes:
    """As `mutate_json`, with what only YAML has."""
    if source.random() < 0.05:
        return source.choice(
            (data + b"\n" + BOMB.encode(), data + b"\n---\na: 1\n", b"a: *b", b"%YAML 9.9\n---\n" + data, BOMB.encode())
        )
    document = [yaml.safe_load(data)]
    literals: list[str] = []
    for _ in range(source.choice((1, 1, 2, 5))):
        _mutate_value(document, source, lambda: literals.append(source.choice((*YAML_LITERALS, *LITERALS[2:]))))
    text = yaml.safe_dump(document[0], allow_unicode=True, width=10**9)
    for literal in literals:
        text = text.replace(f'"{_escaped(_MARK)}"', literal, 1).replace(_MARK, literal, 1)
    return text.encode("utf-8", "surrogatepass")


def _escaped(text: str) -> str:
    return text.replace("\ue000", "\\uE000")


def _mutate_value(document: list[Any], source: random.Random, add_literal: Callable[[], None]) -> None:
    """Changes one value somewhere in `document[0]`; a literal stands where the mark is."""
    places = list(_places(document))
    holder, key = source.choice(places) if source.random() < 0.9 else places[0]
    way = source.random()
    if way < 0.5:
        holder[key] = copy.deepcopy(source.choice(VALUES))
    elif way < 0.6:
        add_literal()
        holder[key] = _MARK
    elif way < 0.7 and holder is not document:
        del holder[key]
    elif way < 0.75:
        holder[key] = str(holder[key])[:2000]
    elif way < 0.8:
        holder[key] = [holder[key]]
    elif way < 0.85:
        other, place = source.choice(places)
        holder[key] = other[place] if not isinstance(other[place], list | dict) else json.loads(_plain(other[place]))
    elif isinstance(holder, list):
        holder.extend(holder[key : key + 1] * source.choice((1, 3)))
    elif holder is not document:
        name = source.choice(("id", "name", "", "ü", *map(str, holder)))
        holder[name] = copy.deepcopy(source.choice(VALUES))


def _plain(value: Any) -> str:
    return json.dumps(value, default=str)


def _places(holder: Any) -> list[tuple[Any, Any]]:
    """(list or dict, key) of every value in a document."""
    found, open_ = [], [holder]
    while open_:
        one = open_.pop()
        for key, value in one.items() if isinstance(one, dict) else enumerate(one):
            found.append((one, key))
            if isinstance(value, list | dict):
                open_.append(value)
    return found


def mutate_safetensors(data: bytes, source: random.Random) -> bytes:
    """The JSON in the header, or the model profile, a JSON text in it; the length that goes before is right."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if source.random() < 0.6:
        metadata = header["__metadata__"]
        metadata["profile"] = mutate_json(metadata["profile"].encode(), source).decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:
        text = mutate_json(json.dumps(header).encode(), source)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


# The mutators of a file by its suffix, and how often each is used; other files are bytes.
BY_SUFFIX: dict[str, tuple[tuple[Mutator, int], ...]] = {
    ".txt": ((mutate_words, 6), (mutate_encoding, 2), (mutate_bytes, 1)),
    ".ini": ((mutate_words, 6), (mutate_encoding, 2), (mutate_bytes, 1)),
    ".json": ((mutate_json, 8), (mutate_encoding, 1), (mutate_bytes, 1)),
    ".odgt": ((mutate_json_lines, 8), (mutate_encoding, 1), (mutate_bytes, 1)),
    ".yaml": ((mutate_yaml, 8), (mutate_encoding, 1), (mutate_bytes, 1)),
    ".safetensors": ((mutate_safetensors, 3), (mutate_bytes, 1)),
}
_IMAGES = (".jpg", ".png")


def mutate_file(path: Path, source: random.Random) -> str:
    """Replaces the content of a file; returns the name of the mutator."""
    default: tuple[tuple[Mutator, int], ...] = ((mutate_image if path.suffix in _IMAGES else mutate_bytes, 1),)
    mutators, weights = zip(*BY_SUFFIX.get(path.suffix, default), strict=True)
    [mutator] = source.choices(mutators, weights)
    path.write_bytes(mutator(path.read_bytes(), source))
    return str(mutator.__name__)
