"""An engine that answers a question it has been asked before without running the network again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.network.peaks import Peaks

_NOTHING = np.zeros((0, 3), np.int64)


@dataclass(frozen=True)
class _Input:
    """A prepared input with the digest of all that it was made from."""

    key: bytes
    value: Any


class RememberingEngine:
    """Runs `engine`, once for each combination of image, previous image and prior heatmap: exact, for comparisons.

    Ways of tracking that ask the network the same get the same answer at no cost; `asked` counts the questions, `run`
    those that the network was run for. Everything is kept until `forget`.

    detection_only  the previous image is always the image itself and the prior heatmap is empty, whatever is given
    repeating       an image is answered as it was last, whatever else is given; KeyError for one never seen
    """

    def __init__(self, engine: Engine, detection_only: bool = False, repeating: bool = False) -> None:
        self.engine, self.detection_only, self.repeating = engine, detection_only, repeating
        self.asked = self.run = 0
        self._inputs: dict[bytes, _Input] = {}
        self._answers: dict[tuple[bytes, bytes, bytes], Peaks] = {}
        self._last: dict[bytes, Peaks] = {}  # by image alone

    @property
    def profile(self) -> Any:
        return self.engine.profile

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def device(self) -> str:
        return self.engine.device

    def of_single_images(self) -> RememberingEngine:
        """The same engine with the same memory, as a detector that knows nothing of other images."""
        return self._twin(RememberingEngine(self.engine, detection_only=True))

    def repeater(self) -> RememberingEngine:
        """The same memory as an engine that gives each image the answer that it got here last: the same detections
        for another way of tracking, whose own tracks would have made another prior heatmap.
        """
        return self._twin(RememberingEngine(self.engine, repeating=True))

    def _twin(self, twin: RememberingEngine) -> RememberingEngine:
        twin._inputs, twin._answers, twin._last = self._inputs, self._answers, self._last
        return twin

    def forget(self) -> None:
        """Drop all that is kept, here and in twins."""
        self._inputs.clear()
        self._answers.clear()
        self._last.clear()

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> _Input:
        """See `Engine.prepare`."""
        digest = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(affine).tobytes() + repr((image.shape, size)).encode())
        key = digest.digest()
        if key not in self._inputs:
            self._inputs[key] = _Input(key, self.engine.prepare(image, affine, size))
        return self._inputs[key]

    def infer(
        self, images: Sequence[_Input], previous: Sequence[_Input], priors: Sequence[NDArray[np.int64]]
    ) -> list[Peaks]:
        """See `Engine.infer`."""
        if self.repeating:
            return [self._last[image.key] for image in images]
        if self.detection_only:
            previous, priors = images, [_NOTHING] * len(images)
        keys = [
            (image.key, before.key, np.unique(np.asarray(prior, np.int64), axis=0).tobytes())
            for image, before, prior in zip(images, previous, priors, strict=True)
        ]
        missing = [row for row, key in enumerate(keys) if key not in self._answers]
        if missing:
            found = self.engine.infer(
                [images[row].value for row in missing],
                [previous[row].value for row in missing],
                [priors[row] for row in missing],
            )
            self._answers.update({keys[row]: peaks for row, peaks in zip(missing, found, strict=True)})
        self.asked += len(keys)
        self.run += len(missing)
        answers = [self._answers[key] for key in keys]
        if not self.detection_only:
            self._last.update({image.key: answer for image, answer in zip(images, answers, strict=True)})
        return answers
