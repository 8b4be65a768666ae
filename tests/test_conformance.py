"""The conformance kit: each check can fail, and says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dsd_bench import Component, Params, hookimpl
from dsd_bench.components import KINDS
from dsd_bench.conformance import checks, running
from dsd_bench.conformance.checks import EVERY, Broken, Check, Skipped, checks_of
from dsd_bench.conformance.networks import SHAPE, network
from dsd_bench.conformance.running import SOMETHING, report, run_check
from dsd_bench.conformance.runs import finished, with_beside
from dsd_bench.conformance.subjects import Subject, select
from dsd_bench.conformance.training import training_view
from dsd_bench.errors import UsageError
from dsd_bench.plugins import OBSERVER, Failure, Registration, build, catalogue
from dsd_bench.pruners import PrunerParams

ROOT = Path(__file__).parent.parent
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no plugin of these tests to others."""
    monkeypatch.syspath_prepend(HERE)
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def subject(kind: str, name: str, module: str = "broken.plugin") -> Subject:
    found = {(each.kind, each.name): each for each in select(catalogue(), module)}
    return found[kind, name]


def reason(kind: str, check: str, module: str = "broken.plugin") -> str:
    """Return why the component that is called after a check fails it."""
    of = select(catalogue(), module)[0] if kind == OBSERVER else subject(kind, check, module)
    [each] = [one for one in checks_of(of.kind) if one.name == check]
    result = run_check(each, of)
    assert result.status == "failed", result
    return result.reason


STEPS = "stopped after every step and taken up again differs in"
KILL = "killed and gone on with in another process differs in"

