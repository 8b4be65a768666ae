"""Shared by all tests: one thread, tiny runs, a command line that runs in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest
import slurm_stand_in
from fakes import TINY
from hypothesis import HealthCheck, settings

from dsd_bench import RunConfig, configure, run
from dsd_bench.cli.main import call
from dsd_bench.plugins import catalogue
from dsd_bench.store.runs import StoredRun

# that a computer is busy is no counterexample
settings.register_profile("any-pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-pace")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is remembered between commands apart from the user's, and from other tests'."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "dsd-bench"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Commands that stand in for Slurm's; return the folder that says what they did."""
    folder = tmp_path / "slurm"
    commands = slurm_stand_in.install(folder)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    yield folder
    slurm_stand_in.kill(folder)


@pytest.fixture
def tiny() -> Callable[..., RunConfig]:
    """Make the configuration of a tiny run."""

    def make(**options: Any) -> RunConfig:
        return configure(**{**TINY, "rounds": 2, "epochs": 2, **options})

    return make


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a fake CIFAR-10 and CIFAR-100."""
    fakes.cifar10(tmp_path, monkeypatch)
    fakes.cifar100(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, ten train images each, three for test, 6 pixels high and 5 wide."""
    fakes.image_folder(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """The tiny run with nothing else chosen, made from Python; leave it as it is."""
    import torch

    torch.set_num_threads(1)
    config = configure(**TINY, rounds=2, epochs=2)
    return run(config, runs_dir=tmp_path_factory.mktemp("plain"))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Let this process find the plugins in a folder; quicker than a new process."""
    before = set(sys.modules)

    def add(folder: Path) -> None:
        monkeypatch.syspath_prepend(folder)
        catalogue.cache_clear()

    yield add
    catalogue.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("dsd_bench_"):
            del sys.modules[name]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def tiny_run(command: Callable[..., tuple[int, str, str]]) -> Callable[..., dict[str, Any]]:
    """Run ``dsd-bench run`` on tiny settings in this process and return its JSON."""

    def run(*words: str, code: int = 0) -> dict[str, Any]:
        options = ["--dataset", TINY["dataset"], "--model", "mlp:hidden=8", "--batch-size", "20"]
        given = [
            w for pair in zip(options[::2], options[1::2]) if pair[0] not in words for w in pair
        ]
        for name, value in (("--rounds", "2"), ("--epochs", "2"), ("--seeds", "0")):
            if name not in words and not (name == "--rounds" and "--target-sparsity" in words):
                given += [name, value]
        if "--executor" not in words:
            given += ["--executor", "inline"]
        got, out, err = command("run", *given, "--json", *words)
        assert got == code, f"exit code {got}\n{out}\n{err}"
        return json.loads(out)  # type: ignore[no-any-return]

    return run
