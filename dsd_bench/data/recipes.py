"""Schedules that several data sets share."""

from __future__ import annotations

from typing import Any


def cifar_schedule(model: str | None) -> dict[str, Any]:
    """Return Table 4's protocol for CIFAR (App. B): 28 prunings, to 99.8 % sparsity.

    ``vgg-like`` and ``mlp`` (no residual connections) train with the paper's VGG learning rate,
    ResNets and all other models with its ResNet one. The default model is ``resnet18``.
    """
    return {
        "model": model or "resnet18",
        "noise": "none",
        "optimizer": "sgd",
        "lr": 0.001 if model in ("vgg-like", "mlp") else 0.1,
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
