"""Suites: from a file to cells and runs, and from finished runs to tables and plots."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsd_bench.costs.paper import APPENDIX_E
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.store.runs import load_run
from dsd_bench.suites.cells import cells
from dsd_bench.suites.quantities import QUANTITIES
from dsd_bench.suites.schema import Suite, find_suite, known_suites, read_suite
from dsd_bench.suites.tables import reported

Command = Callable[..., tuple[int, str, str]]

HEAD = """
title = "A title"
question = "A question?"
source = "a source"

[options]
dataset = "digits:train_size=60,val_size=30"
model = "mlp:hidden=8"
batch_size = 20
rounds = 2
epochs = 2

[scale.small]
seeds = "0-1"
"""
METHODS = """
[[grid.method]]
label = "vanilla"

[[grid.method]]
label = "distilled"
reg = ["kd:teacher=dense"]
"""
NOISE = """
[grid]
noise = ["symmetric:rate=0.2", "none"]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Callable[[str], Path]:
    """Write a suite file into ``benchmarks/``, where the commands run."""

    def write(body: str, name: str = "mine") -> Path:
        path = tmp_path / "benchmarks" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEAD + body)
        return path

    return write


def of(suite: Callable[[str], Path], body: str) -> Suite:
    return read_suite(suite(body))


# -- the grid


def test_every_combination_is_a_cell_with_a_run_for_each_seed(suite: Any) -> None:
    made = cells(of(suite, NOISE + METHODS), "small")
    names = [cell.name for cell in made]
    assert names == [
        "symmetric:rate=0.2 / vanilla",
        "symmetric:rate=0.2 / distilled",
        "none / vanilla",
        "none / distilled",
    ]
    assert [config.seed for config in made[1].configs] == [0, 1]
    assert made[1].configs[0].noise.name == "symmetric"
    assert [r.name for r in made[1].configs[0].regularizers] == ["kd"]
    assert made[2].configs[0].noise.name == "none"


def test_options_that_go_together_change_together(suite: Any) -> None:
    body = """
[[grid.size]]
label = "slow"
lr = 0.1
retrain_lr_scale = 0.5
[[grid.size]]
label = "fast"
lr = 1.0
"""
    slow, fast = (cell.configs[0].protocol for cell in cells(of(suite, body), "small"))
    assert (slow.lr, slow.retrain_lr_scale) == (0.1, 0.5)
    assert (fast.lr, fast.retrain_lr_scale) == (1.0, 1.0)


def test_a_scale_replaces_an_axis(suite: Any) -> None:
    body = METHODS + '\n[scale.paper.grid]\nmethod = [{ label = "only this" }]\n'
    assert len(cells(of(suite, body), "small")) == 2
    assert [cell.name for cell in cells(of(suite, body), "paper")] == ["only this"]


def test_only_and_seeds_choose(suite: Any) -> None:
    made = of(suite, NOISE + METHODS)
    chosen = cells(made, "small", only=["dist*"], seeds="7")
    assert [cell.name for cell in chosen] == ["symmetric:rate=0.2 / distilled", "none / distilled"]
    assert [config.seed for config in chosen[0].configs] == [7]
    with pytest.raises(UsageError, match="no cell matches"):
        cells(made, "small", only=["nothing"])


def test_words_on_teachers_are_for_cells_that_have_one(suite: Any) -> None:
    body = METHODS + '\n[scale.small.options]\nteacher = { model = "mlp:hidden=16" }\n'
    vanilla, distilled = (cell.configs[0] for cell in cells(of(suite, body), "small"))
    assert vanilla.regularizers == ()
    teacher = distilled.regularizers[0].teacher
    assert teacher is not None
    assert teacher.config.model.params == {"hidden": "16"}


def test_a_cell_can_teach_another(suite: Any) -> None:
    body = METHODS + '\n[[grid.method]]\nlabel = "grandchild"\nreg = "kd"\nteacher = "distilled"\n'
    _, distilled, grandchild = cells(of(suite, body), "small")
    for parent, child in zip(distilled.configs, grandchild.configs):
        assert child.regularizers[0].teacher is not None
        assert child.regularizers[0].teacher.run_id == parent.run_id


