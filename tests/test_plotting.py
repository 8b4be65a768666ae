"""``plot RUN...``: which runs words mean, curves that share rounds, what marks and legends say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from board_runs import config, kd, part, stop_rule, write_run
from matplotlib.figure import Figure

from dsd_bench.analysis import mean_curve
from dsd_bench.analysis.events import Event, events, marked, rings
from dsd_bench.analysis.sharing import Stretch, shared_stretches
from dsd_bench.config.naming import distinct_labels
from dsd_bench.errors import suggest
from dsd_bench.figures import compared, curves, figure, look
from dsd_bench.figures.compared import Drawn, Options, draw_compared
from dsd_bench.figures.style import GREYS
from dsd_bench.reports.latex import latex, latex_table

Command = Callable[..., tuple[int, str, str]]
CURVE = (0.70, 0.60, 0.65, 0.75, 0.50)


def rows_of(values: Any) -> list[dict[str, Any]]:
    return [
        {"round": index, "sparsity": 1 - 0.8**index, "test_accuracy": value, "entropy": value}
        for index, value in enumerate(values)
    ]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Write two seeds of three methods: vanilla, its early-stopped twin and a distilled one."""
    folder = tmp_path / "runs"
    for seed in range(2):
        values = [value - 0.02 * seed for value in CURVE]
        write_run(folder, config(seed), values)
        write_run(folder, config(seed, stop=stop_rule("patience", patience=1)), values[:2])
        write_run(folder, config(seed, [kd(seed)]), [0.8 - 0.01 * i for i in range(5)])
    return folder


# -- which runs


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (["magnitude"], ["magnitude"]),
        (["magnitude + *"], ["magnitude + kd:alpha=0.8,temperature=10,teacher=best"]),
        (["runs"], 3),
        (["magnitude", "magnitude, stop*"], 2),
    ],
)
def test_words_mean_methods_and_folders(
    runs: Path, command: Command, words: list[str], labels: Any
) -> None:
    code, out, err = command("plot", *words, "--json", "-o", "a.svg")
    assert code == 0, err
    told = json.loads(out)
    assert told["path"] == "a.svg"
    assert len(told["methods"]) == (labels if isinstance(labels, int) else len(labels))


def test_a_run_means_itself(runs: Path, command: Command) -> None:
    run_id = config(0).run_id
    assert command("plot", run_id[:10], "-o", "a.svg")[0] == 0
    assert "1 seed" in texts(Path("a.svg"), runs, [run_id])


def texts(path: Path, runs: Path, words: list[str]) -> str:
    """Return all words of the figure that the same runs give (an SVG has outlines)."""
    from dsd_bench.cli.selecting import select
    from dsd_bench.reports.pictures import draw_runs

    said: list[str] = []
    kept = compared.save

    def listen(fig: Figure, path: Path) -> None:
        from matplotlib.text import Text

        said.extend(text.get_text() for text in fig.findobj(Text) if isinstance(text, Text))

    try:
        compared.save = listen  # type: ignore[assignment]
        draw_runs(select(words, runs), path, Options())
    finally:
        compared.save = kept
    return " ".join(" ".join(said).split())


def test_an_unknown_word_lists_the_methods(runs: Path, command: Command) -> None:
    code, _, err = command("plot", "magnitud")
    assert code == 2
    assert "no run, folder of runs or method 'magnitud' in runs" in err
    assert "did you mean 'magnitude'" in err


def test_a_folder_without_runs_is_told_from_an_unknown_word(runs: Path, command: Command) -> None:
    Path("mine").mkdir()
    code, _, err = command("plot", "mine")
    assert (code, err) == (2, "error: mine: is a folder, but no run and none of runs\n")


def test_choices_that_hold_commas_are_told_apart() -> None:
    assert suggest("zzz", ["a, b", "a"]) == "; choose from: a, 'a, b'"


def test_a_prefix_of_several_runs_is_no_method(tmp_path: Path, command: Command) -> None:
    for number in range(20):
        write_run(tmp_path / "runs", config(number))
    first = sorted(path.name for path in (tmp_path / "runs").iterdir())
    letters = [name[0] for name in first]
    twice = next(letter for letter in letters if letters.count(letter) > 1)
    code, _, err = command("plot", twice)
    assert code == 2
    assert f"'{twice}' fits {letters.count(twice)} runs" in err


