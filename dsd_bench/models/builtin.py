"""The built-in model factories and their parameters."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import field_validator

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param

_DSD2 = "Quetu and Tartaglione, DSD2, AAAI 2024"
_RESNET = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"


class MLPParams(Params):
    """Parameters of ``mlp``."""

    hidden: str = param("64x64", help="neurons of the hidden layers, such as 64x64", main=True)

    @field_validator("hidden", mode="before")
    @classmethod
    def _sizes(cls, value: Any) -> str:
        """Take ``64`` as well as ``"64"``, and nothing that has a second spelling."""
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})*", text):
            raise ValueError("expected whole numbers of neurons joined by 'x', such as 64x64")
        return text

    @property
    def sizes(self) -> list[int]:
        """Neurons of each hidden layer."""
        return [int(size) for size in self.hidden.split("x")]


class VGGParams(Params):
    """Parameters of ``vgg-like``."""

    depth: int = param(5, help="blocks, each of two convolutions and a max-pool", ge=1, le=12)
    width_exponent: int = param(
        5,
        help="block 1 has 2^width_exponent filters, each further block twice as many",
        ge=0,
        le=12,
    )


class ResNetParams(Params):
    """Parameters of ``resnet18`` and ``resnet50``."""

    stem: Literal["auto", "cifar", "imagenet"] = param(
        "auto",
        help="first layers: cifar = 3x3 stride 1 without max-pool, imagenet = 7x7 stride 2 and "
        "max-pool, auto = cifar for images up to 64 px",
    )
    width: int = param(
        64,
        help="filters of the first stage, each further one has twice as many",
        later=True,
        ge=1,
        le=1024,
        unit="filters",
    )


class ExternalParams(Params):
    """Parameters of ``timm`` and ``torchvision``."""

    name: str = param(
        ..., help="the library's name of the model", main=True, min_length=1, examples=["resnet18"]
    )
    pretrained: bool = param(False, help="start from published weights; needs --download")


@hookimpl
def register_models() -> list[Component]:
    """Return the built-in model factories."""
    return [
        Component(
            "mlp",
            "dsd_bench.models.mlp:MLPFactory",
            "fully connected ReLU network, no batch norm, He-uniform weights",
            MLPParams,
        ),
        Component(
            "vgg-like",
            "dsd_bench.models.vgg:VGGFactory",
            "the paper's VGG-like(depth, width_exponent)",
            VGGParams,
            citation=_DSD2,
        ),
        Component(
            "resnet18",
            "dsd_bench.models.resnet:ResNet18Factory",
            "torchvision's ResNet-18",
            ResNetParams,
            citation=_RESNET,
        ),
        Component(
            "resnet50",
            "dsd_bench.models.resnet:ResNet50Factory",
            "torchvision's ResNet-50",
            ResNetParams,
            citation=_RESNET,
        ),
        Component(
            "timm",
            "dsd_bench.models.external:TimmFactory",
            "any model of timm, by name: timm:resnet18",
            ExternalParams,
            citation="Wightman, PyTorch Image Models, 2019, doi:10.5281/zenodo.4414861",
        ),
        Component(
            "torchvision",
            "dsd_bench.models.external:TorchvisionFactory",
            "any classification model of torchvision, by name: torchvision:resnet34",
            ExternalParams,
            citation="TorchVision, 2016, https://github.com/pytorch/vision",
        ),
    ]
