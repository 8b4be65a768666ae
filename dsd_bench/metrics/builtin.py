"""The built-in metrics: the measured columns of ``rounds.jsonl``."""

from __future__ import annotations

from dsd_bench.components import PAPER, Component
from dsd_bench.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Component]:
    """Return the built-in metrics."""
    return [
        Component(
            "classification",
            "dsd_bench.metrics.classification:Classification",
            "losses and accuracies on the train, validation and test parts",
        ),
        Component(
            "entropy",
            "dsd_bench.metrics.entropy:Entropy",
            "entropy of the rectifiers' on/off state over the train part",
            citation=f"{PAPER}, eq. 1",
        ),
        Component(
            "sparsity", "dsd_bench.metrics.macs:Sparsity", "how many prunable weights are left"
        ),
        Component(
            "macs",
            "dsd_bench.metrics.macs:Macs",
            "multiply-accumulates of one image's forward pass, dense and with the masks",
        ),
    ]
