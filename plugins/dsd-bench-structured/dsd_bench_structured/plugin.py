"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

from typing import Literal

from dsd_bench import Component, Params, hookimpl, param

dsd_bench_api = "1"

GRAPH = "Fang et al. 2023, DepGraph: Towards Any Structural Pruning (CVPR)"


class ChannelParams(Params):
    """What the pruners of channels take; a unit is a channel, or a head, with all it leads to."""

    fraction: float = param(
        0.2, help="fraction of the remaining units to prune per round", gt=0, lt=1, main=True
    )
    scope: Literal["group", "global"] = param(
        "group",
        help="rank the units of each group of layers that share channels alone, or all together",
    )


@hookimpl
def register_pruners() -> list[Component]:
    """Return the pruners ``channels-l1``, ``channels-fpgm`` and ``channels-bn``."""
    return [
        Component(
            name="channels-l1",
            implementation="dsd_bench_structured.pruners:ChannelsL1",
            summary="prunes channels and heads of the smallest mean |w|, with all that they feed",
            params=ChannelParams,
            citation=f"Li et al. 2017, Pruning Filters for Efficient ConvNets (ICLR); {GRAPH}",
        ),
        Component(
            name="channels-fpgm",
            implementation="dsd_bench_structured.pruners:ChannelsFpgm",
            summary="prunes channels and heads nearest to their layer's geometric median",
            params=ChannelParams,
            citation="He et al. 2019, Filter Pruning via Geometric Median (CVPR); " + GRAPH,
        ),
        Component(
            name="channels-bn",
            implementation="dsd_bench_structured.pruners:ChannelsBn",
            summary="prunes channels of the smallest batch-norm scales, with all that they feed",
            params=ChannelParams,
            citation="Liu et al. 2017, Learning Efficient Convolutional Networks through Network "
            f"Slimming (ICCV); {GRAPH}",
        ),
    ]
