"""Rows held against their runs, and against the same seeds run again."""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import scipy.stats
from board_runs import code, config, part, plan, write_run
from board_runs import code as code_of
from fakes import TINY
from forging import forge

from dsd_bench.boards import verified
from dsd_bench.boards.agreement import (
    ALARM,
    FIGURES,
    again,
    deviation,
    first_difference,
    judge,
    scatter,
)
from dsd_bench.boards.check import check, write
from dsd_bench.boards.files import encode, parse, read_row
from dsd_bench.boards.reruns import configurations, seed_of
from dsd_bench.boards.rows import submit
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError

CURVE = (0.70, 0.60, 0.65, 0.75, 0.50)
RUN = tuple(
    word for key, value in TINY.items() for word in (f"--{key.replace('_', '-')}", str(value))
)
RUN = (*RUN, "--rounds", "2", "--epochs", "2", "--executor", "inline")


@pytest.fixture
def make(tmp_path):
    return functools.partial(write_run, tmp_path / "runs")


def curve(seed: int, noise: float = 0.02, again: int = 0):
    """Return a curve of 1000 images whose best round is the fourth."""
    draw = numpy.random.default_rng([seed, again])
    return tuple(numpy.array(CURVE) + draw.normal(0, noise, 5) + (0, 0, 0, 0.05, 0))


def row_and_reruns(make, tmp_path, seeds=6, noise=0.02, chip="AVX512"):
    """Return a row's file and reruns of its seeds on another chip, whose curves are other ones."""
    runs = [make(config(seed), curve(seed), images=1000) for seed in range(seeds)]
    (path,) = submit(runs, tmp_path / "boards")
    others = [
        write_run(
            tmp_path / "again", config(seed), curve(seed, noise, 1), images=1000,
            plan=[plan(chip=chip)],
        )
        for seed in range(seeds)
    ]  # fmt: skip
    return path, [seed_of(run) for run in others]


def judged(path, reruns):
    row = read_row(path)
    return judge(row, [again(row.seeds[place], one) for place, one in enumerate(reruns)])


# -- the test of two figures


def test_without_a_prior_it_is_students_test():
    draw = numpy.random.default_rng(0)
    for mean in (0.0, 0.01, 0.03):
        values = list(draw.normal(mean, 0.02, 7))
        found = deviation(values, None, 0)
        assert found is not None
        wanted = scipy.stats.ttest_1samp(values, 0.0)
        assert found.mean == pytest.approx(numpy.mean(values))
        assert found.contradicts == (wanted.pvalue < ALARM / len(FIGURES))
        interval = wanted.confidence_interval(1 - ALARM / len(FIGURES))
        assert found.limit == pytest.approx((interval.high - interval.low) / 2)


def test_with_a_prior_variances_are_pooled_by_their_degrees_of_freedom():
    values, prior, freedom = [0.01, 0.04, -0.02], 0.05, 5
    found = deviation(values, prior, freedom)
    assert found is not None
    pooled = (5 * prior**2 + 2 * numpy.var(values, ddof=1)) / 7
    limit = scipy.stats.t(7).ppf(1 - ALARM / 2 / len(FIGURES)) * math.sqrt(pooled / 3)
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize("seeds", [2, 6])
def test_what_it_says_it_catches_it_catches(seeds):
    draw, moves, freedom = numpy.random.default_rng(0), 0.02, 5
    missed = alarms = 0
    for _ in range(3000):
        # a prior as five degrees of freedom of the same deviation would give it
        prior = moves * math.sqrt(draw.chisquare(freedom) / freedom)
        values = draw.normal(0, moves, seeds)
        honest = deviation(list(values), prior, freedom)
        assert honest is not None
        alarms += honest.contradicts
        forged = deviation(list(values + honest.catches), prior, freedom)
        assert forged is not None
        missed += not forged.contradicts
    assert alarms / 3000 <= 1.5 * ALARM / len(FIGURES)
    assert missed / 3000 <= 0.06


