"""``report``: one file that is whole, escapes all, repeats its bytes, and works in a browser."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy
import pytest
from board_runs import config, kd, part, rehash, stop_rule, write_lines, write_run

from dsd_bench.analysis.events import Event
from dsd_bench.boards import rows
from dsd_bench.boards.schema import Rounds as Columns
from dsd_bench.pages import heat, scales
from dsd_bench.pages.curves import Curve as Drawn
from dsd_bench.pages.curves import draw, panels_of
from dsd_bench.pages.document import asset
from dsd_bench.pages.markup import Markup, data, el, raw
from dsd_bench.pages.replays import CHOOSERS, FAMILIES
from dsd_bench.replay import Curve, replay, rule
from dsd_bench.replay.choices import summaries, way
from dsd_bench.replay.curves import read_rounds
from dsd_bench.store import load_run

Command = Callable[..., tuple[int, str, str]]
CURVE = (0.70, 0.60, 0.65, 0.75, 0.50)
STOPPED, TAUGHT = "magnitude, stop patience", "magnitude + kd:teacher=best"
"""Methods as boards name them."""
VOID = {"meta", "input", "br", "hr"}


class Read(html.parser.HTMLParser):
    """What a page holds: elements with their attributes, its text, and what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def write(folder: Path, seeds: int = 3) -> None:
    """Write a vanilla method, its early-stopped twin and a distilled one."""
    for seed in range(seeds):
        values = [value - 0.01 * seed for value in CURVE]
        write_run(folder, config(seed), values, images=200)
        write_run(
            folder, config(seed, stop=stop_rule("patience", patience=1)), values[:2], images=200
        )
        write_run(folder, config(seed, [kd(seed)]), [0.8 - 0.01 * i for i in range(5)], images=200)


@pytest.fixture
def page(tmp_path: Path, command: Command) -> Path:
    write(tmp_path / "runs")
    code, _, err = command("report", "runs", "-o", "report.html")
    assert code == 0, err
    return tmp_path / "report.html"


# -- markup


def test_text_is_escaped_and_markup_is_not() -> None:
    made = el(
        "a", '<b>&"', el("i", "x"), [1, None, "y"], href='"><script>', class_="c", hidden=True
    )
    assert made == (
        '<a href="&quot;&gt;&lt;script&gt;" class="c" hidden>&lt;b&gt;&amp;&quot;<i>x</i>1y</a>'
    )
    assert el("p", "a\u202eb\x1b") == "<p>a\\u202eb\\x1b</p>"
    assert el("meta", charset="utf-8", id=None) == '<meta charset="utf-8">'


def test_data_cannot_end_its_block() -> None:
    value = {"a": "</script><script>alert(1)</script><!--", "b": [1.5, None]}
    made = data("x", value)
    assert made.count("<") == 2
    inside = re.fullmatch(r"<script [^>]*>(.*)</script>", made)
    assert inside is not None
    assert json.loads(inside[1]) == value
    with pytest.raises(ValueError, match="ends its <style>"):
        raw("style", "a</STYLE>")


# -- figures


def test_the_x_axis_is_logarithmic_in_the_density() -> None:
    axis = scales.Across.around([0.0, 0.5, 0.75])
    places = [axis.at(value) for value in (0.0, 0.5, 0.75)]
    assert places == pytest.approx(
        [scales.LEFT, (scales.LEFT + scales.WIDTH - scales.RIGHT) / 2, scales.WIDTH - scales.RIGHT]
    )
    assert axis.ticks()[0] == (scales.LEFT, "0")
    assert scales.Across.around([0.0]).at(0.0) == scales.LEFT


@pytest.mark.parametrize(("low", "high"), [(0, 1), (58.4, 93.9), (0.2, 0.21), (0, 1e-6), (-5, 120)])
def test_ticks_are_round_and_few(low: float, high: float) -> None:
    ticks = scales.up([low, high], 0, 100).ticks()
    assert 2 <= len(ticks) <= 6
    steps = {round(b - a, 12) for a, b in itertools.pairwise(ticks)}
    assert len(steps) == 1


def rows_of(values: Any) -> list[dict[str, Any]]:
    return [
        {"round": index, "sparsity": 1 - 0.8**index, "test_accuracy": value, "entropy": value}
        for index, value in enumerate(values)
    ]


