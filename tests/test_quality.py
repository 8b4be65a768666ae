"""Formatting, linting, types, and imports that go one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dsd_bench.boards.check import check

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dsd_bench"

LAYERS = [
    {"errors", "switches", "paper"},
    {"params"},
    {"components"},
    {"hookspecs", "seeds", "memory"},
    {"executors", "pruners", "perturbers", "regularizers", "stopping", "models", "data", "noise"}
    | {
        "metrics",
        "masks",
        "config",
        "store",
        "plugins",
        "labels",
        "analysis",
        "reports",
        "figures",
    },
    {"team"},
    {"device", "choosing", "layers", "optimizers"},
    {"options", "stepping", "recording"},
    {"training", "planning"},
    {"measuring"},
    {"protocol"},
    {"assembling"},
    {"costs"},
    {"replay", "calibration"},
    {"runner", "api", "boards", "suites"},
    {"cli"},
]
"""From the leaves up: a module imports from its own layer or one below it."""
LAZY = {
    ("executors", "runner"),
    ("executors", "device"),
    ("config", "options"),
    ("reports", "plugins"),
}
"""Imports within functions that turn back: what an executor or a method starts."""


def run(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_formatting() -> None:
    run("ruff", "format", "--check", ".")


def test_linting() -> None:
    run("ruff", "check", ".")


def test_types() -> None:
    run("mypy")


def test_the_boards_are_what_their_rows_give() -> None:
    assert check(ROOT / "leaderboards") == []


def top(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "dsd_bench" and len(parts) > 1 else None


def layer(name: str) -> int | None:
    return next((index for index, names in enumerate(LAYERS) if name in names), None)


def modules() -> list[Path]:
    skip = {"__init__.py", "__main__.py"}
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE or p.name not in skip]


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert layer(own) is not None, f"name the layer of '{own}' in LAYERS"
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            deep = node.module != "dsd_bench"
            names = [node.module] if deep else [f"dsd_bench.{a.name}" for a in node.names]
        for name in filter(None, map(top, names)):
            found = layer(name)
            if found is not None and name != own and (own, name) not in LAZY:
                assert found <= layer(own), f"{path.name} imports {name}"  # type: ignore[operator]