@pytest.mark.parametrize(
    ("values", "prior", "freedom"), [([], 0.1, 5), ([0.1], None, 0), ([0.1, 0.2], 0.1, 1)]
)
def test_too_little_is_known(values, prior, freedom):
    assert deviation(values, prior, freedom) is None


def test_the_seeds_bound_how_far_figures_move(make, tmp_path):
    path, _ = row_and_reruns(make, tmp_path)
    row = read_row(path)
    table = numpy.array([entry.rounds.test_accuracy for entry in row.seeds])
    chosen = sorted({entry.best_round for entry in row.seeds})
    found = scatter(row)
    assert found["curve"] == pytest.approx(math.sqrt(2) * table.mean(axis=1).std(ddof=1))
    within = table[:, chosen].var(axis=0, ddof=1).mean()
    assert found["selected"] == pytest.approx(math.sqrt(2 * within))


# -- verdicts


def test_the_same_numbers_are_the_same(make, tmp_path):
    runs = [make(config(seed), curve(seed), images=1000) for seed in range(2)]
    (path,) = submit(runs, tmp_path / "boards")
    found = judged(path, [seed_of(run) for run in runs])
    assert (found.verdict, found.seeds) == ("same", (0, 1))


def test_one_image_under_the_same_conditions_is_caught(make, tmp_path):
    runs = [make(config(seed), curve(seed), images=1000) for seed in range(2)]
    (path,) = submit(runs, tmp_path / "boards")
    forge(path, 1, [read_row(path).seeds[1].best_round])
    found = judged(path, [seed_of(run) for run in runs])
    assert found.verdict == "contradicted"
    assert "test" in found.why


def test_an_honest_row_agrees_and_a_raised_one_does_not(make, tmp_path):
    path, reruns = row_and_reruns(make, tmp_path)
    honest = judged(path, reruns)
    assert honest.verdict == "agrees"
    assert honest.catches is not None
    assert 0.02 < honest.catches < 0.1
    forge(path, round(1000 * honest.catches) + 20)
    assert judged(path, reruns).verdict == "contradicted"


def test_lowering_a_rivals_row_is_caught_as_well(make, tmp_path):
    path, reruns = row_and_reruns(make, tmp_path)
    low = [
        write_run(
            tmp_path / "high", config(one.seed), [value + 0.1 for value in curve(one.seed)],
            images=1000, plan=[plan(chip="AVX512")],
        )
        for one in reruns
    ]  # fmt: skip
    found = judged(path, [seed_of(run) for run in low])
    assert found.verdict == "contradicted"
    assert "below" in found.why


def test_two_seeds_cannot_tell(make, tmp_path):
    path, reruns = row_and_reruns(make, tmp_path, seeds=2)
    assert judged(path, reruns).verdict == "undecided"


@pytest.mark.parametrize(("lost", "verdict"), [(0.003, "agrees"), (0.05, "contradicted")])
def test_seeds_that_are_all_alike_do_not_make_three_images_false(make, tmp_path, lost, verdict):
    runs = [make(config(seed), (0.9, 0.95, 1.0, 0.9, 0.8), images=1000) for seed in range(6)]
    (path,) = submit(runs, tmp_path / "boards")
    other = write_run(
        tmp_path / "again", config(0), (0.9, 0.95, 1.0 - lost, 0.9, 0.8), images=1000,
        plan=[plan(chip="AVX512")],
    )  # fmt: skip
    assert judged(path, [seed_of(other)]).verdict == verdict


def test_other_plugin_code_is_another_condition(make, tmp_path):
    run = make(config(0), curve(0), images=1000, provenance=[code(**{"dsd-bench-x": "a"})])
    other = write_run(
        tmp_path / "again", config(0), curve(0, again=1), images=1000,
        provenance=[code(**{"dsd-bench-x": "b"})],
    )  # fmt: skip
    found = again(seed_of(run), seed_of(other))
    assert found.difference is not None
    assert any("plugins" in text for text in found.unlike)


