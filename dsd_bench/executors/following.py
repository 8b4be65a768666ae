"""Following runs that others carry out, by their folders alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dsd_bench.errors import UsageError
from dsd_bench.executors import Emit
from dsd_bench.store.attempts import ATTEMPTS
from dsd_bench.store.reading import read_json, read_rows
from dsd_bench.store.runs import finished

Mark = tuple[tuple[int, int] | None, ...]
WATCHED = ("rounds.jsonl", ATTEMPTS, "result.json", "checkpoint.safetensors")
"""Files of a run that show whether somebody gets on with it."""


class Following:
    """Tells what happens in run folders, as if it had happened here.

    Args:
        paths: the folders.
        emit: gets ``started``, ``round`` and ``finished``.
    """

    def __init__(self, paths: Iterable[Path], emit: Emit) -> None:
        self._emit = emit
        self._marks: dict[Path, Mark] = {path: _mark(path) for path in paths}
        self._rows: dict[Path, int] = dict.fromkeys(self._marks, -1)
        for path in list(self._marks):
            self._tell(path, first=True)

    def look(self) -> bool:
        """Tell what is new; return whether anything moved in any of the folders."""
        moved = False
        for path, before in list(self._marks.items()):
            mark = _mark(path)
            if mark != before:
                moved = True
                self._marks[path] = mark
                self._tell(path)
        return moved

    def _tell(self, path: Path, first: bool = False) -> None:
        """Tell what is new of a run; the rows that it had when following began are no news."""
        run_id = path.name
        try:
            rows = read_rows(path / "rounds.jsonl")
        except (OSError, UsageError):
            rows = []
        if self._rows[path] < 0 and (rows or (path / ATTEMPTS).exists()):
            known = rows if first else []
            event = {"event": "started", "resumed_from_round": len(known) or None, "rows": known}
            self._emit({**event, "run_id": run_id})
            self._rows[path] = len(known)
        if self._rows[path] >= 0:
            for row in rows[self._rows[path] :]:
                self._emit({"event": "round", "run_id": run_id, "row": row})
            self._rows[path] = max(self._rows[path], len(rows))
        if finished(path):
            result = read_json(path / "result.json")
            self._emit({"event": "finished", "run_id": run_id, "result": result})
            del self._marks[path]


def _mark(path: Path) -> Mark:
    """Return what changes when somebody gets on with the run."""
    return tuple(_stamp(path / name) for name in WATCHED)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
