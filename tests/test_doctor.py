"""``dsd-bench doctor``: every line says what to do, and only what a plain run needs fails it."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsd_bench.cli import doctor

Command = Callable[..., tuple[int, str, str]]


def looked(command: Command, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code, out, err = command("doctor", "--json", *words)
    assert err == ""
    told = json.loads(out)
    assert told["works"] == (code == 0)
    for one in told["checks"]:
        needed = one["level"] != "ok" and one["what"] != "GPU"
        assert one["advice"] or not needed, one
    return code, {one["what"]: one for one in told["checks"]}


def sinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a Slurm of our own first in the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "sinfo"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_plain_run_works_here(command: Command, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    code, found = looked(command)
    assert code == 0
    assert found["data set digits"]["level"] == "ok"
    assert found["data set cifar10"]["level"] == "missing"
    assert "cifar-10-batches-py is missing" in found["data set cifar10"]["advice"]
    assert found["cpu"]["level"] == found["torch"]["level"] == found["runs"]["level"] == "ok"
    assert found["executor local"]["level"] == "ok"
    assert set(tmp_path.rglob("*")) == before
    code, out, _ = command("doctor")
    assert out.splitlines()[-1] == "a plain run works here"


def test_data_that_are_there_are_found(command: Command, cifar: Path) -> None:
    assert looked(command, "--data-dir", str(cifar))[1]["data set cifar10"]["level"] == "ok"


def test_a_library_that_does_not_load_is_a_problem(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor.importlib.import_module

    def broken(name: str) -> Any:
        if name == "sklearn":
            raise OSError("libgomp.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    code, found = looked(command)
    assert code == 1
    assert found["scikit-learn"]["level"] == "problem"
    assert "libgomp" in found["scikit-learn"]["found"]
    assert "pip install --force-reinstall scikit-learn" in found["scikit-learn"]["advice"]
    assert "a plain run cannot work here" in command("doctor")[1]


def test_a_folder_that_cannot_be_written_is_a_problem(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any, **named: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refused)
    code, found = looked(command)
    assert code == 1
    assert found["runs"]["found"] == "runs cannot be written: Permission denied"


@pytest.mark.parametrize(
    ("script", "level", "text"),
    [
        ("echo 'gpu up 12 nodes'", "ok", "partitions gpu up 12 nodes"),
        ("echo 'sinfo: fatal: no controller' >&2; exit 1", "missing", "fatal: no controller"),
    ],
)
def test_slurm(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    level: str,
    text: str,
) -> None:
    sinfo(tmp_path, monkeypatch, script)
    code, found = looked(command)
    assert code == 0
    assert found["executor slurm"]["level"] == level
    assert text in found["executor slurm"]["found"]


def test_no_slurm(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert looked(command)[1]["executor slurm"]["found"] == "no Slurm here"
