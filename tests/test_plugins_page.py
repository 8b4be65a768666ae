"""The page docs/plugins.md: what it shows works, its commands one after another as a new user's."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_third_party import install

from dsd_bench import hookspecs
from dsd_bench.masks import Masks
from dsd_bench.plugins import REGISTER
from dsd_bench.pruners import PrunerParams, PruneView

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "plugins.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks() -> Iterator[tuple[str, str, str]]:
    """Yield the page's listings: language, contents, the file named last before it."""
    for found in _BLOCK.finditer(TEXT):
        named = re.findall(r"`([\w./-]+\.(?:py|toml))`", TEXT[: found.start()])
        yield found[1], found[2], named[-1] if named else ""


FILES = {name: text for language, text, name in blocks() if language in ("python", "toml")}

SHELL = """
set -eu
pip() {
    case "$1 $2" in
        "install -e") "$PYTHON" -m test_plugins_page "${3%%[*}" ;;
        "install dsd-bench") ;;
        *) exit 9 ;;
    esac
}
python3() { mkdir -p .venv/bin; touch .venv/bin/activate; }
python() { "$PYTHON" "$@"; }
dsd-bench() {
    short="--rounds 2 --epochs 2 --seeds 0-1"
    case "$*" in *--rounds*) short="" ;; run*) ;; *) short="" ;; esac
    "$PYTHON" -m dsd_bench "$@" $short
}
"""
"""What commands mean in this test: dsd-bench is installed, pip needs no network, and whole
experiments are short ones."""


def script() -> str:
    """Return the page as a shell script: files are written where the page says, commands given."""
    made = [SHELL]
    for language, text, name in blocks():
        if language == "python" and "/" in name:
            made.append(f"cat > {shlex.quote(name)} <<'END'\n{text}END")
        if language == "console":
            made += [line.removeprefix("$ ") for line in text.splitlines()]
    return "\n".join(made) + "\n"


@pytest.mark.timeout(1200)
def test_a_new_user_gets_a_pruner_on_a_board(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    path = os.pathsep.join(map(str, (site, ROOT, ROOT / "tests")))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    env |= {"PYTHON": sys.executable, "SITE": str(site), "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    done = subprocess.run(
        ["bash", "-c", script()], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "pruner 'my-pruner', ready" in done.stdout
    assert done.stdout.count("1 component: ") == 2
    assert "1 passed" in done.stdout  # the plugin's own test, of the new idea
    boards = [page.read_text("utf-8") for page in tmp_path.glob("leaderboards/*/README.md")]
    [board] = [text for text in boards if "magnitude](rows/" in text]
    assert "[my-pruner](rows/" in board


def test_the_page_shows_the_commands_that_matter() -> None:
    for words in ("plugins new", "plugins test", "pip install -e", "submit", "leaderboard --check"):
        assert words in script()
    assert script().count("<<'END'") == 2


def test_the_two_files_by_hand_work(
    tmp_path: Path, tiny_run: Callable[..., dict[str, Any]], use: Callable[[Path], None]
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "dsd_bench_mine.py").write_text(FILES["dsd_bench_mine.py"])
    install(site, tomllib.loads(FILES["pyproject.toml"])["project"])
    use(site)
    [found] = tiny_run("--pruner", "mine")["runs"]
    assert len((tmp_path / found["path"] / "rounds.jsonl").read_text().splitlines()) == 3


def test_the_pruner_by_hand_can_score_a_layer_of_zeros(
    tmp_path: Path, use: Callable[[Path], None]
) -> None:
    (tmp_path / "dsd_bench_mine.py").write_text(FILES["dsd_bench_mine.py"])
    use(tmp_path)
    pruner = importlib.import_module("dsd_bench_mine").Mine(PrunerParams())
    model = torch.nn.Linear(3, 1)
    torch.nn.init.zeros_(model.weight)
    cpu, draw = torch.device("cpu"), torch.Generator()
    view = PruneView(model, Masks.dense(model), 1, cpu, draw, lambda count: iter(()))
    assert pruner.prune(view).nonzero == 2


def test_the_page_names_every_hook_and_base_class() -> None:
    for hook in REGISTER:
        told = re.search(r":class:`([\w.]+)`", getattr(hookspecs, hook).__doc__)
        assert told
        assert f"| {REGISTER[hook]} | `{hook}` | `{told[1]}` |" in TEXT


if __name__ == "__main__":  # what `pip install -e FOLDER` is in the test
    folder, place = Path(sys.argv[1]).resolve(), Path(os.environ["SITE"])
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    package = project["name"].replace("-", "_")
    (place / package).symlink_to(folder / package)
    install(place, project)
