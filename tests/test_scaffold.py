"""New plugins from templates: of every kind they work, and pass the conformance kit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_third_party

from dsd_bench import scaffold
from dsd_bench.components import KINDS
from dsd_bench.conformance.running import report
from dsd_bench.conformance.subjects import select
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a new distribution of each kind, and ``site``, where they are."""
    place = tmp_path_factory.mktemp("made")
    (place / "site").mkdir()
    for kind in KINDS:
        said = scaffold.names(f"a-{kind}", kind)
        folder = place / said["distribution"]
        scaffold.write(folder, scaffold.files(f"a-{kind}", kind))
        shutil.copytree(folder / said["package"], place / "site" / said["package"])
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        test_third_party.install(place / "site", project)
    return place


@pytest.fixture
def installed(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process find what is in ``site``."""
    monkeypatch.syspath_prepend(made / "site")
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()
    for name in [name for name in sys.modules if name.startswith("dsd_bench_a_")]:
        del sys.modules[name]


def tool(made: Path, cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(made / "site"), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "MYPYPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_of_any_kind_passes_the_kit(installed, kind):
    [subject] = select(catalogue(), f"a-{kind}")
    assert (subject.kind, subject.name) == (kind, f"a-{kind}")
    found = report(subject)
    odd = [r for r in found.results if r.status not in ("passed", "skipped")]
    assert odd == []
    assert found.passed


def test_the_tests_of_new_plugins_pass(made, tmp_path):
    folders = [made / f"dsd-bench-a-{kind}" / "tests" for kind in KINDS]
    done = tool(made, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", *folders)
    assert done.returncode == 0, done.stdout
    assert all((folder / f"test_{kind}.py").is_file() for folder, kind in zip(folders, KINDS))


def test_new_plugins_are_formatted_and_clean(made):
    for kind in KINDS:
        folder = made / f"dsd-bench-a-{kind}"
        options = ("--no-cache", "--quiet", ".")
        checked = tool(made, folder, "ruff", "check", "--extend-select", "I,B,UP,D1", *options)
        assert checked.returncode == 0, checked.stdout
        assert tool(made, folder, "ruff", "format", "--check", *options).returncode == 0, kind


def test_new_plugins_are_typed(made, tmp_path):
    packages = [made / "site" / f"dsd_bench_a_{kind}" for kind in KINDS]
    done = tool(made, tmp_path, "mypy", "--strict", "--no-error-summary", *packages)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_new_plugins_need_only_the_public_api(made):
    for kind in KINDS:
        files = (made / "site" / f"dsd_bench_a_{kind}").glob("*.py")
        found = set().union(*map(test_third_party.imports, files))
        own = {name for name in found if name.split(".")[0] == "dsd_bench"}
        assert own <= test_third_party.PUBLIC | {"dsd_bench.store"}, kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_a_whole_distribution(made, kind):
    folder = made / f"dsd-bench-a-{kind}"
    found = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    package = f"dsd_bench_a_{kind}"
    own = {f"{package}/{name}" for name in ("__init__.py", "py.typed", "plugin.py", f"{kind}.py")}
    shared = {"pyproject.toml", "README.md", ".gitignore", ".github/workflows/ci.yml"}
    assert {name for name in found if "__pycache__" not in name} == {
        *own,
        *shared,
        f"tests/test_{kind}.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == f"dsd-bench-a-{kind}"
    assert "dsd-bench-plugin" in project["keywords"]
    assert project["dependencies"] == ["dsd-bench>=0.1"]
    assert f"dsd-bench plugins test a-{kind}" in (folder / "README.md").read_text("utf-8")
    assert f"dsd-bench plugins test a-{kind}" in (folder / ".github/workflows/ci.yml").read_text()


# -- the command


def test_the_command_makes_a_folder_and_says_what_is_next(command, tmp_path):
    code, out, err = command("plugins", "new", "my-pruner", "--kind", "pruner")
    assert (code, err) == (0, "")
    assert (tmp_path / "dsd-bench-my-pruner" / "dsd_bench_my_pruner" / "pruner.py").is_file()
    assert out.splitlines()[-3:] == [
        "  pip install -e dsd-bench-my-pruner",
        "  dsd-bench plugins test my-pruner",
        "  dsd-bench run --pruner my-pruner --rounds 2 --epochs 3",
    ]


def test_the_command_makes_it_elsewhere_and_prints_json(command, tmp_path):
    words = ("--kind", "stop", "--dir", "some/where", "--json")
    code, out, err = command("plugins", "new", "dsd-bench-mine", *words)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["name"], told["distribution"]) == ("mine", "dsd-bench-mine")
    assert told["path"] == "some/where/dsd-bench-mine"
    assert all((tmp_path / told["path"] / name).is_file() for name in told["files"])
    assert told["next"][0] == "pip install -e some/where/dsd-bench-mine"


def test_nothing_that_is_there_is_touched(command, tmp_path):
    (tmp_path / "dsd-bench-mine").mkdir()
    code, _, err = command("plugins", "new", "mine", "--kind", "stop")
    assert code == 2
    assert "dsd-bench-mine is there already" in err
    assert list((tmp_path / "dsd-bench-mine").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(command, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = command("plugins", "new", "mine", "--kind", "stop", "--dir", "file")
    assert code == 2
    assert "file" in err
    assert "Traceback" not in err


def test_a_name_that_is_taken_is_refused(command, tmp_path):
    code, _, err = command("plugins", "new", "magnitude", "--kind", "pruner")
    assert code == 2
    assert "dsd-bench has a pruner 'magnitude' already; choose another" in err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_refused_with_the_nearest(command):
    code, _, err = command("plugins", "new", "mine", "--kind", "prunner")
    assert code == 2
    assert "--kind: there is no kind 'prunner'; did you mean 'pruner'?" in err


@pytest.mark.parametrize(
    "name", ["", "A", "my_pruner", "1st", "a--b", "-a", "a-", "../x", "a b", "a.b", "é", "x" * 41]
)
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(UsageError, match="words joined by '-'"):
        scaffold.names(name, "pruner")


def test_names_fit_together():
    said: dict[str, Any] = scaffold.names("dsd-bench-my-2nd", "stop")
    assert said["name"] == "my-2nd"
    assert said["Name"] == "My2nd"
    assert said["package"] == "dsd_bench_my_2nd"
    assert said["distribution"] == "dsd-bench-my-2nd"
