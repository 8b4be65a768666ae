"""Real engines: a Slurm of two nodes on this computer, and Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.places import HERE, ROOT, SUITE, Place
from test_third_party import install


@pytest.fixture(scope="session")
def slurm_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Slurm of two nodes; return its configuration's path."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        pytest.skip("no Slurm here: apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("a Slurm of one's own needs root")
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([HERE / "start-slurm.sh", folder], check=True, timeout=90)
    yield str(folder / "slurm.conf")
    subprocess.run([HERE / "stop-slurm.sh", folder], check=True, timeout=60)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which dsd-bench-ray is installed."""
    site = tmp_path_factory.mktemp("site")
    source = ROOT / "plugins" / "dsd-bench-ray"
    shutil.copytree(source / "dsd_bench_ray", site / "dsd_bench_ray")
    install(site, tomllib.loads((source / "pyproject.toml").read_text())["project"])
    path = os.pathsep.join([str(site), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def place(tmp_path: Path, environment: dict[str, str], request: pytest.FixtureRequest) -> Place:
    """Return a folder with the suite; a test's parameter ``epochs`` makes runs longer."""
    marker = request.node.get_closest_marker("epochs")
    (tmp_path / "suite.toml").write_text(SUITE.format(epochs=marker.args[0] if marker else 2))
    return Place(tmp_path, dict(environment))


@pytest.fixture
def on_slurm(place: Place, slurm_conf: str) -> Place:
    """The same, where Slurm's commands find the cluster."""
    place.environment["SLURM_CONF"] = slurm_conf
    return place
