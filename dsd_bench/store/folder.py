"""A run's folder as the protocol's memory.

The checkpoint is the truth: it holds the rows too, and ``rounds.jsonl`` and ``correct.jsonl`` are
written from it, synced to the disk when the run ends. The one before is kept, and used when the
newest is damaged. Timings and the log are mere information: they never stop a run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dsd_bench.errors import DamagedFile, RunError, Superseded, UsageError, plain
from dsd_bench.store import hashes, weights
from dsd_bench.store.checkpoint import Checkpoint, Row, plain_row
from dsd_bench.store.correct import CORRECT, lines
from dsd_bench.store.files import (
    append_line,
    explained,
    json_bytes,
    own_folder,
    publish,
    rows_bytes,
    sync_path,
    temporary,
    write_atomic,
    write_once,
    write_rows,
)
from dsd_bench.store.locks import LOCK, confirm
from dsd_bench.store.reading import read_rows
from dsd_bench.store.runs import finished
from dsd_bench.store.tensors import read_tensors, write_tensors
from dsd_bench.store.weights import read_weights, write_weights

CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
METRICS = "metrics"
"""Folder of the further metrics' rows."""


class RunFolder:
    """The memory of one run on disk; hold its lock while you use it."""

    def __init__(
        self, path: Path, curve_id: str = "", tell: Callable[[str], None] = lambda text: None
    ) -> None:
        self.path, self.curve_id, self._tell = path, curve_id, tell
        self._logs = True

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, damaged or not."""
        return bool(self.checkpoints())

    def checkpoints(self) -> list[str]:
        """Return the names of the checkpoints that are there, the newest first."""
        return [name for name in (CHECKPOINT, PREVIOUS) if (self.path / name).exists()]

    def restore(self) -> Checkpoint | None:
        """Return the newest undamaged checkpoint and bring the rows' files to its state."""
        for name in self.checkpoints():
            try:
                checkpoint = self.read(name)
                for needed in checkpoint.needed:
                    self.recall(needed)
            except DamagedFile as error:
                self.warn(f"{error}; going back to the checkpoint before it")
                continue
            self._write_rows(checkpoint.rows)
            return checkpoint
        if self.has_checkpoint:
            self.warn("no undamaged checkpoint is left; beginning anew")
            for path in (self.path / CORRECT, *self._own(METRICS, "*.jsonl")):
                with explained(path):
                    path.unlink(missing_ok=True)
            self._write_rows(())
        return None

    def read(self, name: str = CHECKPOINT) -> Checkpoint:
        """Read one checkpoint.

        Raises:
            DamagedFile: if it is damaged, or of another curve.
        """
        tensors, state = read_tensors(self.path / name)
        if state.get("curve_id") != self.curve_id:
            raise DamagedFile(f"{self.path / name}: it is a checkpoint of another run")
        try:
            return Checkpoint.from_state(state, tensors)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedFile(f"{self.path / name}: of another version: {error!r}") from None

    def tidy(self) -> None:
        """Remove what a killed process left half-written; hold the lock.

        What a sleeping one is about to publish goes too: to be called before anything is read
        (:func:`dsd_bench.store.files.publish`). It is listed before the lease is looked at, so
        that who is superseded meanwhile removes nothing of the new owner.
        """
        left = [self.path / name for name in (f"{CHECKPOINT}.new", "failure.json")]
        for folder in (".", weights.KEPT, METRICS):
            left += self._own(folder, ".*.tmp")
        self._confirm()
        for path in left:
            with explained(path):
                path.unlink(missing_ok=True)

    def _own(self, folder: str, pattern: str) -> list[Path]:
        """Return the files of a folder of the run's own; none where that is a link."""
        within = self.path / folder
        return [] if within.is_symlink() else list(within.glob(pattern))

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint beside the last one, then the rows."""
        newest, previous = self.path / CHECKPOINT, self.path / PREVIOUS
        fresh, last = temporary(newest), temporary(previous)
        state = {"curve_id": self.curve_id, **checkpoint.state()}
        self._confirm()
        try:
            write_tensors(fresh, checkpoint.tensors, state)
            with explained(newest):
                before = [(last, previous)] if newest.exists() else []
                if before:
                    _link(newest, last)
                publish([*before, (fresh, newest)], self._confirm)
                sync_path(self.path)
        finally:
            for path in (fresh, last):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        self._write_rows(checkpoint.rows)

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write ``dense.safetensors``, or ``weights/<name>.safetensors``."""
        self._confirm()
        place = weights.place(self.path, name)
        write_weights(place, self.path.name, name, tensors, confirm=self._confirm)

    def recall(self, name: str) -> dict[str, Tensor]:
        """Read what :meth:`keep` wrote, and check that it is this run's.

        Raises:
            DamagedFile: if it is missing, damaged, or another's.
        """
        return read_weights(self.path, name, self.path.name)

    def log(self, text: str) -> None:
        """Append a line with the time to ``log.txt``; say so once if that cannot be."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            append_line(self.path / "log.txt", f"{stamp} {plain(text)}")
        except RunError as error:
            if self._logs:
                self._tell(f"{error}; the run goes on without its log")
            self._logs = False

    def add_timing(self, timing: Mapping[str, Any]) -> None:
        """Append a line to ``timings.jsonl``, replacing one of the same round."""
        self._confirm()
        path = self.path / "timings.jsonl"
        try:
            rows = [*_timings(path, timing["round"]), timing]
            write_rows(path, rows, sync=False, confirm=self._confirm)
        except (RunError, UsageError) as error:
            self.log(f"{error}; the run goes on without it")

    def finish(self, name: str, result: Mapping[str, Any], rounds_stay: bool) -> dict[str, Any]:
        """Write ``best.safetensors`` from the weights kept as ``name``, then ``result.json``.

        ``result.json`` comes last and means done.

        Args:
            name: of the best round's weights.
            result: what to write, but for the files' hashes.
            rounds_stay: whether the rounds' weights stay as files; else only dense and best do.

        Returns:
            What was written.

        Raises:
            Superseded: if another process has the run, or has finished it, meanwhile.
        """
        self._confirm()
        best = self.path / "best.safetensors"
        kept, confirm = self.recall(name), self._confirm
        write_weights(best, self.path.name, name, kept, whole=True, confirm=confirm)
        for text in (*self.path.glob("*.jsonl"), *self._own(METRICS, "*.jsonl")):
            sync_path(text)
        for folder in (self.path, self.path / METRICS):
            sync_path(folder)
        found = hashes.of_run(self.path)
        if not rounds_stay:
            found = {k: v for k, v in found.items() if not k.startswith(f"{weights.KEPT}/")}
        whole = {**result, hashes.KEY: found}
        path, data = self.path / "result.json", json_bytes(whole)
        if not write_once(path, data, confirm):
            if finished(self.path):
                raise Superseded(f"{self.path}: another process has finished the run meanwhile")
            write_atomic(path, data, confirm=confirm)  # in place of what is no whole result
        if not rounds_stay:
            for path in self._own(weights.KEPT, "*.safetensors"):
                with contextlib.suppress(OSError):  # the run is done; `clean` may take them
                    path.unlink(missing_ok=True)
        return whole

    def adopt(self, donor: Path, checkpoint: Checkpoint) -> None:
        """Begin with ``checkpoint``, made from the rounds of another run of the same curve.

        Weights that the donor no longer has are left out, unless the run needs them.

        Raises:
            DamagedFile: if needed weights are missing, damaged, or not the donor's.
        """
        known, kept = weights.finished_hashes(donor), []
        for name in checkpoint.kept:
            try:
                self.keep(name, read_weights(donor, name, donor.name, known))
            except DamagedFile:
                if name in checkpoint.needed:
                    raise
                continue
            kept.append(name)
        self.save(replace(checkpoint, kept=tuple(kept)))
        self.log(f"goes on from {len(checkpoint.rows)} rounds of {donor.name}")

    def _confirm(self) -> None:
        """Make sure that the run is still this process's own, before anything is published.

        Raises:
            Superseded: if it is another's.
        """
        confirm(self.path / LOCK)

    def warn(self, text: str) -> None:
        """Log a line and tell it to whoever began the run."""
        self.log(text)
        self._tell(text)

    def texts(self, rows: Iterable[Row]) -> dict[str, bytes]:
        """Return the files that hold ``rows``, by name; no bits make no ``correct.jsonl``."""
        rows = list(rows)
        texts = {"rounds.jsonl": rows_bytes(map(plain_row, rows))}
        if bits := lines(rows):
            texts[CORRECT] = rows_bytes(bits)
        for name in sorted({name for row in rows for name in row.get("metrics", {})}):
            further = [
                {"round": row["round"], **row["metrics"][name]}
                for row in rows
                if name in row.get("metrics", {})
            ]
            texts[f"{METRICS}/{name}.jsonl"] = rows_bytes(further)
        return texts

    def write_texts(self, texts: Mapping[str, bytes], sync: bool) -> None:
        """Write what :meth:`texts` returned."""
        self._confirm()
        for name, data in texts.items():
            path = self.path / name
            if path.parent != self.path:
                own_folder(path.parent)
            write_atomic(path, data, sync, self._confirm)

    def _write_rows(self, rows: Iterable[Row]) -> None:
        self.write_texts(self.texts(rows), sync=False)


class Reader(RunFolder):
    """The same memory for a process that trains along and must not write."""

    def tidy(self) -> None:
        """Leave the files alone."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Leave it to the process that owns the folder."""

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Leave it to the process that owns the folder."""

    def log(self, text: str) -> None:
        """Say nothing."""

    def _confirm(self) -> None:
        """Leave it to the process that owns the folder."""

    def add_timing(self, timing: Mapping[str, Any]) -> None:
        """Note nothing."""

    def finish(self, name: str, result: Mapping[str, Any], rounds_stay: bool) -> dict[str, Any]:
        """Leave it to the process that owns the folder."""
        return dict(result)

    def _write_rows(self, rows: Iterable[Row]) -> None:
        """Leave it to the process that owns the folder."""


def _timings(path: Path, before: int) -> list[dict[str, Any]]:
    """Return what can be read of the timings of earlier rounds."""
    try:
        rows = read_rows(path) if path.is_file() else []
        return [row for row in rows if row.get("round", before) < before]
    except (OSError, TypeError, ValueError, UsageError):
        return []


def _link(path: Path, other: Path) -> None:
    """Give ``path`` the second name ``other``, or copy it where there are no hard links."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
