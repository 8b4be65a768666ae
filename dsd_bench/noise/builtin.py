"""The built-in label noises and their parameters."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param


class NoiseParams(Params):
    """What synthetic noises share."""

    validation: bool = param(False, help="also corrupt the validation labels")


class SymmetricParams(NoiseParams):
    """Parameters of ``symmetric``."""

    rate: float = param(
        ..., help="fraction of the labels that are made wrong", ge=0, lt=1, main=True
    )


class UniformParams(NoiseParams):
    """Parameters of ``uniform``."""

    rate: float = param(..., help="fraction of the labels that are redrawn", ge=0, le=1, main=True)


class AsymmetricParams(NoiseParams):
    """Parameters of ``asymmetric``."""

    rate: float = param(
        ...,
        help="fraction of the samples of confused classes that are taken for the other class",
        ge=0,
        le=1,
        main=True,
    )


class PairFlipParams(NoiseParams):
    """Parameters of ``pairflip``."""

    rate: float = param(
        ..., help="fraction of the labels that become the next class", ge=0, le=1, main=True
    )


@hookimpl
def register_label_noise() -> list[Component]:
    """Return the built-in label noises."""
    return [
        Component(
            "none", "dsd_bench.noise.labels:NoNoise", "the labels as the data set gives them"
        ),
        Component(
            "symmetric",
            "dsd_bench.noise.labels:Symmetric",
            "round(rate*N) labels become another class, each equally likely; never the true one",
            SymmetricParams,
            citation="Quetu and Tartaglione, DSD2, AAAI 2024, Section 4",
        ),
        Component(
            "uniform",
            "dsd_bench.noise.labels:Uniform",
            "round(rate*N) labels are redrawn from all classes, the true one included",
            UniformParams,
            citation="He et al., Sparse Double Descent, ICML 2022",
        ),
        Component(
            "asymmetric",
            "dsd_bench.noise.labels:Asymmetric",
            "classes are taken for similar ones: cat for dog on CIFAR-10, elsewhere the next",
            AsymmetricParams,
            citation="Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017",
        ),
        Component(
            "pairflip",
            "dsd_bench.noise.labels:PairFlip",
            "round(rate*N) labels become the next class, the last one the first",
            PairFlipParams,
            citation="Han et al., Co-teaching, NeurIPS 2018",
        ),
    ]
