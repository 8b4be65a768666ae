"""``compare A B``: differences against SciPy, curves read between rounds, what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from board_runs import config, part, stop_rule, write_run
from scipy import stats

from dsd_bench.analysis.paired import At, crossings, difference, floor_of, leads, read_at
from dsd_bench.boards.ties import disagreements
from dsd_bench.reports.comparing import compare, sentences
from dsd_bench.reports.methods import methods_of
from dsd_bench.store.correct import read_bits, read_correct

Command = Callable[..., tuple[int, str, str]]
ONE = (0.70, 0.60, 0.65, 0.75, 0.50)
OTHER = (0.70, 0.66, 0.60, 0.62, 0.55)
L2 = {"name": "l2", "version": 1, "params": {"weight": 0.001}}


def write(folder: Path, seeds: int = 6, images: int = 400, **others: Any) -> None:
    """Write two methods, vanilla and with L2; seeds differ by noise of their own."""
    noise = numpy.random.default_rng(1).normal(0, 0.01, (2, seeds, 5))
    for seed in range(seeds):
        write_run(folder, config(seed), numpy.array(ONE) + noise[0, seed], images=images)
        changed = config(seed, [L2], **others)
        write_run(folder, changed, numpy.array(OTHER) + noise[1, seed], images=images)


def told(command: Command, *words: str) -> dict[str, Any]:
    code, out, err = command("compare", *words, "--json")
    assert code == 0, err
    return json.loads(out)


# -- arithmetic


def test_a_difference_is_what_scipy_says() -> None:
    rng = numpy.random.default_rng(0)
    for seeds in (2, 3, 6, 20):
        one, other = rng.normal(0.7, 0.02, seeds), rng.normal(0.69, 0.02, seeds)
        found = difference(one.tolist(), other.tolist())
        test = stats.ttest_rel(one, other)
        interval = test.confidence_interval(0.95)
        assert found.p == pytest.approx(test.pvalue)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.leader == (test.pvalue < 0.05) * math.copysign(1, test.statistic)


def test_the_error_is_never_below_what_the_images_give() -> None:
    one, other = [0.8, 0.8, 0.8], [0.7, 0.7, 0.7]
    assert difference(one, other).error == pytest.approx(0, abs=1e-9)
    floored = difference(one, other, 0.03**2)
    assert floored.error == pytest.approx(0.03)
    assert floored.high - floored.low == pytest.approx(2 * 0.03 * stats.t(2).ppf(0.975))
    assert floored.leader == 0


def test_the_floor_is_that_of_boards() -> None:
    rng = numpy.random.default_rng(0)
    bits = rng.random((3, 2, 50)) < 0.7
    differ = [int((one != other).sum()) for one, other in bits]
    together = numpy.concatenate(bits, axis=1)
    assert sum(differ) == disagreements(together)[0, 1]
    assert floor_of(differ, [50] * 3) == disagreements(together)[0, 1] / 150**2


def test_one_seed_has_no_interval() -> None:
    found = difference([0.8], [0.7])
    assert (found.error, found.low, found.high, found.p, found.leader) == (*[None] * 4, 0)


def test_curves_are_read_linearly_in_the_logarithm_of_the_density() -> None:
    rows = [
        {"round": i, "sparsity": 1 - 0.8**i, "test_accuracy": value} for i, value in enumerate(ONE)
    ]
    logs = [math.log(1 - row["sparsity"]) for row in rows][::-1]
    for sparsity in (0.1, 0.3, 0.5):
        expected = numpy.interp(math.log(1 - sparsity), logs, ONE[::-1])
        value, twin = read_at(rows, sparsity, "test_accuracy")
        assert value == pytest.approx(expected)
        assert twin is None
    assert read_at(rows, rows[2]["sparsity"] + 1e-12, "test_accuracy") == (ONE[2], rows[2])
    assert read_at(rows, 0.9, "test_accuracy") is None
    assert read_at(rows[1:], 0.1, "test_accuracy") is None
    assert read_at(rows, 0.1, "val_accuracy") is None


def test_crossings_and_leads_follow_the_differences() -> None:
    values = [0.0, 0.1, 0.05, -0.05, -0.1]
    found = [
        At(i, 1 - 0.5**i, False, difference([0.5 + v, 0.5 + v], [0.5, 0.5]))
        for i, v in enumerate(values)
    ]
    (at,) = crossings(found)
    assert math.log(1 - at) == pytest.approx(2.5 * math.log(0.5))  # half way in log-density
    assert [(one.leader, one.rounds) for one in leads(found)] == [(0, 1), (1, 2), (-1, 2)]
    assert (leads(found)[1].least, leads(found)[1].most) == pytest.approx((0.05, 0.1))


# -- from run folders


def test_each_round_is_paired_by_seed(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "runs")
    told_ = told(command, "magnitude", "magnitude + l2:0.001")
    runs = {one: methods_of(_runs(tmp_path / "runs", one))[0].runs for one in (False, True)}
    assert told_["seeds"] == list(range(6))
    for at, found in enumerate(told_["rounds"]):
        one, other = (
            [run.rows[at]["test_accuracy"] for run in runs[which]] for which in (False, True)
        )
        test = stats.ttest_rel(one, other)
        differ = sum(
            int((read_correct(a.path)[at]["test"] != read_correct(b.path)[at]["test"]).sum())
            for a, b in zip(runs[False], runs[True])
        )
        spread = numpy.std(numpy.subtract(one, other), ddof=1) / math.sqrt(6)
        error = max(spread, math.sqrt(differ) / (6 * 400))
        assert found["mean"] == pytest.approx(numpy.mean(one) - numpy.mean(other))
        assert found["error"] == pytest.approx(error)
        if error == spread:
            assert found["p"] == pytest.approx(test.pvalue)
        assert found["interpolated"] is False


def _runs(folder: Path, regularized: bool) -> list[Any]:
    from dsd_bench.store.runs import load_run

    found = [load_run(path) for path in folder.iterdir()]
    return [run for run in found if bool(run.config["regularizers"]) == regularized]


@pytest.mark.parametrize("text", ["?", "AAAA", None])
def test_where_bits_are_damaged_seeds_alone_tell(tmp_path: Path, text: str | None) -> None:
    """The images' floor is of all seeds or none; one seed whose bits are no bits leaves it out."""
    folder = tmp_path / "runs"
    for seed in range(5):  # no scatter, so that any floor would show
        write_run(folder, config(seed), ONE, images=400)
        write_run(folder, config(seed, [L2]), OTHER, images=400)
    one, other = (methods_of(_runs(folder, which))[0] for which in (False, True))
    bits = {run.run_id: read_bits(run.path) for run in (*one.runs, *other.runs)}
    whole, none = compare(one, other, bits), compare(one, other)
    assert whole.selected.error == pytest.approx(math.sqrt(5 * 400 * 0.05) / (5 * 400))
    assert none.selected.error == pytest.approx(0, abs=1e-9)
    for found in bits[other.runs[2].run_id].values():
        found["test"] = text
    damaged = compare(one, other, bits)
    assert (damaged.rounds, damaged.selected) == (none.rounds, none.selected)


