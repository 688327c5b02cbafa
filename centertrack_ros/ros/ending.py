# SPDX-License-Identifier: Apache-2.0
"""The end of the node's process: SIGINT, SIGTERM and SIGHUP ask for it, in any order, any number of times."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The launch files set it for the node: SIGTERM ends `ros2 launch` at once, and it leaves its nodes behind.
END_WITH_PARENT = "CENTERTRACK_END_WITH_PARENT"
# After a signal the process ends within this time, even while a library or a driver blocks.
_LIMIT_S = 1.8


class Ending:
    """Ends the process in time, and in order: a DDS participant that is not closed leaves its shared memory behind.

    Python runs the handler of a signal between two steps of the main thread, which may stay in a library for seconds.
    So the handlers do nothing, and a thread reads from a pipe what has come. rclpy's own handlers are not used: they
    close the context under the frame in work, and the second signal finds the default handler, which kills.

    Attributes:
        requested: Set once a signal has come.
    """

    def __init__(self) -> None:
        """Installs the handlers. Call it on the main thread, before anything that takes time."""
        self.requested = threading.Event()
        self._wake: Callable[[], None] = _nothing
        self._close: Callable[[], None] | None = None
        self._in_use = threading.Lock()  # held by the main thread while it may use what `close` frees
        self._pipe, writing_end = os.pipe()
        os.set_blocking(writing_end, False)
        signal.set_wakeup_fd(writing_end, warn_on_full_buffer=False)
        for number in SIGNALS:
            # A program that nohup has started outlives its terminal. Shells start background jobs without SIGINT, but
            # launch files end nodes with it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _nothing)
        threading.Thread(target=self._watch, name="centertrack_signals", daemon=True).start()

    def prepare(self, wake: Callable[[], None], close: Callable[[], None]) -> None:
        """From now on there is something to close; before, a signal ends the process at once.

        Args:
            wake: Lets the main thread know that it should end. Called on another thread.
            close: Frees everything. Called once, by `close`, or on another thread during `leaving_alone`.
        """
        self._in_use.acquire()
        self._wake = wake
        self._close = close

    @contextlib.contextmanager
    def leaving_alone(self) -> Iterator[None]:
        """For work of any length on the main thread that uses nothing of what is to be closed: a signal ends it."""
        self._in_use.release()
        try:
            yield
        finally:
            self._in_use.acquire()

    def close(self) -> None:
        """Frees everything, on the main thread; signals mean nothing any more.

        After a signal it does not return. The interpreter's own end would take seconds with some libraries, would bring
        the default handlers back, and stops the thread that limits the time.
        """
        if self._close is not None:
            self._close()
        if self.requested.is_set():
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
                    stream.flush()
            os._exit(0)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _watch(self) -> None:
        while os.read(self._pipe, 1)[0] not in SIGNALS:
            pass
        limit = threading.Timer(_LIMIT_S, os._exit, (0,))
        limit.daemon = True
        limit.start()
        self.requested.set()
        if self._close is not None:
            self._wake()
            self._in_use.acquire()  # only while the main thread leaves everything alone; else it ends by itself
            self._close()
        os._exit(0)


def _nothing(*_: object) -> None:
    """The handler of a signal that the pipe has told of."""
