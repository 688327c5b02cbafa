# SPDX-License-Identifier: Apache-2.0
"""`seqinfo.ini` of a MOTChallenge sequence: what its images and annotations do not tell."""

from __future__ import annotations

import configparser
import math
from pathlib import Path

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.text_files import read_text

FILE = "seqinfo.ini"


class SequenceInfo:
    """The values of the section [Sequence]. Keys may be in upper or lower case."""

    def __init__(self, folder: Path | str) -> None:
        """Reads the file of a sequence's folder; without one there are no values.

        Raises:
            DataError: The file is malformed.
        """
        self.path = Path(folder) / FILE
        self._values: dict[str, str] = {}
        if not self.path.is_file():
            return
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(read_text(self.path), str(self.path))
            self._values = dict(parser["Sequence"])
        except (configparser.Error, KeyError) as error:
            line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), None)
            problem = f"not a {FILE}: expected a section [Sequence] of lines KEY=VALUE"
            raise DataError(self.path, problem, line) from None

    def text(self, key: str) -> str:
        """The value of a key; '' without it."""
        return self._values.get(key.lower(), "")

    def number(self, key: str) -> float | None:
        """The value of a key; None without it. Raises DataError for what is no number above 0."""
        text = self.text(key)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise DataError(self.path, f"{key} is '{text[:60]}', expected a number above 0")
        return value