EVERYWHERE = {
    "implements": "broken.pruner:Implements is no subclass of dsd_bench.pruners.Pruner",
    "documented": "its class has no docstring: cite its source",
    "parameters": "parameters of its own are refused",
    "expectations": "there is no check 'same-sed'; there are: implements, ",
}
PRUNER = {
    "same-seed": "asked again with the same seed it prunes other weights",
    "exact-counts": "weights go, fraction says",
    "new-weights": "it gives new weights: register it with Component(reconstructs=True)",
    "changes-nothing": "it changes the network's gradients: 1.weight",
    "odd-networks": "of a network with a layer of zeros it raises: ZeroDivisionError",
    "to-the-end": "it empties the layer",
    "any-dtype": "of a network in float64 it raises: RuntimeError",
    "any-device": "RuntimeError: ",
    "resumes": STEPS,
    "survives-kill": KILL,
}
REASONS = {
    "pruner": PRUNER,
    "perturber": {
        "same-seed": "asked again it makes other '1.weight'",
        "changes-weights-only": "it changes the network's requires_grad: 1.weight",
        "snapshots": "snapshots() gives (1,), later ((",
        "odd-networks": "of a network with shared weights",
        "any-dtype": "it changes the weights' type from torch.float64",
        "any-device": "on another device than the CPU it raises: RuntimeError",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "regularizer": {
        "same-seed": "the loss is ",
        "gradients": "the loss has no gradient: it was detached",
        "leaves-no-trace": "it changes the network's hooks: Plain (_forward_hooks)",
        "no-waiting": "it waits for the device",
        "images": "batch gives torch.float32",
        "low-precision": "the loss is torch.bfloat16: use step.logits.float()",
        "by-parts": "say needs_whole_batch = True",
        "odd-networks": "of a network with shared weights it raises: TypeError",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "updater": {
        "steps": "made anew",
        "same-seed": "it makes other masks under the same seed",
        "exact-counts": " are allowed",
        "declares-rightly": "in no update of a training a weight comes back",
        "changes-nothing": "it changes the network's weights: ",
        "odd-networks": "of a network with shared weights it raises: ",
        "any-dtype": "of a network in float64 it raises: RuntimeError",
        "any-device": "on another device than the CPU it raises: RuntimeError",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "optimizer": {
        "learns": "a weight with gradients does not move",
        "pruned-stay-zero": "a pruned weight leaves zero",
        "same-steps": "the same gradients give other weights",
        "state-comes-back": "something that changes is not in state()",
        "rate": "at a learning rate of 0 weights move",
        "frozen": "with a weight that is not trained it raises: TypeError",
        "any-dtype": "with weights in float64 it raises: RuntimeError",
        "no-waiting": "it waits for the device",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "schedule": {
        "phases": "two of its phases have the same name",
        "rates": "the rate is -",
        "pure": "asked in another order it gives other rates",
        "ends": "it changes the network's train and eval flags",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "stop": {
        "answers": "it answers False; expected a sentence or None",
        "pure": "asked again it answers otherwise",
        "leaves-rounds": "it changes the rounds that it was given",
        "absent-columns": "where entropy is null (columns can declare it): after round 0",
        "columns": "columns names 'colour', which rounds.jsonl has not",
        "resumes": STEPS,
        "survives-kill": "it came to its end before it could be killed",
    },
    "chooser": {
        "answers": "it answers 1; expected a round from 0 to 0",
        "pure": "answers otherwise",
        "leaves-rounds": "it changes the rounds that it was given",
        "absent-columns": "where entropy is null (columns can declare it): after round 0",
        "columns": "columns names 'colour', which rounds.jsonl has not",
        "steady": "after round 3 its choice goes from 1 to 2",
        "resumes": STEPS,
        "survives-kill": "not here",
    },
    "model": {
        "same-seed": "'1.weight' differs under the same seed",
        "logits": "gives float64 in eval mode",
        "prunable": "has no Conv or Linear weights",
        "evaluates-alike": "the logits of an image depend on the others of its batch",
        "whole-state": "with the same state_dict another network gives other logits",
        "any-dtype": "in double it raises: RuntimeError",
        "any-device": "on another device than the CPU it raises: RuntimeError",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "dataset": {
        "params": "derive not from DatasetParams",
        "recipe": "UsageError: unknown option 'colour'",
        "missing-files": "its message helps nobody: no",
        "fingerprint": "its fingerprint is sha256:",
        "arrays": "train labels are 1 to 2, expected 0 to 1",
        "same-data": "train images differ",
        "outline": "not 120, 40",
        "splits": "it cannot be split",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "noise": {
        "same-draw": "asked again with the same stream it differs",
        "labels": "it gives the classes ",
        "leaves-labels": "it changes the labels that it was given, in place",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "metric": {
        "values": "its values are no JSON",
        "same-values": "asked again it gives other values",
        "changes-nothing": "it changes masks, logits, labels or counts in place",
        "absent-parts": "without a validation part it raises: AttributeError",
        "odd-networks": "of a network with shared weights it raises: TypeError",
        "only-watches": "a run with it has another ",
        "resumes": STEPS,
        "survives-kill": KILL,
    },
    "executor": {
        "same-bytes": "a run that it carried out differs in rounds.jsonl",
        "finished-runs": "it writes to a finished run",
        "failures": "beside a run that fails, another ends as failed",
        "events": "it tells the event 'hello'; there are: failed, finished",
        "closes": "closed before it has begun anything it raises AttributeError",
    },
    "reporter": {
        "writes": "it raises: TypeError",
        "absent-values": "where entropy or val_accuracy are null it raises: TypeError",
        "same-text": "asked again it writes something else",
        "only-reads": "it writes into a run's folder",
        "plain-text": "it writes control characters of a run's files",
    },
}
"""What each broken component is told, by kind and check."""

OBSERVERS = {
    "every-event": ("every_event", "of run_failed it raises: KeyError"),
    "at-once": ("at_once", "the events of 50 runs take "),
    "only-watches": ("only_watches", "a run that it watches has another metrics/mine.jsonl"),
    "resumes": ("resumes", f"{STEPS} metrics/mine.jsonl"),
    "survives-kill": ("resumes", f"{KILL} metrics/mine.jsonl"),
}
"""The same of plugins that only watch: their modules and what they are told."""


@pytest.mark.parametrize("check", EVERYWHERE)
def test_each_check_of_all_kinds_can_fail(check):
    assert EVERYWHERE[check] in reason("pruner", check)


def test_a_module_that_imports_torch_fails():
    assert reason("pruner", "light", "broken.heavy").startswith("registering it imports torch:")


def test_a_module_that_does_not_say_its_api_fails():
    assert 'add the line dsd_bench_api = "1"' in reason("pruner", "current", "broken.old")


def test_a_module_that_uses_what_will_go_fails():
    of = subject("pruner", "good")
    catalogue().deprecated.append(Failure("broken.plugin", "x goes: write y"))
    [each] = [one for one in checks_of("pruner") if one.name == "current"]
    assert run_check(each, of).reason == "x goes: write y"


def test_a_module_that_prints_fails():
    assert "hello from noisy" in reason("pruner", "quiet", "broken.noisy")


@pytest.mark.parametrize(
    ("kind", "check"), [(kind, check) for kind in REASONS for check in REASONS[kind]]
)
def test_each_check_of_a_kind_can_fail(kind, check):
    assert REASONS[kind][check] in reason(kind, check)


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_has_a_component_that_breaks_it(kind):
    own = {each.name for each in checks_of(kind) if each.kind == kind}
    assert own == set(REASONS[kind])


@pytest.mark.parametrize("check", OBSERVERS)
def test_each_check_of_observers_can_fail(check):
    module, told = OBSERVERS[check]
    assert told in reason(OBSERVER, check, f"broken.observers.{module}")


def test_an_observer_that_keeps_to_all_passes_and_has_the_checks_of_plugins():
    [of] = select(catalogue(), "broken.observers.good")
    results = report(of).results
    assert {each.status for each in results} == {"passed"}
    own = {each.name for each in checks_of(OBSERVER)}
    assert own == {*OBSERVERS, "light", "quiet", "current"}


def test_every_check_says_what_it_demands():
    for kind in (*KINDS, OBSERVER):
        for each in checks_of(kind):
            assert each.summary.endswith(".") or each.summary.endswith("`."), each.name


@pytest.mark.parametrize("kind", REASONS)
def test_what_is_not_broken_passes(kind):
    found = report(subject(kind, "good"))
    bad = [result for result in found.results if result.status not in ("passed", "skipped")]
    assert bad == []
    assert found.passed
    assert found.results[-1].check == SOMETHING


# -- what a component is checked with


def test_a_pruner_gets_what_the_regularizers_beside_it_gathered():
    results = report(subject("pruner", "by-movement", "remembering")).results
    assert {each.status for each in results if each.check not in ("light", "current")} == {"passed"}


def test_what_remembers_may_answer_otherwise_when_it_is_asked_again():
    of = subject("perturber", "shrink", "remembering")
    [each] = [one for one in checks_of("perturber") if one.name == "same-seed"]
    assert run_check(each, of).status == "passed"


def test_a_regularizer_with_a_teacher_gets_its_answers_and_the_network_itself():
    model = network()
    view = training_view(Subject(catalogue().get("regularizer", "kd")), model)
    images = torch.ones(2, *SHAPE)
    assert view.teacher is not None
    assert view.teacher_model is not None
    assert torch.equal(view.teacher(images, torch.arange(2)), view.teacher_model(images))
    assert not torch.equal(view.teacher_model(images), model(images))


def test_parameters_are_checked_with_what_the_class_says(monkeypatch):
    of = made({}, monkeypatch)
    monkeypatch.setattr(of.load(), "checked_params", {"fraction": 0.5}, raising=False)
    component = replace(of.entry.component, params=PrunerParams)
    of = Subject(replace(of.entry, component=component))
    assert of.word == "made:0.5"
    assert of.params == PrunerParams(fraction=0.5)
    assert {} in list(of.variants())  # the defaults are checked, too
    monkeypatch.setattr(of.load(), "checked_params", {"fraction": 5})
    with pytest.raises(Broken, match=r"fraction.*checked_params"):
        _ = Subject(of.entry).params


def test_whole_runs_have_the_options_beside():
    of = subject("pruner", "by-movement", "remembering")
    run = finished(of, **with_beside(of, {"pruner": of.word, "reg": ["l1"]}))
    assert [each["name"] for each in run.config["regularizers"]] == ["movement", "l1"]


# -- how results are judged


def made(
    expected: dict[str, str] | None = None, monkeypatch: pytest.MonkeyPatch | None = None
) -> Subject:
    """Return a component of a module made here."""
    module = ModuleType("made")

    class Made(Params):
        """Not used."""

    if expected is not None:
        Made.expected_failed_checks = expected  # type: ignore[attr-defined]
    module.Made = Made  # type: ignore[attr-defined]
    assert monkeypatch is not None
    monkeypatch.setitem(sys.modules, "made", module)
    return Subject(Registration("pruner", Component("made", "made:Made", "made"), "made"))


def fails(subject: Subject) -> None:
    raise Broken("it does")


def passes(subject: Subject) -> None:
    pass


def skips(subject: Subject) -> None:
    raise Skipped("nothing to see")


@pytest.mark.parametrize(
    ("act", "expected", "since", "status", "text"),
    [
        (fails, {}, None, "failed", "it does"),
        (fails, {"each": "so be it"}, None, "expected", "so be it (it does)"),
        (passes, {"each": "so be it"}, None, "unexpected", "it passes; take it out"),
        (skips, {"each": "so be it"}, None, "failed", "but does not apply: nothing to see"),
        (passes, {}, None, "passed", ""),
        (skips, {}, None, "skipped", "nothing to see"),
        (fails, {}, "0.2.0", "warned", "new in 0.2.0; counts from the next version on"),
        (fails, {}, "0.1.0", "failed", "it does"),
        (fails, {"each": "so be it"}, "0.2.0", "expected", "so be it"),
    ],
)
def test_a_result_is_judged_by_what_was_expected(monkeypatch, act, expected, since, status, text):
    monkeypatch.setattr(checks, "__version__", "0.2.1")
    result = run_check(Check("each", "pruner", act, since), made(expected, monkeypatch))
    assert (result.status, result.check) == (status, "each")
    assert text in result.reason


def test_what_hangs_exits_or_raises_is_one_failed_check(monkeypatch):
    def hang(subject: Subject) -> None:
        while True:
            pass

    def leave(subject: Subject) -> None:
        sys.exit(3)

    def fail(subject: Subject) -> None:
        raise ValueError("\x1b[31mred")

    monkeypatch.setattr(running, "SECONDS", 0.2)
    of = made({}, monkeypatch)
    hung, left, failed = (
        run_check(Check("each", "pruner", act), of) for act in (hang, leave, fail)
    )
    assert (hung.status, left.status, failed.status) == ("failed",) * 3
    assert hung.reason == "Hung: the check 'each' has not come to an end after 0.2 s"
    assert left.reason == "SystemExit: 3"
    assert failed.reason == r"ValueError: \x1b[31mred"


def test_everything_skipped_is_a_failure(monkeypatch):
    monkeypatch.setattr(
        running, "checks_of", lambda kind: (Check("a", EVERY, passes), Check("b", kind, skips))
    )
    found = report(made({}, monkeypatch))
    assert not found.passed
    assert found.results[-1].check == SOMETHING
    assert found.results[-1].reason == "every check of its kind was skipped: nothing to see"


# -- what is checked


def test_a_distribution_is_found_by_its_name_and_by_its_short_name():
    known = build(third_party=False)
    module = ModuleType("mine")
    module.register_pruners = hookimpl(  # type: ignore[attr-defined]
        lambda: [Component("mine", "m:C", "s")]
    )
    known.add(module, "dsd-bench-mine")
    for name in ("dsd-bench-mine", "mine", "dsd_bench_mine", None):
        assert [each.name for each in select(known, name)] == ["mine"]


def test_without_plugins_the_next_step_is_named():
    with pytest.raises(UsageError, match="plugins new NAME --kind"):
        select(build(third_party=False), None)


@pytest.mark.parametrize("name", ["taylr", "no.such.module", "../x", "-"])
def test_an_unknown_plugin_is_refused(name):
    with pytest.raises(UsageError, match="there is no plugin"):
        select(build(third_party=False), name)


# -- the command, and pytest

BAD = """
from dsd_bench import Component, hookimpl
from dsd_bench.pruners import PrunerParams
dsd_bench_api = "1"
@hookimpl
def register_pruners():
    return [Component("bad", "broken.pruner:Documented", "short", PrunerParams)]
"""


def python(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (cwd / "bad.py").write_text(BAD)
    path = os.pathsep.join([str(ROOT), str(HERE), str(cwd)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_of_80_columns(tmp_path):
    done = python(tmp_path, "dsd_bench", "plugins", "test", "bad")
    assert done.returncode == 1, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "pruner bad" in done.stdout
    assert "✓ same-seed" in done.stdout
    assert "✗ documented  its class has no docstring: cite its source" in done.stdout
    assert done.stdout.rstrip().endswith("1 component: 17 passed, 1 failed")


def test_the_command_prints_json(command):
    code, out, err = command("plugins", "test", "broken.noisy", "--json")
    assert code == 1
    assert set(err.splitlines()) <= {"hello from noisy"}  # as it is imported, in whatever test
    found = json.loads(out)
    assert found["passed"] is False
    [component] = found["components"]
    assert (component["kind"], component["name"], component["passed"]) == ("pruner", "quiet", False)
    bad = [each for each in component["checks"] if each["status"] == "failed"]
    assert [each["check"] for each in bad] == ["quiet"]
    assert set(bad[0]) == {"check", "status", "reason", "seconds"}


def test_pytest_runs_the_same_checks(tmp_path):
    options = ("-p", "dsd_bench.conformance.options", "-p", "no:cacheprovider", "-rfs")
    named = ("--pyargs", "dsd_bench.conformance", "--dsd-plugin", "bad")
    done = python(tmp_path, "pytest", *options, *named)
    assert done.returncode == 1, done.stderr
    assert "test_keeps_to[pruner-bad-documented]" in done.stdout
    assert "1 failed, 17 passed, 1 skipped" in done.stdout
