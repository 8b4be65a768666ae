"""Nothing is quadratic in the number of runs: steps and file operations are counted, not time."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dsd_bench import RunConfig, configure
from dsd_bench.config.resolve import resolve
from dsd_bench.config.run import ADDED, SCHEMA, digest
from dsd_bench.executors import Job, Outcome, Settings
from dsd_bench.executors.planning import one_of_several_seeds, plan, prepare_folders
from dsd_bench.executors.pulling import Pool, work
from dsd_bench.executors.schedule import Queue
from dsd_bench.experiment import runner
from dsd_bench.store.curves import Curves, curves_in
from dsd_bench.store.files import write_json
from dsd_bench.suites.costs import budget

FILES = ("open", "listdir", "scandir", "stat", "lstat")


class Count:
    """Counts what the system is asked of files."""

    def __init__(self) -> None:
        self.calls = 0

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*given: Any, **named: Any) -> Any:
            self.calls += 1
            return function(*given, **named)

        return counting


@contextmanager
def file_operations() -> Iterator[Count]:
    count = Count()
    with pytest.MonkeyPatch.context() as patch:
        for name in FILES:
            patch.setattr(os, name, count.wrapped(getattr(os, name)))
        yield count


def steps(call: Callable[[], object]) -> int:
    """Return how many lines of Python a call takes."""
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def written(runs_dir: Path, configs: Sequence[RunConfig]) -> list[Path]:
    planned = plan(configs, runs_dir)
    prepare_folders(planned, runs_dir)
    return [item.job.path for item in planned]


def many(count: int, **options: Any) -> list[RunConfig]:
    return resolve({"rounds": 1, "epochs": 1, **options, "seeds": f"0-{count - 1}"})


def finish(path: Path) -> None:
    found = {"best_round": 0, "stopped_by": None, "samples": {}, "status": "done"}
    write_json(path / "result.json", {"run_id": path.name, **found})


def pulled(runs_dir: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the file operations of a worker that carries out ``count`` runs that do nothing."""
    written(runs_dir, many(count, reg=["kd:teacher=dense"]))

    def at_once(path: Path, *given: Any, **named: Any) -> Outcome:
        finish(path)
        return Outcome(path.name, "done")

    with monkeypatch.context() as patch, file_operations() as counted:
        patch.setattr(runner, "run_folder", at_once)
        outcomes = work(Pool(runs_dir), Settings(), lambda event: None, lambda: False)
    assert len(outcomes) == 2 * count
    return counted.calls


def test_a_worker_looks_at_each_run_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = pulled(tmp_path / "few", 20, monkeypatch)
    lots = pulled(tmp_path / "many", 80, monkeypatch)
    assert lots < 4.4 * few
    assert lots / 160 < 40


def sought(runs_dir: Path, count: int) -> int:
    """Return the file operations of ``count`` runs that each look for rounds of others."""
    configs = many(count)
    paths = written(runs_dir, configs)
    os.utime(runs_dir, (1, 1))  # long ago: nothing was put there since
    with file_operations() as counted:
        for path, config in zip(paths, configs):
            assert list(runner.donors(path, config)) == []
    return counted.calls


def test_runs_look_for_rounds_of_others_without_reading_all(tmp_path: Path) -> None:
    few, lots = sought(tmp_path / "few", 20), sought(tmp_path / "many", 80)
    assert lots < 4.4 * few
    assert lots / 80 < 8


def test_a_queue_looks_at_each_job_once() -> None:
    def drained(count: int) -> int:
        names = [str(number) for number in range(count)]
        jobs = [Job(f"s{name}", Path("nowhere"), (f"t{name}",)) for name in names]
        jobs += [Job(f"t{name}", Path("nowhere")) for name in names]

        def drain() -> None:
            queue = Queue(jobs)
            done = []
            while (job := queue.next()) is not None:
                done.append(job.run_id)
                queue.finish(Outcome(job.run_id, "done"))
            assert len(done) == 2 * count == len(queue.results())

        return steps(drain)

    assert drained(200) < 4.4 * drained(50)


def test_what_does_not_depend_on_the_seed_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = many(30, reg=["kd:teacher=dense"]) + many(30, pruner="random")
    asked: list[str] = []
    for place in ("dsd_bench.executors.planning.label", "dsd_bench.costs.expected.expected_cost"):
        module, _, name = place.rpartition(".")
        before = getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)

        def counting(*given: Any, name: str = name, before: Any = before) -> Any:
            asked.append(name)
            return before(*given)

        monkeypatch.setattr(place, counting)
    planned = plan(configs, tmp_path)
    costs = budget(planned)
    assert len(planned) == 90
    assert sorted(asked) == ["expected_cost"] * 3 + ["label"] * 3
    assert len({costs.of(item.job.run_id).macs for item in planned}) == 2
    assert [config.seed for config in one_of_several_seeds(configs)] == [0, 0]


# -- that what is computed once is what it was


