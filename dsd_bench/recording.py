"""A training's step as a CUDA graph: recorded once for each batch size, then replayed.

A step of a small network is thousands of kernels that each take less time than their launch; a
graph launches them all at once. The kernels are the ones that would have run without it, and
weights, masks, momentum and learning rate are read where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dsd_bench.device import Place

Run = Callable[[], None]
Record = Callable[[Run, Sequence[torch.Generator]], Run]
"""Record what a call does without doing it; the answer does it, each time it is called."""
WARM = 3
"""Steps without a graph before the first one that is recorded: libraries set themselves up."""


class Recorded:
    """Does what ``step`` does, by replaying it; where it cannot be recorded, by calling it.

    Args:
        step: the step: ``step(images, labels, index)``.
        place: is told if the step cannot be recorded.
        generators: on the device, those that the step draws from.
        record: how to record; default: as a CUDA graph.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor, Tensor], None],
        place: Place,
        generators: Sequence[torch.Generator] = (),
        record: Record | None = None,
    ) -> None:
        self.step, self.place, self.generators = step, place, list(generators)
        self.record = record or cuda_graph
        self._warm: dict[int, int] = {}
        self._tapes: dict[int, tuple[Sequence[Tensor], Run]] = {}

    def __call__(self, images: Tensor, labels: Tensor, index: Tensor) -> None:
        """Carry out one step: see :class:`dsd_bench.stepping.Stepper`."""
        size, batch = len(labels), (images, labels, index)
        if size not in self._tapes and self.place.plan.engine == "graph":
            self._warm[size] = self._warm.get(size, 0) + 1
            if self._warm[size] > WARM:
                self._make_tape(size, batch)
        if size not in self._tapes:
            self.step(*batch)
            return
        inputs, replay = self._tapes[size]
        for target, tensor in zip(inputs, batch):
            target.copy_(tensor)
        replay()

    def _make_tape(self, size: int, batch: Sequence[Tensor]) -> None:
        """Record the step on inputs of its own, or note that it cannot be."""
        inputs = [tensor.clone(memory_format=torch.preserve_format) for tensor in batch]
        try:
            replay = self.record(lambda: self.step(*inputs), self.generators)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            self.place.change(f"no graph of the step could be made: {first}", engine="eager")
        else:
            self._tapes[size] = (inputs, replay)


def cuda_graph(run: Run, generators: Sequence[torch.Generator]) -> Run:
    """Record ``run`` as a CUDA graph.

    Raises:
        RuntimeError: if it does what no graph can hold, such as waiting for a result.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)  # so that every replay draws anew
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
