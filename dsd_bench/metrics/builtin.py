"""The built-in metrics: the measured columns of ``rounds.jsonl``, and further ones."""

from __future__ import annotations

from dsd_bench.components import PAPER, Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param


class CalibrationParams(Params):
    """What ``ece`` takes."""

    bins: int = param(15, help="bins of equal width over the confidences", ge=1, le=1000, main=True)


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
        Component(
            "ece",
            "dsd_bench.metrics.calibration:ExpectedCalibrationError",
            "expected calibration error and mean confidence of each part of the data",
            params=CalibrationParams,
            citation="Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural "
            "Networks (ICML)",
        ),
    ]