@pytest.mark.parametrize("key", ["best_round", "stopped_by", "rounds.entropy.2"])
def test_the_first_difference_is_named(make, tmp_path, key):
    entry = seed_of(make(config(0), curve(0), images=1000))
    changed = json.loads(entry.model_dump_json())
    at = changed
    *places, last = key.split(".")
    for place in places:
        at = at[place]
    at[int(last) if last.isdigit() else last] = 0.5 if "." in key else "2" if "by" in key else 1
    other = type(entry).model_validate(changed)
    assert str(first_difference(entry, other)).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda told: told["samples"].update(train=7), "samples.train: 7"),
        (lambda told: told["samples"].update(noisy=7), "samples.noisy: 7"),
        (lambda told: told.update(layers=7), "layers: 7"),
        (lambda told: told["rounds"]["nonzero"].__setitem__(0, 7), "rounds.nonzero.0: 7"),
    ],
)
def test_what_no_conditions_move_contradicts_under_any(make, tmp_path, change, key):
    path, reruns = row_and_reruns(make, tmp_path)
    row = read_row(path)
    told = json.loads(row.seeds[0].model_dump_json())
    told["rounds"]["train_loss"][0] += 1
    change(told)
    found = again(type(reruns[0]).model_validate(told), reruns[0])
    assert found.unlike
    outcome = judge(row, [found])
    assert outcome.verdict == "contradicted"
    assert key in outcome.why
    plugin = type(found)(found.seed, [*found.unlike, "plugins: 1, not 2"], found.difference, CURVE)
    assert judge(row, [plugin]).verdict != "contradicted"  # another model, maybe


# -- outcome files


@pytest.fixture
def outcome(make, tmp_path):
    """Return a row's file and that of its outcome."""
    path, reruns = row_and_reruns(make, tmp_path)
    row = read_row(path)
    told = [verified.rerun(row.seeds[place], one) for place, one in enumerate(reruns)]
    return path, verified.write(path, row, told)


def test_an_outcome_is_shown_on_the_board(outcome, tmp_path):
    path, _ = outcome
    row = read_row(path)
    found = verified.outcome(row, verified.read(outcome[1], row))
    write(tmp_path / "boards")
    board = (path.parent.parent / "README.md").read_text()
    assert f"| 6:\u00a0within\u00a0{100 * found.catches:.1f} |" in board
    assert check(tmp_path / "boards") == []


def test_seeds_come_together_and_a_later_rerun_replaces(outcome):
    path, told = outcome
    row = read_row(path)
    before = verified.read(told, row)
    first = before.seeds[0].model_copy(
        update={"difference": None, "test_accuracy": row.seeds[0].rounds.test_accuracy}
    )
    verified.write(path, row, [first])
    after = verified.read(told, row)
    assert [one.seed for one in after.seeds] == list(range(6))
    assert after.seeds[0].difference is None
    assert list(after.seeds)[1:] == list(before.seeds)[1:]


def test_a_row_that_changed_has_no_outcome_any_more(make, outcome, tmp_path):
    told = outcome[1]
    submit([make(config(7), curve(7), images=1000)], tmp_path / "boards")
    assert not told.exists()


def test_submitting_the_same_row_again_leaves_its_outcome(make, outcome, tmp_path):
    submit([make(config(0), curve(0), images=1000)], tmp_path / "boards")
    assert outcome[1].exists()


