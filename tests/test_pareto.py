"""The front of a board: who dominates whom, what is not shown, and the figure that says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy
import pytest
from board_runs import config, part, write_run
from scipy import stats

from dsd_bench.boards import check, rows
from dsd_bench.boards.figure import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axes,
    _free,
    _scales,
    figure,
    words,
)
from dsd_bench.boards.pareto import Front, front, remaining
from dsd_bench.boards.ranking import rank
from dsd_bench.boards.ties import compare, disagreements

Command = Callable[..., tuple[int, str, str]]
SEEDS, IMAGES = 6, 2000


def stands(accuracies: Any, sparsities: Any) -> list[Front]:
    """Return the fronts of methods with these values, every seed's own in a row."""
    values = numpy.array(accuracies, float)
    found = compare(values, numpy.zeros((len(values),) * 2), 1)
    return front(found, values, numpy.array(sparsities, float))


def noisy(means: Any, spread: float, seed: int = 0) -> numpy.ndarray:
    noise = numpy.random.default_rng(seed).normal(0, spread, (len(means), SEEDS))
    return numpy.array(means)[:, None] + noise


def test_what_is_clearly_worse_in_both_is_dominated() -> None:
    accuracies = noisy([0.9, 0.8, 0.7, 0.85], 0.004)
    sparsities = noisy([0.5, 0.9, 0.8, 0.4], 0.004)
    assert stands(accuracies, sparsities) == ["yes", "yes", "no", "no"]


def test_one_significant_difference_is_enough() -> None:
    accuracies = noisy([0.9, 0.8], 0.004)
    same = numpy.tile(noisy([0.8], 0.03), (2, 1))
    assert stands(accuracies, same) == ["yes", "no"]
    assert stands(numpy.tile(accuracies[:1], (2, 1)), [[0.5] * 6, [0.9] * 6]) == ["no", "yes"]


@pytest.mark.parametrize("remaining", [(0.5, 0.1), (0.8, 0.64), (0.2621, 0.1074)])
def test_a_sparsity_without_scatter_is_told_apart(remaining: tuple[float, float]) -> None:
    """Rounding alone decided: the variance of equal values is 0, or nearly."""
    accuracies = numpy.tile([0.80, 0.81, 0.79, 0.80, 0.82], (2, 1))
    assert stands(accuracies, [[1 - share] * 5 for share in remaining]) == ["no", "yes"]


def test_what_is_not_shown_is_perhaps() -> None:
    accuracies = [[0.82, 0.78, 0.84, 0.79, 0.83, 0.80], [0.79, 0.82, 0.78, 0.83, 0.77, 0.84]]
    sparsities = [[0.9, 0.8, 0.9, 0.8, 0.9, 0.9], [0.8, 0.9, 0.8, 0.9, 0.8, 0.9]]
    assert stands(accuracies, sparsities) == ["yes", "perhaps"]


def test_a_scattered_sparsity_dominates_nobody() -> None:
    """Better in accuracy and sparser by nothing that could be told, but less sparse by the mean."""
    accuracies = noisy([0.9, 0.8], 0.002)
    sparsities = [[0.0, 0.95, 0.0, 0.95, 0.0, 0.95], [0.9] * 6]
    assert stands(accuracies, sparsities) == ["yes", "yes"]


def test_twins_share_their_place() -> None:
    one = noisy([0.8], 0.01)
    both = numpy.concatenate([one, one])
    assert stands(both, numpy.full((2, SEEDS), 0.5)) == ["yes", "yes"]


@pytest.mark.parametrize("seed", range(20))
def test_nobody_on_the_front_is_beaten_in_both_means(seed: int) -> None:
    rng = numpy.random.default_rng(seed)
    accuracies, sparsities = rng.uniform(0.5, 1, (7, SEEDS)), rng.uniform(0, 0.99, (7, SEEDS))
    found = stands(accuracies, sparsities)
    left = numpy.log(1 - sparsities).mean(axis=1)
    means = accuracies.mean(axis=1)
    for place in range(7):
        beaten = any(
            means[other] >= means[place] and left[other] <= left[place]
            for other in range(7)
            if other != place
        )
        assert (found[place] == "yes") == (not beaten)
    assert "yes" in found