# -- bad files


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("nonsense = 1\n[scale.small]", "Cannot declare|unknown key|overwrite"),
        ("[grid]\nnoise = []", "grid.noise: the axis is empty"),
        ("[grid]\ncolour = ['red']", "says no option"),
        ("[[grid.method]]\nlabel = 'a'\nlearning_rate = 1", "unknown option 'learning_rate'"),
        ("[[grid.method]]\nlr = 1.0", "no label"),
        ("[[grid.m]]\nlabel='a'\n[[grid.m]]\nlabel='a'", "given twice"),
        ("[plot]\npanels = ['colour']", "'colour' is no axis"),
        ("[table]\ncolumns = ['beauty']", "no quantity 'beauty'"),
        ("[table]\ncolums = ['dense']", "unknown key 'table.colums'; did you mean 'columns'"),
        ("[[reported]]\nmethods = 'a'\nbest = 1.0", "neither an axis nor a quantity"),
        ("[[grid.m]]\nlabel='a'\n[[reported]]\nm = 'b'\nbest = 1.0", "m has no entry 'b'"),
        ("[scale.big]", "scale.big"),
        ("= 3", "Invalid"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(suite: Any, body: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_suite(suite(body))
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[plot]\nrows = []", "plot.rows"),
        ('[[grid.method]]\nlabel = "a"\nseeds = "3"', "seeds are said once for a scale"),
        ('[[grid.method]]\nlabel = "a"\nruns_dir = "x"', "runs_dir is the command's to say"),
        ('[[reported]]\nmacs = "x"', "macs = 'x' must be a number"),
        ("[grid]\nrounds = [1, 2]\n[[reported]]\nrounds = 1\nbest = 3.0", "must be a text"),
    ],
)
def test_values_that_could_not_be_shown_are_refused(suite: Any, body: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_suite(suite(body))


def test_a_path_that_is_too_long_is_no_suite() -> None:
    with pytest.raises(UsageError, match="too long"):
        find_suite("a" * 300)


def test_an_unknown_key_at_the_top(suite: Any) -> None:
    path = suite(METHODS)
    path.write_text("titel = 'x'\n" + path.read_text())
    with pytest.raises(UsageError, match="unknown key 'titel'; did you mean 'title'"):
        read_suite(path)


def test_teachers_in_a_cycle(suite: Any) -> None:
    body = """
[[grid.method]]
label = "a"
reg = ["kd"]
teacher = "b"
[[grid.method]]
label = "b"
reg = ["kd"]
teacher = "a"
"""
    with pytest.raises(UsageError, match=r"^teachers in a cycle: a -> b -> a$"):
        cells(of(suite, body), "small")


def test_wrong_values_name_the_cell(suite: Any) -> None:
    made = of(suite, '[grid]\npruner = ["magnitude", "magnitud"]')
    with pytest.raises(UsageError, match=r"cell 'magnitud'.*did you mean 'magnitude'"):
        cells(made, "small")
    with pytest.raises(UsageError, match="no scale 'paper'; it has small"):
        cells(made, "paper")


def test_an_unknown_suite_lists_those_there_are(command: Command, suite: Any) -> None:
    suite(METHODS)
    code, _, err = command("sweep", "mein", "--dry-run")
    assert code == 2
    assert "did you mean 'mine'" in err
    assert find_suite("mine").name == "mine.toml"


# -- the commands


def test_a_dry_run_tells_and_makes_nothing(command: Command, suite: Any, tmp_path: Path) -> None:
    suite(METHODS)
    code, out, err = command("sweep", "mine", "--dry-run")
    assert code == 0, err
    assert "4 runs: 0 finished, 4 to run (0 teachers among them)" in out
    assert not (tmp_path / "runs").exists()


def test_runs_that_share_a_curve_are_told_and_priced_once(command: Command, suite: Any) -> None:
    suite('[grid]\nchoose = ["best"]')
    alone = command("sweep", "mine", "--dry-run")[1]
    assert "share" not in alone
    suite('[grid]\nchoose = ["best", "one-se", "max-drop"]')
    shared = command("sweep", "mine", "--dry-run")[1]
    (runs,) = (line for line in shared.splitlines() if " to run " in line)
    count = int(runs.split()[0])
    assert runs.endswith(f"; they share {count // 3} curve{'s' if count > 3 else ''}")

    def price(text: str) -> str:
        return next(line for line in text.splitlines() if line.startswith("expected: "))

    assert price(shared) == price(alone)


def test_a_dry_run_needs_no_data(command: Command, suite: Any) -> None:
    suite('[grid]\ndataset = ["cifar10"]')
    assert command("sweep", "mine", "--dry-run")[0] == 0
    code, _, err = command("sweep", "mine")
    assert code == 2
    assert "cifar-10-batches-py is missing" in err


def sweep(command: Command, *words: str) -> dict[str, Any]:
    code, out, err = command("sweep", *words, "--json", "--executor", "inline")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def test_sweep_table_and_plot(command: Command, suite: Any, tmp_path: Path) -> None:
    suite(METHODS + '\n[[reported]]\nmethod = "vanilla"\nof = "elsewhere"\ndense = 71.5\n')
    suite(METHODS, "other")
    outcome = sweep(command, "mine", "other")
    assert [run["status"] for run in outcome["runs"]] == ["done"] * 4
    assert outcome["suites"]["mine"] == outcome["suites"]["other"]
    again = sweep(command, "mine")
    assert all(run["reused"] for run in again["runs"])

    code, out, _ = command("table", "mine", "--csv")
    assert code == 0
    first = next(csv.DictReader(io.StringIO(out)))
    vanilla = outcome["suites"]["mine"][0]["runs"]
    dense = [100 * load_run(tmp_path / "runs" / i).rows[0]["test_accuracy"] for i in vanilla]
    assert first["method"] == "vanilla"
    assert float(first["dense test %: mean"]) == pytest.approx(statistics.fmean(dense), rel=1e-5)
    assert float(first["dense test %: std"]) == pytest.approx(statistics.stdev(dense), rel=1e-4)
    assert first["dense test %: reported"] == "71.50 (elsewhere)"
    assert first["n"] == "2"

    code, out, _ = command("table", "mine")
    assert code == 0
    assert out.splitlines()[1].startswith("| --- | --- | ---:")
    assert "71.5 &#40;elsewhere&#41;" in out or "71.50 (elsewhere)" in out

    for name in ("a.svg", "b.svg", "a.png"):
        assert command("plot", "mine", "--output", name)[0] == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    code, _, err = command("plot", "mine", "--output", "a.gif")
    assert code == 2
    assert ".svg" in err


def test_a_table_of_runs_has_a_row_for_each_method(
    command: Command, tiny_run: Any, tmp_path: Path
) -> None:
    tiny_run("--seeds", "0-2")
    tiny_run("--pruner", "random")
    code, out, err = command("table", "runs", "--json")
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert [(row["row"]["method"], row["row"]["n"]) for row in rows] == [
        ("magnitude", "3"),
        ("random", "1"),
    ]
    runs = [load_run(path) for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    dense = [
        100 * r.rows[0]["test_accuracy"] for r in runs if r.config["pruner"]["name"] != "random"
    ]
    found = rows[0]["cells"]["dense test %"]["found"]
    assert found["mean"] == pytest.approx(statistics.fmean(dense))
    assert found["std"] == pytest.approx(statistics.stdev(dense))
    assert list(rows[0]["cells"])[2] == "verdict"

    code, out, _ = command("table", "magnitude", "--columns", "last, trainings", "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert code == 0
    assert [name for name in row if name.endswith(": mean")] == [
        "last test %: mean",
        "trainings: mean",
    ]

    tiny_run("--noise", "symmetric:0.1")
    lines = command("table", "runs")[1].splitlines()
    assert lines[0].startswith("| setting | method | n |")
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs", "--columns", "dens"), "--columns: no quantity 'dens'; did you mean 'dense'"),
        (("runs", "--scale", "cpu"), "--scale: the cells of a suite are chosen by it"),
        (("mine.toml", "--columns", "dense"), "--columns: a suite's table is laid out as its file"),
        (("nothing",), "no run, folder of runs or method 'nothing' in runs"),
    ],
)
def test_a_table_of_something_else_is_refused(
    command: Command, suite: Any, tiny_run: Any, words: tuple[str, ...], said: str
) -> None:
    suite(METHODS)
    tiny_run()
    code, out, err = command("table", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_phases_are_shaded_where_a_panel_has_one_line(
    command: Command, suite: Any, tmp_path: Path
) -> None:
    plot = '\n[plot]\npanels = ["method"]\nrows = ["test_accuracy", "entropy"]\n'
    suite(METHODS + plot, "plain")
    suite(METHODS + plot + "phases = true\n", "shaded")
    sweep(command, "plain", "--seeds", "0")
    for name in ("plain", "shaded"):
        assert command("plot", name, "--seeds", "0")[0] == 0
    plain, shaded = ((tmp_path / f"{name}.svg").read_text() for name in ("plain", "shaded"))
    assert "#d55e00" not in plain  # the star of the best round
    assert shaded.count("#d55e00") >= 2


def test_a_suite_draws_over_the_number_of_weights(
    command: Command, suite: Any, tmp_path: Path
) -> None:
    suite(METHODS + '\n[plot]\nx = "weights"\n')
    suite(METHODS + '\n[plot]\nx = "weights"\nphases = true\n', "shaded")
    sweep(command, "mine", "--seeds", "0")
    assert command("plot", "mine", "--seeds", "0", "-o", "mine.svg")[0] == 0
    assert "weights left" in (tmp_path / "mine.svg").read_text()
    code, _, err = command("plot", "shaded")
    assert code == 2
    assert "plot: phases are drawn over sparsity" in err


def test_calibrating_tells_the_time_of_a_run(
    command: Command, suite: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    suite(METHODS)
    words = ("sweep", "mine", "--seeds", "0", "--dry-run", "--json")
    assert [run["seconds"] for run in json.loads(command(*words)[1])["runs"]] == [None, None]
    told = [run["seconds"] for run in json.loads(command(*words, "--calibrate")[1])["runs"]]
    assert all(0 < seconds < 60 for seconds in told)
    assert "of training one run after another" in command(*words[:-1], "--calibrate")[1]


def test_a_table_of_nothing_says_what_to_run(command: Command, suite: Any) -> None:
    suite(METHODS)
    code, _, err = command("table", "mine")
    assert code == 2
    assert "dsd-bench sweep mine" in err


def test_a_table_of_rounds(command: Command, suite: Any) -> None:
    suite(METHODS + "\n[table]\nrounds = true\n[[reported]]\nround = 1\nlast = 50.5\n")
    sweep(command, "mine", "--seeds", "0")
    code, out, err = command("table", "mine", "--seeds", "0")
    assert code == 0, err
    lines = out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["0", "1", "2"]
    assert "50.5" in lines[3]
    assert "50.5" not in lines[2]


# -- the source's own numbers


def test_reported_numbers_fit_by_their_labels(suite: Any) -> None:
    made = of(suite, NOISE + METHODS).model_copy(
        update={
            "reported": [
                {"method": "vanilla", "data": "CIFAR-10", "best": 70.25, "best_std": 0.5},
                {"method": "vanilla", "data": "CIFAR-100", "best": 40},
                {"method": "distilled", "best": 80.0},
            ]
        }
    )
    labels = {"noise": "none", "method": "vanilla"}
    assert reported(made, "best", labels) == "70.25 ± 0.50 (CIFAR-10); 40.00 (CIFAR-100)"
    assert reported(made, "best", {**labels, "data": "CIFAR-100"}) == "40.00"
    assert reported(made, "dense", labels) == ""


# -- the suites that come with the project


OF_PLUGINS = {
    "rivals": ("regularizer", "label-smoothing"),
    "ratios": ("pruner", "erk"),
}
"""Suites that need a distribution under plugins/, and a component of it."""


@pytest.mark.parametrize("name", sorted(known_suites()))
@pytest.mark.parametrize("scale", ["small", "paper"])
def test_every_suite_of_the_project_resolves(name: str, scale: Any) -> None:
    suite = read_suite(find_suite(name))
    if scale not in suite.scale:
        assert scale == "paper"  # the small one can always be tried
        return
    kind, missing = OF_PLUGINS.get(name, ("pruner", "magnitude"))
    if catalogue().find(kind, missing) is None:
        with pytest.raises(UsageError, match=f"there is no {kind} '{missing}'"):
            cells(suite, scale)
        return
    made = cells(suite, scale)
    assert len(made) > 1
    assert len({cell.configs[0].run_id for cell in made}) == len(made)


def test_the_paper_is_covered() -> None:
    figures = {f"fig{n}" for n in (1, 2, 3, 5, 6, 7, 8)} | {"fig4-depth", "fig4-width"}
    tables = {"table1", "table5", "table14", "appendix-e", "appendix-f", "appendix-g"}
    assert figures | tables | {"he2022"} <= set(known_suites())


def test_the_suites_and_the_ledger_have_copied_the_same_numbers() -> None:
    methods = ("vanilla", "vanilla-stop", "kd-dense", "kd-best")
    suite = read_suite(find_suite("appendix-e"))
    labels = next(axis.labels for axis in suite.axes("paper") if axis.name == "method")
    copied = [
        (
            str(entry["data"]).lower().replace("-", ""),
            float(str(entry["noise"]).split()[0]) / 100,
            methods[labels.index(str(entry["method"]))],
            entry["macs"],
            entry.get("macs_teachers"),
            entry.get("best", entry.get("selected")),
            entry.get("best_std", entry.get("selected_std")),
            entry.get("best_sparsity", entry.get("sparsity")),
        )
        for entry in suite.reported
    ]
    printed = [
        (
            *(row.dataset, row.noise, row.method, row.cost * 1e15),
            None if row.teacher_cost is None else row.teacher_cost * 1e15,
            *(row.accuracy, row.std, row.sparsity),
        )
        for row in APPENDIX_E
    ]
    assert len(copied) == 24
    for one, other in zip(copied, printed):
        assert one[:3] == other[:3]
        assert one[3:] == tuple(None if x is None else pytest.approx(x) for x in other[3:])


def test_a_verdict_says_what_its_dense_net_is_and_which_trainings_are_short(plain: Any) -> None:
    """Two epochs fit few labels; the twin among the other cells counts, not the run itself."""
    verdict = QUANTITIES["verdict"]
    fit = plain.rows[0]["train_accuracy"]
    assert fit < 0.97
    assert f"dense net fits {100 * fit:.0f} %" in verdict.say([plain])

    def taught(perturber: str, **protocol: int) -> Any:
        config = {
            **plain.config,
            "regularizers": [{"name": "kd"}],
            "perturber": {"name": perturber},
            "protocol": plain.config["protocol"] | protocol,
        }
        return dataclasses.replace(plain, config=config)

    assert "dense net" not in verdict.say([taught("none")]), "without a twin it is unknown"
    assert "dense net fits" in verdict.say([taught("none")], [[plain]])
    fitted = [{**row, "train_accuracy": 1.0} for row in plain.rows]
    twin = dataclasses.replace(plain, rows=tuple(fitted))
    assert "dense net" not in verdict.say([taught("none")], [[], [twin]])
    short = verdict.say([taught("rewind", retrain_epochs=1)], [[twin]])
    assert short.endswith(", stopped early")


def test_weights_are_counted_where_a_seed_dips_and_recovers(plain: Any) -> None:
    """The bottom and the best after it are the seed's own; without a dip there are none."""

    def shown(name: str, *accuracies: float) -> Any:
        rows = [
            {**plain.rows[0], "round": place, "test_accuracy": value, "nonzero": 1000 - place}
            for place, value in enumerate(accuracies)
        ]
        quantity = QUANTITIES[name]
        return quantity.of(dataclasses.replace(plain, rows=tuple(rows)))  # type: ignore

    dipping = 0.9, 0.8, 0.5, 0.6, 0.85, 0.85, 0.1
    assert shown("best_weights", *dipping) == 1000
    assert shown("bottom_weights", *dipping) == 998
    assert (shown("sweet", *dipping), shown("sweet_weights", *dipping)) == (0.85, 996)
    for name in ("bottom_weights", "sweet", "sweet_weights"):
        assert shown(name, 0.5, 0.6, 0.6, 0.2) is None
    selected = QUANTITIES["selected_weights"]
    best = plain.result["best_round"]
    assert selected.of(plain) == plain.rows[best]["nonzero"]  # type: ignore
    assert QUANTITIES["best_weights"].say([]) == "–"


def test_tables_and_plots_without_costs_load_without_torch() -> None:
    """It takes a second and more; what it is for, counting models, only columns of costs need."""
    code = (
        "import sys, dsd_bench.cli.suites, dsd_bench.suites.tables, dsd_bench.suites.plots\n"
        "print(*{'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
