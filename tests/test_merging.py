"""Folders of runs that are copied to another computer, worked on in both places, and merged."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dsd_bench import RunConfig, api
from dsd_bench.boards.rows import submit
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan, prepare_folders, teachers
from dsd_bench.executors.pulling import Pool, work
from dsd_bench.store.locks import LOCK
from dsd_bench.store.runs import load_run

Make = Callable[..., RunConfig]
rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")


def copy(source: Path, target: Path) -> None:
    """As docs/clusters.md says."""
    subprocess.run(["rsync", "-a", "--update", f"{source}/", str(target)], check=True)


def carry(runs_dir: Path, only: list[str], steps: float = float("inf")) -> None:
    """Work on some runs; stop, with a checkpoint, after having been asked so often."""
    asked = 0

    def stopping() -> bool:
        nonlocal asked
        asked += 1
        return asked > steps

    work(Pool(runs_dir, only=only), Settings(checkpoint_seconds=0), lambda event: None, stopping)


def chain(config: RunConfig) -> list[str]:
    return [config.run_id, *(teacher.run_id for teacher in teachers(config))]


@rsync
def test_halves_that_were_done_apart_make_one_whole(tiny: Make, tmp_path: Path) -> None:
    mine, theirs, alone = (tmp_path / name for name in ("mine", "theirs", "alone"))
    # both halves need the same teacher, which each carries out for itself
    configs = [tiny(reg=[f"kd:teacher=best,alpha={alpha}"]) for alpha in (0.5, 0.8)]
    prepare_folders(plan(configs, mine), mine)
    copy(mine, theirs)
    carry(mine, chain(configs[0]))
    carry(theirs, chain(configs[1]))
    copy(theirs, mine)
    runs = [load_run(mine / config.run_id) for config in configs]
    teacher = load_run(mine / chain(configs[0])[1])
    api.execute(configs, alone, Settings(), executor="inline")
    for run in (*runs, teacher):
        for name in ("config.json", "rounds.jsonl", "correct.jsonl", "best.safetensors"):
            assert (run.path / name).read_bytes() == (alone / run.run_id / name).read_bytes()
        assert not (run.path / LOCK).exists()
    assert len(submit(runs, tmp_path / "boards")) == 2  # hashes and provenance fit


@rsync
def test_a_run_that_was_begun_here_may_end_there(tiny: Make, tmp_path: Path) -> None:
    mine, theirs, alone = (tmp_path / name for name in ("mine", "theirs", "alone"))
    config = tiny(epochs=6)
    prepare_folders(plan([config], mine), mine)
    carry(mine, [config.run_id], steps=20)
    assert not (mine / config.run_id / "result.json").exists()
    copy(mine, theirs)
    carry(theirs, [config.run_id])
    copy(theirs, mine)
    api.execute([config], alone, Settings(), executor="inline")
    for name in ("rounds.jsonl", "correct.jsonl", "best.safetensors"):
        one = (mine / config.run_id / name).read_bytes()
        assert one == (alone / config.run_id / name).read_bytes()
    assert load_run(mine / config.run_id).result