def test_an_outcome_of_another_row_is_refused(outcome, tmp_path):
    forge(outcome[0], 1)
    assert "has changed since" in " ".join(check(tmp_path / "boards"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda told: told.update(extra=1), "extra"),
        (lambda told: told.update(schema=2), "schema"),
        (lambda told: told["seeds"].reverse(), "ascending"),
        (lambda told: told["seeds"][0].update(seed=77), "ascending"),
        (lambda told: told["seeds"][0].update(run_id="0" * 16), "run_id"),
        (lambda told: told["seeds"][0].update(run_id="../../x"), "run_id"),
        (lambda told: told["seeds"][0].update(difference=None), "difference"),
        (lambda told: told["seeds"][0].update(difference="x" * 400), "difference"),
        (lambda told: told["seeds"][0]["test_accuracy"].__setitem__(0, 0.12345), "test_accuracy.0"),
        (lambda told: told["seeds"][0]["test_accuracy"].__setitem__(0, 1.5), "test_accuracy.0"),
        (lambda told: told["seeds"][0].update(test_accuracy=[]), "test_accuracy"),
        (lambda told: told["seeds"][0].update(plan=[]), "plan"),
        (lambda told: told["seeds"][0].update(plan=told["seeds"][0]["plan"] * 101), "plan"),
        (lambda told: told["seeds"][0].update(difference="x\x1b[2J"), "difference: holds a contr"),
        (lambda told: told["seeds"][0].update(difference="a | <b>"), "difference: 'a | <b>' is no"),
        (
            lambda told: told["seeds"][0]["hardware"].update(cpu="<b>x"),
            "hardware.cpu: '<b>x' is no",
        ),
        (lambda told: told["seeds"][0]["hardware"].update({"x" * 101: 1}), "hardware: 'xxx"),
        (lambda told: told["seeds"][0]["versions"].update(a="\u202e"), "versions.a: holds a contr"),
        (
            lambda told: told["seeds"][0]["plan"][0].update(x={"a": [[[[1]]]]}),
            "plan.0.x.a.0.0: more",
        ),
        (lambda told: told["seeds"][0]["code"][0]["versions"].update(a="a|b"), "code.0.versions.a"),
        (lambda told: told["seeds"][0].update(code="x"), "code"),
        (lambda told: told.update(seeds=[]), "seeds"),
        (lambda told: told.update(row="0"), "row"),
    ],
)
def test_a_wrong_outcome_file_is_refused(outcome, tmp_path, change, key):
    path = outcome[1]
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    problems = " ".join(check(tmp_path / "boards"))
    assert key in problems
    assert str(path) in problems


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '{"a": NaN}'])
def test_an_outcome_file_that_is_none_is_refused(outcome, tmp_path, text):
    outcome[1].write_text(text)
    assert str(outcome[1]) in " ".join(check(tmp_path / "boards"))


def test_an_outcome_file_that_is_none_is_not_gone_on_with(outcome):
    path, told = outcome
    told.write_text("{")
    with pytest.raises(UsageError, match=f"{told.name}: not JSON"):
        verified.write(path, read_row(path), [])


def test_a_folder_of_outcomes_that_is_a_link_is_not_followed(make, outcome, tmp_path):
    told = outcome[1]
    elsewhere = tmp_path / "elsewhere"
    told.parent.rename(elsewhere)
    told.parent.symlink_to(elsewhere)
    problems = " ".join(check(tmp_path / "boards"))
    assert f"{told.parent}: is a link, which is not followed" in problems
    with pytest.raises(UsageError, match="is a link, which is not followed"):
        submit([make(config(7), curve(7), images=1000)], tmp_path / "boards")
    assert (elsewhere / told.name).exists()


def test_a_row_of_the_first_schema_has_no_outcome(outcome, tmp_path):
    path, told = outcome
    row = json.loads(path.read_text())
    later = ("samples", "layers", "correct", "code")
    seeds = [{k: v for k, v in entry.items() if k not in later} for entry in row["seeds"]]
    old = {"schema": 1, "track": row["track"], "method": row["method"], "seeds": seeds}
    path.write_text(json.dumps(old, sort_keys=True, indent=1) + "\n")
    problems = " ".join(check(tmp_path / "boards"))
    assert f"{told}: nobody can run a row of schema 1 again" in problems


def test_folders_as_deep_as_they_can_be_do_not_end_the_check(outcome, tmp_path):
    write(tmp_path / "boards")
    here, handle = Path.cwd(), tmp_path / "boards"
    os.chdir(handle)
    try:
        for _ in range(1500):
            os.mkdir("a")
            os.chdir("a")
    finally:
        os.chdir(here)
    assert check(tmp_path / "boards") == []
    subprocess.run(["rm", "-r", str(tmp_path / "boards" / "a")], check=True)


