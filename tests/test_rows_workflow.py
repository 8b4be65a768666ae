"""The verdict on a pull request that adds rows: real repositories, hostile heads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".github" / "check_rows.py"
WORKFLOW = ROOT / ".github" / "workflows" / "rows.yml"
TRACK, NEW = "digits-symmetric-0.4-mlp-64x64-8e71d8a0", "magnitude-dd808b2c.json"


def git(repository: Path, *words: str) -> str:
    who = {
        f"GIT_{role}_{what}": "a@b"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *words],
        cwd=repository,
        env={**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def commit(repository: Path) -> str:
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "--allow-empty", "-m", "x")
    return git(repository, "rev-parse", "HEAD")


def write_boards(folder: Path) -> None:
    words = [sys.executable, "-m", "dsd_bench", "leaderboard", "--dir", str(folder)]
    subprocess.run(
        words, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose boards have one row; ``NEW`` lies beside it, for pull requests."""
    place = tmp_path_factory.mktemp("base")
    source = ROOT / "leaderboards" / TRACK / "rows"
    rows = place / "leaderboards" / TRACK / "rows"
    rows.mkdir(parents=True)
    first = next(path for path in sorted(source.iterdir()) if path.name != NEW)
    shutil.copy(first, rows)
    (place / "setup.py").write_text("")
    write_boards(place / "leaderboards")
    git(place, "init", "-q", "-b", "main")
    commit(place)
    return place


@pytest.fixture
def pull(base: Path, tmp_path: Path) -> Path:
    """Return a clone whose head adds a row and its boards."""
    git(tmp_path, "clone", "-q", str(base), "pull")
    place = tmp_path / "pull"
    shutil.copy(
        ROOT / "leaderboards" / TRACK / "rows" / NEW, place / "leaderboards" / TRACK / "rows"
    )
    write_boards(place / "leaderboards")
    return place


