"""Small networks, each odd in one way, and images for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.seeds import seeded_globals

SHAPE = (3, 6, 6)
"""One image's ``(C, H, W)``."""
CLASSES = 3
BATCH = 8
"""Images a batch."""


class Plain(nn.Sequential):
    """Two hidden layers, with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Flatten(), nn.Linear(108, 12), nn.BatchNorm1d(12), nn.ReLU()),
            *(nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, CLASSES)),
        )


class Grouped(nn.Sequential):
    """A convolution, a depthwise and a grouped one."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU()),
            *(nn.Conv2d(6, 8, 1, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            *(nn.Flatten(), nn.Linear(8, CLASSES)),
        )


class Shared(nn.Module):
    """A layer that is used twice, and two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(108, 8)
        self.twice = nn.Linear(8, 8)
        self.twin = nn.Linear(8, 8)
        self.twin.weight = self.twice.weight
        self.last = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        x = functional.relu(self.first(images.flatten(1)))
        x = functional.relu(self.twice(functional.relu(self.twice(x))))
        logits: Tensor = self.last(functional.relu(self.twin(x)))
        return logits


class Narrow(nn.Module):
    """A layer of one weight between others."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 1, 3, padding=1)
        self.one = nn.Conv2d(1, 1, 1)
        self.last = nn.Linear(36, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.last(functional.relu(self.one(self.first(images))).flatten(1))
        return logits


class Attention(nn.Module):
    """Attention over the rows of an image; its projections are packed in one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(18, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        rows = self.embed(images.transpose(1, 2).flatten(2))
        seen, _ = self.attention(rows, rows, rows, need_weights=False)
        logits: Tensor = self.last(functional.relu(seen.mean(1)))
        return logits


class Flat(Plain):
    """Weights of one layer are all zero, those of another all equal: every score is a tie."""

    def __init__(self) -> None:
        super().__init__()
        weights = dict(self.named_parameters())
        nn.init.zeros_(weights["4.weight"])
        nn.init.constant_(weights["7.weight"], 0.1)


class Frozen(Plain):
    """The first layer is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self[1].requires_grad_(False)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "a plain network": Plain,
    "grouped convolutions": Grouped,
    "shared weights": Shared,
    "a layer of one weight": Narrow,
    "attention": Attention,
    "a layer of zeros": Flat,
    "a frozen layer": Frozen,
}
"""What each of them is a network with."""


def network(name: str = "a plain network", seed: int = 0) -> nn.Module:
    """Return one of :data:`NETWORKS` in eval mode, as a training leaves it."""
    with seeded_globals(seed):
        return NETWORKS[name]().eval()


def images(seed: int = 0, count: int = BATCH) -> tuple[Tensor, Tensor]:
    """Return normalised images ``(count, 3, 6, 6)`` and labels ``(count,)``."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    return torch.randn(count, *SHAPE, generator=draw), labels


def batches(
    device: torch.device, dtype: torch.dtype = torch.float32
) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
    """Return what gives a pruner its batches."""

    def give(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        for seed in range(count):
            inputs, labels = images(seed)
            yield inputs.to(device, dtype), labels.to(device)

    return give