def test_lines_pass_through_the_means() -> None:
    curve = Drawn("one", 0, [rows_of((0.5, 0.9)), rows_of((0.7, 0.7))])
    made = draw("f", [curve], panels_of([curve])[:1])
    (line,) = re.findall(r'class="line" d="([^"]*)"', made.svg)
    places = [tuple(map(float, one.split())) for one in line[1:].split("L")]
    ticks = {
        float(value): float(y) - 4
        for y, value in re.findall(r'class="y" x="46" y="([\d.]+)">([\d.]+)<', made.svg)
    }
    (first, second) = list(ticks.items())[:2]
    scale = (second[1] - first[1]) / (second[0] - first[0])
    for (_, y), mean in zip(places, (60, 80)):
        assert y == pytest.approx(first[1] + scale * (mean - first[0]), abs=0.2)
    told = made.data["series"][0]["told"]
    assert told[0] == ["60.0 ± 14.1", "round 0, sparsity 0.0 %, n = 2"]


def test_curves_that_coincide_are_striped() -> None:
    both = [Drawn(name, at, [rows_of(CURVE)]) for at, name in enumerate("ab")]
    assert draw("f", both, panels_of(both)[:1]).svg.count("line stripe") == 2
    apart = [both[0], Drawn("b", 1, [rows_of([0.1, 0.2])])]
    assert "stripe" not in draw("f", apart, panels_of(apart)[:1]).svg


def test_marks_at_one_place_all_show() -> None:
    happened = [Event("selected", 0, 3)]
    twins = [Drawn(name, at, [rows_of(CURVE)], happened) for at, name in enumerate("ab")]
    svg = draw("f", twins, panels_of(twins)[:1]).svg
    stars = re.findall(
        r'<path class="s (c\d) event selected" data-s="\d" d="[^"]*" '
        r'transform="translate\(([^)]*)\)([^"]*)"',
        svg,
    )
    (first, place, larger), (second, same, plain) = stars
    assert (first, second, place, larger, plain) == ("c0", "c1", same, " scale(1.4)", "")


def test_a_heat_map_covers_each_measured_cell_once() -> None:
    values = [[0.0, 0.5, 0.5, 1.0], [None, 0.1, None, 0.9]]
    layers = heat.Layers("a title", ["in", "out"], [0, 1, 2, 3], values)
    made = heat.draw("h", layers, "method")
    wide, high = made.data["box"][2:]
    area = sum(float(w) * float(h) for w, h in re.findall(r"h([\d.]+)v([\d.]+)h-", made.svg))
    assert area == pytest.approx(6 * wide * high, rel=0.01)
    assert "in 0.000 to 1.000; out not measured to 0.900" in made.svg
    assert heat.level_of(1.0) == heat.LEVELS - 1


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["0.weight", "2.weight"], ["0.weight", "2.weight"]),
        ([f"module.blocks.{at}.attention.qkv.weight" for at in range(3)], ["0", "1", "2"]),
        (["encoder.layers.0.weight", "encoder.head.weight"], ["layers.0", "head"]),
        (["one.very.long.name.of.a.layer"], ["one.very…f.a.layer"]),
        (["same.name.of.a.layer"] * 2, ["layer", "layer"]),
    ],
)
def test_names_of_layers_keep_what_tells_them_apart(names: list[str], shown: list[str]) -> None:
    assert heat.short(names) == shown


@pytest.mark.parametrize("count", [1, 3, 40, 400])
def test_names_of_layers_have_room(count: int) -> None:
    names = [f"blocks.{at}.attention.projection" for at in range(count)]
    svg = heat.draw("h", heat.Layers("a title", names, [0], [[0.5]] * count), "method").svg
    found = re.findall(r'class="y" x="([\d.]+)" y="([\d.]+)">([^<]*)<', svg)
    assert found
    assert all(float(x) >= heat.LETTER * len(name) for x, _, name in found)
    steps = [float(b) - float(a) for (_, a, _), (_, b, _) in itertools.pairwise(found)]
    assert min(steps, default=99) > 19.9


# -- the page


def test_it_is_whole_and_loads_nothing(page: Path) -> None:
    text = page.read_text("utf-8")
    read = Read(text)
    assert (read.wrong, read.open) == ([], [])
    for tag, attributes in read.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "style", "action"} & attributes.keys(), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import", text)


