"""A measurement of latency as a table, for pages and model cards."""

from __future__ import annotations

from dsd_bench.latency.records import Latency

NAMES = ("backend", "batch", "network", "median, ms", "times faster", "95 % interval")


def cells(found: Latency) -> list[list[str]]:
    """Return a line for each network of each setting, as texts under :data:`NAMES`."""
    return [
        [
            setting.backend,
            str(setting.batch),
            one.name,
            f"{1000 * one.median:.3g}",
            f"{one.faster:.2f}",
            f"{one.low:.2f} to {one.high:.2f}",
        ]
        for setting in found.settings
        for one in setting.timings
    ]


def conditions(found: Latency) -> str:
    """Say in sentences where it was measured, of what, and what must not be quoted."""
    machine = found.machine
    told = (
        f"Of {found.title}; timed in turns on {machine.device} ({machine.chip}), {machine.threads} "
        f"of {machine.cores} cores, torch {machine.torch}, fp32. Other machines give other numbers."
    )
    return " ".join([told, *(f"Beware: {text}." for text in found.warnings())])
