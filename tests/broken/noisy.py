"""Prints when it is registered."""

from dsd_bench import Component, hookimpl
from dsd_bench.pruners import PrunerParams

print("hello from noisy")

dsd_bench_api = "1"


@hookimpl
def register_pruners():
    return [Component("quiet", "broken.pruner:Good", "prints", PrunerParams)]
