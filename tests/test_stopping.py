"""The stop rules: pure functions of the rounds so far."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench.errors import RunError, UsageError
from dsd_bench.params import validate
from dsd_bench.rounds import Columns
from dsd_bench.stopping.builtin import register_stop_criteria
from dsd_bench.stopping.rules import fit_lost, gate_opened

COMPONENTS = {component.name: component for component in register_stop_criteria()}

# The embedded experiment's mean curve (test accuracy, remaining weights 8832 to 102); its entropy
# was only told in words: it rises 5 %, then falls below its start near the bottom of the dip.
VANILLA = (66.3, 64.4, 62.6, 59.4, 58.3, 58.8, 61.0, 64.0, 67.6, 71.0, 74.5, 75.6, 75.5, 74.9)
VANILLA += (73.3, 74.1, 66.8, 62.5)
ENTROPY = (0.60, 0.61, 0.63, 0.63, 0.61, 0.58, 0.55, 0.51, 0.47, 0.43, 0.40, 0.37, 0.34, 0.31)
ENTROPY += (0.28, 0.25, 0.22, 0.20)


def rule(name, **values):
    component = COMPONENTS[name]
    return component.create(validate(component.params, values, name))


def curve(scores, entropies=None, sparsities=None, trains=None):
    return [
        {
            "round": index,
            "val_accuracy": score,
            "entropy": entropies[index] if entropies else None,
            "train_accuracy": trains[index] if trains else None,
            "sparsity": sparsities[index] if sparsities else 1 - 0.8**index,
        }
        for index, score in enumerate(scores)
    ]


def first_stop(criterion, rows):
    """The round in which a run that asks after every round would end."""
    return next(
        (n - 1 for n in range(1, len(rows) + 1) if criterion.stop(rows[:n], "val_accuracy")), None
    )


def test_never_goes_on():
    assert first_stop(rule("never"), curve([0.9, 0.0, 0.0])) is None


def test_target_stops_at_the_sparsity_itself():
    rows = curve([0.5] * 4, sparsities=[0.0, 0.5, 0.75, 0.9])
    assert first_stop(rule("target", sparsity=0.75), rows) == 2
    assert first_stop(rule("target", sparsity=0.74), rows) == 2
    assert first_stop(rule("target", sparsity=0.76), rows) == 3
    assert first_stop(rule("target"), rows) is None


def test_target_says_what_it_reached():
    assert "0.9000" in rule("target", sparsity=0.8).stop(
        curve([0.5], sparsities=[0.9]), "val_accuracy"
    )


def test_patience_default_is_the_first_fall():
    assert first_stop(rule("patience"), curve([0.5, 0.6, 0.6, 0.59])) == 3


def test_patience_tolerates_a_fall_within_tolerance_of_the_best():
    rows = curve([0.75, 0.5, 0.25])
    assert first_stop(rule("patience", tolerance=0.25), rows) == 2


def test_patience_compares_with_the_best_not_the_last():
    assert first_stop(rule("patience", tolerance=0.1), curve([0.6, 0.55, 0.49])) == 2


def test_patience_counts_rounds_in_a_row():
    rows = curve([0.9, 0.5, 0.95, 0.5, 0.5, 0.5])
    assert first_stop(rule("patience", patience=2), rows) == 4


def test_patience_judges_by_the_named_column():
    rows = [{"round": 0, "test_accuracy": 0.9}, {"round": 1, "test_accuracy": 0.8}]
    assert "test_accuracy" in rule("patience").stop(rows, "test_accuracy")


def test_patience_without_a_validation_part_says_so():
    with pytest.raises(RunError, match=r"'patience' needs 'val_accuracy'.*validation part"):
        rule("patience").stop(curve([None]), "val_accuracy")


def test_usual_early_stop_falls_into_the_dip_and_the_gate_does_not():
    rows = curve([score / 100 for score in VANILLA], ENTROPY)
    assert first_stop(rule("patience"), rows) == 1
    stopped = first_stop(rule("entropy-gate"), rows)
    assert stopped == 16
    best = max(row["val_accuracy"] for row in rows[: stopped + 1])
    assert best == pytest.approx(0.756)


def test_gate_ignores_a_rise():
    assert gate_opened([0.5, 0.6, 0.9], 0.05) is None


def test_gate_opens_beyond_the_drop_only():
    assert gate_opened([1.0, 0.75, 0.74], 0.25) == 2


def test_gate_stays_open():
    rows = curve([0.9, 0.8, 0.8, 0.5], [1.0, 0.5, 1.0, 1.0])
    assert first_stop(rule("entropy-gate"), rows) == 3


def test_gate_resets_the_best_when_it_opens():
    rows = curve([0.9, 0.4, 0.45, 0.5], [1.0, 0.9, 0.8, 0.7])
    assert first_stop(rule("entropy-gate"), rows) is None


def test_gate_has_patience():
    rows = curve([0.9, 0.8, 0.6, 0.6, 0.8, 0.5, 0.5, 0.5], [1.0] + [0.5] * 7)
    assert first_stop(rule("entropy-gate", patience=3), rows) == 7


def test_gate_of_a_network_that_begins_without_entropy_stays_shut():
    assert first_stop(rule("entropy-gate"), curve([0.9, 0.1, 0.1], [0.0, 0.0, 0.3])) is None


def test_gate_without_entropy_names_relu():
    with pytest.raises(RunError, match="ReLU"):
        rule("entropy-gate").stop(curve([0.5]), "val_accuracy")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("target", {"sparsity": 1.0}),
        ("target", {"sparsity": 0}),
        ("patience", {"patience": 0}),
        ("patience", {"tolerance": -0.1}),
        ("entropy-gate", {"drop": 1}),
    ],
)
def test_values_out_of_range_are_refused(name, values):
    with pytest.raises(UsageError, match=next(iter(values))):
        rule(name, **values)


def algorithm_2(scores, entropies, drop, tolerance, patience):
    """Algorithm 2 of the paper as a loop, with embedded.md's two corrections, in exact numbers."""
    scores, entropies = ([Fraction(str(value)) for value in part] for part in (scores, entropies))
    drop, tolerance = Fraction(str(drop)), Fraction(str(tolerance))
    h0, best, bad, gate = entropies[0], None, 0, False
    for index, (score, entropy) in enumerate(zip(scores, entropies)):
        if not gate:
            if not (h0 > 0 and (h0 - entropy) / h0 > drop):
                continue  # H is stationary: one more prune, perturb, train, evaluate
            gate, best = True, score
            continue
        if score < best - tolerance:
            bad += 1
            if bad == patience:
                return index
        else:
            bad = 0
        best = max(best, score)
    return None