def plain_identity(config: RunConfig) -> dict[str, Any]:
    """Return what a run id hashes, from the whole configuration as JSON."""
    value = json.loads(config.model_dump_json(exclude={"metrics"}))
    places = value["dataset"].pop("places")
    value["dataset"]["params"] = {
        key: held for key, held in value["dataset"]["params"].items() if key not in places
    }
    if "weights" in value:
        del value["weights"]["file"]
    for option, default in ADDED.items():
        if value["protocol"].get(option) == default:
            value["protocol"].pop(option, None)
    for part in value["regularizers"]:
        if part["teacher"] is None:
            del part["teacher"]
        else:
            part["params"].pop("teacher", None)
            del part["teacher"]["config"]
    return {"schema": SCHEMA, **value}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reg": ["l1:weight=1e-5", "kd:teacher=best"]},
        {"target_sparsity": 0.9, "clip_norm": 1.0, "redense_epochs": 2},
        {"schedule": "cosine", "dataset": "digits:train_size=100", "stop": "patience"},
    ],
)
def test_ids_are_hashes_of_the_identity(options: dict[str, Any]) -> None:
    config = configure(seed=3, **options)
    assert config.identity() == plain_identity(config)
    assert config.run_id == digest(plain_identity(config))
    curve = plain_identity(config)
    del curve["stop"], curve["protocol"]["rounds"], curve["protocol"]["target_sparsity"]
    assert config.curve_id == digest(curve)
    assert config.identity() == plain_identity(config)  # that of the curve left it whole
    again = RunConfig.from_json(config.to_json())
    assert again == config
    assert again.to_json() == config.to_json()


def test_a_copy_has_ids_of_its_own() -> None:
    config = configure(rounds=2, epochs=1)
    known = config.run_id, config.curve_id, config.seedless()
    copy = config.model_copy(update={"seed": 7})
    assert copy.run_id == digest(plain_identity(copy)) != known[0]
    assert copy.seedless() == known[2]
    protocol = config.protocol.model_copy(update={"lr": 0.5})
    other = config.model_copy(update={"protocol": protocol})
    assert other.curve_id != known[1]
    assert other.seedless() != known[2]
    assert config.model_copy().model_dump() == config.model_dump()


def test_seedless_differs_by_everything_but_seeds(tmp_path: Path) -> None:
    base = configure(rounds=2, epochs=1, reg=["kd:teacher=best"])
    same = configure(rounds=2, epochs=1, reg=["kd:teacher=best"], seed=4)
    assert base.seedless() == same.seedless()
    others: list[dict[str, Any]] = [
        {"reg": ["kd:teacher=dense"]},
        {"reg": ["kd:teacher=best"], "teacher": {"rounds": 1}},
        {"reg": ["kd:teacher=best"], "lr": 0.2},
        {"reg": ["kd:teacher=best"], "noise": "symmetric:rate=0.1"},
        {"reg": ["kd:teacher=best"], "metric": ["entropy"]},
        {"reg": ["kd:teacher=best,alpha=0.3"]},
    ]
    found = {configure(**{"rounds": 2, "epochs": 1, **options}).seedless() for options in others}
    assert len(found | {base.seedless()}) == len(others) + 1


# -- what is known of a folder's curves


def test_curves_see_what_comes_goes_and_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("dsd_bench.store.curves.time.monotonic", lambda: now)
    first, second, third = many(1) + many(1, stop="patience:0.1") + many(1, stop="patience:0.2")
    curve = first.curve_id
    assert {config.curve_id for config in (first, second, third)} == {curve}
    curves = Curves(tmp_path)
    assert curves.of(curve) == []
    written(tmp_path, [first])
    assert curves.of(curve) == [first.run_id]
    (path,) = written(tmp_path, [second])
    whole = (path / "config.json").read_bytes()
    (path / "config.json").write_bytes(b"{")
    assert curves.of(curve) == [first.run_id]
    os.utime(tmp_path, (5, 5))
    assert curves.of(curve) == [first.run_id]
    (path / "config.json").write_bytes(json.dumps(json.loads(whole)).encode())  # not our layout
    assert curves.of(curve) == [first.run_id]  # nobody put anything into the folder
    now += 11
    assert curves.of(curve) == sorted([first.run_id, second.run_id])
    for file in (tmp_path / first.run_id).iterdir():
        file.unlink()
    (tmp_path / first.run_id).rmdir()
    assert curves.of(curve) == [second.run_id]
    assert curves_in(tmp_path) is curves_in(tmp_path)


def test_what_comes_in_the_instant_of_a_look_is_seen(tmp_path: Path) -> None:
    first, second = many(1) + many(1, stop="patience:0.1")
    curves = Curves(tmp_path)
    written(tmp_path, [first])
    stamp = os.stat(tmp_path)
    assert curves.of(first.curve_id) == [first.run_id]
    written(tmp_path, [second])
    os.utime(tmp_path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # a clock that ticks coarsely
    assert curves.of(first.curve_id) == sorted([first.run_id, second.run_id])
