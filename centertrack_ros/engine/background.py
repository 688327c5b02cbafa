"""Answers at once by torch, while a faster engine is made ready beside it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile

_LOG = logging.getLogger(__name__)


class BackgroundEngine:
    """Implements `engine.base.Engine` by one that is there, until a better one is.

    first  answers meanwhile; the better one must take inputs that it has prepared, as engines of exported files take
           torch's
    make   called in a thread of its own: gives the better engine, or None, having said why there is none

    The better engine has answered once for every input size that has been asked for before it takes over. Whatever
    happens to it while it is made is a line in the log, and the first goes on.
    """

    def __init__(self, first: Engine, make: Callable[[], Engine | None]) -> None:
        self._engine = first
        self.name, self.device = first.name, str(getattr(first, "device", "cpu"))  # of the one that answers now
        self._make: Callable[[], Engine | None] | None = make
        self._sizes: list[tuple[int, int]] = []
        self._thread = threading.Thread(target=self._replace, name="centertrack_export", daemon=True)
        self._thread.start()

    @property
    def profile(self) -> ModelProfile:
        return self._engine.profile

    @profile.setter
    def profile(self, profile: ModelProfile) -> None:
        self._engine.profile = profile

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Any:
        """See `Engine.prepare`."""
        if size not in self._sizes:
            self._sizes.append(size)
        return self._engine.prepare(image, affine, size)

    def infer(self, images: Sequence[Any], previous: Sequence[Any], priors: Sequence[NDArray[np.int64]]) -> list[Peaks]:
        """See `Engine.infer`."""
        return self._engine.infer(images, previous, priors)

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is settled which engine stays, at most `timeout` s. Returns whether it is."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _replace(self) -> None:
        assert self._make is not None
        before = self.name
        try:
            better = self._make()
            if better is None:
                return
            self._warm_up(better)
        except Exception as error:  # of a runtime, of the file system, of the weights
            _LOG.warning("%s goes on: %s", before, " ".join(str(error).split())[:400] or type(error).__name__)
            return
        finally:
            self._make = None  # and what it holds
        better.profile = self._engine.profile
        self._engine = better
        self.name, self.device = better.name, str(getattr(better, "device", "cpu"))
        _LOG.info("from now on %s answers instead of %s", better.name, before)

    def _warm_up(self, engine: Engine) -> None:
        from centertrack_ros.engine import verification

        for size in self._sizes:
            verification.answers(engine, size)