def verdict(repository: Path, head: str | None = None) -> tuple[int, str]:
    """Return what the script says, run as the workflow runs it."""
    commit(repository)
    base = git(repository, "rev-parse", "origin/main")
    words = [sys.executable, str(SCRIPT), base, head or git(repository, "rev-parse", "HEAD")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, cwd=repository, env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_a_row_with_its_boards_passes(pull: Path) -> None:
    assert verdict(pull) == (0, "the rows agree with themselves, and the boards with the rows\n")


def forged(pull: Path) -> None:
    path = pull / "leaderboards" / TRACK / "rows" / NEW
    row = json.loads(path.read_text())
    row["seeds"][0]["rounds"]["test_accuracy"][0] = 0.5
    path.write_text(json.dumps(row, sort_keys=True, indent=1) + "\n")


def without_board(pull: Path) -> None:
    git(pull, "checkout", "-q", "origin/main", "--", "leaderboards/README.md")


def validator(pull: Path) -> None:
    (pull / "dsd_bench").mkdir()
    (pull / "dsd_bench" / "__init__.py").write_text("raise SystemExit(0)")


def workflow(pull: Path) -> None:
    (pull / ".github").mkdir()
    (pull / ".github" / "check_rows.py").write_text("")


def packaging(pull: Path) -> None:
    (pull / "setup.py").write_text("raise SystemExit(0)")


def link(pull: Path) -> None:
    path = pull / "leaderboards" / TRACK / "rows" / NEW
    path.unlink()
    path.symlink_to("/etc/passwd")


def link_to_a_folder(pull: Path) -> None:
    (pull / "leaderboards" / "other").symlink_to(TRACK)


def submodule(pull: Path) -> None:
    at = f"160000,{git(pull, 'rev-parse', 'HEAD')},leaderboards/{TRACK}/rows/x.json"
    (pull / "leaderboards" / TRACK / "rows" / "x.json").mkdir()
    git(pull, "update-index", "--add", "--cacheinfo", at)
    git(pull, "commit", "-q", "-m", "x")


def executable(pull: Path) -> None:
    (pull / "leaderboards" / TRACK / "rows" / NEW).chmod(0o755)


def anothers_row(pull: Path) -> None:
    rows = pull / "leaderboards" / TRACK / "rows"
    other = next(path for path in rows.iterdir() if path.name != NEW)
    other.write_text(other.read_text() + " ")


def deletion(pull: Path) -> None:
    rows = pull / "leaderboards" / TRACK / "rows"
    next(path for path in rows.iterdir() if path.name != NEW).unlink()


def own_verification(pull: Path) -> None:
    (pull / "leaderboards" / TRACK / "verified").mkdir()
    (pull / "leaderboards" / TRACK / "verified" / NEW).write_text("{}")


def attributes(pull: Path) -> None:
    (pull / "leaderboards" / ".gitattributes").write_text("* filter=evil diff=evil")


def odd_name(pull: Path) -> None:
    (pull / "leaderboards" / TRACK / "rows" / "a\u202e\n.json").write_text("{}")


def huge(pull: Path) -> None:
    (pull / "leaderboards" / TRACK / "rows" / "huge.json").write_text("1" * 9_000_000)


def long_name(pull: Path) -> None:
    shutil.copy(
        pull / "leaderboards" / TRACK / "rows" / NEW,
        pull / "leaderboards" / TRACK / "rows" / f"{'x' * 240}.json",
    )


def schema_1(pull: Path) -> None:
    path = pull / "leaderboards" / TRACK / "rows" / NEW
    row = json.loads(path.read_text())
    later = {"samples", "layers", "correct", "code", "ece"}
    seeds = [{k: v for k, v in entry.items() if k not in later} for entry in row["seeds"]]
    old = {"schema": 1, "track": row["track"], "method": row["method"], "seeds": seeds}
    path.write_text(json.dumps(old, sort_keys=True, indent=1) + "\n")
    write_boards(pull / "leaderboards")


def nothing(pull: Path) -> None:
    shutil.rmtree(pull / "leaderboards")
    git(pull, "checkout", "-q", "origin/main", "--", "leaderboards")


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a forged accuracy": (forged, f"leaderboards/{TRACK}/rows/{NEW}: "),
    "a board left out": (without_board, "leaderboards/README.md: differs from what its rows give"),
    "its own validator": (validator, "dsd_bench/__init__.py: only rows"),
    "its own workflow": (workflow, ".github/check_rows.py: only rows"),
    "its own packaging": (packaging, "setup.py: only rows"),
    "a link": (link, f"{NEW}: has the mode 120000"),
    "a link to a folder": (link_to_a_folder, "leaderboards/other: only rows"),
    "a submodule": (submodule, "x.json: has the mode 160000"),
    "an executable": (executable, f"{NEW}: has the mode 100755"),
    "another's row": (anothers_row, "is there already"),
    "a deletion": (deletion, "is deleted"),
    "its own verification": (own_verification, f"verified/{NEW}: only rows"),
    "attributes of git": (attributes, ".gitattributes: only rows"),
    "an odd name": (odd_name, "a\\u202e\\n.json: only rows"),
    "a huge file": (huge, "huge.json: is larger than"),
    "a name as long as no file's": (long_name, "xxx.json: only rows"),
    "a row of the first schema": (schema_1, f"{NEW}: is of schema 1, which holds nothing"),
    "nothing": (nothing, "it changes nothing"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_head_fails_and_the_reason_is_said(pull: Path, name: str) -> None:
    spoil, said = HOSTILE[name]
    spoil(pull)
    code, out = verdict(pull)
    assert code == 1
    assert said in out
    assert all(line.startswith(("error: ", "  - ")) for line in out.splitlines())


def test_what_the_base_left_behind_does_not_come_back_unseen(base: Path, pull: Path) -> None:
    """Two commits that both have merged: what one parent had differs from neither of them alone."""
    commit(pull)
    first = git(pull, "rev-parse", "origin/main")
    git(pull, "checkout", "-q", "--detach", first)
    (pull / "setup.py").write_text("mended = True")
    mended = commit(pull)
    git(pull, "checkout", "-q", "--detach", first)
    (pull / "notes").write_text("x")
    notes = commit(pull)
    git(pull, "merge", "-q", "-m", "x", mended)
    git(pull, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(pull, "checkout", "-q", "--detach", notes)
    git(pull, "merge", "-q", "--no-commit", mended)
    git(pull, "checkout", first, "--", "setup.py")  # an evil merge
    code, out = verdict(pull)
    assert {notes, mended} == set(git(pull, "merge-base", "--all", "origin/main", "HEAD").split())
    assert code == 1
    assert "meets that of the base in 2 commits" in out


def test_a_head_of_another_history_is_refused(pull: Path) -> None:
    git(pull, "checkout", "-q", "--orphan", "other")
    code, out = verdict(pull)
    assert code == 1
    assert out.startswith("error: its history meets that of the base in 0 commits")


def test_what_is_no_commit_is_refused(pull: Path) -> None:
    assert verdict(pull, "--output=/tmp/x")[0] == 1


def test_the_workflow_gives_the_head_nothing_to_change_its_verdict_with() -> None:
    text = WORKFLOW.read_text()
    steps = text.partition("steps:")[2]
    assert "pull_request_target:" in text
    assert re.search(r"^permissions:\n  contents: read\n\n", text, re.MULTILINE)
    assert "secrets." not in steps
    assert "uses:" not in text  # no action of others, so none to pin
    assert "${{" not in steps  # what the author chooses is no part of a command
    assert [line.split()[-1] for line in steps.splitlines() if "git checkout" in line] == [
        '"$BASE"'
    ]
    assert text.count("HEAD") == 2  # its id: the one to set, the one to judge
