"""Boards of many rows: what makes them quick changes nothing of them."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from board_runs import config, part, write_run
from hostile_rows import consistent
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench.boards import check, files, known, ties
from dsd_bench.boards.conditions import differing
from dsd_bench.boards.files import parse, read_row
from dsd_bench.boards.known import Known
from dsd_bench.boards.rows import submit
from dsd_bench.boards.schema import CheckedRow
from dsd_bench.boards.verify import problems
from dsd_bench.errors import UsageError
from dsd_bench.store.reading import large, parse_object

ROOT = Path(__file__).parent.parent
SHIPPED = sorted((ROOT / "leaderboards").glob("*/rows/*.json"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dsd-bench"


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    make = partial(write_run, tmp_path / "runs")
    for value in (0.1, 0.2, 0.3):
        pruner = part("magnitude", fraction=value, scope="global")
        submit([make(config(seed, pruner=pruner)) for seed in range(5)], tmp_path / "boards")
    return tmp_path / "boards"


# -- the text of rows

LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)


@given(
    st.recursive(
        LEAVES.filter(lambda value: value not in (float("inf"), float("-inf"))),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_the_text_is_that_of_pythons_encoder(value: Any) -> None:
    assert files._text(value, 1) == json.dumps(value, sort_keys=True, indent=1, allow_nan=False)


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {"a": [float("-inf")]}])
def test_no_text_holds_a_number_that_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files._text(value, 1)


# -- rows that are surely right


@pytest.mark.parametrize("path", SHIPPED[::7], ids=lambda path: path.stem)
def test_a_row_that_is_right_is_read_at_once(path: Path) -> None:
    text = path.read_text()
    found = files._valid(text)
    assert found == parse(text, "x")
    assert found.model_dump_json() == parse(text, "x").model_dump_json()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"best_round": ', '"best_round":  '),  # not as submit writes it
        ('"schema": 2', '"schema": 1'),
        ('"schema": 2', '"schema": true'),
        ('"schema": 2', '"schema": 2.0'),
        ('"best_round": 3', '"best_round": 3.0'),
        ('"best_round": 3', '"best_round": 2'),  # contradicts itself
        ('"seed": 0', '"seed": 0,\n   "seed": 0'),  # a key twice
        ('"threads": 1,', '"threads": 1e+39,'),
        ('"threads": 1,', '"threads": 1e+99,'),
        ('"threads": 1,', f'"threads": {"1" * 20},'),
        ('"threads": 1,', '"threads": NaN,'),
        ('"threads": 1,', '"threads": Infinity,'),
        ('"torch": "', '"torch": "\\u202e'),
        ('"torch": "', '"torch": "\\ud800'),
        ('"torch": "', '"torch": "\u00e9'),
        ("}", ""),
    ],
)
def test_what_may_be_wrong_is_not(boards: Path, old: str, new: str) -> None:
    text = next(boards.glob("*/rows/*.json")).read_text()
    assert old in text
    assert files._valid(text.replace(old, new)) is None  # all seeds alike


@pytest.mark.parametrize("depth", [10, 50, 80, 5000])
def test_what_is_nested_deeply_is_looked_at(boards: Path, depth: int) -> None:
    """A plugin's parameters may be nested as deep as anything that is read."""
    path = next(boards.glob("*/rows/*.json"))
    told = json.loads(path.read_text())
    told["config"]["pruner"] = part("theirs", x=7)
    inner = "[" * depth + "1" + "]" * depth
    if depth < 100:
        told["config"]["pruner"]["params"]["x"] = json.loads(inner)
        text = files._text(consistent(told), 1) + "\n"
    else:
        text = (files._text(consistent(told), 1) + "\n").replace('"x": 7', f'"x": {inner}')
    assert (files._valid(text) is not None) == (depth == 10)
    if depth > 60:
        with pytest.raises(UsageError, match="nested too deeply"):
            files.check_text(text, path)
    else:
        assert files.check_text(text, path).method.pruner.name == "theirs"


# -- rows that are known


@pytest.mark.parametrize("path", SHIPPED[::7], ids=lambda path: path.stem)
def test_a_known_row_is_the_same_row(path: Path) -> None:
    memory = Known()
    first = read_row(path, memory)
    memory.keep()
    again = read_row(path, Known())
    assert again == first == parse(path.read_text(), "x")
    assert again.model_dump_json() == first.model_dump_json()


