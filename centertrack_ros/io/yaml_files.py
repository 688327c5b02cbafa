# SPDX-License-Identifier: Apache-2.0
"""YAML documents as files and on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.text_files import read_text

_LONGEST = 160  # characters of the parser's explanation


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of two values that a mapping gives for one key; here that is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in keys:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' twice", key.start_mark)
            if name is not None:
                keys.add(name)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path | str) -> Any:
    """Reads the YAML document of a file.

    Raises:
        DataError: There is no such file, it is not text, or it is not YAML; the text names the broken line.
        OSError: The file cannot be read.
    """
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, where: Path | str) -> Any:
    """The YAML document in a text. Raises DataError, which begins with `where`, when it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, error.problem or error.context or "it is malformed"
        raise DataError(where, f"not YAML ({_line(problem)})", mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise DataError(where, f"not YAML ({_line(str(error))})") from None
    except RecursionError:
        raise DataError(where, "not YAML that can be read: it is nested too deeply") from None
    except (ValueError, AttributeError, TypeError, KeyError, OverflowError) as error:
        # A value that its tag does not fit, such as `!!timestamp soon` or 2020-13-45: PyYAML lets these through.
        raise DataError(
            where, f"not YAML that can be read: a value does not fit its type ({_line(str(error))})"
        ) from None


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