def test_swapping_changes_signs_only(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "runs")
    one = told(command, "magnitude", "magnitude + l2:0.001")
    other = told(command, "magnitude + l2:0.001", "magnitude")
    assert [at["mean"] for at in one["rounds"]] == pytest.approx(
        [-at["mean"] for at in other["rounds"]]
    )
    assert one["crossings"] == pytest.approx(other["crossings"])
    assert one["selected"]["p"] == pytest.approx(other["selected"]["p"])


def test_a_run_stands_for_its_method(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "runs")
    ids = [config(seed).run_id for seed in (0, 3)]
    by_name = told(command, "magnitude", "magnitude + l2:0.001")
    assert told(command, ids[0], "magnitude + l2:0.001") == by_name
    assert told(command, f"runs/{ids[1]}", "magnitude + l2:0.001") == by_name
    some = told(command, ",".join(ids), "magnitude + l2:0.001")
    assert some["seeds"] == [0, 3]
    assert "only 2 seeds in common" in some["notes"][0]


def test_one_common_seed_tests_nothing(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "runs", 1)
    found = told(command, "magnitude", "magnitude + l2:0.001")
    assert found["notes"] == ["one seed: how much seeds differ is not known, so nothing is tested"]
    assert found["rounds"][0]["low"] is None
    code, out, _ = command("compare", "magnitude", "magnitude + l2:0.001", "-o", "a.svg")
    assert code == 0
    assert "nothing is tested" in out


