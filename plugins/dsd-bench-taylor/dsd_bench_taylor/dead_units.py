"""The metric ``dead-units`` and the stop criterion ``dead-units-limit`` that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dsd_bench.errors import RunError
from dsd_bench.metrics import MeasureView, Metric
from dsd_bench.stopping import StopCriterion
from dsd_bench_taylor.plugin import DeadUnitsLimitParams


class DeadUnits(Metric):
    """Share of the ReLU units (elements of a ReLU's output) that no training image switches on.

    ``fraction`` is over all units, ``fraction_per_layer`` over those of each ReLU application, in
    order. Both are None if the model has no ReLU.
    """

    def measure(self, view: MeasureView) -> Mapping[str, Any]:
        """Return ``fraction``, in 0..1, and ``fraction_per_layer``."""
        train = view.outputs("train")
        if train is None or not train.relu_counts:
            return {"fraction": None, "fraction_per_layer": None}
        units = [counts.numel() for counts in train.relu_counts]
        dead = [int((counts == 0).sum()) for counts in train.relu_counts]
        return {
            "fraction": sum(dead) / sum(units),
            "fraction_per_layer": [part / whole for part, whole in zip(dead, units, strict=True)],
        }


class DeadUnitsLimit(StopCriterion):
    """Stop once the share of dead units reaches ``limit``."""

    params: DeadUnitsLimitParams

    def stop(self, rounds: Sequence[Mapping[str, Any]], score: str) -> str | None:
        """Return why to stop, or None; see :meth:`StopCriterion.stop`.

        Raises:
            dsd_bench.errors.RunError: if the model has no ReLU, hence no units to count.
        """
        fraction = rounds[-1]["metrics"]["dead-units"]["fraction"]
        if fraction is None:
            raise RunError(
                "the stop rule 'dead-units-limit' counts ReLU units; this model has none"
            )
        if fraction < self.params.limit:
            return None
        return f"{fraction:.1%} of the ReLU units are dead, the limit is {self.params.limit:.1%}"
