"""Batches of inputs that are the same in every epoch, gathered into the same place each time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]
"""Images ready for the network, labels, positions in the train part; targets where mixed."""
CHUNK = 2**23
"""Most bytes to gather at once where several batches can be: a gather costs as much as a layer."""


class Gatherer:
    """Gathers batches, many at once.

    A batch lies in memory that later ones overwrite: fresh memory each time would have pushed a
    small network's weights out of the cache.

    Args:
        inputs: ``(N, C, H, W)``, all images, normalised.
        labels: ``(N,)`` int64, the given labels.
        batch: images a step.
        memory_format: of the batches' images.
    """

    def __init__(
        self, inputs: Tensor, labels: Tensor, batch: int, memory_format: torch.memory_format
    ) -> None:
        self.labels, self.batch = labels, batch
        plain = inputs.contiguous()
        self._permuted = not plain.is_contiguous(memory_format=memory_format)
        laid_out = plain.permute(0, 2, 3, 1) if self._permuted else plain
        self._shape = laid_out.shape[1:]
        self._inputs = laid_out.reshape(len(inputs), -1)  # a row each, as it lies in a batch
        size = self._inputs[0].nbytes * batch
        # Where a batch would not begin on a cache line, matrix products may round otherwise.
        self.together = max(1, CHUNK // size) if size % 64 == 0 else 1
        most = min(self.together * batch, len(inputs))
        self._rows = self._inputs.new_empty((most, self._inputs.shape[1]))
        self._labels, self._index = (torch.empty_like(labels[:most]) for _ in range(2))
        self._places: dict[int, tuple[Batch, list[Batch]]] = {}

    def batches(self, order: Tensor, first: int, last: int) -> Iterator[Batch]:
        """Yield batches number ``first`` to ``last - 1`` of the samples in ``order``.

        Args:
            order: ``(N,)`` int64, positions in the train part.
            first: batches to leave out.
            last: batches of an epoch.
        """
        for start in range(first, last, self.together):
            index = order[start * self.batch : (start + self.together) * self.batch]
            (rows, labels, places), batches = self._place(len(index))
            torch.index_select(self._inputs, 0, index, out=rows)
            torch.index_select(self.labels, 0, index, out=labels)
            places.copy_(index)
            yield from batches

    def _place(self, count: int) -> tuple[Batch, list[Batch]]:
        """Return where ``count`` samples are gathered, and their batches there; made once."""
        if count not in self._places:
            rows, labels, index = self._rows[:count], self._labels[:count], self._index[:count]
            images = rows.view(count, *self._shape)
            if self._permuted:
                images = images.permute(0, 3, 1, 2)
            batches = zip(*(torch.split(t, self.batch) for t in (images, labels, index)))
            self._places[count] = (rows, labels, index), list(batches)
        return self._places[count]
