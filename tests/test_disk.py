"""Disks that are too small: told before a sweep, and survived when they fill up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import RunConfig, api
from dsd_bench.cli.estimating import check_disk, disk_needed
from dsd_bench.costs import COPIES
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan
from dsd_bench.suites.costs import budget

Make = Callable[..., RunConfig]
Command = Callable[..., tuple[int, str, str]]
SUITE = """
title = "A title"
question = "A question?"
source = "a source"

[options]
dataset = "digits:train_size=60,val_size=30"
model = "mlp:hidden=8"
batch_size = 20
rounds = 2
epochs = 2

[scale.small]
seeds = "0-2"
"""
WEIGHTS = 4 * (64 * 8 + 8 + 8 * 10 + 10)
"""Bytes of the network."""


def only_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let the disk have so many bytes left."""
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr("dsd_bench.reports.standing.shutil.disk_usage", lambda path: usage)


def test_a_sweep_says_what_it_takes_and_refuses_what_does_not_fit(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(SUITE)
    only_free(monkeypatch, 2000)
    code, out, err = command("sweep", "mine.toml")
    assert code == 2
    assert "disk: about 81 kB more, 2.0 kB free" in out
    assert len(err.splitlines()) == 1
    assert "runs: the runs will take about 81 kB, the disk has 2.0 kB left" in err
    assert "give --keep none (about 44 kB)" in err
    assert not Path("runs").exists()
    assert command("sweep", "mine.toml", "--write")[0] == 2
    assert not Path("runs").exists()
    assert command("sweep", "mine.toml", "--dry-run")[0] == 0
    assert command("sweep", "mine.toml", "--write", "--yes")[0] == 0
    only_free(monkeypatch, 50_000)
    assert command("sweep", "mine.toml", "--write")[0] == 2
    code, out, _ = command("sweep", "mine.toml", "--write", "--keep", "none", "--json")
    assert code == 0
    assert {run["bytes"] for run in json.loads(out)["runs"]} == {COPIES * WEIGHTS}


def test_what_is_there_needs_no_room(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [tiny(seed=seed) for seed in range(3)]
    api.execute(configs[:1], tmp_path, Settings(), executor="inline")
    planned = plan(configs, tmp_path)
    costs = budget(planned)
    assert disk_needed(planned, costs, None) == 2 * COPIES * WEIGHTS
    begun = tmp_path / configs[1].run_id
    begun.mkdir()
    (begun / "checkpoint.safetensors").write_bytes(b"x" * 1000)
    assert disk_needed(planned, costs, None) == 2 * COPIES * WEIGHTS - 1000
    (begun / "checkpoint.safetensors").write_bytes(b"x" * 10**6)
    assert disk_needed(planned, costs, None) == COPIES * WEIGHTS
    only_free(monkeypatch, COPIES * WEIGHTS)
    check_disk(planned, costs, tmp_path, None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 400 kB, which only root may."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root may mount")
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_cleanly_and_the_run_resumes_with_the_same_bytes(
    tiny: Make, small_disk: Path, tmp_path: Path
) -> None:
    config = tiny(rounds=4, model="mlp:hidden=64")
    ballast = small_disk / "ballast"

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == "round" and event["row"]["round"] == 1 and not ballast.exists():
            with open(ballast, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError:
                    pass

    (first,) = api.execute([config], small_disk / "runs", Settings(), executor="inline", emit=emit)
    assert first.outcome.status == "failed"
    assert "the disk is full; free some space" in (first.outcome.error or "")
    ballast.unlink()
    (again,) = api.execute([config], small_disk / "runs", Settings(), executor="inline", emit=emit)
    assert again.outcome.status == "done"
    assert again.outcome.resumed_from_round is not None
    (alone,) = api.execute([config], tmp_path / "alone", Settings(), executor="inline")
    assert again.run.rows == alone.run.rows
    files = [
        f"{place}/{config.run_id}/rounds.jsonl"
        for place in (small_disk / "runs", tmp_path / "alone")
    ]
    assert Path(files[0]).read_bytes() == Path(files[1]).read_bytes()
