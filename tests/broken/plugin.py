"""Registers the broken components of all kinds; it imports no torch, as plugins should not."""

from __future__ import annotations

from dsd_bench import Component, hookimpl, param
from dsd_bench.pruners import PrunerParams

dsd_bench_api = "1"


class OddParams(PrunerParams):
    """A parameter that no word can hold."""

    names: frozenset[str] = param(frozenset(), help="any")


PRUNERS = {
    "good": "Good",
    "implements": "Implements",
    "documented": "Documented",
    "expectations": "Expectations",
    "same-seed": "SameSeed",
    "exact-counts": "ExactCounts",
    "changes-nothing": "ChangesNothing",
    "odd-networks": "OddNetworks",
    "to-the-end": "ToTheEnd",
    "any-dtype": "AnyDtype",
    "any-device": "AnyDevice",
    "resumes": "Resumes",
    "survives-kill": "SurvivesKill",
}


@hookimpl
def register_pruners():
    components = [
        Component(name, f"broken.pruner:{place}", "broken", PrunerParams)
        for name, place in PRUNERS.items()
    ]
    return [*components, Component("parameters", "broken.pruner:Good", "broken", OddParams)]