levels = st.integers(0, 20).map(lambda tenth: tenth / 20)
rounds = st.lists(st.tuples(levels, levels), min_size=1, max_size=15)


@given(rounds, levels.filter(lambda x: x < 1), levels, st.integers(1, 3))
def test_gate_is_algorithm_2(points, drop, tolerance, patience):
    scores, entropies = zip(*points)
    criterion = rule("entropy-gate", drop=drop, tolerance=tolerance, patience=patience)
    expected = algorithm_2(scores, entropies, drop, tolerance, patience)
    assert first_stop(criterion, curve(scores, entropies)) == expected


def early_stop_after_memorising(scores, trains, drop, tolerance, patience):
    """The rule as a loop in exact numbers."""
    scores, trains = ([Fraction(str(value)) for value in part] for part in (scores, trains))
    drop, tolerance = Fraction(str(drop)), Fraction(str(tolerance))
    fitted, best, bad, gate = Fraction(0), None, 0, False
    for index, (score, train) in enumerate(zip(scores, trains)):
        fitted = max(fitted, train)
        if not gate:
            gate, best = fitted - train > drop, score
            continue
        bad = bad + 1 if score < best - tolerance else 0
        if bad == patience:
            return index
        best = max(best, score)
    return None


@given(rounds, levels.filter(lambda x: x < 1), levels, st.integers(1, 3))
def test_the_interpolation_gate_is_its_definition(points, drop, tolerance, patience):
    scores, trains = zip(*points)
    criterion = rule("interpolation-gate", drop=drop, tolerance=tolerance, patience=patience)
    expected = early_stop_after_memorising(scores, trains, drop, tolerance, patience)
    assert first_stop(criterion, curve(scores, trains=trains)) == expected
    assert criterion.first(curve(scores, trains=trains), "val_accuracy") == expected


def test_the_interpolation_gate_says_when_it_opened():
    rows = curve([0.6, 0.5, 0.7, 0.6], trains=[1.0, 0.95, 0.85, 0.8])
    said = rule("interpolation-gate").stop(rows, "val_accuracy")
    assert said.startswith("the interpolation gate opened in round 2; since then val_accuracy")
    assert rule("interpolation-gate").stop(rows[:3], "val_accuracy") is None
    assert fit_lost([0.9, 1.0, 0.9], 0.1) is None
    with pytest.raises(RunError, match="'interpolation-gate' needs 'train_accuracy'"):
        rule("interpolation-gate").stop(curve([0.5]), "val_accuracy")


