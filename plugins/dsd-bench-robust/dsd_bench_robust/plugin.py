"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

from typing import Literal

from dsd_bench import Component, Params, hookimpl, param

dsd_bench_api = "1"


class LabelSmoothingParams(Params):
    """What ``label-smoothing`` takes."""

    smoothing: float = param(
        0.8,
        help="share of each label that is spread evenly over all classes, its own included",
        ge=0,
        lt=1,
    )


class GCEParams(Params):
    """What ``gce`` takes."""

    q: float = param(
        0.7,
        help="0 would be cross-entropy, 1 is the mean absolute error, which wrong labels mislead "
        "least and which learns most slowly",
        gt=0,
        le=1,
    )


class MixupParams(Params):
    """What ``mixup`` takes."""

    alpha: float = param(
        8.0,
        help="shares are drawn from Beta(alpha, alpha): small ones mix little, large ones halve",
        gt=0,
        le=100,
    )


class ELRParams(Params):
    """What ``elr`` takes."""

    weight: float = param(7.0, help="of the regularization beside cross-entropy, lambda", ge=0)
    momentum: float = param(
        0.9, help="share of an image's target that stays when it is seen again, beta", ge=0, lt=1
    )
    forget: bool = param(
        False,
        help="begin each training without targets: then a trained net's retraining is held by "
        "nothing at first",
    )


class SAMParams(Params):
    """What ``sam`` takes; learning rate, momentum and weight decay are the protocol's."""

    rho: float = param(
        0.05,
        help="how far each step goes uphill before it takes the gradient that it follows",
        gt=0,
        unit="norm of all weights' change",
    )
    base: Literal["sgd", "adam", "adamw"] = param("sgd", help="what follows that gradient")


@hookimpl
def register_regularizers() -> list[Component]:
    """Return the regularizers. None of them has the net fit its labels to the last one."""
    return [
        Component(
            name="label-smoothing",
            implementation="dsd_bench_robust.losses:LabelSmoothing",
            summary="cross-entropy with labels that are spread over all classes",
            params=LabelSmoothingParams,
            citation="Szegedy et al. 2016, Rethinking the Inception Architecture (CVPR), sec. 7; "
            "against wrong labels: Lukasik et al. 2020, Does Label Smoothing Mitigate Label "
            "Noise? (ICML)",
            changes_targets=True,
        ),
        Component(
            name="gce",
            implementation="dsd_bench_robust.losses:GCE",
            summary="generalised cross-entropy, between cross-entropy and mean absolute error",
            params=GCEParams,
            citation="Zhang and Sabuncu 2018, Generalized Cross Entropy Loss for Training Deep "
            "Neural Networks with Noisy Labels (NeurIPS), eq. 6",
            changes_targets=True,
        ),
        Component(
            name="mixup",
            implementation="dsd_bench_robust.mixup:Mixup",
            summary="trains on mixtures of two images and of their labels",
            params=MixupParams,
            citation="Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization (ICLR)",
            changes_targets=True,
        ),
        Component(
            name="elr",
            implementation="dsd_bench_robust.elr:ELR",
            summary="keeps each image's answer near the running mean of earlier ones",
            params=ELRParams,
            citation="Liu et al. 2020, Early-Learning Regularization Prevents Memorization of "
            "Noisy Labels (NeurIPS), eq. 6 and 9",
            changes_targets=True,
        ),
    ]


@hookimpl
def register_optimizers() -> list[Component]:
    """Return the optimiser ``sam``, which goes forward and backward twice a step."""
    return [
        Component(
            name="sam",
            implementation="dsd_bench_robust.sam:SAM",
            summary="sharpness-aware minimisation around sgd, adam or adamw",
            params=SAMParams,
            citation="Foret et al. 2021, Sharpness-Aware Minimization for Efficiently Improving "
            "Generalization (ICLR), algorithm 1",
            passes=2,
        )
    ]
