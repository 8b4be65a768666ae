"""Does not say which plugin API it was made for."""

from dsd_bench import Component, hookimpl
from dsd_bench.pruners import PrunerParams


@hookimpl
def register_pruners():
    return [Component("current", "broken.pruner:Good", "says nothing", PrunerParams)]
