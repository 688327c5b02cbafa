"""Where images wait for the network: one place per camera, so that nothing can queue up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Mailbox(Generic[Key, Item]):
    """Keeps the newest item of each key; an older one that nobody has taken yet makes room for it."""

    def __init__(self) -> None:
        self._waiting: dict[Key, Item] = {}
        self._arrival = threading.Condition()

    def put(self, key: Key, item: Item) -> bool:
        """True if an older item was given up for this one."""
        with self._arrival:
            replaced = key in self._waiting
            self._waiting[key] = item
            self._arrival.notify()
        return replaced

    def take(self, timeout: float) -> dict[Key, Item]:
        """All that waits, as soon as there is something; empty after `timeout` s, or when `wake` was called."""
        with self._arrival:
            if not self._waiting:
                self._arrival.wait(timeout)
            taken, self._waiting = self._waiting, {}
        return taken

    def wake(self) -> None:
        with self._arrival:
            self._arrival.notify_all()


class Worker(Generic[Key, Item]):
    """A thread that hands what waits in a mailbox to `process`, all cameras at a time."""

    def __init__(self, mailbox: Mailbox[Key, Item], process: Callable[[dict[Key, Item]], None]) -> None:
        self._mailbox = mailbox
        self._process = process
        self._running = True
        # A daemon: a network in the middle of a frame must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="centertrack_worker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._running:
            if waiting := self._mailbox.take(timeout=1.0):
                self._process(waiting)

    def stop(self, timeout: float) -> bool:
        """Ends after the frame in work. False if that takes longer than `timeout` s."""
        self._running = False
        self._mailbox.wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()
