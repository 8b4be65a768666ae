"""The check of a GPU, rehearsed on a CPU: it passes what is right and finds what is not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import checks
from benchmarks.gpu.checks import FEATURES, OF_PLUGINS, Check
from benchmarks.gpu.trials import MLP, SHORT, Broken, Trial, _command, killed, trial
from benchmarks.speed.cases import Case
from dsd_bench.plugins import build
from dsd_bench.training import cuda_graph
from dsd_bench.training.device import ComputeContext

TINY = (*MLP, "--epochs", "1", "--rounds", "1")


def test_the_rehearsal_passes_and_says_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--device", "cpu", "--quick", "--no-speed", "--json", "--only", "mlp, fp32"]
    assert gpu.main(words) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["failed"] == 0
    assert [line["check"] for line in value["checks"]] == [
        "mlp, fp32",
        "mlp, fp32: killed, taken up",
    ]
    assert value["checks"][0]["seen"] == "eager, nchw, same bytes twice"


def test_what_breaks_is_named_and_the_rest_still_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise Broken("other bytes")

    def crashed() -> str:
        raise RuntimeError("CUDA error: [red]misaligned[/red] address")

    def some(device: str) -> Iterator[Check]:
        yield Check("one", broken)
        yield Check("two", crashed)
        yield Check("three", lambda: "fine")

    monkeypatch.setattr(gpu, "checks", some)
    assert gpu.main(["--device", "cpu", "--no-speed"]) == 1
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "one: FAILED: other bytes" in shown
    assert "two: FAILED: RuntimeError: CUDA error: [red]misaligned[/red] address" in shown
    assert "three: ok: fine" in shown
    assert "3 checks, 2 failed" in shown


def test_nothing_checked_is_not_passed(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--no-speed", "--only", "no such check"]) == 1
    assert gpu.main(["--device", "cpu", "--no-speed", "--only", "mlp, fp32", "--minutes", "0"]) == 1
    assert "not begun: the time was up" in re.sub(r"\s+", " ", capsys.readouterr().out)


def test_other_bytes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter(range(100))

    def drifting(*given: object) -> Trial:
        return Trial((str(next(seen)).encode(),), {}, {"engine": "eager", "layout": "nchw"}, "")

    monkeypatch.setattr(checks, "trial", drifting)
    with pytest.raises(Broken, match="run again: other bytes"):
        checks.runs(MLP, "cpu")
    with pytest.raises(Broken, match="side by side: other bytes"):
        checks.side_by_side("cpu")
    monkeypatch.setattr(checks, "killed", lambda *given, rows: True)
    with pytest.raises(Broken, match="taken up: other bytes"):
        checks.goes_on(MLP, "cpu")


@pytest.mark.parametrize(
    ("column", "factor", "message"),
    [("train_loss", 1.01, "train_loss differs by 1.0e-02"), ("nonzero", 2, "nonzero: 200")],
)
def test_other_values_than_a_cpu_s_are_found(
    monkeypatch: pytest.MonkeyPatch, column: str, factor: float, message: str
) -> None:
    columns = ("train_loss", "val_loss", "test_loss", "entropy", "sparsity", "nonzero")
    row = dict.fromkeys((*columns, "macs_dense", "macs_effective"), 100.0)

    def either(words: object, device: str, folder: Path) -> Trial:
        return Trial((), row if device == "cpu" else {**row, column: factor * row[column]}, {}, "")

    monkeypatch.setattr(checks, "trial", either)
    with pytest.raises(Broken, match=message):
        checks.as_on_cpu(MLP, "cuda")


def test_a_step_that_was_not_captured_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = Trial((b"",), {}, {"engine": "eager", "layout": "nhwc"}, "no graph of the step: why\n")
    monkeypatch.setattr(checks, "trial", lambda *given: eager)
    monkeypatch.setattr(checks, "resolve", lambda word: torch.device("cuda"))
    with pytest.raises(Broken, match="not as a graph: no graph of the step: why"):
        checks.runs(MLP, "cuda")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Pretend that the CPU is a GPU; return what sets how a step is captured there."""
    monkeypatch.setattr(checks, "resolve", lambda word: torch.device("cuda"))
    plain = Case.context

    def context(self: Case, word: str, threads: int, precision: Any) -> ComputeContext:
        made = plain(self, "cpu", threads, precision)
        made.change("pretended", engine="graph")
        return made

    monkeypatch.setattr(Case, "context", context)
    return lambda capture: monkeypatch.setattr(cuda_graph, "cuda_graph", capture)


def test_a_graph_is_held_against_the_step_that_it_is_of(graphs: Callable[[Any], None]) -> None:
    graphs(lambda run, generators: run)
    assert checks.graph_as_eager("cuda", "fp32") == "same weights"
    graphs(lambda run, generators: lambda: None)
    with pytest.raises(Broken, match="other weights"):
        checks.graph_as_eager("cuda", "fp32")
    with pytest.raises(Broken, match="it was captured"):
        checks.waits_as_eager("cuda")


def test_a_step_that_cannot_be_captured_must_be_the_plain_one(
    graphs: Callable[[Any], None],
) -> None:
    def refuse(run: Any, generators: Any) -> Any:
        raise RuntimeError("it waits")

    def draws(run: Any, generators: Any) -> Any:
        torch.rand(1)  # a failed capture that moves the generator on
        raise RuntimeError("it waits")

    graphs(refuse)
    assert "it waits" in checks.waits_as_eager("cuda")
    with pytest.raises(Broken, match="no graph of the step could be made: it waits"):
        checks.graph_as_eager("cuda", "fp32")
    graphs(draws)
    with pytest.raises(Broken, match="other weights"):
        checks.waits_as_eager("cuda")


def test_components_of_plugins_are_tried_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(found: Any) -> set[str]:
        monkeypatch.setattr(checks, "catalogue", lambda: found)
        return {check.name for check in checks.checks("cpu")}

    everything = SimpleNamespace(names=lambda kind: list(OF_PLUGINS))
    assert names(everything) - names(build(third_party=False)) == set(OF_PLUGINS)


def test_a_trial_that_fails_gives_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(Broken, match=r"exit code 2: .*nosuch"):
        trial(("--model", "nosuch"), "cpu", tmp_path)


def test_a_run_is_killed_at_its_rows(tmp_path: Path) -> None:
    assert killed((*TINY, "--rounds", "40"), "cpu", tmp_path, rows=1)
    (rows,) = tmp_path.glob("*/rounds.jsonl")
    assert 1 <= rows.read_bytes().count(b"\n") < 41


def test_later_words_overrule_and_regularizers_add_up(tmp_path: Path) -> None:
    command = _command(("--epochs", "1", "--reg", "l1", "--reg", "l2"), "cpu", tmp_path)
    assert command[:3] == [sys.executable, "-m", "dsd_bench"]
    assert command.count("--epochs") == 1
    assert command[command.index("--epochs") + 1] == "1"
    assert command.count("--reg") == 2
    assert SHORT.count("--epochs") == 1


def test_every_built_in_component_that_trains_is_tried() -> None:
    words = [word.partition(":")[0] for words in FEATURES.values() for word in words]
    known = build(third_party=False)
    plain = {"magnitude", "none", "sgd"}
    for kind in ("pruner", "perturber", "regularizer", "optimizer"):
        assert set(known.names(kind)) - plain <= set(words), kind
