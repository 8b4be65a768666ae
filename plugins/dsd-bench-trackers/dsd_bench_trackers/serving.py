"""The process that speaks with trackers: a thread each, so that none waits for another."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from dsd_bench.errors import UsageError, describe, plain
from dsd_bench_trackers.session import Ended, Session
from dsd_bench_trackers.view import Values, View, read
from dsd_bench_trackers.words import TrackerParams, parse

PATIENCE = 30.0
"""Seconds without an answer after which a tracker is said to hang."""
LAST = 60.0
"""Seconds that trackers have at most when the process that runs runs has ended."""
LOG = "log.txt"
"""In the folder ``trackers`` beside the runs: what trackers complained of, with times."""

Complain = Callable[[str, Path], None]


class Line:
    """One tracker and the thread that speaks with it.

    Args:
        name: the tracker.
        params: what it was asked for with.
        complain: gets what goes wrong, with the run's folder: the first time it does.
    """

    def __init__(self, name: str, params: TrackerParams, complain: Complain) -> None:
        self.name, self.params = name, params
        self._complain, self._told = complain, set[str]()
        self._pending: dict[Path, str] = {}
        self._sessions: dict[Path, Session] = {}
        self._closing, self._changed = False, threading.Condition()
        self._busy: tuple[float, Path] | None = None
        self.thread = threading.Thread(target=self._work, daemon=True, name=name)
        self.thread.start()

    def put(self, event: str, path: Path) -> None:
        """Have the run looked at; how often that is asked before it is done does not matter."""
        with self._changed:
            self._pending[path] = event
            self._changed.notify()

    def close(self) -> None:
        """Have all runs looked at once more; then the thread ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def watch(self) -> None:
        """Complain if the tracker does not answer."""
        busy = self._busy
        if busy is not None and time.monotonic() - busy[0] > PATIENCE:
            self.tell("hangs", f"no answer for {PATIENCE:g} s; the run goes on", busy[1])

    def tell(self, what: str, text: str, path: Path) -> None:
        """Complain, once for each sort of complaint."""
        if what not in self._told:
            self._told.add(what)
            again = f"`python -m dsd_bench_trackers {self.name} RUN...` sends what is missing"
            self._complain(f"{self.name}: {text} ({again})", path)

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            self._attempt(*taken)
        for path in list(self._sessions):
            self._attempt(path, "left")

    def _next(self) -> tuple[Path, str] | None:
        with self._changed:
            while not self._pending and not self._closing:
                self._changed.wait()
            if not self._pending:
                return None
            path = next(iter(self._pending))
            self._busy = (time.monotonic(), path)
            return path, self._pending.pop(path)

    def _attempt(self, path: Path, event: str) -> None:
        """Show what is new of a run; whatever that raises is told and costs nothing else."""
        self._busy = (time.monotonic(), path)
        try:
            self._show(path, event)
        except Exception as error:
            self._sessions.pop(path, None)
            self.tell("fails", describe(error), path)
        finally:
            self._busy = None

    def _show(self, path: Path, event: str) -> None:
        view = read(path)
        if path not in self._sessions:
            self._sessions[path] = begin(self.name, self.params, view)
        session = self._sessions[path]
        how = _ended(view, event)
        show_rounds(session, view.rows if how else view.whole())
        if how is not None:
            session.end(view, how)
            del self._sessions[path]


def begin(name: str, params: TrackerParams, view: View) -> Session:
    """Begin a run at a tracker, or go on with it.

    Raises:
        UsageError: if the tracker's library is not installed; whatever it raises itself.
    """
    try:
        module = importlib.import_module(f"dsd_bench_trackers.{name}")
    except ModuleNotFoundError as error:
        raise UsageError(f"{error}: pip install 'dsd-bench-trackers[{name}]'") from None
    return module.begin(params, view)  # type: ignore[no-any-return]


def show_rounds(session: Session, rows: Mapping[int, Values]) -> None:
    """Log the rounds that a tracker has not."""
    for round, values in rows.items():
        if round not in session.known:
            session.log(round, values)
            session.known.add(round)


def ended(view: View) -> Ended:
    """Return how a run ended that nobody carries on now."""
    if view.result is not None:
        return "finished"
    return "left" if view.error is None else "failed"


def _ended(view: View, event: str) -> Ended | None:
    return ended(view) if event in ("finished", "failed", "left") else None


def serve(asked: str) -> None:
    """Look at runs as standard input names them, until it closes; then end within :data:`LAST`."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # the end of its input ends it
    os.nice(10)  # trainings come first
    complaints = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no complaint

    lock = threading.Lock()

    def complain(text: str, path: Path) -> None:
        with lock, contextlib.suppress(OSError):
            complaints.write(f"{plain(text)}\n")
            complaints.flush()
        with lock, contextlib.suppress(OSError):
            note(path.parent / "trackers", f"{path.name}: {plain(text)}")

    lines = [Line(name, params, complain) for name, params in parse(asked)]
    threading.Thread(target=_watch, args=(lines,), daemon=True).start()
    latest = follow(sys.stdin, lines)
    ends = time.monotonic() + LAST
    for line in lines:
        line.close()
    for line in lines:
        line.thread.join(max(0.0, ends - time.monotonic()))
        if line.thread.is_alive() and latest is not None:
            line.tell("late", f"not all was sent within {LAST:g} s", latest)
    os._exit(0)  # libraries may wait at their end, too


def follow(stream: IO[str], lines: list[Line]) -> Path | None:
    """Pass on which runs to look at, until ``stream`` ends; return the last one."""
    path = None
    for text in stream:
        event, place = json.loads(text)
        path = Path(place)
        for line in lines:
            line.put(event, path)
    return path


def note(folder: Path, text: str) -> None:
    """Append a line to the trackers' log."""
    folder.mkdir(exist_ok=True)
    with open(folder / LOG, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _watch(lines: list[Line]) -> None:
    while True:
        time.sleep(0.5)
        for line in lines:
            line.watch()
