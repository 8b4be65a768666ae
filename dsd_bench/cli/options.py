"""The options of ``dsd-bench run``, made from the parameters' own declarations."""

from __future__ import annotations

import typing
from collections.abc import Callable
from types import UnionType
from typing import Any, Literal

import click
from pydantic.fields import FieldInfo

from dsd_bench.config.layers import flag
from dsd_bench.config.run import ProtocolConfig
from dsd_bench.params import field_extra, value_word

COMPONENTS = {
    "dataset": "Data set, such as cifar10:train_size=5000.",
    "model": "Model, such as vgg-like:depth=2,width_exponent=4.",
    "noise": "Label noise, such as symmetric:rate=0.2.",
    "pruner": "Pruner, such as magnitude:fraction=0.2.",
    "perturber": "What happens to surviving weights: none, rewind:step=K, reinit.",
    "updater": "What changes masks within a training, such as rigl; none: nothing does.",
    "reg": "Regularizer, such as kd or l1:weight=1e-5; repeat it to chain several, in order.",
    "optimizer": "Optimiser, made afresh for each training: sgd (default), adam, adamw, ...",
    "schedule": "Schedule of learning rates and phases: step (default), ...",
    "stop": "Stop criterion, such as entropy-gate.",
    "choose": "Which round is returned: best (default), one-se, max-drop:0.01, ...",
    "metric": "A further metric, NAME[:KEY=VALUE,...]; repeat it for several.",
}
"""Options that choose components, with their help."""

MANY = ("reg", "metric")
OPTIONS = {k: v for k, v in ProtocolConfig.model_fields.items() if k not in COMPONENTS}
"""The protocol's options that are no components."""
WEIGHTS = {
    "weights": (
        "FILE",
        "Begin from the weights in this safetensors file (its contents are hashed) instead of an "
        "initialisation; with --dense-epochs 0 row 0 is that network.",
    ),
    "weights_head": (
        "keep|replace",
        "Of --weights: whether its output layer is taken too (default: keep).",
    ),
}
"""What a run begins from."""
LAYER = (*COMPONENTS, *WEIGHTS, *OPTIONS, "epochs", "seeds", "data_seed")
"""The options that say what is run."""
_STUDENT_ONLY = ("dataset", "seeds", "data_seed", "metric", "choose")
TEACHER = tuple(key for key in LAYER if key not in _STUDENT_ONLY)
"""Those that a teacher can have of its own, as ``--teacher-...``."""


class Sectioned(click.Command):
    """A command whose help groups its options under headings and ends with chosen components."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group of options under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = getattr(parameter, "heading", "Other")
                groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Option(click.Option):
    """An option with a heading."""

    def __init__(self, *args: Any, heading: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


def layer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is run, and the teacher's."""
    made = []
    for key, text in COMPONENTS.items():
        many = key in MANY
        made.append(_option(key, "What is run", text, "NAME[:KEY=VALUE,...]", many))
    for key, (meta, text) in WEIGHTS.items():
        made.append(_option(key, "What is run", text, meta))
    for key, field in OPTIONS.items():
        made.append(_option(key, "Protocol", field_help(field), metavar(field)))
    text = "Length of both trainings."
    made.append(_option("epochs", "Protocol", text, "N"))
    text = "Seeds, inclusive: 0-2, 0,3 or 5."
    made.append(_option("seeds", "What is run", text, "SEEDS"))
    text = "Seed of split and noise (default: the run's seed)."
    made.append(_option("data_seed", "What is run", text, "N"))
    for key in TEACHER:
        many = key in MANY
        made.append(_option(f"teacher_{key}", "Teacher", "", "...", many, hidden=True))
    for option in reversed(made):
        command = option(command)
    return command


def _option(
    key: str, heading: str, text: str, meta: str, many: bool = False, hidden: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    # every value stays a string here: the parameters' own models check all of them at once
    return click.option(
        flag(key),
        key,
        cls=Option,
        heading=heading,
        help=text,
        metavar=meta,
        multiple=many,
        default=None,
        hidden=hidden,
    )


def field_help(field: FieldInfo) -> str:
    """Return a parameter's help with its unit, range and default."""
    notes = [note for note in (limits(field), default_text(field)) if note]
    unit = field_extra(field).get("unit")
    text = f"{field.description}{f' [{unit}]' if unit else ''}"
    return f"{text} ({'; '.join(notes)})" if notes else text


def default_text(field: FieldInfo) -> str:
    """Return ``default: ...`` or ``required``."""
    if field.is_required():
        return "required"
    default = field.default
    if default is None:
        return ""
    parts = default if isinstance(default, tuple) else (default,)
    return f"default: {','.join(map(value_word, parts))}"


def limits(field: FieldInfo) -> str:
    """Return a parameter's range in words."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [
        f"{sign} {getattr(item, name)}"
        for item in field.metadata
        for name, sign in signs.items()
        if getattr(item, name, None) is not None
    ]
    return ", ".join(found)


def metavar(field: FieldInfo) -> str:
    """Return a parameter's type for people."""
    return _type_word(field.annotation)


def _type_word(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if origin in (typing.Union, UnionType):
        return _type_word(next(a for a in typing.get_args(kind) if a is not type(None)))
    if origin is tuple:
        return f"{_type_word(typing.get_args(kind)[0])},..."
    names = {int: "N", float: "X", str: "TEXT", bool: "true|false"}
    return names.get(kind, "VALUE")
