"""Schedules that several data sets share, and ImageNet's statistics."""

from __future__ import annotations

from typing import Any

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, of images scaled to 0..1, as torchvision's models take them."""

Channels = tuple[float, float, float]
PUBLISHED: dict[str, tuple[Channels, Channels]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "dpn": ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
    "clip": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}
"""Mean and std per channel by timm's names (``timm.data.constants``): of published weights."""


def cifar_schedule(model: str | None) -> dict[str, Any]:
    """Return Table 4's protocol for CIFAR (App. B): 28 prunings, to 99.8 % sparsity.

    ``vgg-like`` and ``mlp`` (no residual connections) train with the paper's VGG learning rate,
    ResNets and all other models with its ResNet one. The default model is ``resnet18``.
    """
    return {
        "model": model or "resnet18",
        "noise": "none",
        "optimizer": "sgd",
        "lr": 0.001 if _plain(model) else 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "batch_size": 128,
        "dense_epochs": 160,
        "retrain_epochs": 160,
        "milestones": [0.5, 0.75],
        "lr_drop": 0.1,
        "target_sparsity": 0.998,
        "seeds": "0",
    }


def small_cifar_schedule(model: str | None) -> dict[str, Any]:
    """Return the protocol for CIFAR at 16 x 16 pixels on two cores: 21 trainings in minutes.

    Found for ``cifar10:size=16,train_size=5000,val_size=500,transform=none``: the dense network
    fits all labels, 20 % of them wrong, and its distilled twin trains at the same rate. With the
    standard augmentation it fits 59 % in as many epochs, and shows nothing.
    """
    usual = {k: v for k, v in cifar_schedule(model).items() if k != "target_sparsity"}
    return {
        **usual,
        "model": model or "vgg-like:depth=2,width_exponent=5",
        "lr": 0.02,
        "weight_decay": 5e-4,
        "batch_size": 100,
        "dense_epochs": 60,
        "retrain_epochs": 15,
        "rounds": 20,
    }


def flowers_schedule(model: str | None) -> dict[str, Any]:
    """Return Table 4's protocol for Flowers-102; VGG-like as for CIFAR (App. I.2)."""
    whole = cifar_schedule(model)
    return (
        whole if _plain(model) else {**whole, "lr": 0.001, "weight_decay": 1e-5, "batch_size": 64}
    )


def imagenet_schedule(model: str | None) -> dict[str, Any]:
    """Return Table 4's protocol for ImageNet (App. I.3 has batches of 128)."""
    return {
        **cifar_schedule(model),
        "lr": 0.1,
        "batch_size": 1024,
        "dense_epochs": 90,
        "retrain_epochs": 90,
        "milestones": [1 / 3, 2 / 3],
    }


def tiny_imagenet_schedule(model: str | None) -> dict[str, Any]:
    """Return the protocol of He et al. (ICML 2022, their code's README) for Tiny ImageNet.

    Plain networks train with the learning rate that the paper uses for them on CIFAR.
    """
    return {
        **cifar_schedule(model),
        "lr": 0.001 if _plain(model) else 0.2,
        "batch_size": 512,
        "dense_epochs": 200,
        "retrain_epochs": 200,
    }


def mnist_schedule(model: str | None) -> dict[str, Any]:
    """Return the protocol of He et al. (ICML 2022, their code) for an MLP 784-300-100-10.

    Other models train as on CIFAR.
    """
    if model not in (None, "mlp"):
        return cifar_schedule(model)
    return {
        **cifar_schedule(model),
        "model": model or "mlp:hidden=300x100",
        "lr": 0.1,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "milestones": [],
    }


def _plain(model: str | None) -> bool:
    """Whether a model is known to have no residual connections."""
    return model in ("vgg-like", "mlp")