def test_remaining_weights_are_a_geometric_mean_with_students_interval() -> None:
    sparsities = [0.9, 0.95, 0.8]
    logs = numpy.log(1 - numpy.array(sparsities))
    middle, low, high = remaining(sparsities)
    interval = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert middle == pytest.approx(stats.gmean([0.1, 0.05, 0.2]))
    assert (low, high) == pytest.approx((numpy.exp(interval[0]), min(numpy.exp(interval[1]), 1)))
    assert remaining([0.75]) == pytest.approx((0.25, 0.25, 0.25))
    assert remaining([1.0])[0] > 0


# -- a board


def write(folder: Path, seeds: int = SEEDS) -> None:
    """Submit three methods: the second is worse everywhere, the third sparser and less accurate."""
    runs = []
    for seed in range(seeds):
        for name, curve in (
            ("magnitude", (0.9, 0.8, 0.7, 0.6, 0.5)),
            ("random", (0.7, 0.6, 0.5, 0.4, 0.3)),
            ("gradient", (0.5, 0.6, 0.7, 0.8, 0.82)),
        ):
            chosen = config(seed, pruner=part(name, fraction=0.2, scope="global"))
            values = [value - 0.002 * seed for value in curve]
            runs.append(write_run(folder / "runs", chosen, values, images=IMAGES))
    rows.submit(runs, folder / "boards")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    write(tmp_path)
    check.write(tmp_path / "boards")
    return next(path for path in (tmp_path / "boards").iterdir() if path.is_dir())


def ranking(board: Path) -> Any:
    return rank(check.find_rows(board.parent).rows[board.name])


def test_a_board_says_who_is_on_the_front(board: Path) -> None:
    told = {line.label: line.front for line in ranking(board).lines}
    assert told == {"magnitude": "yes", "gradient": "yes", "random": "no"}
    text = (board / "README.md").read_text()
    assert "On the Pareto front of accuracy and remaining weights: magnitude; gradient." in text
    assert f"![{words(ranking(board))}](pareto.svg)" in text.replace("&#58;", ":")
    lines = text.splitlines()
    names = (
        next(line for line in lines if line.startswith("| place")).removesuffix(" |").split(" | ")
    )
    at = names.index("front")
    column = {
        found[1]: line.removesuffix(" |").split(" | ")[at].strip()
        for line in lines
        if (found := re.match(r"\| \d+ \| \[(\w+)", line))
    }
    assert column == {"magnitude": "yes", "gradient": "yes", "random": ""}
    assert "Sorted by place, then by mean test accuracy" in text
    assert text.index("![") < text.index("## Board")


def test_the_figure_has_each_method_where_its_means_are(board: Path) -> None:
    text = (board / "pareto.svg").read_text()
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    dots = {
        group.get("class"): group.find(f"{space}circle")
        for group in root.iter(f"{space}g")
        if group.find(f"{space}line") is not None
    }
    assert set(dots) == {"yes", "no"}
    lines = ranking(board).lines
    low, high = (f(line.summary.accuracy.mean for line in lines) for f in (min, max))
    fewest = min(
        remaining([e.rounds.sparsity[e.best_round] for e in line.row.seeds])[0] for line in lines
    )
    axes = Axes(min(fewest, 0.5) / 1.6, 100 * low - 8 * (high - low), 100 * high + 8 * (high - low))
    assert float(dots["no"].get("cy")) == pytest.approx(axes.y(100 * low), abs=0.1)
    assert float(dots["no"].get("cx")) == pytest.approx(axes.x(1.0), abs=0.1)
    ticks = [float(one.text) for one in root.iter(f"{space}text") if one.get("class") == "y"]
    assert all(b > a for a, b in pairwise(ticks))
    assert root.find(f"{space}title").text == words(ranking(board))