def test_its_policy_allows_its_own_style_and_script_alone(page: Path) -> None:
    text = page.read_text("utf-8")
    metas = Read(text).all("meta")
    policy = next(m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_ids_are_unique_links_lead_somewhere_and_figures_have_words(page: Path) -> None:
    read = Read(page.read_text("utf-8"))
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in read.all("a"):
        assert str(attributes["href"])[1:] in ids
    for attributes in read.all("svg"):
        named = str(attributes.get("aria-labelledby", "")).split()
        hidden = attributes.get("aria-hidden") == "true"
        assert hidden or attributes.get("aria-label") or (named and set(named) <= set(ids))
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_it_tells_everything_in_text(page: Path) -> None:
    read = Read(page.read_text("utf-8"))
    text = " ".join(read.text.split())
    for words in (
        "Asked: How does test accuracy change as weights are pruned away, and which method",
        "Found: ",
        "What was found",
        "Curves",
        "Students and teachers",
        "Layers over rounds",
        "Stop and selection rules, replayed",
        "Rounds",
        "Where it comes from",
        "dsd-bench report runs",
        "label noise: symmetric:0.4",
        "chip AVX2",
        config(0).run_id,
    ):
        assert words in text, words


def test_the_table_of_rounds_has_each_round_s_means(page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    runs = [load_run(tmp_path / "runs" / config(seed).run_id) for seed in range(3)]
    for at in range(5):
        mean = sum(run.rows[at]["test_accuracy"] for run in runs) / 3
        sparsity = runs[0].rows[at]["sparsity"]
        row = f'<tr><td class="n">{at}</td><td class="n">{100 * sparsity:.2f}</td>'
        assert f'{row}<td class="n">{100 * mean:.1f} ± ' in text


def test_rules_are_what_replay_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    runs = [load_run(tmp_path / "runs" / config(seed).run_id) for seed in range(3)]
    curves = [
        Curve(config(run.seed), run.rows, ("rounds", ""), [2] * len(run.rows)) for run in runs
    ]
    family = FAMILIES[0]
    for value in family.values:
        made = [replay(curve, rule("patience", {"tolerance": value})) for curve in curves]
        stops = sum(one.round for one in made) / 3
        given = 100 * sum(one.given_up for one in made) / 3
        row = rf'<td>{value:g}</td><td class="m">magnitude</td><td class="n">{stops:.1f}</td>'
        assert re.search(rf'{row}.*?<td class="n">{given:.1f}</td></tr>', text)


def test_choosers_are_what_replay_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    curves = [read_rounds(load_run(tmp_path / "runs" / config(seed).run_id)) for seed in range(3)]
    for word in CHOOSERS:
        (told,) = summaries(curves, [way(word)])
        cells = (
            f"{told.round.mean:.1f}",
            *(f"{100 * one.mean:.1f}" for one in (told.sparsity, told.fewer, told.accuracy)),
        )
        row = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        assert f'<td>{word}</td><td class="m">magnitude</td>{row}' in text


def test_bytes_repeat_and_have_no_date(page: Path, command: Command) -> None:
    assert command("report", "runs", "-o", "again.html")[0] == 0
    assert page.read_bytes() == Path("again.html").read_bytes()
    assert not re.search(r"20\d\d-\d\d-\d\d", page.read_text("utf-8"))


def test_text_of_files_does_nothing(tmp_path: Path, command: Command) -> None:
    evil = "</script><img src=x onerror=alert(1)>\u202e"
    for seed in range(2):
        write_run(
            tmp_path / "runs", config(seed, pruner=part("magnitude", fraction=0.2, scope=evil)),
            hardware={"cpu": evil}, versions={evil: evil}, reason=evil,
        )  # fmt: skip
    code, _, err = command("report", "runs", "--title", evil)
    assert code == 0, err
    text = Path("report.html").read_text("utf-8")
    assert "\u202e" not in text
    assert "<img" not in text
    assert Read(text).all("img") == []
    assert text.count("</script>") == 2


def test_a_board_s_folder_gives_the_same_curves(tmp_path: Path, command: Command) -> None:
    board = boarded(tmp_path)
    code, _, err = command("report", str(board), "-o", "a.html", "--runs-dir", "none")
    assert code == 0, err
    assert command("report", "runs", "-o", "b.html")[0] == 0
    lines = [
        set(re.findall(r'class="line" d="([^"]*)"', Path(name).read_text()))
        for name in ("a.html", "b.html")
    ]
    assert len(lines[0]) > 5
    assert lines[0] <= lines[1]
    assert "Board: digits" in Path("a.html").read_text()
    code, _, err = command("report", str(tmp_path / "boards" / "nothing"))
    assert code == 2
    assert "no run, folder of runs or method" in err


# -- a board and the folders of its runs


def boarded(folder: Path) -> Path:
    """Write runs and the board of their rows, whose folder is returned."""
    write(folder / "runs", 5)
    rows.submit([load_run(path) for path in sorted((folder / "runs").iterdir())], folder / "boards")
    (board,) = (path for path in (folder / "boards").iterdir() if path.is_dir())
    return board


def reported(command: Command, board: Path, *words: str) -> str:
    code, _, err = command("report", str(board), *words)
    assert code == 0, err
    return Path("report.html").read_text("utf-8")


def notes_of(text: str) -> str:
    return " ".join(
        html.unescape(one) for one in re.findall('<p class="but">(Note: .*?)</p>', text)
    )


def mapped(text: str) -> set[str]:
    """Return the methods whose layers a page maps."""
    return set(re.findall(r'<title id="heat\d+-t">[^<:]*: ([^<]*)</title>', text))


def chosen_of(text: str, word: str) -> dict[str, list[str]]:
    """Return what a page tells of a chooser, by method."""
    found = re.findall(rf'<td>{word}</td><td class="m">([^<]*)</td>(.*?)</tr>', text)
    return {label: re.findall(">([^<]*)</td>", cells) for label, cells in found}


def test_a_board_s_page_takes_the_runs_that_lie_here(tmp_path: Path, command: Command) -> None:
    board = boarded(tmp_path)
    text, runs = reported(command, board), reported(command, Path("runs"))
    assert notes_of(text) == ""
    assert mapped(text) == {"magnitude", TAUGHT, STOPPED}
    told = [sorted(chosen_of(one, "one-se").values()) for one in (text, runs)]
    assert told[0] == told[1]
    assert set(chosen_of(text, "one-se")) == mapped(text)
    assert "Students and teachers" in text
    assert f"runs/{config(0).run_id}/config.json" in text


def test_without_them_it_says_what_it_lacks(tmp_path: Path, command: Command) -> None:
    text = reported(command, boarded(tmp_path), "--runs-dir", "elsewhere")
    assert "no replay of the chooser one-se of any method; where" in notes_of(text)
    assert "give --runs-dir FOLDER (this page: elsewhere)" in notes_of(text)
    assert mapped(text) == set()
    assert chosen_of(text, "one-se") == {}
    assert len(chosen_of(text, "best")) == 3
    assert "not replayed for any method: rows do not hold what one-se reads" in text


def test_a_method_of_which_a_seed_is_missing_is_its_row(tmp_path: Path, command: Command) -> None:
    board = boarded(tmp_path)
    whole = reported(command, board)
    shutil.rmtree(tmp_path / "runs" / config(3, [kd(3)]).run_id)
    text = reported(command, board)
    assert f"one-se of {TAUGHT}; where the folders of all their runs" in notes_of(text)
    assert f"in runs lie only some of a row's runs: 4 of 5 of {TAUGHT}." in notes_of(text)
    assert mapped(text) == {"magnitude", STOPPED}
    assert text.count("<figcaption>") == 1  # rows name their settings as runs do
    told = chosen_of(whole, "one-se")
    assert chosen_of(text, "one-se") == {name: told[name] for name in ("magnitude", STOPPED)}
    assert chosen_of(text, "best") == chosen_of(whole, "best")


def test_the_fewer_are_named(tmp_path: Path, command: Command) -> None:
    board = boarded(tmp_path)
    for seed in range(5):
        shutil.rmtree(tmp_path / "runs" / config(seed).run_id)
    for changes in ({}, {"stop": stop_rule("patience", patience=1)}):
        shutil.rmtree(tmp_path / "runs" / config(0, **changes).run_id, ignore_errors=True)
    told = notes_of(reported(command, board))
    assert f"one-se of all methods but {TAUGHT}; where" in told
    assert f"4 of 5 of {STOPPED}" in told


def test_runs_with_other_numbers_are_not_used(tmp_path: Path, command: Command) -> None:
    board = boarded(tmp_path)
    before = reported(command, board, "--runs-dir", "elsewhere")
    for seed in (1, 2):
        write_run(tmp_path / "runs", config(seed), [0.9, 0.8, 0.9, 0.9, 0.8], images=200)
    text = reported(command, board)
    told = notes_of(text)
    assert f"from runs: magnitude: run {config(1).run_id} (seed 1) has " in told
    assert "best_round: 3, found 0, and 1 other run differ too; `dsd-bench verify` judges" in told
    assert mapped(text) == {TAUGHT, STOPPED}
    assert chosen_of(text, "best") == chosen_of(before, "best")


@pytest.mark.parametrize("column", [*Columns.model_fields])
def test_every_column_of_a_row_is_compared(tmp_path: Path, command: Command, column: str) -> None:
    board = boarded(tmp_path)
    changed = {"sparsity": 0.1, "nonzero": 1, "entropy": 0.71, "macs_dense": 4000}
    path = tmp_path / "runs" / config(4).run_id / "rounds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[4:]:
        line[column] = changed.get(column, line[column] / 2)
    write_lines(path, lines)
    rehash(path.parent)
    text = reported(command, board)
    assert f"{config(4).run_id}" in notes_of(text)
    assert mapped(text) == {TAUGHT, STOPPED}


def test_a_damaged_folder_is_not_used(tmp_path: Path, command: Command) -> None:
    board = boarded(tmp_path)
    (tmp_path / "runs" / config(4).run_id / "rounds.jsonl").write_text("{}\n")
    text = reported(command, board)
    assert f"magnitude: runs/{config(4).run_id}/rounds.jsonl: " in notes_of(text)
    assert mapped(text) == {TAUGHT, STOPPED}


def test_a_chooser_that_rows_cannot_feed_hides_no_other_method(
    tmp_path: Path, command: Command
) -> None:
    for seed in range(5):
        values = [value - 0.01 * seed for value in CURVE]
        for changes in ({}, {"chooser": part("one-se")}):
            write_run(tmp_path / "runs", config(seed, **changes), values, images=200)
    rows.submit([load_run(p) for p in (tmp_path / "runs").iterdir()], tmp_path / "boards")
    (board,) = (path for path in (tmp_path / "boards").iterdir() if path.is_dir())
    text = reported(command, board, "--runs-dir", "elsewhere")
    told = "not replayed for magnitude, choose one-se: rows do not hold what their chooser reads"
    assert text.count(told) == len(FAMILIES)
    assert '<td>0.02</td><td class="m">magnitude</td>' in text
    assert '<td>0.02</td><td class="m">magnitude, choose one-se</td>' not in text
    assert '<td>0.02</td><td class="m">magnitude, choose one-se</td>' in reported(command, board)


def test_a_suite_asks_its_own_question(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'title = "A title"\nquestion = "A question?"\nsource = "own"\n[options]\n'
        'dataset = "digits:train_size=60,val_size=30"\nmodel = "mlp:hidden=8"\nbatch_size = 20\n'
        'rounds = 2\nepochs = 2\n[scale.small]\nseeds = "0"\n[[grid.method]]\nlabel = "vanilla"\n'
    )
    assert command("sweep", "mine.toml", "--executor", "inline")[0] == 0
    assert command("report", "mine.toml")[0] == 0
    text = " ".join(Read(Path("report.html").read_text()).text.split())
    assert "A title Asked: A question? Found: vanilla: " in text
    assert "dsd-bench sweep mine.toml dsd-bench report mine.toml" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs", "-o", "a.svg"], "the name must end in .html"),
        (["runs", "--seeds", "0"], "choose the cells of a suite"),
        (["nothing"], "no run, folder of runs or method 'nothing'"),
    ],
)
def test_what_does_not_fit_is_refused(
    page: Path, command: Command, words: list[str], message: str
) -> None:
    code, _, err = command("report", *words)
    assert code == 2
    assert message in err


