"""Checks of components of all kinds: what they say of themselves, and what loading them costs."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from typing import Any

from dsd_bench.conformance.checks import (
    EVERY,
    Broken,
    blaming,
    check,
    checks_of,
    demand,
)
from dsd_bench.conformance.subjects import OURS, Subject, base_of
from dsd_bench.errors import UsageError
from dsd_bench.params import (
    Params,
    format_word,
    main_field,
    parse_values,
    split_word,
    validate,
)
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.api import API, ATTRIBUTE

HEAVY = ("torch", "torchvision", "timm")
"""What no module behind an entry point may import."""

LINE = 100
"""Most characters of a summary."""


@check(EVERY)
def implements(subject: Subject) -> None:
    """Its class is importable, derives from its kind's base class, is built from parameters."""
    base = base_of(subject.kind)
    found = subject.load()
    demand(
        inspect.isclass(found) and issubclass(found, base),
        f"{subject.entry.component.implementation} is no subclass of {base.__module__}."
        f"{base.__name__}",
    )
    made = subject.make()
    demand(
        getattr(made, "params", None) == subject.params,
        "its __init__ does not keep self.params: call super().__init__(params)",
    )


@check(EVERY)
def documented(subject: Subject) -> None:
    """It says in one line what it does, its class has a docstring, its parameters have help."""
    component = subject.entry.component
    summary = component.summary
    demand(summary.strip(), "its Component has no summary")
    demand(
        len(summary) <= LINE and summary.isprintable(),
        f"its summary is not one line of {LINE} characters at most",
    )
    demand(subject.load().__dict__.get("__doc__"), "its class has no docstring: cite its source")
    for name, info in component.params.model_fields.items():
        demand(info.description, f"parameter '{name}' has no help: param(..., help=...)")


@check(EVERY)
def parameters(subject: Subject) -> None:
    """Its parameters come back from words and JSON, every choice; defaults may be named."""
    model, values = subject.entry.component.params, subject.values
    everything = subject.params.model_dump(mode="json")
    for given in (values, everything, *subject.variants()):
        params = _valid(model, given)
        text = json.dumps(params.model_dump(mode="json"), allow_nan=False)
        demand(_valid(model, json.loads(text)) == params, f"{given} does not come back from JSON")
        word = format_word(subject.name, params.model_dump(mode="json", exclude_none=True))
        _, bare, keyed = split_word(word, word)
        again = _valid(model, parse_values(model, bare, keyed, word))
        demand(again == params, f"'{word}' gives {again!r}, not {params!r}")
        subject.make(given)
    demand(_valid(model, everything) == subject.params, "its defaults, named, are other parameters")
    main = main_field(model)
    if main is not None:
        bare_word = format_word(subject.name, everything, main)
        demand(":" in bare_word, f"its main parameter '{main}' does not show in its word")


def _valid(model: type[Params], values: dict[str, Any]) -> Params:
    try:
        return validate(model, values, "it")
    except UsageError as error:
        raise Broken(f"parameters of its own are refused: {error}") from error


@check(EVERY)
def light(subject: Subject) -> None:
    """Registering it imports no torch: every `--help` reads the module behind its entry point."""
    imported = _registered(subject)["heavy"]
    demand(
        not imported,
        f"registering it imports {', '.join(imported)}: import the class on first use, "
        'Component(implementation="module:Class")',
    )


@check(EVERY)
def quiet(subject: Subject) -> None:
    """Registering it prints nothing."""
    printed = _registered(subject)["printed"].strip()
    demand(not printed, f"registering it prints: {printed[-200:]!r}")


@check(EVERY)
def current(subject: Subject) -> None:
    """Its plugin says which plugin API it was made for, and uses nothing of it that will go."""
    owner = subject.entry.distribution
    demand(
        subject.entry.api is not None or owner == OURS,
        f"the module behind its entry point does not say what it was made for: add the line "
        f'{ATTRIBUTE} = "{API}"',
    )
    told = [old.error for old in catalogue().deprecated if old.distribution == owner]
    demand(not told, "; ".join(told))


@check(EVERY)
def expectations(subject: Subject) -> None:
    """What it expects to fail are checks of its kind, each with a reason."""
    given = getattr(subject.load(), "expected_failed_checks", {})
    demand(isinstance(given, dict), "expected_failed_checks is no dict of reasons by check")
    known = [each.name for each in checks_of(subject.kind)]
    for name, reason in given.items():
        demand(
            name in known and name != "expectations",
            f"expected_failed_checks: there is no check '{name}'; there are: {', '.join(known)}",
        )
        demand(
            isinstance(reason, str) and reason.strip(),
            f"expected_failed_checks: '{name}' has no reason",
        )


_MARK = "registered: "
_PROBE = f"""
import importlib, importlib.metadata, json, os, sys
name, module, heavy = json.loads(sys.argv[1])
from dsd_bench.plugins import build
known = build(third_party=False)
if module is not None:
    known.add(importlib.import_module(module), name)
elif name != "dsd-bench":
    for point in importlib.metadata.distribution(name).entry_points.select(group="dsd_bench"):
        known.add(point.load(), name)
for entry in known.entries():
    entry.component.params.model_json_schema()
sys.stdout.flush()
print("{_MARK}" + json.dumps([module for module in heavy if module in sys.modules]), flush=True)
os._exit(0)
"""


def _registered(subject: Subject) -> dict[str, Any]:
    """Return what a new process tells of registering the plugin; once for all its components."""
    key = (subject.entry.distribution, subject.module)
    if key not in _REGISTERED:
        _REGISTERED[key] = _in_a_new_process(*key)
    return _REGISTERED[key]


_REGISTERED: dict[tuple[str, str | None], dict[str, Any]] = {}


def _in_a_new_process(distribution: str, module: str | None) -> dict[str, Any]:
    request = json.dumps([distribution, module, HEAVY])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with blaming("registering it in a new process"):
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, request],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    before, mark, heavy = done.stdout.rpartition(_MARK)
    reason = (done.stderr.strip() or "no reason")[-300:]
    demand(mark, f"registering it in a new process fails: {reason}")
    return {"heavy": json.loads(heavy), "printed": before + done.stderr}
