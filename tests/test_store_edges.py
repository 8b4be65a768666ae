"""Edges of the store, the noise and the training where a single changed line would go unseen."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from fakes import InMemoryStore
from test_protocol import make_run
from test_training import start

from dsd_bench import RunConfig
from dsd_bench.errors import DamagedFile, RunError
from dsd_bench.executors.pulling import LONGEST_POLL, Candidate
from dsd_bench.noise.builtin import SymmetricParams
from dsd_bench.noise.labels import Symmetric
from dsd_bench.seeds import stream
from dsd_bench.store import files, locks
from dsd_bench.store.checkpoint import Checkpoint
from dsd_bench.store.files import append_line, temporary, write_atomic
from dsd_bench.store.folder import CHECKPOINT, PREVIOUS, RunFolder
from dsd_bench.store.tensors import write_tensors

Make = Callable[..., RunConfig]


def folder(path: Path, curve: str = "one", told: list[str] | None = None) -> RunFolder:
    path.mkdir(exist_ok=True)
    notes: list[str] = [] if told is None else told
    return RunFolder(path, curve, notes.append)


def checkpoint(value: float = 1.0) -> Checkpoint:
    return Checkpoint((), 0, False, {}, {"model/weight": torch.full((2, 2), value)})


def test_a_checkpoint_of_another_curve_is_not_taken(tmp_path: Path) -> None:
    folder(tmp_path / "run").save(checkpoint())
    with pytest.raises(DamagedFile, match="of another run"):
        folder(tmp_path / "run", "two").read()
    told: list[str] = []
    assert folder(tmp_path / "run", "two", told).restore() is None
    assert [text.partition("; ")[2] for text in told] == [
        "going back to the checkpoint before it",
        "beginning anew",
    ]


def test_a_log_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    made = folder(tmp_path / "run", told=told)
    (made.path / "log.txt").mkdir()
    made.log("first")
    assert len(told) == 1
    made.log("second")
    assert len(told) == 1
    assert "goes on without its log" in told[0]


def test_the_checkpoint_before_the_last_is_the_one_that_is_gone_back_to(tmp_path: Path) -> None:
    made = folder(tmp_path / "run")
    for value in (1.0, 2.0, 3.0):
        made.save(checkpoint(value))
    (made.path / CHECKPOINT).write_bytes(b"cut")
    found = folder(tmp_path / "run").restore()
    assert found is not None
    assert float(found.tensors["model/weight"][0, 0]) == 2.0


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    """In containers the next process often has the same number as the killed one."""
    made = folder(tmp_path / "run")
    made.save(checkpoint(1.0))
    os.link(made.path / CHECKPOINT, temporary(made.path / PREVIOUS))
    made.save(checkpoint(2.0))
    for name, value in ((CHECKPOINT, 2.0), (PREVIOUS, 1.0)):
        assert float(made.read(name).tensors["model/weight"][0, 0]) == value
    assert not list(made.path.glob(".*.tmp"))


def test_before_a_run_counts_as_done_its_texts_and_folders_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(tmp_path / "run")
    made.keep("dense", {"weight": torch.ones(2)})
    (made.path / "metrics").mkdir()
    for name in ("rounds.jsonl", "metrics/other.jsonl"):
        (made.path / name).write_text("{}\n")
    synced: set[str] = set()

    def note(path: Path) -> None:
        assert not (made.path / "result.json").exists()
        synced.add(path.relative_to(made.path).as_posix())

    monkeypatch.setattr(f"{RunFolder.__module__}.sync_path", note)
    made.finish("dense", {}, True)
    assert synced >= {"rounds.jsonl", "metrics/other.jsonl", ".", "metrics"}
    assert (made.path / "result.json").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.ELOOP, "is a link, which is not followed"),
        (errno.EACCES, "choose a folder that you may write"),
        (errno.EROFS, "choose a folder that you may write"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_what_went_wrong_is_said_with_what_to_do(number: int, words: str) -> None:
    with pytest.raises(RunError, match=words), files.explained(Path("file")):
        raise OSError(number, os.strerror(number))


def test_json_is_written_as_it_is_read_by_people(tmp_path: Path) -> None:
    value = {"b": [1, 0.5], "a": "ü", "none": None}
    files.write_json(tmp_path / "file", value)
    expected = '{\n "b": [\n  1,\n  0.5\n ],\n "a": "ü",\n "none": null\n}\n'
    assert (tmp_path / "file").read_bytes() == expected.encode()
    files.write_rows(tmp_path / "rows", [value, {"c": 1}])
    assert (tmp_path / "rows").read_bytes() == (
        '{"b": [1, 0.5], "a": "ü", "none": null}\n{"c": 1}\n'.encode()
    )


def test_a_checkpoint_without_its_kept_weights_is_not_taken(tmp_path: Path) -> None:
    made = folder(tmp_path / "run")
    made.save(checkpoint(1.0))
    made.save(replace(checkpoint(2.0), kept=("dense",), needed=("dense",)))
    found = folder(tmp_path / "run").restore()
    assert found is not None
    assert found.kept == ()


@pytest.mark.skipif(sys.platform == "win32", reason="file modes")
def test_new_files_have_the_modes_that_the_user_s_mask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        append_line(tmp_path / "log", "words")
        write_atomic(tmp_path / "file", b"words")
    finally:
        os.umask(before)
    for name in ("log", "file"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644, name
    assert (tmp_path / "log").read_text() == "words\n"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "log"]


@pytest.mark.parametrize("sync", [True, False])
def test_what_must_survive_a_power_cut_is_synced_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    done: list[str] = []
    real_sync, real_rename = os.fsync, os.replace

    def fsync(handle: int) -> None:
        status = os.fstat(handle)
        is_folder = stat.S_ISDIR(status.st_mode)
        assert is_folder or status.st_size == len(b"words")  # what is synced is all there
        done.append("folder" if is_folder else "file")
        real_sync(handle)

    def rename(source: Any, target: Any) -> None:
        done.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "replace", rename)
    write_atomic(tmp_path / "file", b"words", sync)
    assert done == (["file", "rename", "folder"] if sync else ["rename"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_no_line_is_written_into_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(RunError, match="log: is no regular file; remove it"):
        append_line(tmp_path / "log", "words")
    assert os.read(reader, 9) == b""
    os.close(reader)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_no_json_is_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_tensors(tmp_path / "file", {}, {"value": value})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "file", {"value": value})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_rows(tmp_path / "file", [{"value": value}])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_bytes(b"before")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(RunError, match="disk is full"):
        write_atomic(tmp_path / "file", b"words")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_flock_tells_taken_from_held(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    first, second = (os.open(tmp_path / "lock", os.O_RDWR) for _ in range(2))
    assert locks._flock(first) is True
    assert locks._flock(second) is None
    os.close(first)
    assert locks._flock(second) is True
    os.close(second)


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
@pytest.mark.parametrize(
    ("number", "taken"), [(errno.ENOTSUP, False), (errno.ENOLCK, False), (errno.EACCES, None)]
)
def test_where_flock_does_not_work_the_heartbeat_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, taken: bool | None
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    handle = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(locks.fcntl, "flock", refused)
    assert locks._flock(handle) is taken
    number = errno.EIO
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        locks._flock(handle)
    os.close(handle)


def test_symmetric_noise_adds_what_its_stream_draws() -> None:
    labels = numpy.arange(200, dtype=numpy.int64) % 10
    noisy = Symmetric(SymmetricParams(rate=0.5)).corrupt(labels, 10, numpy.random.default_rng(3))
    draw = numpy.random.default_rng(3)
    chosen = draw.permutation(200)[:100]
    expected = labels.copy()
    expected[chosen] = (labels[chosen] + draw.integers(1, 10, size=100)) % 10
    assert (noisy == expected).all()


def test_on_another_kind_of_device_generators_begin_where_the_place_says(
    tiny: Make, tmp_path: Path
) -> None:
    config = tiny(epochs=2, reg=["dropout"])
    training = start(config, tmp_path)
    tensors, cursor = training.tensors(), {"epoch": 1, "step": 2, "scalars": {}}
    moved = {
        k.replace("generators/cpu/", "generators/cuda/") if k.startswith("generators/") else k: v
        for k, v in tensors.items()
    }
    cursor["scalars"] = training.cursor.scalars
    again = start(config, tmp_path)
    again.resume(cursor, moved)
    again._restore_generators()
    steps = again.steps_per_epoch + 2
    assert steps == again.steps_done
    for name, generator in again._generators().items():
        known = torch.Generator().manual_seed(stream(config.seed, name, 1, steps))
        assert torch.equal(generator.get_state(), known.get_state()), name


def test_records_are_the_rounds_that_beat_all_before_them(tiny: Make, tmp_path: Path) -> None:
    store = InMemoryStore()
    run = make_run(tiny(rounds=6, epochs=1), tmp_path, store)
    object.__setattr__(run.experiment, "keep", "records")
    run.follow()
    scores = [row["val_accuracy"] for row in run.rows]
    records = [n for n, score in enumerate(scores) if all(score > other for other in scores[:n])]
    names = ["dense" if n == 0 else f"best-{n:03d}" for n in records]
    assert [name for name in store.kept if not name.startswith("snapshot")] == names
    assert run.watcher.resumed is None  # type: ignore[attr-defined]


def test_a_run_s_watcher_is_told_where_it_begins(tiny: Make, tmp_path: Path) -> None:
    store = InMemoryStore()
    told: list[Any] = []
    for _ in range(2):
        run = make_run(tiny(rounds=1, epochs=1), tmp_path, store)
        begun = run.watcher.begun

        def noted(resumed: int | None, rows: Any, begun: Any = begun) -> None:
            told.append((resumed, len(rows)))
            begun(resumed, rows)

        run.watcher.begun = noted  # type: ignore[method-assign]
        run.follow()
    assert told == [(None, 0), (2, 2)]


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_only_this_host_s_processes_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Two computers may share a boot id (containers); a holder elsewhere is watched instead."""
    path = tmp_path / "lock"
    path.touch()
    handle = os.open(path, os.O_RDWR)
    locks._write(handle, beat=0, fence=1)
    text = path.read_text("utf-8").replace('"pid": ', '"pid": 9')  # no such process
    if host == "elsewhere":
        text = text.replace(f'"host": "{locks.socket.gethostname()}"', '"host": "elsewhere"')
    path.write_text(text, "utf-8")
    assert locks._held(handle, False, locks.Watch()) == (host == "elsewhere")
    os.close(handle)


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_heartbeat_counts_as_dead_after_the_missed_beats_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").write_text("{}")
    handle, clock = os.open(tmp_path / "lock", os.O_RDWR), [100.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: clock[0])
    watch = locks.Watch()
    looks = 0
    while not watch.died(handle):
        clock[0] += locks.PAUSE
        looks += 1
        assert looks < 10**5
    assert looks == pytest.approx(locks.BEAT * locks.MISSED / locks.PAUSE, abs=1)
    seldom, began = Candidate(tmp_path, (), "").watch, clock[0]
    while not seldom.died(handle):
        clock[0] += LONGEST_POLL
    assert clock[0] - began <= locks.BEAT * locks.MISSED + LONGEST_POLL  # the first look is no beat
    sleeper = locks.Watch()
    assert not sleeper.died(handle)
    clock[0] += 10**6  # the watcher itself slept: that proves nothing about the holder
    assert not sleeper.died(handle)
    os.close(handle)
