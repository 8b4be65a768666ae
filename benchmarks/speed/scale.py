"""Many runs: what planning takes, what each costs beside its trainings, how soon status is told.

``python -m benchmarks.speed.scale COUNT`` plans so many runs and prints seconds and memory.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dsd_bench import RunConfig
from dsd_bench.api import execute
from dsd_bench.config.resolve import resolve
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan
from dsd_bench.store.reading import read_rows
from dsd_bench.suites.cells import cells
from dsd_bench.suites.costs import budget
from dsd_bench.suites.schema import read_suite

SEEDS = 100
"""Of each cell of the suite that is planned."""
TRIVIAL = {"model": "mlp:hidden=4", "rounds": 1, "epochs": 1}


def suite(count: int) -> str:
    """Return a suite of ``count`` runs."""
    number = max(1, count // SEEDS)
    labels = [f"{0.9 * cell / number:.6f}" for cell in range(number)]
    entries = [f'{{ label = "{rate}", noise = "symmetric:rate={rate}" }},' for rate in labels]
    head = ['title = "Many"', 'question = "How many?"', 'source = "none"', "[scale.small]"]
    head += [f'seeds = "0-{min(count, SEEDS) - 1}"', "[scale.small.options]"]
    head += [f"{key} = {json.dumps(value)}" for key, value in TRIVIAL.items()]
    return "\n".join([*head, "[scale.small.grid]", "noise = [", *entries, "]", "[table]", ""])


def plan_many(count: int) -> dict[str, float]:
    """Plan ``count`` runs in this process; return seconds and the most memory so far, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "many.toml")
        file.write_text(suite(count), encoding="utf-8")
        begun = time.perf_counter()
        found = cells(read_suite(file), "small", places={"runs_dir": Path(folder, "runs")})
        planned = plan([config for cell in found for config in cell.configs], Path(folder, "runs"))
        budget(planned)
        seconds = time.perf_counter() - begun
    assert len(planned) == count
    return {"seconds": seconds, "mib": _peak_mib()}


def _peak_mib() -> float:
    """Return the most memory that this process has had.

    On Linux ``getrusage`` counts what the parent had when it started this one, too.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def planned_apart(count: int) -> dict[str, float]:
    """Do :func:`plan_many` in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.speed.scale", str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def beside_training(count: int, device: str) -> float:
    """Return the seconds that each of ``count`` trivial runs takes beside its trainings."""
    configs = resolve({**TRIVIAL, "seeds": f"0-{count}"})
    with tempfile.TemporaryDirectory() as folder:
        _execute(configs[:1], Path(folder), device)  # what only the first one does
        begun = time.perf_counter()
        _execute(configs, Path(folder), device)
        seconds = time.perf_counter() - begun
        files = [Path(folder, config.run_id, "timings.jsonl") for config in configs[1:]]
        trained = math.fsum(row["seconds"] for file in files for row in read_rows(file))
    return (seconds - trained) / count


def _execute(configs: Sequence[RunConfig], runs_dir: Path, device: str) -> None:
    settings = Settings(device=device, data_dir=Path("data").absolute())
    finished = execute(configs, runs_dir, settings, executor="inline")
    assert all(item.outcome.status == "done" for item in finished)


def status_seconds(count: int, device: str) -> float:
    """Return how long ``dsd-bench status`` takes for ``count`` finished runs."""
    with _finished(count, device) as runs_dir:
        words = [sys.executable, "-m", "dsd_bench", "status", str(runs_dir), "--json"]
        begun = time.perf_counter()
        done = subprocess.run(words, capture_output=True, check=True)
        seconds = time.perf_counter() - begun
        assert json.loads(done.stdout)["counts"]["done"] == count
    return seconds


@contextmanager
def _finished(count: int, device: str) -> Iterator[Path]:
    """Make a folder with copies of one finished run."""
    with tempfile.TemporaryDirectory() as folder:
        (config,) = resolve({**TRIVIAL, "seeds": "0"})
        _execute([config], Path(folder, "one"), device)
        source = Path(folder, "one", config.run_id)
        files = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
        held = {name: path.read_bytes() for name, path in files.items()}
        for number in range(count):
            run_id = f"{number:016x}"
            for name, data in held.items():
                place = Path(folder, "runs", run_id, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data.replace(config.run_id.encode(), run_id.encode()))
        yield Path(folder, "runs")


if __name__ == "__main__":
    print(json.dumps(plan_many(int(sys.argv[1]))))
