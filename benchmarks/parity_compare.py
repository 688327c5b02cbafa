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
    """The worst error of each kind: as a number, and as a part of what is allowed."""

    worst: dict[str, float] = field(default_factory=dict)
    ratio: dict[str, float] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def compare(self, kind: str, what: str, got: Any, expected: Any) -> None:
        """Note the difference of two arrays; a difference of shape, or a NaN, is infinitely wrong."""
        got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
        if got.shape != expected.shape:
            self._note(kind, np.inf, np.inf, f"{what}: shape {got.shape} instead of {expected.shape}")
            return
        if not got.size:
            return
        absolute, relative = TOLERANCES[kind]
        scale = np.linalg.norm(expected, axis=-1, keepdims=True) if kind == "3D" and expected.ndim else np.abs(expected)
        error = np.nan_to_num(np.abs(got - expected), nan=np.inf)
        allowed = np.broadcast_to(absolute + relative * scale, error.shape)
        ratio = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
        at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        self._note(
            kind,
            float(error.max()),
            float(ratio[at]),
            f"{what}: {got[at]:.7g} instead of {expected[at]:.7g} at {[int(i) for i in at]}",
        )

    def angle(self, what: str, got: Any, expected: Any) -> None:
        """Note the difference of angles, rad, of which a whole turn is none."""
        difference = np.asarray(got, np.float64) - np.asarray(expected, np.float64)
        self.compare("3D", what, (difference + np.pi) % (2 * np.pi) - np.pi, np.zeros_like(difference))

    def equal(self, what: str, got: Any, expected: Any) -> None:
        """Note a difference of what must be the same (ids, classes, counts, sizes)."""
        wrong = float(got != expected)
        self._note("ids", wrong, np.inf if wrong else 0.0, f"{what}: {got} instead of {expected}")

    def _note(self, kind: str, error: float, ratio: float, message: str) -> None:
        self.worst[kind] = max(self.worst.get(kind, 0.0), error)
        self.ratio[kind] = max(self.ratio.get(kind, 0.0), ratio)
        if ratio > 1:
            self.messages.append(f"{kind}: {message}")

    @property
    def passed(self) -> bool:
        return not self.messages

    def line(self, name: str) -> str:
        """One line for a person: the worst error of each kind, '!' where it is out of tolerance."""
        cells = [
            f"{kind} {'-' if kind not in self.worst else format(self.worst[kind], '.1e')}"
            f"{'!' if self.ratio.get(kind, 0) > 1 else ''}"
            for kind in KINDS
        ]
        return f"{'ok  ' if self.passed else 'FAIL'}  {name:<32} " + "  ".join(f"{cell:<15}" for cell in cells).rstrip()


def compare_samples(errors: Errors, kind: str, what: str, got: Any, stored: Mapping[str, Any]) -> None:
    """Compare an array with the shape, statistics and sampled values that the reference keeps of it."""
    array = np.asarray(got)
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


def pair_nearest(
    classes: np.ndarray, boxes: np.ndarray, expected: Iterable[Mapping[str, Any]], key: str = "bbox"
) -> list[int]:
    """For each expected object the index of the nearest one of its class that is still free; -1 where there is none."""
    free = np.ones(len(classes), bool)
    pairs = []
    for item in expected:
        distance = np.abs(boxes - np.asarray(item[key], np.float64)).max(axis=1, initial=0.0)
        distance = np.where(free & (classes == item["class"] - 1), distance, np.inf)
        index = int(distance.argmin()) if len(distance) and np.isfinite(distance.min()) else -1
        if index >= 0:
            free[index] = False
        pairs.append(index)
    return pairs
