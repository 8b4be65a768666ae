"""Metrics and executors with parameters: words, files, rows, reuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

from dsd_bench import Component, Params, RunConfig, api, hookimpl, param
from dsd_bench.config.layers import read_layer
from dsd_bench.config.metrics import (
    build_metric,
    canonical_metric,
    metric_key,
    needed_keys,
    word_of,
)
from dsd_bench.config.resolve import resolve
from dsd_bench.errors import UsageError
from dsd_bench.executors import Emit, Job, Outcome, Settings
from dsd_bench.executors.inline import Inline
from dsd_bench.metrics import MeasureView, Metric
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.origins import _uses
from dsd_bench.stopping import StopCriterion
from dsd_bench.store.runs import load_run

Make = Callable[..., RunConfig]
TinyRun = Callable[..., dict[str, Any]]
Command = Callable[..., tuple[int, str, str]]
HERE = "test_metric_words"


class ShareParams(Params):
    under: float = param(0.1, help="size", gt=0)
    of: Literal["all", "kept"] = param("all", help="which weights", main=True)
    name: str = param("", help="anything")
    among: tuple[int, ...] = param((), help="no word holds these")


class Share(Metric):
    params: ShareParams

    def measure(self, view: MeasureView) -> Mapping[str, Any]:
        weights = dict(view.model.named_parameters())
        small = [(weights[n].abs() < self.params.under).float().mean() for n in view.masks.weights]
        return {"value": float(sum(small)), "of": self.params.of}


class Reader(StopCriterion):
    def stop(self, rounds: Sequence[Mapping[str, Any]], score: str) -> str | None:
        value = rounds[-1]["metrics"]["share+under-0.5"]["value"]
        return f"{value:.3f}" if len(rounds) > 1 else None


class CountParams(Params):
    most: int = param(10, help="runs", ge=1)


class Counting(Inline):
    params: CountParams

    def execute(self, jobs: Sequence[Job], settings: Settings, emit: Emit) -> list[Outcome]:
        assert len(jobs) <= self.params.most, "too many"
        return super().execute(jobs, settings, emit)


@hookimpl
def register_metrics() -> list[Component]:
    return [Component("share", f"{HERE}:Share", "small weights", params=ShareParams)]


@hookimpl
def register_stop_criteria() -> list[Component]:
    words = ("share:all,under=0.5",)
    return [Component("reader", f"{HERE}:Reader", "reads a metric", metrics=words)]


@hookimpl
def register_executors() -> list[Component]:
    return [Component("counting", f"{HERE}:Counting", "few runs only", params=CountParams)]


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    """Let this process find the components of this module."""
    known, other = catalogue(), ModuleType("other")
    entries, failed = dict(known._entries), list(known.failed)
    for hook in (register_metrics, register_stop_criteria, register_executors):
        setattr(other, hook.__name__, hook)
    known.add(other, "dsd-bench-other")
    assert known.failed == failed
    yield
    known.manager.unregister(other)
    known._entries = entries


@pytest.mark.parametrize(
    ("word", "canonical", "key"),
    [
        ("share", "share", "share"),
        ("share:all,under=0.1", "share", "share"),
        ("share:kept", "share:of=kept", "share+of-kept"),
        ("share:under=2,of=kept", "share:under=2,of=kept", "share+under-2+of-kept"),
        ({"name": "share", "under": 2.0}, "share:under=2", "share+under-2"),
        ("share:name=a-b", "share:name=a-b", "share+name-a-b"),
    ],
)
def test_a_metric_has_one_word_and_one_file(word: Any, canonical: str, key: str) -> None:
    assert canonical_metric(word) == canonical_metric(canonical) == canonical
    assert metric_key(canonical) == key
    assert word_of(key) == canonical


@pytest.mark.parametrize("name", ["a b", "1e+5", "../x", "a" * 41, "ä", "a,b=c"])
def test_what_is_no_name_for_a_file_becomes_a_hash(name: str) -> None:
    word = canonical_metric({"name": "share", "params": {"name": name}, "version": 1})
    key = metric_key(word)
    assert key.startswith("share+")
    assert len(key) == len("share+") + 8
    assert word_of(key) == "share"
    assert metric_key(canonical_metric("share:name=other")) != key


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("shar", "did you mean 'share'"),
        ("share:under=0", "under=0: Input should be greater than 0"),
        ("share:below=1", "unknown key 'below'"),
        ({"name": "share", "among": (1, 2)}, "cannot be written as a word"),
        (7, "neither 'name:key=value' nor a table"),
    ],
)
def test_wrong_words_are_told(tiny: Make, word: Any, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong) as caught:
        tiny(metric=[word])
    assert str(caught.value).startswith("--metric")


def test_configurations_hold_canonical_words_and_no_word_twice(tiny: Make, tmp_path: Path) -> None:
    config = tiny(metric=["share:under=2", "share", "share:under=2.0", "share:all"])
    assert config.metrics == ("share:under=2", "share")
    assert config.run_id == tiny().run_id
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    assert resolve(read_layer(tmp_path / "config.json"))[0] == config
    made = build_metric("share:under=2")
    assert isinstance(made.params, ShareParams)
    assert made.params.under == 2


def rows(run: Path, key: str) -> list[dict[str, Any]]:
    text = (run / "metrics" / f"{key}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_same_metric_twice_has_two_files(tiny_run: TinyRun, command: Command) -> None:
    (found,) = tiny_run("--metric", "share", "--metric", "share:kept,under=0.3")["runs"]
    path = Path(found["path"])
    first, second = rows(path, "share"), rows(path, "share+under-0.3+of-kept")
    assert [row["of"] for row in first] == ["all"] * 3
    assert [row["of"] for row in second] == ["kept"] * 3
    assert all(a["value"] < b["value"] for a, b in zip(first, second))
    (again,) = tiny_run("--metric", "share:under=0.3,of=kept")["runs"]
    assert again["reused"]
    options = ("--rounds", "2", "--epochs", "2", "--batch-size", "20", "--seeds", "0")
    words = ("--dataset", "digits:train_size=60,val_size=30", "--model", "mlp:hidden=8")
    code, out, _ = command("run", *words, *options, "--metric", "share:under=7")
    assert code == 0
    assert "without share:under=7, which --force measures" in " ".join(out.split())


def test_a_damaged_configuration_gets_its_metrics_back(tiny_run: TinyRun) -> None:
    (found,) = tiny_run("--metric", "share:under=0.3")["runs"]
    path = Path(found["path"])
    before = (path / "config.json").read_bytes()
    (path / "config.json").write_text("{")
    tiny_run()
    assert (path / "config.json").read_bytes() == before


def test_a_stop_rule_names_metrics_with_their_parameters(
    tiny_run: TinyRun, command: Command
) -> None:
    assert needed_keys(("share:all,under=0.5", "gone:3=4")) == ("share+under-0.5", "gone+3-4")
    assert needed_keys(("share:under=0.1,of=all",)) == ("share",)
    (found,) = tiny_run("--stop", "reader")["runs"]
    run = load_run(Path(found["path"]))
    assert run.result is not None
    assert (run.result["stopped_by"], len(run.rows)) == ("reader", 2)
    (whole,) = tiny_run("--metric", "share:under=0.5")["runs"]
    code, _, err = command("replay", whole["run_id"], "--stop", "reader", "--json")
    assert code == 0, err
    (plain,) = tiny_run("--force")["runs"]
    code, _, err = command("replay", plain["run_id"], "--stop", "reader")
    assert code == 2
    assert "reads share+under-0.5" in err
    assert "--metric share:under=0.5 --force" in err


def test_origins_know_a_metric_by_its_word() -> None:
    config = {"metrics": ["share:under=2", "entropy"]}
    assert _uses(config, "metric", "share")
    assert _uses(config, "metric", "entropy")
    assert not _uses(config, "metric", "shar")


def test_an_executor_takes_parameters(tiny_run: TinyRun, command: Command) -> None:
    tiny_run("--executor", "counting:2", "--seeds", "0,1")
    with pytest.raises(AssertionError, match="AssertionError: too many"):
        tiny_run("--executor", "counting:most=1", "--seeds", "2,3")
    for word, wrong in (("counting:0", "most=0"), ("local:3", "takes no parameters"), ("x", "no ")):
        code, _, err = command("run", "--executor", word)
        assert code == 2
        assert err.startswith("error: --executor")
        assert wrong in err
    code, out, _ = command("run", "--executor", "counting", "--help")
    assert code == 0
    assert "most=N" in out


def test_an_executor_takes_parameters_from_python(tiny: Make, tmp_path: Path) -> None:
    config = tiny(rounds=0, epochs=1)
    assert api.run(config, runs_dir=tmp_path, executor="counting:1").rows
    with pytest.raises(UsageError, match="most=-1"):
        api.run(config, runs_dir=tmp_path, executor="counting:-1")
