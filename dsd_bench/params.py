"""Typed parameters: declared once, used by the command line, files, Python, help and the hash.

A component declares its parameters as a frozen pydantic model::

    class MyParams(Params):
        fraction: float = param(0.2, help="fraction of the remaining weights to prune", gt=0, lt=1)

and a user writes them as ``name:key=value,key=value``. The first value may stand bare and is then
the component's main argument: the field marked ``main=True``, or else the first one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.fields import FieldInfo

from dsd_bench.errors import UsageError, suggest

QUOTING = "a value that holds a comma or '=' is put in quotes, such as name:'a,b' or key='a=b'"

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")


class Params(BaseModel):
    """Base of every component's parameters: immutable, no unknown keys, no NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )

    @model_serializer(mode="wrap")
    def _without_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what files had no word for, where it says what was always done."""
        value: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        later = [key for key, field in fields.items() if field_extra(field).get("later")]
        usual = {k for k in later if getattr(self, k) == fields[k].get_default()}
        return {key: item for key, item in value.items() if key not in usual}


def param(
    default: Any = ...,
    *,
    help: str,
    main: bool = False,
    place: bool = False,
    later: bool = False,
    unit: str | None = None,
    **constraints: Any,
) -> Any:
    """Declare one parameter.

    Args:
        default: its default; leave it out to make the parameter required.
        help: one line for people.
        main: whether a bare first value (``name:value``) sets it.
        place: whether it only says where data lie: a run's id has their fingerprint instead.
        later: whether the component had been released without it: at its default, which must be
            what was done before, it is in no file and no id, so that both stay as they were.
        unit: its unit, shown in help.
        **constraints: pydantic's, such as ``ge``, ``gt``, ``le``, ``lt``, ``min_length``.
    """
    extra: dict[str, Any] = {"main": main, "place": place, "later": later}
    extra |= {"unit": unit} if unit else {}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


def field_extra(field: FieldInfo) -> dict[str, Any]:
    """Return what :func:`param` noted of a field: ``main``, ``place``, ``later``, ``unit``."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def main_field(model: type[BaseModel]) -> str | None:
    """Return the name of the field that a bare first value sets, or None if there is none."""
    fields = model.model_fields
    return next(
        (name for name, field in fields.items() if field_extra(field).get("main")),
        next(iter(fields), None),
    )


def split_word(word: str, where: str) -> tuple[str, str | None, dict[str, str]]:
    """Split ``name:main,key=value`` into the name, the bare main value and the keyed values.

    Values may be quoted with ``'`` or ``"``; commas and equal signs inside quotes are kept.

    Raises:
        UsageError: for a missing name, an empty or repeated key, or an open quote.
    """
    name, _, rest = word.strip().partition(":")
    if not NAME.match(name):
        raise UsageError(f"{where}: '{word}' does not start with a component's name")
    bare: str | None = None
    values: dict[str, str] = {}
    for position, piece in enumerate(_pieces(rest, word, where)):
        key, sign, value = piece.partition("=")
        key, quoted_key = key.strip(), piece.strip()[:1] in ("'", '"')
        if (not sign or quoted_key) and position == 0:
            bare = _unquote(piece)
        elif not sign or not key:
            raise UsageError(f"{where}: '{piece}' in '{word}' is not key=value; {QUOTING}")
        elif key in values:
            raise UsageError(f"{where}: '{key}' is given twice in '{word}'")
        else:
            values[key] = _unquote(value)
    return name, bare, values


def _pieces(text: str, word: str, where: str) -> list[str]:
    """Split at the commas that are outside quotes."""
    pieces, start, quote = [], 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and (position == start or text[position - 1] in "=, "):
            quote = character
        elif character == ",":
            pieces.append(text[start:position])
            start = position + 1
    if quote:
        raise UsageError(f"{where}: a quote is not closed in '{word}'")
    pieces.append(text[start:])
    return pieces if text.strip() else []


def _unquote(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text


def parse_values(
    model: type[Params], bare: str | None, values: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Merge a bare main value into the keyed values of ``model``."""
    merged = dict(values)
    if bare is None:
        return merged
    main = main_field(model)
    if main is None:
        raise UsageError(f"{where}: takes no parameters, got '{bare}'")
    if main in merged:
        raise UsageError(f"{where}: '{main}' is given twice (bare and by name)")
    return {main: bare} | merged


def validate(model: type[Params], values: Mapping[str, Any], where: str) -> Params:
    """Build ``model`` from ``values``, or say everything that is wrong with them at once.

    Raises:
        UsageError: one message that names each key, what it got and what was expected.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError("; ".join(messages(model, error, where))) from None


def messages(model: type[BaseModel], error: ValidationError, where: str) -> list[str]:
    """Turn pydantic's report into one sentence for each mistake."""
    found: dict[str, str] = {}
    for item in error.errors():
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            hint = suggest(key, model.model_fields)
            text = f"{where}: unknown key '{key}'{hint}"
            text += "" if "did you mean" in hint else f"; {QUOTING}"
        elif item["type"] == "missing":
            text = f"{where}: '{key}' is required"
        elif key:
            reason = item["msg"].removeprefix("Value error, ")
            text = f"{where}: {key}={item['input']}: {reason}"
        else:
            text = f"{where}: {item['msg'].removeprefix('Value error, ')}"
        found.setdefault(key, text)
    return list(found.values())


def format_word(name: str, params: Mapping[str, Any], main: str | None = None) -> str:
    """Write a component and its parameters the way a user would type them."""
    parts = [f"{key}={_quote(value)}" for key, value in params.items() if key != main]
    if main is not None and main in params:
        parts.insert(0, _quote(params[main]))
    return f"{name}:{','.join(parts)}" if parts else name


def value_word(value: Any) -> str:
    """Write one value the way a user would type it: ``true``, ``200`` for 200.0."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _quote(value: Any) -> str:
    text = value_word(value)
    return f'"{text}"' if any(c in text for c in ",='\" ") or not text else text