def test_known_rows_are_not_checked_again(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    whole = files.problems
    monkeypatch.setattr(files, "problems", lambda row: asked.append(1) or whole(row))
    check.write(boards)
    texts = {path: path.read_bytes() for path in boards.rglob("*.md")}
    assert len(asked) == 3
    assert check.write(boards) == []
    assert check.check(boards) == []
    assert len(asked) == 3
    monkeypatch.setattr(known, "_code", lambda: "other")  # another version knows nothing
    assert check.check(boards) == []
    assert len(asked) == 6
    assert {path: path.read_bytes() for path in texts} == texts


def test_one_byte_makes_another_row(boards: Path) -> None:
    check.write(boards)
    path = next(boards.glob("*/rows/*.json"))
    path.write_text(path.read_text().replace('"best_round": 3', '"best_round": 2', 1))
    assert any("best_round" in text for text in check.check(boards))
    path.write_text(path.read_text() + " ")
    with pytest.raises(UsageError):
        read_row(path, Known())


@pytest.mark.parametrize("bad", [[0], [3], [0, 1], [1, 3, 4], [0, 1, 2, 3, 4]])
def test_seeds_that_are_alike_are_all_told(boards: Path, bad: list[int]) -> None:
    """What is told of machines is looked at once where seeds share it, and never overlooked."""
    told = json.loads(next(boards.glob("*/rows/*.json")).read_text())
    for place in bad:
        told["seeds"][place]["hardware"]["cpu"] = "<b>"
        told["seeds"][place]["code"][0]["versions"]["torch"] = "`2`"
    found = problems(CheckedRow.model_validate(told))
    assert [text for text in found if "markup" in text] == [
        f"seeds.{place}.{key}: {value} is no short text without markup"
        for place in bad
        for key, value in (("hardware.cpu", "'<b>'"), ("code.0.versions.torch", "'`2`'"))
    ]


@pytest.mark.parametrize("values", [(1, 1.0), (1, True), (0, False), (0, None)])
def test_equal_values_of_other_types_are_other_conditions(boards: Path, values: Any) -> None:
    told = json.loads(next(boards.glob("*/rows/*.json")).read_text())
    for place, value in enumerate(values):
        told["seeds"][place]["plan"][0]["micro_batch"] = value
    entries = CheckedRow.model_validate(told).seeds[: len(values)]
    assert differing(entries) == ["micro_batch"]


def test_a_bad_row_is_never_known(boards: Path, cache: Path) -> None:
    path = next(boards.glob("*/rows/*.json"))
    path.write_text(path.read_text().replace('"best_round": 3', '"best_round": 2', 1))
    for _ in range(2):
        assert any("best_round" in text for text in check.check(boards))
    (told,) = cache.glob("rows-*.txt")
    assert len(told.read_text().splitlines()) == 2


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"no digest\n", b"", b"A" * 64])
def test_a_damaged_cache_knows_nothing(boards: Path, cache: Path, damage: bytes) -> None:
    check.write(boards)
    (told,) = cache.glob("rows-*.txt")
    before = told.read_bytes()
    told.write_bytes(damage)
    assert check.check(boards) == []
    assert told.read_bytes() == before


def test_a_cache_that_cannot_be_written_is_no_mistake(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    check.write(boards)
    assert check.check(boards) == []


def test_too_many_known_rows_are_those_of_the_last_time(
    boards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    check.write(boards)
    (told,) = cache.glob("rows-*.txt")
    told.write_text("".join(f"{letter * 64}\n" for letter in "ab"))
    check.check(boards)
    assert len(told.read_text().splitlines()) == 3


def test_old_rows_are_not_remembered(boards: Path) -> None:
    path = next(boards.glob("*/rows/*.json"))
    memory = Known()
    read_row(path, memory)
    told = json.loads(path.read_text())
    told["schema"] = 1
    for key in ("config", "mixed", "tried"):
        del told[key]
    for entry in told["seeds"]:
        for key in ("samples", "layers", "correct", "code"):
            del entry[key]
    path.write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
    for _ in range(2):
        assert not isinstance(read_row(path, memory), CheckedRow)
        memory.keep()


# -- numbers that are read quickly


@pytest.mark.parametrize(
    "number",
    [
        "1e999",
        "-1E400",
        f"1{'0' * 400}.0",
        f"1{'0' * 300}e99",
        "1e0000400",
        "1" * 20,
        "-" + "9" * 20,
    ],
)
def test_no_number_is_too_long_to_be_refused(number: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        parse_object(f'{{"a": [{number}]}}')


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**19) + 1, 10**19 - 1))
def test_numbers_are_those_of_json(one: float, other: int) -> None:
    assert parse_object(json.dumps({"a": one, "b": other})) == {"a": one, "b": other}