def test_layers_are_there_only_where_runs_have_them(tmp_path: Path) -> None:
    made = write_run(tmp_path, config(0))
    assert heat.sparsities([made.rows]).names == ["0.weight", "2.weight"]
    assert heat.entropies([made.rows]).names == ["1"]
    bare = [{"round": 0, "sparsity": 0.0, "sparsity_per_layer": None}]
    assert heat.sparsities([bare]) is None


def test_what_cannot_be_told_is_not_called_absent(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "runs")
    assert command("report", "runs")[0] == 0
    text = " ".join(Read(Path("report.html").read_text()).text.split())
    cells = re.findall(r">(yes|no|cannot tell)</td>", Path("report.html").read_text())
    assert cells.count("cannot tell") > 0
    told = f"of 3 methods show sparse double descent, of {cells.count('cannot tell')} it cannot be"
    assert f"Found: {cells.count('yes')} {told} told;" in text


def test_of_an_unfinished_run_nothing_is_claimed(tmp_path: Path, command: Command) -> None:
    write_run(tmp_path / "runs", config(0), CURVE, status=None)
    assert command("report", "runs")[0] == 0
    text = Read(Path("report.html").read_text()).text
    assert "not finished, so nothing is said: seed 0 unfinished after round 4." in text


def test_methods_without_a_whole_curve_are_named(page: Path) -> None:
    text = Read(page.read_text("utf-8")).text
    assert f"Stop rules are not replayed for {STOPPED}: a rule of its own ended it early." in text


