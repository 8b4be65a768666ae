"""Stopping on Ctrl-C and SIGTERM: said at once, done at the next step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from dsd_bench.environment.contained import interrupted
from dsd_bench.executors import Emit

REMINDING = 0.05
"""Seconds between two requests to stop once the time is up."""
STOPPING = "stopping after this step; again to stop now"


class Stop:
    """Whether somebody asked to stop; may be set within a signal handler.

    An attribute, not a ``threading.Event``: a handler may interrupt the event's own ``set``, whose
    lock it would then wait for.
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        """Ask to stop."""
        self._asked = True

    def is_set(self) -> bool:
        """Return whether somebody asked to stop."""
        return self._asked


@contextlib.contextmanager
def stop_on_signals(emit: Emit, also: Iterable[str] = ()) -> Iterator[Stop]:
    """Ask to stop at the first SIGINT or SIGTERM, and say so; a second SIGINT raises.

    Args:
        emit: gets a note at once, from a thread of its own, however long the step in work takes.
        also: names of further signals that mean the same, where the system has them.

    Raises:
        KeyboardInterrupt: at a second SIGINT.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    heard, tell = os.pipe()

    def handle(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            interrupted()
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        os.write(tell, b"!")

    def speak() -> None:
        if os.read(heard, 1):
            emit({"event": "note", "text": STOPPING})

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    names = ("SIGINT", "SIGTERM", *also)
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(tell)  # ends the thread if nothing was said
        speaker.join()
        os.close(heard)


@contextlib.contextmanager
def interrupted_after(seconds: float | None) -> Iterator[None]:
    """Ask for a stop, as SIGTERM does, after so long inside the block; None: never.

    What is executed there checkpoints and ends as if interrupted; nothing else hears of it.
    """
    if seconds is None:
        yield
        return
    over = threading.Event()

    def remind() -> None:
        if not over.wait(seconds):
            os.kill(os.getpid(), signal.SIGTERM)
        while not over.wait(REMINDING):  # nothing may have been executed that could have heard it
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        over.set()
        reminder.join()
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold SIGINT back; a process that is started meanwhile never gets it.

    A terminal sends Ctrl-C to every process of the command, also to workers that cannot handle
    it yet.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on every system
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
