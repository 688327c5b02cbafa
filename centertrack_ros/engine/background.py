# SPDX-License-Identifier: Apache-2.0
"""Runs torch at once, while a thread prepares a faster engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine, EngineAround

_LOG = logging.getLogger(__name__)


class BackgroundEngine(EngineAround):
    """Implements `engine.base.Engine` by an available engine until a better one is ready.

    The better engine runs once for every input size that has occurred before it takes over. If it fails before that,
    the log says so in one line and the first engine stays.

    Args:
        first: Runs meanwhile. The better one must accept inputs that it has prepared, as engines of exported files
            accept those of torch.
        make: Called in its own thread; gives the better engine, or None after it has logged why there is none.
    """

    def __init__(self, first: Engine, make: Callable[[], Engine | None]) -> None:
        super().__init__(first)
        self._make: Callable[[], Engine | None] | None = make
        self._sizes: list[tuple[int, int]] = []
        self._thread = threading.Thread(target=self._replace, name="centertrack_export", daemon=True)
        self._thread.start()

    def prepare(self, image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> Any:
        """See `Engine.prepare`."""
        if size not in self._sizes:
            self._sizes.append(size)
        return super().prepare(image, affine, size)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is decided which engine stays.

        Args:
            timeout: Longest wait, s; None: no limit.

        Returns:
            Whether it is decided.
        """
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
        except Exception as error:  # from a runtime, the file system or the weights
            _LOG.warning("%s continues: %s", before, " ".join(str(error).split())[:400] or type(error).__name__)
            return
        finally:
            self._make = None  # frees the objects that it holds
        self.engine = better
        _LOG.info("%s runs from now on instead of %s", better.name, before)

    def _warm_up(self, engine: Engine) -> None:
        from centertrack_ros.engine import verification

        for size in self._sizes:
            verification.run_reference(engine, size)
