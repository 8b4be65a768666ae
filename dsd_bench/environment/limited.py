"""Code of others that does not come to an end, or would end the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from dsd_bench.environment import PATIENCE, patience
from dsd_bench.environment.contained import contained


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
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    rings = time.monotonic() + left
    try:
        yield
    finally:
        left = max(rings - time.monotonic(), 1e-3) if left else 0.0
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import or register a plugin in the block, contained and within its time.

    ``os._exit``, which nothing could catch, raises ``SystemExit`` instead.

    Raises:
        Quit: as :func:`dsd_bench.environment.contained.contained` does, also for what hangs.
    """
    seconds = patience()
    what = f"loading it (switch: {PATIENCE})"
    with contained(), _staying(), limited(seconds, what):
        yield


@contextlib.contextmanager
def _staying() -> Iterator[None]:
    own, process = os._exit, os.getpid()

    def leave(status: int) -> NoReturn:
        if os.getpid() != process:  # a child that was forked has nothing else to do
            own(status)
        raise SystemExit(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit = own
