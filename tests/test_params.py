from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench import Params, param
from dsd_bench.errors import UsageError
from dsd_bench.params import format_word, main_field, parse_values, split_word, validate


class Example(Params):
    first: int = param(1, help="the first")
    fraction: float = param(0.2, help="a fraction", gt=0, lt=1)
    name: str = param("x", help="a name", main=True)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("magnitude", ("magnitude", None, {})),
        ("a:0.5", ("a", "0.5", {})),
        ("a:0.5,scope=layer", ("a", "0.5", {"scope": "layer"})),
        ("a:scope=layer,fraction=0.5", ("a", None, {"scope": "layer", "fraction": "0.5"})),
        ('a:path="x,y=z"', ("a", None, {"path": "x,y=z"})),
        ("a:'x=1,y'", ("a", "x=1,y", {})),
        ("timm:resnet18,pretrained=false", ("timm", "resnet18", {"pretrained": "false"})),
        ("imagefolder:C:/photos", ("imagefolder", "C:/photos", {})),
        ("a: b = c ", ("a", None, {"b": "c"})),
        ("it:it's", ("it", "it's", {})),
    ],
)
def test_split_word(word: str, parts: tuple[str, str | None, dict[str, str]]) -> None:
    assert split_word(word, "--x") == parts


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("", "component's name"),
        (":0.5", "component's name"),
        ("a:b=1,b=2", "twice"),
        ("a:1,2", "not key=value"),
        ("a:x='1", "not closed"),
        ("a:b=1,", "not key=value"),
    ],
)
def test_wrong_words_are_refused(word: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        split_word(word, "--reg")
    assert "--reg" in str(caught.value)


value = st.text(st.characters(codec="ascii", exclude_characters="'\"\n\r"), max_size=12).map(
    str.strip
)


@given(st.dictionaries(st.sampled_from(["a", "bc", "d_e"]), value, max_size=3))
def test_what_is_formatted_is_parsed_again(params: dict[str, str]) -> None:
    name, bare, values = split_word(format_word("thing", params), "--x")
    assert (name, bare, values) == ("thing", None, params)


def test_main_field_is_marked_or_first() -> None:
    assert main_field(Example) == "name"
    assert main_field(Params) is None


def test_bare_value_and_name_clash() -> None:
    with pytest.raises(UsageError, match="given twice"):
        parse_values(Example, "y", {"name": "z"}, "--x")


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        validate(Example, {"fraction": 2, "frist": 3, "first": "no"}, "--pruner example")
    text = str(caught.value)
    assert "fraction=2" in text
    assert "did you mean 'first'?" in text
    assert "first=no" in text


def test_params_refuse_nan_and_change() -> None:
    with pytest.raises(UsageError, match="finite"):
        validate(Example, {"fraction": "nan"}, "x")
    with pytest.raises(Exception, match="frozen"):
        Example().first = 2  # type: ignore[misc]


class Grown(Params):
    """Parameters of a component that got one after its release."""

    first: int = param(1, help="there from the start")
    newer: int | None = param(None, help="came later", later=True)


def test_a_later_parameter_is_told_only_where_it_says_something():
    assert Grown().model_dump(mode="json") == {"first": 1}
    assert Grown(newer=3).model_dump(mode="json") == {"first": 1, "newer": 3}
    assert Grown.model_validate({"first": 2}).newer is None
    assert json.loads(Grown(newer=0).model_dump_json()) == {"first": 1, "newer": 0}