def test_what_is_drawn_can_be_read_off_its_scales(board: Path) -> None:
    """The places of the ticks' numbers are a reference that the drawing itself brings."""
    root = ElementTree.fromstring((board / "pareto.svg").read_text())
    space = "{http://www.w3.org/2000/svg}"

    def places(name: str, kind: str, *keys: str) -> list[list[float]]:
        found = (one for one in root.iter(f"{space}{name}") if one.get("class") == kind)
        return [[float(one.get(key, "")) for key in keys] for one in found]

    texts = {kind: [one for one in root.iter(f"{space}text") if one.get("class") == kind]
             for kind in ("x", "y", "x title")}  # fmt: skip
    axis, *ticks = places("line", "axis", "x1", "y1", "x2", "y2")
    rules = places("line", "rule", "x1", "y1", "x2", "y2")
    shares = numpy.log([float(one.text or "") for one in texts["x"]])
    across = [float(one.get("x", "")) for one in texts["x"]]
    accuracies = [float(one.text or "") for one in texts["y"]]
    assert across == [tick[0] for tick in ticks]
    assert [float(one.get("y", "")) for one in texts["y"]] == pytest.approx(
        [rule[1] + 4 for rule in rules]
    )
    assert all(rule[0::2] == axis[0::2] and rule[1] == rule[3] <= axis[1] for rule in rules)
    assert 3 <= len(rules) <= 10
    assert [float(one.get("x", "")) for one in texts["x title"]] == [(axis[0] + axis[2]) / 2]
    to_x, to_y = (
        numpy.polyfit(shares, across, 1),
        numpy.polyfit(accuracies, [r[1] for r in rules], 1),
    )
    for line in ranking(board).lines:
        (group,) = (
            one
            for one in root.iter(f"{space}g")
            if (circle := one.find(f"{space}circle")) is not None
            and len(one) == 3
            and float(circle.get("cy", ""))
            == pytest.approx(numpy.polyval(to_y, 100 * line.summary.accuracy.mean), abs=0.3)
        )
        left = remaining([one.rounds.sparsity[one.best_round] for one in line.row.seeds])
        x = numpy.polyval(to_x, numpy.log(100 * left[0]))
        assert float(group[2].get("cx", "")) == pytest.approx(x, abs=0.3)
        low, high = (numpy.polyval(to_y, 100 * one) for one in line.summary.interval)
        ends = sorted([float(group[0].get("y1", "")), float(group[0].get("y2", ""))])
        assert ends == pytest.approx(sorted([low, high]), abs=0.3)
    for one in root.iter(f"{space}text"):
        assert 0 < float(one.get("x", "")) < WIDTH
        assert 0 < float(one.get("y", "")) < HEIGHT


def test_a_figure_loads_nothing_and_brings_its_background(board: Path) -> None:
    text = (board / "pareto.svg").read_text()
    assert not re.search(r"<(script|image|use|foreignObject|a)\b|href|url\(|@import", text)
    assert text.count("http") == 1  # the name space
    assert '<rect class="bg" width="560" height="430"/>' in text
    assert "prefers-color-scheme:dark" in text


def test_its_bytes_repeat_and_check_covers_it(board: Path) -> None:
    folder, path = board.parent, board / "pareto.svg"
    before = path.read_bytes()
    assert check.check(folder) == []
    assert check.write(folder) == []
    path.write_text(path.read_text().replace("dominated", "fine"))
    assert check.check(folder) == [
        f"{path}: differs from what its rows give; run `dsd-bench leaderboard`"
    ]
    path.unlink()
    assert "missing" in check.check(folder)[0]
    assert check.write(folder) == [path]
    assert path.read_bytes() == before
    stray = folder / "elsewhere" / "pareto.svg"
    stray.parent.mkdir()
    stray.write_text("")
    assert check.check(folder) == [f"{stray}: nothing generates it; delete it"]


def test_too_few_seeds_are_drawn_and_not_judged(tmp_path: Path) -> None:
    write(tmp_path, 2)
    check.write(tmp_path / "boards")
    (board,) = (path for path in (tmp_path / "boards").iterdir() if path.is_dir())
    assert {line.front for line in ranking(board).lines} == {None}
    assert "Too few seeds to say which methods are on" in (board / "README.md").read_text()
    assert (board / "pareto.svg").read_text().count('<g><line class="bar"') == 3