def test_methods_of_a_folder_are_in_the_order_of_their_names(page: Path) -> None:
    names = re.findall(r'<tr><td class="m">([^<]*)</td>', page.read_text("utf-8"))
    assert names == ["magnitude", "magnitude + kd", STOPPED]


VISION = {  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


def linear(colour: str) -> Any:
    digits = colour * 2 if len(colour) == 3 else colour
    values = numpy.array([int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)])
    return numpy.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Any) -> Any:
    """Return CIE L*a*b* of linear sRGB."""
    xyz = numpy.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) @ numpy.clip(rgb, 0, 1) / numpy.array([0.9505, 1, 1.089])  # fmt: skip
    x, y, z = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_colours_of_curves_can_be_told_apart(scheme: str) -> None:
    part = re.findall(r":root\{(.*?)\}", asset("page.css"), re.DOTALL)
    (root,) = [part[at] for at, name in enumerate(("light", "dark", "print")) if name == scheme]
    found = [
        re.findall(rf"--{key}:#([0-9a-f]+)", root)[-1]
        for key in ("bg", *map("c{}".format, range(7)))
    ]
    ground, *colours = [linear(one) for one in found]
    for matrix in VISION.values():
        seen = [lab(numpy.array(matrix) @ one) for one in colours]
        for one, other in itertools.combinations(seen, 2):
            assert numpy.linalg.norm(one - other) > 12
    luminance = [one @ [0.2126, 0.7152, 0.0722] + 0.05 for one in (ground, *colours)]
    for one in luminance[1:]:  # WCAG: graphics need 3 to 1
        assert max(one, luminance[0]) / min(one, luminance[0]) > 3


