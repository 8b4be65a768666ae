"""Running code of others, plugins above all, without letting it change the process around it.

Such code may print, read the keyboard, leave with ``sys.exit``, change the working folder, the
handlers of signals, the filters of warnings or the root logger. None of that may cost the command,
another plugin, or what is printed for programs to read.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TextIO, TypeVar

from dsd_bench.errors import Quit, describe

P = ParamSpec("P")
T = TypeVar("T")


class Section:
    """A stretch of time in which code of others runs."""

    _interrupts = 0
    """How often the user pressed Ctrl-C while this process lived."""

    def __init__(self) -> None:
        self._before = Section._interrupts
        self._own = _streams()

    @property
    def interrupted(self) -> bool:
        """Whether the user pressed Ctrl-C meanwhile: a ``KeyboardInterrupt`` may be real."""
        return Section._interrupts > self._before

    def outside(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function`` so that, called from within, it has the process's own streams."""

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if not _in_main_thread():
                return function(*args, **kwargs)
            within = _streams()
            _set_streams(self._own)
            try:
                return function(*args, **kwargs)
            finally:
                _set_streams(within)

        return call


@contextlib.contextmanager
def contained() -> Iterator[Section]:
    """Run code of others in the block.

    What it prints goes to standard error, and there is nothing to read on its standard input. The
    streams, the working folder, handlers of signals, filters of warnings and the root logger are
    afterwards as before. All these belong to the whole process, so other threads than the main one
    leave them alone.

    Raises:
        Quit: in place of whatever is no :class:`Exception` (``SystemExit``, or a
            ``KeyboardInterrupt`` that no Ctrl-C caused), so that it ends no more than the block.
    """
    section = Section()
    with contextlib.ExitStack() as stack:
        if _in_main_thread():
            for keep in (_keep_streams, _keep_folder, _keep_logging, warnings.catch_warnings):
                stack.enter_context(keep())
            stack.enter_context(_keep_signals())
        try:
            yield section
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, GeneratorExit) or section.interrupted:
                raise
            raise Quit(f"{describe(error)}, which would have ended the whole command") from error


def interrupted() -> None:
    """Note that the user pressed Ctrl-C; every handler of SIGINT calls it."""
    Section._interrupts += 1


def private_streams() -> tuple[TextIO | None, TextIO | None]:
    """Return standard input and output on descriptors of their own; None for one that is closed.

    From here on, descriptor 0 has nothing to read and descriptor 1 is standard error, also for
    libraries and for processes that they start. ``sys.stdin`` and ``sys.stdout`` are left alone.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    with open(os.devnull, "rb") as nothing:
        stdin = _private(0, "r", nothing.fileno())
        stdout = _private(1, "w", 2)
    return stdin, stdout


def _private(descriptor: int, mode: str, instead: int) -> TextIO | None:
    try:
        handle = os.dup(descriptor)
    except OSError:  # it was closed by whoever started this process
        return None
    with contextlib.suppress(OSError):
        os.dup2(instead, descriptor)
    standard = sys.stdin if mode == "r" else sys.stdout
    encoding = getattr(standard, "encoding", "utf-8")
    errors = getattr(standard, "errors", "backslashreplace")
    made: Any = os.fdopen(handle, mode, encoding=encoding, errors=errors)
    made.reconfigure(write_through=getattr(standard, "write_through", False))
    return made  # type: ignore[no-any-return]


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")


def _streams() -> dict[str, Any]:
    return {name: getattr(sys, name) for name in _STREAMS}


def _set_streams(streams: dict[str, Any]) -> None:
    for name, stream in streams.items():
        setattr(sys, name, stream)


@contextlib.contextmanager
def _keep_streams() -> Iterator[None]:
    own = _streams()
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = sys.__stdin__ = nothing  # type: ignore[misc]
        sys.stdout = sys.stderr
        sys.__stdout__ = sys.__stderr__  # type: ignore[misc]
        try:
            yield
        finally:
            _set_streams(own)


@contextlib.contextmanager
def _keep_folder() -> Iterator[None]:
    try:
        before = os.getcwd()
    except OSError:  # it was removed
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.chdir(before)


@contextlib.contextmanager
def _keep_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)


_NAMES = ("INT", "TERM", "HUP", "QUIT", "PIPE", "CHLD", "ALRM", "USR1", "USR2", "TSTP", "WINCH")
_SIGNALS = tuple(
    getattr(signal, f"SIG{name}") for name in _NAMES if hasattr(signal, f"SIG{name}")
)  # all of them would take half a millisecond


@contextlib.contextmanager
def _keep_signals() -> Iterator[None]:
    """Put handlers back; meanwhile note a Ctrl-C, which is the user's, whoever is at work."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    interrupt = before[signal.SIGINT]

    def note(number: int, frame: Any) -> None:
        interrupted()
        if callable(interrupt):
            interrupt(number, frame)

    if callable(interrupt):
        signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
