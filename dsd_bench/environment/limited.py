"""Code of others that does not come to an end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Hung(BaseException):
    """Code took longer than it may; no ``except Exception`` of its own catches this."""


@contextlib.contextmanager
def limited(seconds: float, what: str) -> Iterator[None]:
    """End the block if it takes too long.

    It works in the main thread of systems that have timers, elsewhere the block may take as long as
    it likes; what hangs in compiled code hangs. Use it within
    :func:`dsd_bench.environment.contained.contained`, which makes an error of it.

    Args:
        seconds: how long it may take; it is told again every second until it ends.
        what: what takes too long, for the message.

    Raises:
        Hung: within the block.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise Hung(f"{what} has not come to an end after {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, ring)
    outer = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *outer)
        signal.signal(signal.SIGALRM, handler)