def test_other_schedules_are_read_between_rounds(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "runs"
    slower = {"pruner": part("magnitude", fraction=0.1, scope="global")}
    for seed in range(2):
        write_run(folder, config(seed), ONE)
        write_run(folder, config(seed, **slower, rounds=8), [0.7 - 0.01 * i for i in range(9)])
    code, _, _ = command("compare", "magnitude:fraction=0.2*", "magnitude:fraction=0.1*")
    assert code == 2  # names leave out what is at its default
    names = sorted({one.label for one in methods_of(_runs(folder, False))})
    found = told(command, config(0).run_id, config(0, **slower, rounds=8).run_id)
    assert len(names) == 2
    assert [at["interpolated"] for at in found["rounds"]] == [False, True, True, True]
    assert found["rounds"][1]["second"] == pytest.approx(
        numpy.interp(math.log(0.8), [math.log(0.729), math.log(0.81)], [0.67, 0.68]), abs=1e-9
    )


def test_an_early_stopped_twin_is_compared_as_far_as_it_goes(
    tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "runs"
    for seed in range(3):
        write_run(folder, config(seed), ONE)
        write_run(folder, config(seed, stop=stop_rule("patience", patience=1)), ONE[:2])
    found = told(command, "magnitude", "magnitude, stop patience")
    assert [at["mean"] for at in found["rounds"]] == [0, 0]
    assert found["crossings"] == []
    assert found["sentences"][0] == "At no sparsity are the two told apart."


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"noise": part("none")}, "cannot be paired: label noise differ"),
        ({"fingerprint": "sha256:4567"}, "cannot be paired: contents of the data differ"),
        ({"selection": "test"}, "cannot be paired: the part that selects differ"),
    ],
)
def test_what_cannot_be_paired_is_refused(
    tmp_path: Path, command: Command, others: dict[str, Any], message: str
) -> None:
    write(tmp_path / "runs", 2, **others)
    code, _, err = command("compare", "magnitude", "magnitude + l2:0.001")
    assert code == 2
    assert message in err


def test_no_common_seed_is_refused(tmp_path: Path, command: Command) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs", config(seed), ONE)
        write_run(tmp_path / "runs", config(seed + 2, [L2]), ONE)
    code, _, err = command("compare", "magnitude", "magnitude + l2:0.001")
    assert code == 2
    assert "have no seed in common: 0-1 against 2-3" in err


def test_a_method_is_not_compared_with_itself(tmp_path: Path, command: Command) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs", config(seed))
        write_run(tmp_path / "elsewhere", config(seed))
    code, _, err = command("compare", "magnitude", config(0).run_id)
    assert code == 2
    assert "are the same runs of 'magnitude'; name others" in err
    assert command("compare", "runs", "elsewhere")[0] == 0  # the same configuration, run twice


def test_a_name_of_several_methods_lists_them(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "runs", 2)
    code, _, err = command("compare", "magnitude*", "magnitude")
    assert code == 2
    assert "'magnitude*' means 2 methods: 'magnitude', 'magnitude + l2:0.001'" in err


def test_another_schedule_is_told(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "runs", 2, weight_decay=0.1)
    notes = told(command, "magnitude", "magnitude + l2:0.001")["notes"]
    assert "beside the methods, schedule differ" in notes


@pytest.mark.parametrize(
    ("last", "where"),
    [(0.55, "at 20.0 and at 59.0 % sparsity, by 5.0 to 6.0 points"),
     (0.50, "at 20.0 % sparsity, by 6.0 points")],
)  # fmt: skip
def test_sentences_say_who_is_better_where(tmp_path: Path, last: float, where: str) -> None:
    """By hand: of 1000 weights 1000, 800, 640, 512 and 410 are left, and seeds move both alike."""
    for seed in range(5):
        for chain, curve in (((), ONE), ([L2], (*OTHER[:4], last))):
            values = [value + seed / 1000 for value in curve]
            write_run(tmp_path, config(seed, chain), values, images=1000)
    one, other = (methods_of(_runs(tmp_path, which))[0] for which in (False, True))
    along, selected = sentences(compare(one, other))
    assert along == (
        f"{one.label} is higher from 36.0 to 48.8 % sparsity, by 5.0 to 13.0 points; "
        f"{other.label} is higher {where}; elsewhere the two are not told apart."
    )
    assert selected.startswith(
        f"Selected models: {one.label} is better by 5.0 points (75.2 against 70.2 %, over 5 seeds;"
    )


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_a_figure_is_drawn_and_repeats(tmp_path: Path, command: Command, suffix: str) -> None:
    write(tmp_path / "runs", 2)
    for name in "ab":
        words = ("magnitude", "magnitude + l2:0.001", "-o", f"{name}.{suffix}")
        assert command("compare", *words)[0] == 0
    assert Path(f"a.{suffix}").read_bytes() == Path(f"b.{suffix}").read_bytes()
    assert command("compare", "magnitude", "magnitude + l2:0.001", "-o", "a.gif")[0] == 2


@pytest.mark.parametrize("words", [("compare", "magnitude", "magnitude + l2:0.001"), ("plot", "*")])
def test_it_needs_no_torch(tmp_path: Path, words: tuple[str, ...]) -> None:
    write(tmp_path / "runs", 2)
    code = (
        "import sys; from dsd_bench.cli.main import call\n"
        f"code = call({[*words, '-o', 'a.svg']!r})\nprint(code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False"
