"""Imports torch when it is registered."""

import torch

from dsd_bench import Component, hookimpl
from dsd_bench.pruners import PrunerParams

torch.manual_seed(0)

dsd_bench_api = "1"


@hookimpl
def register_pruners():
    return [Component("light", "broken.pruner:Good", "imports torch", PrunerParams)]
