"""Formatting, linting, types, and imports that go one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dsd_bench.boards.check import check

ROOT = Path(__file__).parent.parent


def run(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_formatting() -> None:
    run("ruff", "format", "--check", ".")


def test_linting() -> None:
    run("ruff", "check", ".")


def test_types() -> None:
    run("mypy")


def test_types_of_the_tests() -> None:
    run("mypy", "--config-file", "tests/mypy.ini")


def test_imports_go_one_way() -> None:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout  # it passes without a word when it finds no contract


def test_the_boards_are_what_their_rows_give() -> None:
    assert check(ROOT / "leaderboards") == []