@given(rounds, st.sampled_from(sorted(COMPONENTS)))
def test_asking_again_changes_nothing(points, name):
    scores, entropies = zip(*points)
    rows, asked = curve(scores, entropies, trains=entropies), rule(name)
    prefixes = [rows[:n] for n in range(1, len(rows) + 1)]
    before = [dict(row) for row in rows]
    first = [asked.stop(prefix, "val_accuracy") for prefix in prefixes]
    backwards = [asked.stop(prefix, "val_accuracy") for prefix in reversed(prefixes)]
    assert first == backwards[::-1]
    assert first[-1] == rule(name).stop(rows, "val_accuracy")
    assert rows == before


def tied(step: int, n: int, tolerance: int) -> list[dict[str, Any]]:
    """Rounds of n images: the best, then one that is worse by exactly the tolerance."""
    return curve([step / n, (step - tolerance) / n], [1.0, 0.5])


@pytest.mark.parametrize("n", [200, 1000, 597, 50_000])
def test_a_fall_of_exactly_the_tolerance_is_tolerated(n: int) -> None:
    misjudged_before = 0
    for lost in (n // 20, n // 10):
        for best in range(lost, n + 1, max(1, n // 500)):
            rows = tied(best, n, lost)
            tolerance = lost / n
            misjudged_before += rows[1]["val_accuracy"] < rows[0]["val_accuracy"] - tolerance
            for name in ("patience", "entropy-gate"):
                more = {"drop": 0.0} if name == "entropy-gate" else {}
                found = rule(name, tolerance=tolerance, **more)
                assert found.stop([rows[0], *rows], "val_accuracy") is None
                worse = {**rows[1], "val_accuracy": rows[1]["val_accuracy"] - 1 / n}
                assert found.stop(
                    [rows[0], {**rows[0], "round": 1, "entropy": 0.5}, worse], "val_accuracy"
                )
    assert misjudged_before > 0, "these are no ties that floats misjudge"


def test_the_issue_s_tie() -> None:
    assert 0.495 < 0.545 - 0.05  # in binary
    rows = curve([0.545, 0.495], [1.0, 1.0])
    assert rule("patience", tolerance=0.05).stop(rows, "val_accuracy") is None


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.6, 0.7, 0.9, 0.95, 0.99])
def test_a_target_that_is_reached_exactly_is_reached(share: float) -> None:
    for prunable in (10, 100, 9728, 10**7):
        nonzero = round(prunable * (1 - share))
        reached = 1 - nonzero / prunable
        rows = curve([0.5], sparsities=[reached])
        stops = rule("target", sparsity=share).stop(rows, "val_accuracy") is not None
        assert stops is (nonzero <= prunable - Fraction(str(share)) * prunable)


def test_one_weight_less_than_the_target_is_not_enough() -> None:
    rows = curve([0.5], sparsities=[1 - (10**6 + 1) / 10**8])
    assert rule("target", sparsity=0.99).stop(rows, "val_accuracy") is None


def test_the_gate_stays_shut_at_exactly_the_drop() -> None:
    assert (1.0 - 0.95) / 1.0 > 0.05  # in binary
    assert gate_opened([1.0, 0.95], 0.05) is None
    assert gate_opened([1.0, 0.9499], 0.05) == 1


def test_rules_that_were_corrected_have_a_version_of_their_own() -> None:
    versions = {name: component.version for name, component in COMPONENTS.items()}
    assert versions == {
        "never": 1,
        "target": 2,
        "patience": 2,
        "entropy-gate": 2,
        "interpolation-gate": 1,
    }


CURVES = st.lists(
    st.tuples(st.integers(0, 8), st.integers(1, 8)).map(lambda one: (one[0] / 8, one[1] / 8)),
    min_size=1,
    max_size=10,
)


@given(CURVES)
def test_the_first_stop_is_that_of_one_who_asks_after_every_round(points):
    second = [entropy for _, entropy in points]
    rows = curve([score for score, _ in points], second, trains=second)
    made = [rule("never"), rule("target", sparsity=0.5), rule("patience")]
    made += [rule("target", sparsity=1 - 0.8**n) for n in (1, 3)]
    made += [rule("patience", tolerance=0.2, patience=n) for n in (1, 2)]
    made += [rule("entropy-gate", drop=drop, patience=n) for drop in (0, 0.3) for n in (1, 2)]
    made += [rule("interpolation-gate", drop=drop, patience=n) for drop in (0, 0.3) for n in (1, 2)]
    for one in made:
        assert one.first(rows, "val_accuracy") == first_stop(one, rows)
        held = Columns({name: [row[name] for row in rows] for name in rows[0]})
        assert one.first(held, "val_accuracy") == first_stop(one, rows)
