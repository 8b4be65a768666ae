"""Replayed stop rules against real runs with them, and against curves with known answers."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench import Params, configure, run
from dsd_bench.config.run import ComponentConfig
from dsd_bench.costs.ledger import read_ledger
from dsd_bench.errors import RunError, UsageError
from dsd_bench.replay import Curve, outcome, replay, rule, varied
from dsd_bench.replay.curves import read_curve, rows_with_metrics
from dsd_bench.replay.rules import Rule
from dsd_bench.stopping import StopCriterion
from dsd_bench.store.runs import load_run

OPTIONS = {
    "dataset": "digits:train_size=120,val_size=40",
    "model": "mlp:hidden=12",
    "batch_size": 20,
    "dense_epochs": 12,
    "retrain_epochs": 4,
    "rounds": 7,
    "lr": 0.1,
    "pruner": "magnitude:fraction=0.4",
}
RULES = [
    "never",
    "target:0.7",
    "patience",
    "patience:tolerance=0.1,patience=2",
    "entropy-gate:drop=0.01,tolerance=0",
    "entropy-gate:drop=0.01",
    "interpolation-gate:drop=0.01,tolerance=0",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A full curve of each of two seeds."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    return [run(configure(**OPTIONS, seed=seed), runs_dir=folder) for seed in (0, 1)]


@pytest.mark.parametrize("word", RULES)
def test_a_replayed_rule_is_what_a_real_run_with_it_does(whole, tmp_path, word):
    for full in whole:
        real = run(configure(**OPTIONS, stop=word, seed=full.seed), runs_dir=tmp_path)
        found = replay(read_curve(full), rule(word))
        assert found.round == real.rows[-1]["round"]
        assert found.best_round == real.result["best_round"]
        assert (found.stopped_by, found.reason) == (
            real.result["stopped_by"],
            real.result["reason"],
        )
        assert found.accuracy == real.rows[found.best_round]["test_accuracy"]
        assert found.macs - found.macs_saved == read_ledger(real).dense
        assert found.effective - found.effective_saved == read_ledger(real).effective


def test_the_rules_of_these_tests_stop_at_different_rounds(whole):
    rounds = {replay(read_curve(full), rule(word)).round for full in whole for word in RULES}
    assert len(rounds) > 3


# --- curves with known answers --------------------------------------------------------------


def curve(val, test=None, selection="val", **columns):
    test = val if test is None else test
    rows = [
        {"round": n, "sparsity": 1 - 0.8**n, "val_accuracy": v, "test_accuracy": t}
        | {name: values[n] for name, values in columns.items()}
        for n, (v, t) in enumerate(zip(val, test, strict=True))
    ]
    config = configure(rounds=len(rows) - 1, selection=selection)
    return Curve(config, rows, ("rounds", "all"), [100, *[10] * (len(rows) - 1)])


def test_a_dip_costs_the_usual_early_stop_its_second_ascent():
    found = replay(curve([0.8, 0.6, 0.7, 0.9, 0.5]), rule("patience"))
    assert (found.round, found.last, found.trainings_saved) == (1, 4, 3)
    assert (found.best_round, found.oracle_round, found.whole_round) == (0, 3, 3)
    assert found.given_up == pytest.approx(0.1)
    assert (found.macs, found.macs_saved, found.effective) == (140, 30, None)


def test_the_oracle_looks_at_test_and_the_whole_curve_selects_on_validation():
    found = replay(curve([0.5, 0.9, 0.6], test=[0.7, 0.5, 0.8]), rule("never"))
    assert (found.whole_round, found.oracle_round) == (1, 2)
    assert found.given_up == pytest.approx(0.3)
    assert found.lost == 0


def test_a_rule_may_beat_the_whole_curves_selection():
    found = replay(curve([0.8, 0.7, 0.9], test=[0.8, 0.7, 0.6]), rule("patience"))
    assert found.lost == pytest.approx(-0.2)
    assert found.given_up == 0


def test_selection_on_test_judges_by_test():
    both = curve([0.5, 0.6, 0.7], test=[0.8, 0.7, 0.6], selection="test")
    assert replay(both, rule("patience")).round == 1


def test_a_rule_that_never_fires_ends_as_the_curve_did():
    ended = replace(curve([0.5, 0.6]), end=("nothing-left", "every layer is down"))
    longer = replace(ended, config=configure(rounds=5))
    found = replay(longer, rule("patience"))
    assert (found.round, found.stopped_by, found.trainings_saved) == (1, "nothing-left", 0)


@given(st.lists(st.integers(0, 597), min_size=1, max_size=12), st.integers(0, 180))
def test_patience_by_brute_force(right, tolerated):
    """Accuracies are counts of images; the reference compares the counts themselves."""
    values = [count / 597 for count in right]
    found = replay(curve(values), rule("patience", {"tolerance": tolerated / 597}))
    falls = [n for n in range(1, len(right)) if right[n] < max(right[:n]) - tolerated]
    assert found.round == (falls[0] if falls else len(values) - 1)
    kept = values[: found.round + 1]
    assert found.best_round == kept.index(max(kept))
    assert found.given_up == max(values) - max(kept) >= 0


def test_means_and_spreads_over_seeds():
    curves = [curve([0.8, 0.6, 0.9]), curve([0.8, 0.85, 0.9])]
    found = outcome([replay(one, rule("patience")) for one in curves])
    assert (found.round.mean, found.round.n) == (1.5, 2)
    assert found.trainings_saved.mean == pytest.approx(1 / 6)
    assert found.macs_saved.mean == pytest.approx(10 / 120 / 2)
    assert found.given_up.mean == pytest.approx(0.05)
    assert found.effective_saved is None


# --- rules ----------------------------------------------------------------------------------


def test_a_grid_of_rules():
    found = varied("entropy-gate:0.1", {"tolerance": ["0.01", "0.02"], "patience": [1, 3]})
    told = [(one.built.params.tolerance, one.built.params.patience) for one in found]
    assert told == [(0.01, 1), (0.01, 3), (0.02, 1), (0.02, 3)]
    assert {one.built.params.drop for one in found} == {0.1}
    assert found[0].word == "entropy-gate:0.1,tolerance=0.01"


class Watchful(StopCriterion):
    """Stops when a further metric has grown above 2."""

    def stop(self, rounds, score):
        return "grown" if rounds[-1]["metrics"]["mine"]["value"] > 2 else None


MINE = Rule(
    "watchful",
    ComponentConfig(name="watchful", version=1, params={}),
    Watchful(Params()),
    ("mine",),
)


def with_metric(whole, tmp_path, values):
    folder = tmp_path / whole.run_id
    shutil.copytree(whole.path, folder)
    (folder / "metrics").mkdir()
    lines = [json.dumps({"round": n, "value": value}) for n, value in enumerate(values)]
    (folder / "metrics" / "mine.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return load_run(folder)


def test_a_plugins_rule_reads_its_metric(whole, tmp_path):
    stored = with_metric(whole[0], tmp_path, range(8))
    assert rows_with_metrics(stored)[5]["metrics"] == {"mine": {"value": 5}}
    found = replay(read_curve(stored), MINE)
    assert (found.round, found.stopped_by, found.reason) == (3, "watchful", "grown")


@pytest.mark.parametrize("rounds", [0, 7])
def test_a_metric_that_was_not_measured_in_every_round(whole, tmp_path, rounds):
    stored = with_metric(whole[0], tmp_path, range(rounds))
    with pytest.raises(UsageError, match=r"reads mine, .* --metric mine --force"):
        replay(read_curve(stored), MINE)


def test_a_rule_whose_column_is_absent():
    with pytest.raises(UsageError, match=r"needs 'entropy', which round 0 lacks"):
        replay(curve([0.5, 0.6], entropy=[None, None]), rule("entropy-gate"))


def test_a_rule_that_fails_is_named():
    broken = replace(MINE, metrics=())
    with pytest.raises(RunError, match=r"'watchful' failed on round 0 of run .*: KeyError"):
        replay(curve([0.5, 0.6]), broken)


# --- runs that cannot be replayed -----------------------------------------------------------


def test_an_unfinished_run_is_refused(whole, tmp_path):
    folder = tmp_path / whole[0].run_id
    shutil.copytree(whole[0].path, folder)
    (folder / "result.json").unlink()
    with pytest.raises(UsageError, match=r"is unfinished \(8 rounds so far\).*dsd-bench run"):
        read_curve(load_run(folder))


def test_a_run_that_was_itself_stopped_is_refused(tmp_path):
    stopped = run(configure(**OPTIONS, stop="target:0.5"), runs_dir=tmp_path)
    with pytest.raises(UsageError, match=r"stopped by 'target' after round 2.*--stop never"):
        read_curve(stopped)


# --- the command ----------------------------------------------------------------------------


def test_the_command(command, whole):
    paths = [str(full.path) for full in whole]
    code, out, _ = command("replay", *paths, "--stop", "patience", "--stop", "target:0.7")
    assert code == 0
    assert "seeds 0-1" in out
    assert "target:0.7" in out
    code, out, _ = command("replay", *paths, "--stop", "patience", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    expected = [replay(read_curve(full), rule("patience")) for full in whole]
    assert [int(row["round"]) for row in rows] == [found.round for found in expected]
    assert [float(row["given_up"]) for row in rows] == [found.given_up for found in expected]


def test_the_command_varies_a_parameter_and_draws(command, whole, tmp_path):
    paths = [str(full.path) for full in whole]
    words = ("replay", *paths, "--stop", "target", "--vary", "sparsity=0.3,0.6,0.9")
    code, out, _ = command(*words, "--json", "--figure", "a.svg")
    assert code == 0
    found = json.loads(out)["rules"]
    assert [entry["rule"] for entry in found] == ["target:0.3", "target:0.6", "target:0.9"]
    assert [entry["round"]["mean"] for entry in found] == [1, 2, 5]
    command(*words, "--figure", "b.svg")
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert b"<svg" in first


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--stop", "patience", "--stop", "never", "--vary", "tolerance=1"), "exactly one --stop"),
        (("--stop", "patience", "--vary", "tolerance"), "is not KEY=VALUE"),
        (("--stop", "patience", "--vary", "tolerance=0,"), "is not KEY=VALUE"),
        (("--stop", "patience", "--vary", "tolerance=0", "--vary", "tolerance=1"), "given twice"),
        (("--stop", "patience", "--vary", "nope=0"), "unknown key 'nope'"),
        (("--stop", "patience", "--vary", "tolerance=3"), "tolerance=3"),
        (("--stop", "impatience"), "did you mean 'patience'"),
        (("--stop", "patience", "--figure", "x.gif"), "x.gif"),
        (("--stop", "patience", "--csv", "--json"), "exclude"),
    ],
)
def test_the_command_refuses(command, whole, words, text):
    code, _, err = command("replay", str(whole[0].path), *words)
    assert code == 2
    assert text in err
