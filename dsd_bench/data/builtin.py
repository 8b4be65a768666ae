"""The built-in data sets and their parameters."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.data import DatasetParams
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import param

_CIFAR = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"


class DigitsParams(DatasetParams):
    """Parameters of ``digits``."""

    val_size: float = param(
        200.0,
        help="held out of train first, stratified: a fraction below 1, or a count",
        ge=0,
        unit="fraction or samples",
    )


class ImageFolderParams(DatasetParams):
    """Parameters of ``imagefolder``."""

    path: str = param(
        ...,
        help="folder with train/CLASS/, test/CLASS/, val/CLASS/",
        main=True,
        place=True,
        min_length=1,
    )
    size: int | None = param(
        None,
        help="height and width to resize and crop to (default: the images' own where they all "
        "agree, else 224)",
        ge=1,
        le=4096,
        unit="pixels",
    )


@hookimpl
def register_datasets() -> list[Component]:
    """Return the built-in data sets."""
    return [
        Component(
            "digits",
            "dsd_bench.data.digits:Digits",
            "1,797 real 8x8 grayscale digits, embedded in scikit-learn",
            DigitsParams,
            citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
        ),
        Component(
            "cifar10",
            "dsd_bench.data.cifar:CIFAR10",
            "60,000 32x32 colour images, 10 classes, through torchvision",
            DatasetParams,
            citation=_CIFAR,
        ),
        Component(
            "cifar100",
            "dsd_bench.data.cifar:CIFAR100",
            "60,000 32x32 colour images, 100 classes, through torchvision",
            DatasetParams,
            citation=_CIFAR,
        ),
        Component(
            "imagefolder",
            "dsd_bench.data.imagefolder:ImageFolder",
            "your own images: train/, optional val/ and test/, one subfolder per class",
            ImageFolderParams,
        ),
    ]