# -- in a browser


@pytest.fixture
def tab() -> Iterator[chromium.Tab]:
    if chromium.found() is None:
        pytest.skip("no Chromium here")
    with chromium.tab() as made:
        yield made


def test_a_browser_finds_no_fault_and_asks_nobody(page: Path, tab: chromium.Tab) -> None:
    tab.size(1000, 800)
    tab.open(page)
    assert tab.evaluate("getComputedStyle(document.body).maxWidth") == "1152px"
    for scheme, light in (("light", True), ("dark", False)):
        tab.media(scheme=scheme)
        colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", colour)[0]) > 128) == light
    tab.size(390, 800, phone=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.said == []
    assert tab.asked == [page.resolve().as_uri()]


def test_curves_are_chosen_and_tell_their_values(page: Path, tab: chromium.Tab) -> None:
    tab.size(1000, 800)
    tab.open(page)
    boxes = "[...document.querySelectorAll('#curves .legend input')]"
    assert tab.evaluate(f"{boxes}.map(one => one.hidden)") == [False] * 3
    shown = (
        "[...document.querySelectorAll('#curves .s[data-s=\"1\"]')]"
        ".filter(one => one.getBoundingClientRect().width).length"
    )
    before = tab.evaluate(shown)
    tab.evaluate(f"{boxes}[1].click()")
    assert before > 0
    assert tab.evaluate(shown) == 0
    tab.evaluate(f"{boxes}[1].click()")
    assert tab.evaluate(shown) == before

    tab.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    tab.evaluate("document.querySelector('#curves0').scrollIntoView()")
    box = tab.evaluate(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.querySelector('#curves0').getBoundingClientRect())"
    )
    tab.mouse("mouseMoved", box[0] + box[2] * 0.99, box[1] + box[3] * 0.3)
    told = tab.evaluate("document.querySelector('#tip').textContent")
    assert "round 4" in told
    assert "magnitudetest 49.0 ± 1.0" in told
    tab.mouse("mouseMoved", 2, 2)
    assert tab.evaluate("document.querySelector('#tip').hidden") is True
    tab.evaluate("document.querySelector('#curves0').focus()")
    tab.key("ArrowRight")
    assert "round 1" in tab.evaluate("document.querySelector('#tip').textContent")
    tab.key("Escape")
    assert tab.evaluate("document.querySelector('#tip').hidden") is True
    assert tab.said == []