# -- options


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
@pytest.mark.parametrize("style", ["paper", "serif", "grey", "slides"])
def test_bytes_repeat(runs: Path, command: Command, suffix: str, style: str) -> None:
    for name in "ab":
        words = ["plot", "runs", "-o", f"{name}.{suffix}", "--style", style, "--title", "A $t"]
        assert command(*words)[0] == 0
    first, second = (Path(f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate", first)


@pytest.mark.parametrize(("columns", "width"), [("1", 84), ("2", 174)])
def test_a_figure_fills_columns_of_a_paper(
    runs: Path, command: Command, columns: str, width: float
) -> None:
    assert command("plot", "runs", "-o", "a.svg", "--columns", columns)[0] == 0
    found = re.search(r'width="([\d.]+)pt"', Path("a.svg").read_text())
    assert found is not None
    assert float(found[1]) == pytest.approx(width / 25.4 * 72, abs=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs", "-o", "a.gif"], "must end in .svg, .pdf or .png, not '.gif'"),
        (["runs", "--labels", "a,b"], "--labels: 2 names for 3 methods; in their order they are"),
        (["runs", "--labels", "a,b,a"], "--labels: 'a' is given twice"),
        (["runs", "--rows", "entropie"], "no run has numbers called 'entropie'; did you mean 'ent"),
        (["runs", "--seeds", "0"], "--seeds: the cells of a suite are chosen by it"),
        (["fig5", "--style", "grey"], "--style: a suite's figure is drawn as its file says"),
        (["none.toml"], "no suite 'none.toml'"),
    ],
)
def test_what_does_not_fit_is_refused(
    runs: Path, command: Command, words: list[str], message: str
) -> None:
    code, _, err = command("plot", *words)
    assert code == 2
    assert message in err


def test_names_are_given_in_their_order(runs: Path, command: Command) -> None:
    words = ["magnitude", "magnitude, stop*", "magnitude + *"]
    code, out, _ = command("plot", *words, "--labels", "one, two,three", "-o", "a.svg", "--json")
    assert code == 0
    assert json.loads(out)["methods"] == ["one", "two", "three"]


def test_other_settings_get_panels_of_their_own(runs: Path, command: Command) -> None:
    write_run(runs, config(0, noise=part("none")))
    words = texts(Path("a.svg"), runs, [str(runs)]).replace(" ", "")
    for noise in ("symmetric:rate=0.4,validation=false", "none added"):
        assert f"label noise: {noise}".replace(" ", "") in words
    assert words.count("data:digits") == words.count("model:mlp") == 1  # what both share, below


def test_a_figure_says_its_setting_seeds_and_what_marks_mean(runs: Path) -> None:
    words = texts(Path("a.svg"), runs, [str(runs)])
    assert "data: digits" in words
    assert "label noise: symmetric:rate=0.4" in words
    assert "model: mlp:hidden=64x64; 2 seeds, selected on validation" in words
    assert "band: ± 1 standard deviation over seeds; striped: curves coincide" in words
    assert "selected model, mean over seeds" in words
    assert "stop rule ends a seed" in words
    assert "entropy gate" not in words
    assert "mean over fewer seeds" not in words


# -- curves that share rounds


def test_stretches_are_found_by_rounds_and_sets() -> None:
    one, other = rows_of(CURVE), rows_of((*CURVE[:3], 0.2, 0.1))
    found = shared_stretches([mean_curve([rows]) for rows in (one, other, one[:2], rows_of([0.1]))])
    assert found == [Stretch((0, 1), 1, 2), Stretch((0, 1, 2), 0, 1)]


def test_a_single_shared_round_is_no_stretch() -> None:
    one, other = rows_of(CURVE), rows_of((CURVE[0], 0.1, 0.2, 0.3, 0.4))
    assert shared_stretches([mean_curve([one]), mean_curve([other])]) == []


def test_no_curve_hides_another() -> None:
    """Each method's colour is seen on the shared stretch, as the pixels tell."""
    groups = {"one": [rows_of(CURVE)], "two": [rows_of(CURVE)], "three": [rows_of(CURVE)]}
    with figure(120, 80) as (fig, [[axis]]):
        curves(axis, groups, "test_accuracy", band=None)
        axis.set_axis_off()
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        pixels = numpy.asarray(canvas.buffer_rgba())[..., :3].reshape(-1, 3)
    counts = []
    for place in range(3):
        colour = look(place).colour
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        counts.append(int((pixels == wanted).all(axis=1).sum()))
    assert min(counts) > 0.5 * max(counts), counts


def test_greys_have_no_colour_and_differ() -> None:
    assert all(colour[1:3] == colour[3:5] == colour[5:7] for colour in GREYS)
    looks = {(one.colour, str(one.dashes), one.mark) for one in (look(i, "grey") for i in range(9))}
    assert len(looks) == 9


# -- what happened on the way


def test_events_are_the_selected_round_the_gate_and_the_end(tmp_path: Path) -> None:
    gated = config(0, stop=stop_rule("entropy-gate", drop=0.05, tolerance=0.05, patience=1))
    run = write_run(tmp_path, gated, CURVE, stopped_by="entropy-gate")
    rows = [{**row, "entropy": value} for row, value in zip(run.rows, (0.8, 0.9, 0.78, 0.7, 0.6))]
    changed = type(run)(run.run_id, run.path, run.config, tuple(rows), run.result)
    assert events([changed]) == [
        Event("selected", 0, 3),
        Event("gate", 0, 3),
        Event("stopped", 0, 4),
    ]
    plain = write_run(tmp_path, config(1), CURVE)
    assert events([plain]) == [Event("selected", 0, 3)]


def test_selected_models_are_marked_at_their_mean(tmp_path: Path) -> None:
    seeds = [rows_of(CURVE), rows_of([value + 0.1 for value in CURVE])]
    found = [Event("selected", 0, 3), Event("selected", 1, 2), Event("stopped", 1, 4)]
    drawn = Drawn("one", seeds, found)
    ((at, value),) = marked(seeds, found, "selected", "test_accuracy")
    assert at == pytest.approx(1 - (0.8**3 + 0.8**2) / 2)
    assert value == pytest.approx(0.75)
    ((at, value),) = marked(seeds, found, "stopped", "test_accuracy", "round")
    assert (at, value) == (4, pytest.approx(0.55))
    draw_compared({"a setting": [drawn]}, tmp_path / "a.svg", Options(rows=("test_accuracy",)))
    assert (tmp_path / "a.svg").exists()


def test_labels_name_the_teachers_that_differ() -> None:
    teachers = [kd(0), kd(0, weight_decay=0.1), kd(0, pruner=part("random", fraction=0.2))]
    configs = [config(0, [one]).to_json() for one in teachers]
    labels = distinct_labels(configs)
    assert len(set(labels)) == 3
    assert "teacher random:fraction=0.2" in labels[2]


# -- LaTeX


def test_every_character_is_inert_in_latex() -> None:
    text = "a_b & 50 % ~ \\input{x} $1$ #^ <'\"`> | -- ± é 中 \x1b\u202e"
    made = latex(text)
    unescaped = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]|\$\\pm\$|-\{\}", "", made)
    assert not set(unescaped) & set("\\&%$#_{}~^<>\"'`|")
    assert "U+4E2D" in made
    assert "é" in made
    assert "\\textbackslash{}x1b\\textbackslash{}u202e" in made


