"""The distributions under ``plugins/``, installed and used.

A wheel cannot be counted on here: building one needs hatchling, which users of dsd-bench do not
have, or the network. So :func:`install` puts in place what a wheel's installation leaves: the code,
and beside it a ``.dist-info`` with the name and the entry points that ``pyproject.toml``
declares. That is all that Python itself (``importlib.metadata``) looks at. Where hatchling is at
hand, one more test has pip build and install the real thing.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "plugins" / "dsd-bench-taylor"
PACKAGE = SOURCE / "dsd_bench_taylor"
PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text("utf-8"))["project"]

SHIPPED = sorted(path.name for path in (ROOT / "plugins").glob("dsd-bench-*"))

PUBLIC = {
    "dsd_bench",
    *(f"dsd_bench.{kind}" for kind in ("pruners", "perturbers", "regularizers", "stopping")),
    *(f"dsd_bench.{kind}" for kind in ("models", "data", "noise", "metrics", "executors")),
    *("dsd_bench.optimizers", "dsd_bench.optimizers.wrapping", "dsd_bench.schedules"),
    *(
        "dsd_bench.choosers",
        "dsd_bench.updaters",
        "dsd_bench.reports",
        "dsd_bench.errors",
        "dsd_bench.masks",
    ),
    *("dsd_bench.gradients", "dsd_bench.executors.remote"),
}
"""What plugins may import, as docs/plugins.md says."""


def install(folder: Path, project: dict[str, Any]) -> None:
    """Make ``folder`` a place that the distribution ``project`` is installed in."""
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    points = [f"{key} = {value}\n" for key, value in project["entry-points"]["dsd_bench"].items()]
    (info / "entry_points.txt").write_text("[dsd_bench]\n" + "".join(points))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that dsd-bench-taylor is installed in."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, folder / PACKAGE.name)
    install(folder, PROJECT)
    return folder


@pytest.fixture(scope="module")
def seen(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run in worker processes, with the observer's log beside it."""
    cwd = tmp_path_factory.mktemp("seen")
    found = run(site, cwd, DSD_BENCH_TAYLOR_LOG=str(cwd / "log"))
    (cwd / found["path"]).rename(cwd / found["run_id"])
    return cwd / found["run_id"]


