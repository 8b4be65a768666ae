"""The loop that papers publish: a loader of images, torch's pruning, a look at every step."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.speed.cases import Case, half_masks
from dsd_bench.environment import available_cores
from dsd_bench.training.device import ComputeContext


class Images(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets give them: PIL, transformed one by one."""

    def __init__(self, case: Case) -> None:
        images, labels = case.arrays()
        self.images, self.labels = images.transpose(0, 2, 3, 1), labels.tolist()
        mean, std = case.statistics()
        change = [transforms.RandomCrop(case.shape[1], 4), transforms.RandomHorizontalFlip()]
        self.transform = transforms.Compose(
            [
                *(change if case.augmented else []),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        pixels = self.images[place]
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self.transform(image), self.labels[place]


class PlainLoop:
    """Trains a network whose weights are reparametrised by ``torch.nn.utils.prune``.

    Args:
        case: network and data.
        context: where to train; in float32, without channels_last, as published.
        workers: of the loader.
        threads: CPU threads; None: all cores, torch's default, as a published script has it.
    """

    def __init__(
        self, case: Case, context: ComputeContext, workers: int, threads: int | None = None
    ) -> None:
        self.device, self.threads = context.device, threads or available_cores()
        torch.manual_seed(0)
        self.model = case.build().to(self.device).train()
        for name, mask in half_masks(self.model).weights.items():
            module = self.model.get_submodule(name.removesuffix(".weight"))
            prune.custom_from_mask(module, "weight", mask)  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4
        )
        self.loader = DataLoader(Images(case), case.batch, shuffle=True, num_workers=workers)

    def epoch(self) -> None:
        """Train for one epoch."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            self._train()
        finally:
            torch.set_num_threads(before)

    def _train(self) -> None:
        total, correct = 0.0, 0
        criterion: nn.Module = nn.CrossEntropyLoss()
        for batch in self.loader:
            images, labels = (tensor.to(self.device) for tensor in batch)
            self.optimizer.zero_grad()
            logits = self.model(images)
            loss = criterion(logits, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()


class Bare:
    """Forward and backward alone, on data that lie ready: the limit of any loop around them.

    Args:
        case: network and data.
        context: where, how precisely, and in which layout.
        exact: whether with a run's batch norms, else with torch's own.
    """

    def __init__(self, case: Case, context: ComputeContext, *, exact: bool = False) -> None:
        self.context, self.model = context, case.model(context, exact=exact)
        data, order = case.resident(context), torch.arange(case.images, device=context.device)
        self.batches = [
            (data.normalise(data.train.gather(index)), data.train.labels[index])
            for index in torch.split(order, case.batch)
        ]

    def epoch(self) -> None:
        """Do one epoch's forward and backward passes."""
        for images, labels in self.batches:
            with self.context.autocast():
                logits = self.model(images)
            functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
            for parameter in self.model.parameters():
                parameter.grad = None