def test_a_slider_shows_one_value_of_a_rule(page: Path, tab: chromium.Tab) -> None:
    tab.open(page)
    rule = "document.querySelector('#rules .rule')"
    rows = (
        f"[...{rule}.querySelectorAll('tbody tr')].filter(one => !one.hidden)"
        ".map(one => one.cells[0].textContent)"
    )
    assert set(tab.evaluate(rows)) == {"0"}
    tab.evaluate(
        f"{{const one = {rule}.querySelector('input'); one.value = 5; "
        "one.dispatchEvent(new Event('input', {bubbles: true}));}"
    )
    assert set(tab.evaluate(rows)) == {"0.05"}
    assert tab.evaluate(f"{rule}.querySelector('output').textContent") == "0.05"
    assert tab.said == []


def test_without_scripts_everything_is_there(page: Path, tab: chromium.Tab) -> None:
    tab.open(page, scripts=False)
    assert tab.evaluate("document.querySelector('#curves .legend input').hidden") is True
    assert tab.evaluate("document.querySelector('.slider').hidden") is True
    count = tab.evaluate(
        "document.querySelectorAll('#rules .rule')[0].querySelectorAll('tbody tr').length"
    )
    assert count == 2 * len(FAMILIES[0].values)
    assert tab.evaluate("document.querySelector('#curves0').getBoundingClientRect().height") > 200


def test_paper_has_the_value_of_the_slider_alone(page: Path, tab: chromium.Tab) -> None:
    rows = (
        "[...document.querySelector('#rules .rule').querySelectorAll('tbody tr')]"
        ".filter(one => one.getBoundingClientRect().height)"
        ".map(one => one.cells[0].textContent)"
    )
    for scripts, value in ((True, "0.05"), (False, "0")):
        tab.open(page, scripts=scripts)
        if scripts:
            tab.evaluate(
                "{const one = document.querySelector('#rules input'); one.value = 5; "
                "one.dispatchEvent(new Event('input', {bubbles: true}));}"
            )
        tab.media("print")
        assert set(tab.evaluate(rows)) == {value}
        tab.media()


def test_printing_opens_what_is_folded(page: Path, tab: chromium.Tab) -> None:
    tab.open(page)
    closed = "document.querySelectorAll('details:not([open])').length"
    assert tab.evaluate(closed) > 0
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(closed) == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate(closed) > 0


# -- size


def test_fifty_runs_stay_below_three_megabytes(tmp_path: Path, command: Command) -> None:
    longer = [0.7 - 0.01 * i for i in range(21)]
    for seed in range(5):
        for number in range(10):
            chosen = config(
                seed,
                pruner=part("magnitude", fraction=0.1 + 0.01 * number, scope="layer"),
                rounds=20,
            )
            write_run(tmp_path / "runs", chosen, longer)
    code, out, err = command("report", "runs", "--json")
    assert code == 0, err
    assert json.loads(out)["bytes"] < 3_000_000


def test_the_page_s_files_are_beside_its_code() -> None:
    from dsd_bench.pages.document import asset

    assert all(asset(name) for name in ("page.css", "page.js"))
    assert isinstance(el("p"), Markup)
