"""A run's folder as the protocol's memory.

The checkpoint is the truth: it holds the rows too, and ``rounds.jsonl`` is written from it. The one
before is kept, and used when the newest is damaged.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dsd_bench.errors import DamagedFile, UsageError, plain
from dsd_bench.store.checkpoint import Checkpoint, Row
from dsd_bench.store.files import explained, sync_folder, write_json, write_rows
from dsd_bench.store.reading import read_rows
from dsd_bench.store.tensors import read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
KEPT = "weights"
"""Folder of the weights that may become ``best.safetensors``, and of snapshots."""


class RunFolder:
    """The memory of one run on disk; hold its lock while you use it."""

    def __init__(
        self, path: Path, curve_id: str = "", tell: Callable[[str], None] = lambda text: None
    ) -> None:
        self.path, self.curve_id, self._tell = path, curve_id, tell

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, damaged or not."""
        return any((self.path / name).exists() for name in (CHECKPOINT, PREVIOUS))

    def restore(self) -> Checkpoint | None:
        """Return the newest undamaged checkpoint and bring the rows' files to its state."""
        for name in (CHECKPOINT, PREVIOUS):
            if not (self.path / name).exists():
                continue
            try:
                checkpoint = self.read(name)
                for kept in needed(checkpoint.kept):
                    self.recall(kept)
            except DamagedFile as error:
                self._warn(f"{error}; going back to the checkpoint before it")
                continue
            self._write_rows(checkpoint.rows)
            return checkpoint
        if self.has_checkpoint:
            self._warn("no undamaged checkpoint is left; beginning anew")
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
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFile(f"{self.path / name}: of another version: {error!r}") from None

    def tidy(self) -> None:
        """Remove what a killed process left half-written; hold the lock."""
        for pattern in (".*.tmp", "*/.*.tmp", f"{CHECKPOINT}.new", "failure.json"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint beside the last one, then the rows."""
        newest = self.path / CHECKPOINT
        fresh = self.path / f"{CHECKPOINT}.new"
        state = {"curve_id": self.curve_id, **checkpoint.state()}
        write_tensors(fresh, checkpoint.tensors, state)
        with explained(newest):
            if newest.exists():
                _link(newest, self.path / PREVIOUS)
            os.replace(fresh, newest)
            sync_folder(self.path)
        self._write_rows(checkpoint.rows)

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write ``dense.safetensors``, or ``weights/<name>.safetensors``."""
        path = self._kept(name)
        with explained(path):
            path.parent.mkdir(exist_ok=True)
        write_tensors(path, tensors, {"name": name})

    def recall(self, name: str) -> dict[str, Tensor]:
        """Read what :meth:`keep` wrote."""
        return read_tensors(self._kept(name))[0]

    def log(self, text: str) -> None:
        """Append a line with the time to ``log.txt``."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with explained(self.path), open(self.path / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{stamp} {plain(text)}\n")

    def add_timing(self, timing: Mapping[str, Any]) -> None:
        """Append a line to ``timings.jsonl``, replacing one of the same round."""
        path = self.path / "timings.jsonl"
        try:
            rows = read_rows(path)
        except UsageError as error:  # mere information: no reason to stop a run
            self.log(f"timings so far are lost: {error}")
            rows = []
        known = range(int(timing["round"]))
        write_rows(path, [*(row for row in rows if row.get("round") in known), timing])

    def finish(self, name: str, result: Mapping[str, Any]) -> None:
        """Write ``best.safetensors`` from the weights kept as ``name``, then ``result.json``.

        ``result.json`` comes last and means done.
        """
        write_tensors(self.path / "best.safetensors", self.recall(name), {"name": name})
        write_json(self.path / "result.json", result)

    def adopt(self, donor: Path, checkpoint: Checkpoint) -> None:
        """Begin with ``checkpoint``, made from the rounds of another run of the same curve."""
        for name in checkpoint.kept:
            self.keep(name, RunFolder(donor).recall(name))
        self.save(checkpoint)
        self.log(f"goes on from {len(checkpoint.rows)} rounds of {donor.name}")

    def _warn(self, text: str) -> None:
        self.log(text)
        self._tell(text)

    def _kept(self, name: str) -> Path:
        folder = self.path if name == "dense" else self.path / KEPT
        return folder / f"{name}.safetensors"

    def _write_rows(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        plain = [{k: v for k, v in row.items() if k != "metrics"} for row in rows]
        write_rows(self.path / "rounds.jsonl", plain)
        for name in sorted({name for row in rows for name in row.get("metrics", {})}):
            with explained(self.path):
                (self.path / "metrics").mkdir(exist_ok=True)
            further = [
                {"round": row["round"], **row["metrics"][name]}
                for row in rows
                if name in row.get("metrics", {})
            ]
            write_rows(self.path / "metrics" / f"{name}.jsonl", further)


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

    def add_timing(self, timing: Mapping[str, Any]) -> None:
        """Note nothing."""

    def finish(self, name: str, result: Mapping[str, Any]) -> None:
        """Leave it to the process that owns the folder."""

    def _write_rows(self, rows: Iterable[Row]) -> None:
        """Leave it to the process that owns the folder."""


def needed(kept: Iterable[str]) -> list[str]:
    """Return the kept weights without which a run cannot end: not those that were beaten."""
    names = list(kept)
    beaten = [name for name in names if name.startswith("best-")][:-1]
    return [name for name in names if name not in beaten]


def _link(path: Path, other: Path) -> None:
    """Give ``path`` the second name ``other``, so that at no instant it has none."""
    temporary = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, temporary)
    os.replace(temporary, other)
