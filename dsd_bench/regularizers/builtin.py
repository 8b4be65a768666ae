"""The built-in regularizers and their parameters."""

from __future__ import annotations

import re

from pydantic import field_validator

from dsd_bench.components import PAPER, Component
from dsd_bench.errors import suggest
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param

BATCHED_POLICIES = ("cutout", "flip", "shift")
"""Policies that work on a whole batch on the device, with a draw for each image."""

TORCHVISION_POLICIES = (
    "augmix",
    "autoaugment",
    "autoaugment-cifar10",
    "autoaugment-imagenet",
    "autoaugment-svhn",
    "randaugment",
    "trivialaugment",
)
"""Policies of ``torchvision.transforms.v2``, applied image by image on the CPU."""

_NUMBER = r"\d+(?:\.\d+)?"
TIMM_POLICY = re.compile(
    rf"rand(?:-(?:m\d+|n[1-9]|p{_NUMBER}|mstd{_NUMBER}|mmax\d+|inc[01]|tweights|t3aw?))*"
    rf"|augmix(?:-(?:m\d+|w[1-9]|d[1-9]|a[1-9]|b[01]|mstd{_NUMBER}))+"
    rf"|(?:original|originalr|v0|v0r|3a)(?:-mstd{_NUMBER})?"
)
"""timm's own words for its policies (``timm.data.auto_augment``), applied image by image."""


class DistillationParams(Params):
    """Parameters of ``kd``."""

    alpha: float = param(
        0.8, help="weight of the teacher's part; 1 - alpha is the labels'", ge=0, le=1
    )
    temperature: float = param(10.0, help="divides the logits of both networks", gt=0)
    teacher: str = param(
        "best",
        help="best (the teacher run's best round on validation), dense (its round 0) or a run's id",
    )

    @field_validator("teacher")
    @classmethod
    def _known_teacher(cls, value: str) -> str:
        if not re.fullmatch(r"best|dense|[0-9a-f]{4,64}", value):
            raise ValueError(
                "expected best, dense or a run's id (or 4 or more of its first hexadecimal digits)"
                + (suggest(value, ("best", "dense")) if value.isalpha() else "")
            )
        return value


class L1Params(Params):
    """Parameters of ``l1``."""

    weight: float = param(
        1e-5, help="the loss grows by weight * sum |w| over the prunable weights", ge=0
    )


class L2Params(Params):
    """Parameters of ``l2``."""

    weight: float = param(
        1e-4,
        help="the loss grows by weight * sum w^2 over the prunable weights, whose gradient is "
        "2 * weight * w; the optimiser's weight decay is another option, of the protocol",
        ge=0,
    )


class DropoutParams(Params):
    """Parameters of ``dropout``."""

    p: float = param(
        0.5, help="probability of dropping an input of the last linear layer", ge=0, lt=1
    )


class AugmentParams(Params):
    """Parameters of ``augment``."""

    policy: str = param(
        "autoaugment+cutout",
        help=f"what to do to each image, in order, joined by '+': {', '.join(BATCHED_POLICIES)}, "
        f"{', '.join(TORCHVISION_POLICIES)} (torchvision's; plain autoaugment is the CIFAR-10 "
        "policy) or timm's words, such as rand-m9-mstd0.5-inc1, augmix-m3-w3 or original",
    )
    cutout_size: float = param(
        0.5, help="side of cutout's square, filled with mid-grey (128)", gt=0, le=1, unit="side"
    )
    shift_size: float = param(
        0.125, help="largest shift, rounded to whole pixels", gt=0, le=1, unit="side"
    )

    @field_validator("policy")
    @classmethod
    def _known_policies(cls, value: str) -> str:
        known = (*BATCHED_POLICIES, *TORCHVISION_POLICIES)
        for name in value.split("+"):
            if name not in known and not TIMM_POLICY.fullmatch(name):
                choices = (*known, "rand-...", "augmix-...", "original", "originalr", "v0", "v0r")
                raise ValueError(f"unknown policy '{name}'{suggest(name, (*choices, '3a'))}")
        return value


@hookimpl
def register_regularizers() -> list[Component]:
    """Return the built-in regularizers."""
    return [
        Component(
            "kd",
            "dsd_bench.regularizers.distillation:Distillation",
            "knowledge distillation from another run, the teacher",
            DistillationParams,
            citation=f"{PAPER}, eq. 2",
            teacher=True,
        ),
        Component(
            "l1",
            "dsd_bench.regularizers.penalties:L1",
            "penalty on the weights' absolute values",
            L1Params,
            citation=f"{PAPER}, App. D",
            changes_targets=False,
        ),
        Component(
            "l2",
            "dsd_bench.regularizers.penalties:L2",
            "penalty on the weights' squares",
            L2Params,
            citation=f"{PAPER}, App. D",
            changes_targets=False,
        ),
        Component(
            "dropout",
            "dsd_bench.regularizers.dropout:Dropout",
            "dropout before the classifier",
            DropoutParams,
            citation=f"{PAPER}, App. D",
            changes_targets=False,
        ),
        Component(
            "augment",
            "dsd_bench.regularizers.augment:Augment",
            "data augmentation, drawn for each image",
            AugmentParams,
            citation=f"{PAPER}, App. D",
            changes_targets=False,
        ),
    ]
