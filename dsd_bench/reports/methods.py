"""The seeds of one configuration as one thing to show: a name, a curve, a state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from dsd_bench.analysis import Point, mean_curve
from dsd_bench.config.naming import (
    Lookup,
    component_word,
    distinct_labels,
    group_runs,
    seeds_word,
    setting,
)
from dsd_bench.errors import plain
from dsd_bench.reports.plot import Series

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun


@dataclass(frozen=True)
class Method:
    """The runs of one configuration.

    Attributes:
        label: its name among the methods that are shown together.
        setting: data, noise and model.
        runs: one for each seed.
    """

    label: str
    setting: str
    runs: list[StoredRun]

    @property
    def seeds(self) -> str:
        """Its seeds, such as ``seeds 0-2``."""
        word = seeds_word(run.seed for run in self.runs)
        return f"seed{'s' if len(self.runs) > 1 else ''} {word}"

    @property
    def on_test(self) -> bool:
        """Whether the test part selected its models."""
        return self.runs[0].score == "test_accuracy"

    @property
    def selection(self) -> Text:
        """What selected its models; the test part stands out."""
        if self.on_test:
            return Text("selected on test", style="bold yellow")
        return Text("selected on validation", style="dim")

    @property
    def chooser(self) -> str:
        """What chose the rounds that are returned, as one types it."""
        chosen = self.runs[0].config.get("chooser")
        return plain(component_word("chooser", chosen)) if chosen else "best"

    @property
    def unfinished(self) -> bool:
        """Whether any of its runs has not ended well."""
        return self.state != "done"

    @property
    def state(self) -> str:
        """``done``, or which seeds are not and how far they came."""
        states = []
        for run in self.runs:
            status = run.result.get("status", "done") if run.result else "unfinished"
            if status != "done":
                reached = f"after round {run.rows[-1]['round']}" if run.rows else "before round 0"
                reason = f" ({plain(run.error)})" if run.error else ""
                states.append(f"seed {run.seed} {status} {reached}{reason}")
        return ", ".join(states) or "done"

    def curve(self, column: str) -> list[Point]:
        """Return the mean over the seeds of a column of their rows."""
        return mean_curve([run.rows for run in self.runs], column)

    def series(self, column: str, scale: float = 100.0, label: str | None = None) -> Series:
        """Return a column, times ``scale``; its band goes from the lowest to the highest seed."""
        points = self.curve(column)
        banded = any(point.n > 1 for point in points)
        return Series(
            label or self.label,
            [1.0 - point.sparsity for point in points],
            [scale * point.mean for point in points],
            [scale * point.low for point in points] if banded else (),
            [scale * point.high for point in points] if banded else (),
        )


def methods_of(runs: Iterable[StoredRun], lookup: Lookup | None = None) -> list[Method]:
    """Group runs by configuration and name each group so that no two share a name."""
    groups = group_runs(runs)
    configs = [group[0].config for group in groups]
    names: Sequence[str] = distinct_labels(configs, lookup)
    return [
        Method(plain(name), plain(setting(config, lookup)), group)
        for name, config, group in zip(names, configs, groups)
    ]