def test_a_file_s_name_cannot_say_another_line(command, outcome, tmp_path):
    (outcome[0].parent / "a\nall is well.json").write_text("{")
    _, _, err = command("leaderboard", "--check", "--dir", str(tmp_path / "boards"))
    assert "\n  all is well.json: not JSON" in err
    assert "\nall is well" not in err


def test_other_whitespace_a_link_and_a_stray_are_refused(outcome, tmp_path):
    path = outcome[1]
    text = path.read_text()
    path.write_text(text.replace("\n", "\n "))
    assert "not as `dsd-bench verify` writes it" in " ".join(check(tmp_path / "boards"))
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "link" in " ".join(check(tmp_path / "boards"))
    path.unlink()
    (path.parent / "other.json").write_text(text)
    assert "no such row" in " ".join(check(tmp_path / "boards"))


def test_an_outcome_is_not_written_through_a_link(outcome, tmp_path):
    path, told = outcome
    row, text = read_row(path), told.read_bytes()
    reruns = verified.read(told, row).seeds
    outside = told.parent.rename(tmp_path / "outside")
    told.parent.symlink_to(outside)
    with pytest.raises(UsageError, match=r"verified: is a link, which is not followed"):
        verified.write(path, row, reruns[:1])
    assert [one.read_bytes() for one in outside.iterdir()] == [text]


# -- what is run again


def test_configurations_have_the_rows_ids(make, tmp_path):
    path, _ = row_and_reruns(make, tmp_path, seeds=3)
    row = read_row(path)
    found = configurations(row, [2, 0])
    assert [one.run_id for one in found] == [row.seeds[2].run_id, row.seeds[0].run_id]
    with pytest.raises(UsageError, match="no seed 5"):
        configurations(row, [5])


def test_calibration_errors_are_measured_again(make, tmp_path):
    path, _ = row_and_reruns(make, tmp_path, seeds=2)
    row = read_row(path)
    told = {"ece": "ece", "ece+bins-9": "ece:bins=9", "ece+5e5e5e5e": None, "ece+bins-x": None}
    for key, word in told.items():
        ece = {"metric": key, "test": [0.1] * len(CURVE)}
        value = json.loads(encode(row))
        value["seeds"][0]["ece"] = ece
        one, other = configurations(parse(value, "row"), [0, 1])
        assert one.metrics == ((word,) if word else ())
        assert other.metrics == ()
        assert one.run_id == row.seeds[0].run_id


def test_a_data_set_with_a_place_is_told_where_it_lies(tmp_path, folder):
    from dsd_bench import configure

    whole = configure(dataset=f"imagefolder:path={folder}", **{"model": "mlp:hidden=8"})
    run = write_run(tmp_path / "runs", whole, CURVE[:2], stopped_by="nothing-left")
    (path,) = submit([run], tmp_path / "boards")
    assert str(folder) not in path.read_text()
    row = read_row(path)
    (found,) = configurations(row, [0], dataset=f"imagefolder:path={folder}")
    assert found.dataset.params["path"] == whole.dataset.params["path"]
    assert found.run_id == whole.run_id
    with pytest.raises(UsageError, match="the row is of imagefolder"):
        configurations(row, [0], dataset="digits")


# -- the command


@pytest.fixture
def board(command):
    """Run two seeds and submit them; return the row's path."""
    assert command("run", *RUN, "--seeds", "0-1")[0] == 0
    runs = sorted(str(path) for path in Path("runs").iterdir() if (path / "result.json").exists())
    code, out, _ = command("submit", *runs)
    assert code == 0
    return out.strip()


def test_a_row_is_recomputed_from_its_runs(command, board):
    code, out, _ = command("verify", board)
    assert code == 0
    assert "what 2 of 2 runs in their folders give" in " ".join(out.split())
    forge(Path(board), 1)
    code, out, _ = command("verify", board, "--json")
    assert code == 1
    told = json.loads(out)["rows"][0]
    assert all("test" in run["difference"] for run in told["runs"])
    assert command("verify", "leaderboards")[0] == 1


