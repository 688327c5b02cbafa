# SPDX-License-Identifier: Apache-2.0
"""Hands images from the executor's thread to the network's: one place per camera, so that nothing can queue up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Mailbox(Generic[Key, Item]):
    """Keeps the newest item of each key. A newer item replaces one that was not taken yet."""

    def __init__(self) -> None:
        self._waiting: dict[Key, Item] = {}
        self._changed = threading.Condition()

    def put(self, key: Key, item: Item) -> bool:
        """Stores an item.

        Returns:
            Whether it replaced an older one, which is lost.
        """
        with self._changed:
            replaced = key in self._waiting
            self._waiting[key] = item
            self._changed.notify()
        return replaced

    def take(self, timeout: float) -> dict[Key, Item]:
        """Removes and returns all items; waits up to `timeout` s for the first, or until `wake` is called."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout)
            taken, self._waiting = self._waiting, {}
        return taken

    def wake(self) -> None:
        """Lets a waiting `take` return at once."""
        with self._changed:
            self._changed.notify_all()


class Worker(Generic[Key, Item]):
    """A thread that passes the items of a mailbox to `process`, those of all cameras in one call."""

    def __init__(self, mailbox: Mailbox[Key, Item], process: Callable[[dict[Key, Item]], None]) -> None:
        """Starts the thread."""
        self._mailbox = mailbox
        self._process = process
        self._running = True
        # A daemon thread: a network in the middle of a frame must not delay the end of the process.
        self._thread = threading.Thread(target=self._run, name="centertrack_worker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._running:
            if waiting := self._mailbox.take(timeout=1.0):
                self._process(waiting)

    def stop(self, timeout: float) -> bool:
        """Ends the thread after the current call of `process`.

        Returns:
            False if that takes longer than `timeout` s; the thread then ends later, by itself.
        """
        self._running = False
        self._mailbox.wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()