def test_text_of_rows_does_nothing_in_the_figure(tmp_path: Path) -> None:
    evil = '</title><script>alert(1)</script>"&'
    runs = [
        write_run(tmp_path / "runs", config(seed, [part("mine", weight=f, note=evil)]))
        for seed in range(SEEDS)
        for f in (0.2, 0.3)
    ]
    rows.submit(runs, tmp_path / "boards")
    (track,) = check.find_rows(tmp_path / "boards").rows.values()
    made = figure(rank(track))
    root = ElementTree.fromstring(made)
    assert {one.tag.rpartition("}")[2] for one in root.iter()} <= {
        "svg", "title", "style", "rect", "text", "line", "g", "circle", "path",
    }  # fmt: skip


def test_equal_answers_do_not_dominate() -> None:
    bits = numpy.ones((2, 100), bool)
    found = compare(numpy.ones((2, 5)), disagreements(bits), 100)
    assert front(found, numpy.ones((2, 5)), numpy.zeros((2, 5))) == ["yes", "yes"]


def _sides(x: int, y: int, width: int) -> list[tuple[int, int, int, int]]:
    """The places of a name beside its point that lie within the figure, the best liked first."""
    lines = (-18, 4, -32, 18, -7, -46, 32)
    lefts = [(left, y + line) for line in lines for left in (x + 8, x - 8 - width)]
    found = [(left, top, width, 14) for left, top in lefts]
    return [box for box in found if LEFT <= box[0] <= WIDTH - 4 - width] or found[:1]


@pytest.mark.parametrize("many", [1, 5, 60, 600])
def test_a_name_stands_where_it_covers_the_least(many: int) -> None:
    """Against an image of the figure, pixel by pixel."""
    random = numpy.random.default_rng(many)
    for _ in range(20):
        x, y = int(random.integers(LEFT, WIDTH - RIGHT)), int(random.integers(TOP, BOTTOM))
        width = int(random.integers(10, 300))
        corners = random.integers((0, 0), (WIDTH, BOTTOM), (many, 2))
        taken = numpy.array([(left, top, 10, 10) for left, top in corners])
        covered = numpy.zeros((WIDTH + 400, BOTTOM + 200), int)
        for left, top in corners:
            covered[left : left + 10, top : top + 10] += 1
        boxes = _sides(x, y, width)
        costs = [
            covered[max(a, 0) : max(a + w, 0), max(b, 0) : b + h].sum() for a, b, w, h in boxes
        ]
        best = boxes[int(numpy.argmin(costs))]
        assert _free(x, y, width, 10 * taken) == tuple(10 * value for value in best)


def test_of_places_that_cover_as_much_the_first_is_taken() -> None:
    taken = [(x, y, 100, 100) for x in range(0, 9000, 100) for y in range(0, 6000, 100)]
    assert _free(300.0, 200.0, 100.0, numpy.array(taken)) == (3080, 1820, 1000, 140)


def test_a_name_may_reach_the_edges_and_not_beyond() -> None:
    """From 50, where accuracies begin, to 556, four pixels before the end."""
    nothing = numpy.array([(0, 0, 0, 0)])
    assert _free(358.0, 200.0, 190.0, nothing)[0] == 3660  # 366 + 190 = 556
    assert _free(359.0, 200.0, 190.0, nothing)[0] == 1610  # so it ends 8 pixels before the point
    covered = numpy.array([(800, 0, 10_000, 4400)])  # all from 80 on
    assert _free(74.0, 200.0, 16.0, covered)[0] == 500
    assert _free(73.0, 200.0, 16.0, covered)[0] == 810


def test_very_few_weights_have_round_ticks() -> None:
    text = "".join(_scales(Axes(0.00009, 50.0, 90.0)))
    told = [float(found) for found in re.findall(r'class="x" x="[^"]*" y="[^"]*">([^<]*)<', text)]
    assert told == [digit * 10.0**power for power in (1, 0, -1, -2) for digit in (10, 5, 2)] + [
        0.01
    ]