def test_runs_of_the_same_ids_from_elsewhere_do_not_make_a_row_false(command, make, tmp_path):
    """Whoever ran the default on another processor has the ids of the row, and other numbers."""
    path, _ = row_and_reruns(make, tmp_path)
    code, out, _ = command("verify", str(path), "--runs-dir", str(tmp_path / "again"), "--json")
    assert code == 0
    (told,) = json.loads(out)["rows"]
    assert [one["unlike"] for one in told["runs"]] == [['chip: "AVX512", not "AVX2"']] * 6
    assert all(one["difference"] for one in told["runs"])
    assert told["elsewhere"]["verdict"] == "agrees"
    assert told["elsewhere"]["seeds"] == list(range(6))
    code, out, _ = command("verify", str(path), "--runs-dir", str(tmp_path / "again"))
    assert code == 0
    said = " ".join(out.split())
    assert (
        'agrees (runs here under other conditions (chip: "AVX512", not "AVX2"): seed 0, 1' in said
    )
    assert "FALSE" not in said
    assert "in their folders" not in said


def test_a_raised_row_is_false_by_runs_from_elsewhere(command, make, tmp_path):
    path, _ = row_and_reruns(make, tmp_path)
    forge(path, 80)
    code, out, _ = command("verify", str(path), "--runs-dir", str(tmp_path / "again"))
    assert code == 1
    assert 'FALSE (runs here under other conditions (chip: "AVX512", not "AVX2"): seed 0' in out
    assert "1 row: 1 false" in out


def test_the_same_numbers_from_elsewhere_are_the_row_s(command, make, tmp_path):
    runs = [make(config(seed), curve(seed), images=1000) for seed in range(2)]
    (path,) = submit(runs, tmp_path / "boards")
    for seed in range(2):
        where = tmp_path / "again"
        write_run(where, config(seed), curve(seed), images=1000, plan=[plan(chip="AVX512")])
    code, out, _ = command("verify", str(path), "--runs-dir", str(tmp_path / "again"))
    assert code == 0
    assert "what 2 of 2 runs in their folders give" in out


def test_one_seed_of_the_same_conditions_is_enough_beside_others(command, make, tmp_path):
    path, _ = row_and_reruns(make, tmp_path)
    write_run(tmp_path / "again", config(7), curve(7), images=1000)
    shutil.rmtree(tmp_path / "again" / config(2).run_id)
    write_run(tmp_path / "again", config(2), curve(2, 0.02, 1), images=1000)
    code, out, _ = command("verify", str(path), "--runs-dir", str(tmp_path / "again"))
    assert code == 1
    assert f"FALSE: run {config(2).run_id} is another than the row says" in " ".join(out.split())
    assert "agrees (runs here under other conditions" in out


def test_seeds_are_run_again_from_the_row_alone(command, board):
    write(Path("leaderboards"))
    code, out, err = command("verify", board, "--rerun", "1", "--runs-dir", "none", *RUN[-2:])
    assert code == 0, err
    assert "same (run again: seed" in out
    assert "dsd-bench leaderboard" in err
    assert command("leaderboard", "--check")[0] == 1
    assert command("leaderboard")[0] == 0
    assert "| 1:\u00a0same |" in Path(board).parent.parent.joinpath("README.md").read_text()
    assert command("leaderboard", "--check")[0] == 0
    code, out, _ = command("verify", board, "--seeds", "0-1", "--json", *RUN[-2:])
    assert json.loads(out)["rows"][0]["outcome"]["seeds"] == [0, 1]


def test_a_forged_row_is_caught_by_one_image(command, board):
    forge(Path(board), 1, [0])
    code, out, _ = command(
        "verify", board, "--seeds", "0", "--runs-dir", "none", "--json", *RUN[-2:]
    )
    assert code == 1
    told = json.loads(out)["rows"][0]["outcome"]
    assert told["verdict"] == "contradicted"
    assert "under the same conditions seed 0 differs" in told["why"]
    command("leaderboard")
    assert "**false**" in Path(board).parent.parent.joinpath("README.md").read_text()