def test_a_latex_table_has_booktabs_rules_and_a_line_for_each_row() -> None:
    made = latex_table(["a_b", "n %"], "lr", [["x & y", "1 ± 2"]]).splitlines()
    assert made[1:] == [
        r"\begin{tabular}{@{}lr@{}}",
        r"    \toprule",
        r"    a\_b & n \% \\",
        r"    \midrule",
        r"    x \& y & 1 $\pm$ 2 \\",
        r"    \bottomrule",
        r"\end{tabular}",
    ]


# -- several settings, single seeds, marks at one place


def test_settings_are_told_apart_by_what_differs() -> None:
    settings = ["data: a; label noise: x; model: m", "data: b; label noise: x; model: m"]
    assert compared.apart(settings) == ("label noise: x; model: m", ["data: a", "data: b"])
    assert compared.apart(settings[:1]) == (settings[0], [""])


def test_titles_of_panels_do_not_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[Any] = []

    def measure(fig: Figure, path: Path) -> None:
        fig.canvas.draw()
        width = fig.get_window_extent().width
        boxes.extend(axis.title.get_window_extent() for axis in fig.axes)
        assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)

    monkeypatch.setattr(compared, "save", measure)
    long = "data: imagefolder:photographs-of-{},transform=none,val_size=500,size=16; model: mlp"
    panels = {long.format(name): [Drawn("m", [rows_of(CURVE)])] for name in ("cats", "dogs")}
    draw_compared(panels, Path("a.svg"), Options(columns=2))
    left, right = boxes
    assert left.x1 < right.x0


def test_one_seed_has_no_band_to_tell_of(runs: Path) -> None:
    assert "standard deviation" not in texts(Path("a.svg"), runs, [config(0).run_id])
    assert "standard deviation" in texts(Path("a.svg"), runs, ["magnitude"])


def test_an_unfinished_run_is_drawn_and_said_to_be_so(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", config(0), CURVE, status=None)
    told = texts(Path("a.svg"), tmp_path / "runs", [config(0).run_id])
    assert ": seed 0 unfinished after round 4" in told


def test_marks_at_one_place_all_show(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rings(["a", "b", "a", "a"]) == [2, 0, 1, 0]
    stars: list[Any] = []
    monkeypatch.setattr(
        compared,
        "save",
        lambda fig, path: stars.extend(one for one in fig.axes[0].lines if one.get_marker() == "*"),
    )
    twins = [Drawn(name, [rows_of(CURVE)], [Event("selected", 0, 3)]) for name in "ab"]
    draw_compared({"data: a": twins}, Path("a.svg"), Options())
    first, second = stars
    assert first.get_xydata().tolist() == second.get_xydata().tolist()
    assert first.get_color() != second.get_color()
    assert first.get_markersize() > 1.3 * second.get_markersize()