NUMBERS = r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?"


@given(st.from_regex(NUMBERS, fullmatch=True), st.sampled_from(["", " ", "\n", ', "e1234"']))
def test_quick_reading_overlooks_no_number(number: str, after: str) -> None:
    whole = number.lstrip("-").isdigit()
    refused = len(number.lstrip("-")) > 19 if whole else not math.isfinite(float(number))
    text = f'{{"1e999x": [{number}{after}], "{"9" * 40}": "E+500"}}'
    if refused:
        with pytest.raises(ValueError, match="out of range"):
            parse_object(text)
    else:
        assert parse_object(text)["1e999x"][0] == json.loads(number)


def test_digests_and_bits_look_like_no_numbers() -> None:
    """Else every row would be read slowly: a digest has an e before three digits."""
    assert not large('{"a": "5e123f", "b": "+e1000/==", "c": 0.1234567890123456789}', 20, 3)
    assert large('{"a": 5e123}', 20, 3)
    assert large('{"a": 5E+0400\n}', 20, 3)
    assert large(f'{{"a": {"7" * 20}.5}}', 20, 3)


@pytest.mark.parametrize("depth", [59, 60, 61, 200])
def test_nesting_is_bounded_however_it_is_made(depth: int) -> None:
    for left, right in (("[", "]"), ('{"a": ', "}")):
        text = f'{{"a": {left * (depth - 1)}1{right * (depth - 1)}}}'
        if depth < 60:
            assert parse_object(text)
        elif depth > 61:
            with pytest.raises(ValueError, match="nested too deeply"):
                parse_object(text)


# -- the largest of many pairs


@pytest.mark.parametrize("scatter", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("count", [2, 3, 21, 90])
def test_the_largest_statistic_is_that_of_all_pairs(count: int, scatter: float) -> None:
    """Against every pair, one by one; methods scatter alike or very differently."""
    random = numpy.random.default_rng(count)
    for _ in range(20):
        size = numpy.exp(scatter * random.normal(size=(count, 1)))
        values = size * random.normal(size=(count, 6)) + random.normal(size=(1, 6))
        means, errors = ties._statistics(values)
        every = [
            abs(means[i, j]) / errors[i, j] for i in range(count) for j in range(i) if errors[i, j]
        ]
        found = ties._largest(values, ties._some_pairs(count))
        assert found == pytest.approx(max(every), rel=1e-9)


@pytest.mark.filterwarnings("error")
def test_methods_of_which_most_do_not_scatter_have_the_statistic_of_the_others() -> None:
    """The median variance is 0 then, and so is that of most pairs."""
    values = numpy.ones((40, 6))
    values[:3] += numpy.random.default_rng(1).normal(size=(3, 6))
    means, errors = ties._statistics(values)
    every = [abs(means[i, j]) / errors[i, j] for i in range(3) for j in range(40) if i != j]
    assert ties._largest(values, ties._some_pairs(40)) == pytest.approx(max(every), rel=1e-9)


def test_methods_without_scatter_have_no_statistic() -> None:
    assert ties._largest(numpy.ones((5, 6)), ties._some_pairs(5)) == 0.0


def test_pairs_are_all_or_so_many_different_ones() -> None:
    few, many = ties._some_pairs(100), ties._some_pairs(400)
    assert few.shape == (2, 4950)
    assert many.shape == (2, ties.PAIRS)
    assert len(set(zip(*many.tolist()))) == ties.PAIRS
    assert (many[0] < many[1]).all()


def test_both_ways_simulate_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = numpy.random.default_rng(3).normal(0.8, 0.02, (160, 6))
    few = ties._critical(values, 60)
    monkeypatch.setattr(ties, "TOGETHER", 10**6)
    assert ties._critical(values, 60) == pytest.approx(few, rel=1e-9)


def test_some_pairs_tell_the_median_of_all() -> None:
    """Beside the 3 % by which 400 draws know the quantile, 1 % in a board is nothing."""
    random = numpy.random.default_rng(5)
    every = numpy.stack(numpy.triu_indices(400, 1))
    for _ in range(20):
        values = random.normal(0, 1, (400, 6)) * random.uniform(0.5, 1.5, (400, 1))
        few = ties._largest(values, ties._some_pairs(400))
        assert few == pytest.approx(ties._largest(values, every), rel=0.01)