def test_a_calibration_error_made_smaller_is_caught(command):
    assert command("run", *RUN, "--seeds", "0", "--metric", "ece:bins=9")[0] == 0
    runs = [str(path) for path in Path("runs").iterdir() if (path / "result.json").exists()]
    path = Path(command("submit", *runs)[1].strip())
    words = ("verify", str(path), "--seeds", "0", "--runs-dir", "none", "--json", *RUN[-2:])
    assert command(*words)[0] == 0
    value = json.loads(path.read_text())
    value["seeds"][0]["ece"]["test"][1] /= 2
    path.write_text(encode(parse(value, "forged")))
    code, out, _ = command(*words)
    assert code == 1
    assert "differs: ece.test.1" in json.loads(out)["rows"][0]["outcome"]["why"]


def test_a_budget_stops_and_the_same_command_goes_on(command, board):
    words = ("verify", board, "--seeds", "0-1", "--runs-dir", "none", *RUN[-2:])
    code, _, err = command(*words, "--budget", "0.001s")
    assert code == 130
    assert "interrupted; the same command resumes where it stopped" in err
    code, out, _ = command(*words, "--budget", "1h")
    assert code == 0
    assert "same (run again: seed 0, 1)" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nor is it a row file or a board's folder"),
        (("ROW", "--rerun", "1", "--seeds", "0"), "not both"),
        (("ROW", "--seeds", "9"), "no seed 9"),
        (("ROW", "--rerun", "1", "--rerun-dir", "runs"), "--rerun-dir is --runs-dir"),
        (("ROW", "--rerun", "1", "--dataset", "cifar10"), "the row is of digits"),
        (("ROW", "--rerun", "1", "--weights", "x"), "begin from no given weights"),
        (("ROW", "--rerun", "1", "--budget", "soon"), "write 90s, 30m, 2h or 1d"),
        (("ROW", "--rerun", "1", "--budget", "-1h"), "write 90s, 30m, 2h or 1d"),
        (("runs",), "no rows lie in it"),
        (("runs/x.json",), "nor is it a row file"),
    ],
)
def test_bad_input_is_said_in_one_message(command, board, words, said):
    code, _, err = command("verify", *(board if word == "ROW" else word for word in words))
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_a_component_that_is_not_installed_is_named(command, tmp_path):
    magic = config(0, pruner=part("magic", power=1.0), updater=part("wand"))
    run = write_run(tmp_path / "runs", magic, provenance=[code_of(**{"dsd-bench-magic": "a"})])
    (path,) = submit([run], tmp_path / "leaderboards")
    code, _, err = command("verify", str(path), "--rerun", "1", "--runs-dir", "none")
    assert code == 2
    said = " ".join(err.split())
    assert f"{path.name}: the row needs pruner 'magic' and updater 'wand'" in said
    assert "it was made with dsd-bench-magic" in said


def test_data_that_changed_since_are_named(command, board):
    row = json.loads(Path(board).read_text())
    whole = RunConfig.model_validate({**row["config"], "fingerprint": "sha256:0123"})
    run = write_run(Path("other"), whole, CURVE[:2], stopped_by="nothing-left")
    (path,) = submit([run], Path("others"))
    code, _, err = command("verify", str(path), "--rerun", "1", "--runs-dir", "none", *RUN[-2:])
    assert code != 0
    assert "sha256:0123" in err or "fingerprint" in err or "data" in err


@pytest.mark.slow
def test_five_points_are_caught_across_instruction_sets(tmp_path):
    """Six seeds of the embedded experiment under AVX2, from the row of the repository's board."""
    boards = Path(__file__).parent.parent / "leaderboards"
    source = next(boards.glob("digits-*/rows/magnitude-label-smoothing-*.json"))
    path = tmp_path / source.parent.parent.name / "rows" / source.name
    path.parent.mkdir(parents=True)
    path.write_text(source.read_text())
    forge(path, round(0.05 * 597))
    chip = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    words = [
        "verify",
        str(path),
        "--seeds",
        "0-5",
        "--json",
        "--rerun-dir",
        str(tmp_path / "again"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "dsd_bench", *words],
        env={**os.environ, **chip}, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(done.stdout)["rows"][0]["outcome"]["verdict"] == "contradicted", done.stderr