def python(
    site: Path, cwd: Path, *words: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in ``cwd`` with the plugin in ``site`` installed."""
    path = os.pathsep.join([str(site), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def run(site: Path, cwd: Path, *words: str, **environment: str) -> dict[str, Any]:
    """Carry out a run of both components in a new process and return what ``--json`` says."""
    command = ("-m", "dsd_bench", "run", "--pruner", "taylor", "--stop", "dead-units-limit")
    options = ("--rounds", "2", "--epochs", "3", "--seeds", "0", "--json")
    done = python(site, cwd, *command, *options, *words, **environment)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)["runs"]
    assert found["status"] == "done"
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return found


def installed(name: str, folder: Path) -> Path:
    """Install one of the distributions in ``folder``; return its sources."""
    source = ROOT / "plugins" / name
    package = name.replace("-", "_")
    shutil.copytree(source / package, folder / package)
    install(folder, tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"])
    return source


@pytest.mark.parametrize("name", SHIPPED)
def test_it_needs_only_the_public_api(name):
    package = ROOT / "plugins" / name / name.replace("-", "_")
    found = set().union(*map(imports, package.rglob("*.py")))
    used = {name for name in found if name.split(".")[0] == "dsd_bench"}
    assert used
    assert used <= PUBLIC


@pytest.mark.parametrize("name", SHIPPED)
def test_it_says_that_it_is_a_plugin_and_what_it_needs(name):
    project = tomllib.loads((ROOT / "plugins" / name / "pyproject.toml").read_text())["project"]
    assert project["name"] == name
    assert "dsd-bench-plugin" in project["keywords"]
    needs = [word.split(">")[0] for word in project["dependencies"]]
    assert needs[0] == "dsd-bench"
    assert name != "dsd-bench-taylor" or len(needs) == 1


def test_its_components_are_listed_with_their_origin_and_load_no_torch(site, tmp_path):
    script = (
        "import sys\nfrom dsd_bench.cli.main import call\n"
        "code = call(['plugins', '--json'])\nsys.exit(code or 'torch' in sys.modules)"
    )
    done = python(site, tmp_path, "-c", script)
    assert done.returncode == 0, done.stderr
    listing = json.loads(done.stdout)
    assert listing["failed"] == []
    own = [item for item in listing["components"] if item["distribution"] == "dsd-bench-taylor"]
    assert {(item["kind"], item["name"]): item["origin"] for item in own} == {
        ("pruner", "taylor"): str(site / "dsd_bench_taylor" / "pruner.py"),
        ("stop", "dead-units-limit"): str(site / "dsd_bench_taylor" / "dead_units.py"),
        ("metric", "dead-units"): str(site / "dsd_bench_taylor" / "dead_units.py"),
    }


def test_its_parameters_are_part_of_the_run(seen):
    config = json.loads((seen / "config.json").read_text())
    assert config["pruner"]["params"] == {"fraction": 0.2, "scope": "global", "batches": 10}
    assert config["stop"] == {"name": "dead-units-limit", "version": 1, "params": {"limit": 0.9}}


def test_its_pruner_prunes_exactly_the_fraction(seen):
    kept = [row["nonzero"] for row in lines(seen / "rounds.jsonl")]
    assert kept[1:] == [kept[0] - round(0.2 * kept[0]), kept[1] - round(0.2 * kept[1])]


def test_its_metric_is_measured_because_the_stop_criterion_needs_it(seen):
    layers = len(lines(seen / "rounds.jsonl")[0]["entropy_per_layer"])
    shares = lines(seen / "metrics" / "dead-units.jsonl")
    assert [row["round"] for row in shares] == [0, 1, 2]
    assert all(0 <= row["fraction"] <= 1 for row in shares)
    assert all(len(row["fraction_per_layer"]) == layers for row in shares)


def test_its_observer_sees_every_round(seen):
    watched = [(row["run_id"], row["round"]) for row in lines(seen.parent / "log")]
    assert watched == [(seen.name, number) for number in range(3)]


def test_without_observer_and_workers_the_bytes_are_the_same(site, tmp_path, seen):
    found = run(site, tmp_path, "--executor", "inline")
    assert found["run_id"] == seen.name
    for name in ("config.json", "rounds.jsonl", "metrics/dead-units.jsonl"):
        assert (tmp_path / found["path"] / name).read_bytes() == (seen / name).read_bytes()


def test_its_stop_criterion_ends_a_run(site, use, tiny_run, tmp_path):
    use(site)
    [found] = tiny_run("--stop", "dead-units-limit:limit=0")["runs"]
    result = json.loads((tmp_path / found["path"] / "result.json").read_text())
    assert result["stopped_by"] == "dead-units-limit"
    assert result["reason"].endswith("the limit is 0.0%")
    assert len(lines(tmp_path / found["path"] / "rounds.jsonl")) == 1


@pytest.mark.parametrize(
    ("switch", "environment"), [(["--no-plugins"], {}), ([], {"DSD_BENCH_NO_PLUGINS": "1"})]
)
def test_without_plugins_its_names_are_unknown(site, tmp_path, switch, environment):
    command = ("-m", "dsd_bench", *switch, "run", "--pruner", "taylor")
    done = python(site, tmp_path, *command, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--pruner: there is no pruner 'taylor'; choose from: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", SHIPPED)
def test_its_own_tests_pass(tmp_path, name):
    project = tomllib.loads((ROOT / "plugins" / name / "pyproject.toml").read_text())["project"]
    for needed in (re.split("[<>=]", word)[0] for word in project["dependencies"]):
        if importlib.util.find_spec(needed.replace("-", "_")) is None:
            pytest.skip(f"{needed} is not installed")
    shutil.copytree(installed(name, tmp_path / "site") / "tests", tmp_path / "tests")
    site = tmp_path / "site"
    done = python(site, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pip", "hatchling")),
    reason="building a wheel without the network needs pip and hatchling",
)
def test_pip_installs_it(tmp_path):
    source, target = tmp_path / "source", tmp_path / "site"
    shutil.copytree(SOURCE, source)  # a build writes into it
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target)
    done = python(tmp_path, tmp_path, "-m", "pip", "install", *options, source)
    assert done.returncode == 0, done.stderr
    described = python(target, tmp_path, "-m", "dsd_bench", "info", "pruner", "taylor")
    assert described.returncode == 0, described.stderr
    assert "distribution  dsd-bench-taylor" in described.stdout
    assert f"origin        {target / 'dsd_bench_taylor' / 'pruner.py'}" in described.stdout
    assert "Molchanov et al. 2019" in described.stdout
