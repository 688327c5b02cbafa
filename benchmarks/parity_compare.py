# SPDX-License-Identifier: Apache-2.0
"""How far numbers are from the reference, by kind, and whether that is within its tolerances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = ("input", "raw", "box", "score", "3D", "ids")

# kind -> (absolute, relative) tolerance, from the reference's README; 'input' is exact but for the last bits.
TOLERANCES = {
    "input": (1e-4, 0.0),
    "raw": (1e-3, 1e-3),
    "box": (1e-2, 0.0),
    "score": (1e-4, 0.0),
    "3D": (1e-3, 1e-3),
    "ids": (0.0, 0.0),
}


@dataclass
class Errors:
    """The worst error of each kind.

    Attributes:
        worst: Kind -> the largest difference.
        ratio: Kind -> the largest difference, as a multiple of its tolerance.
        messages: What is out of tolerance or could not be compared.
    """

    worst: dict[str, float] = field(default_factory=dict)
    ratio: dict[str, float] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def compare(self, kind: str, what: str, computed: Any, expected: Any) -> None:
        """Notes the difference of two arrays; a difference of shape and a NaN are infinite errors."""
        computed, expected = np.asarray(computed, np.float64), np.asarray(expected, np.float64)
        if computed.shape != expected.shape:
            self._note(kind, np.inf, np.inf, f"{what}: shape {computed.shape} instead of {expected.shape}")
            return
        if not computed.size:
            return
        absolute, relative = TOLERANCES[kind]
        scale = np.linalg.norm(expected, axis=-1, keepdims=True) if kind == "3D" and expected.ndim else np.abs(expected)
        error = np.nan_to_num(np.abs(computed - expected), nan=np.inf)
        allowed = np.broadcast_to(absolute + relative * scale, error.shape)
        ratio = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
        at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        self._note(
            kind,
            float(error.max()),
            float(ratio[at]),
            f"{what}: {computed[at]:.7g} instead of {expected[at]:.7g} at {[int(i) for i in at]}",
        )

    def angle(self, what: str, computed: Any, expected: Any) -> None:
        """Notes the difference of angles, rad, modulo a whole turn."""
        difference = np.asarray(computed, np.float64) - np.asarray(expected, np.float64)
        self.compare("3D", what, (difference + np.pi) % (2 * np.pi) - np.pi, np.zeros_like(difference))

    def equal(self, what: str, computed: Any, expected: Any) -> None:
        """Notes a difference between values that must be equal (ids, classes, counts, sizes)."""
        wrong = float(computed != expected)
        self._note("ids", wrong, np.inf if wrong else 0.0, f"{what}: {computed} instead of {expected}")

    def _note(self, kind: str, error: float, ratio: float, message: str) -> None:
        self.worst[kind] = max(self.worst.get(kind, 0.0), error)
        self.ratio[kind] = max(self.ratio.get(kind, 0.0), ratio)
        if ratio > 1:
            self.messages.append(f"{kind}: {message}")

    def include(self, other: Errors) -> None:
        """Adds the errors of another comparison."""
        for kind in other.worst:
            self.worst[kind] = max(self.worst.get(kind, 0.0), other.worst[kind])
            self.ratio[kind] = max(self.ratio.get(kind, 0.0), other.ratio[kind])
        self.messages += other.messages

    @property
    def passed(self) -> bool:
        """Whether everything was compared and lies within its tolerance."""
        return not self.messages

    def report(self, name: str, most: int = 5) -> None:
        """Prints `line`, and the first `most` messages below it."""
        print(self.line(name), flush=True)
        for message in self.messages[:most]:
            print(f"        {message}")

    def line(self, name: str) -> str:
        """One line: the worst error of each kind, '!' where it is out of tolerance."""
        cells = [
            f"{kind} {'-' if kind not in self.worst else format(self.worst[kind], '.1e')}"
            f"{'!' if self.ratio.get(kind, 0) > 1 else ''}"
            for kind in KINDS
        ]
        return f"{'ok  ' if self.passed else 'FAIL'}  {name:<32} " + "  ".join(f"{cell:<15}" for cell in cells).rstrip()


def compare_samples(errors: Errors, kind: str, what: str, computed: Any, stored: Mapping[str, Any]) -> None:
    """Compares an array with the shape, statistics and sampled values that the reference stores of it."""
    array = np.asarray(computed)
    if list(array.shape) != list(stored["shape"]):
        errors.compare(kind, what, array, np.zeros(stored["shape"]))
        return
    flat = array.reshape(-1).astype(np.float64)
    errors.compare(kind, f"{what} samples", flat[np.asarray(stored["idx"], np.int64)], stored["val"])
    for name in ("mean", "std", "min", "max"):
        if name in stored:
            errors.compare(kind, f"{what} {name}", getattr(flat, name)() if flat.size else 0.0, stored[name])
    if "nonzero" in stored:
        errors.equal(f"{what} non-zero pixels", int(np.count_nonzero(flat > 0)), stored["nonzero"])
        errors.compare(kind, f"{what} sum / max(1, sum)", flat.sum() / max(1, stored["sum"]), min(1, stored["sum"]))


def match_nearest(
    classes: np.ndarray, boxes: np.ndarray, expected: Iterable[Mapping[str, Any]], key: str = "bbox"
) -> list[int]:
    """Matches each expected object with the nearest one of its class that is still free.

    Args:
        classes: (N,) class ids, from 0.
        boxes: (N, 4) boxes, or (N, 2) centres, px.
        expected: Objects in the official form, with 1-based classes.
        key: What is compared: 'bbox' or 'ct'.

    Returns:
        The index of the matched object for each expected one, -1 where there is none.
    """
    free = np.ones(len(classes), bool)
    matches = []
    for item in expected:
        distance = np.abs(boxes - np.asarray(item[key], np.float64)).max(axis=1, initial=0.0)
        distance = np.where(free & (classes == item["class"] - 1), distance, np.inf)
        index = int(distance.argmin()) if len(distance) and np.isfinite(distance.min()) else -1
        if index >= 0:
            free[index] = False
        matches.append(index)
    return matches
