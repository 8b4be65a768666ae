"""A training's step as a CUDA graph: captured once for each batch size, then replayed.

A step of a small network is thousands of kernels that each take less time than their launch; a
graph launches them all at once. The kernels are the ones that would have run without it, and
weights, masks, momentum and learning rate are read where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dsd_bench.training.device import ComputeContext

Run = Callable[[], None]
Capture = Callable[[Run, Sequence[torch.Generator]], Run]
"""Captures a call; returns a function that replays it."""
WARM = 3
"""Steps without a graph before the first one that is captured: libraries set themselves up."""


class GraphedStep:
    """Does what ``step`` does, by replaying it; where it cannot be captured, by calling it.

    Args:
        step: the step: ``step(images, labels, index)``, and targets where a regularizer mixes.
        context: is told if the step cannot be captured.
        generators: on the device, those that the step draws from.
        capture: how to capture a call; default: as a CUDA graph.
    """

    def __init__(
        self,
        step: Callable[..., None],
        context: ComputeContext,
        generators: Sequence[torch.Generator] = (),
        capture: Capture | None = None,
    ) -> None:
        self.step, self.context, self.generators = step, context, list(generators)
        self.capture = capture or cuda_graph
        self._warm: dict[int, int] = {}
        self._graphs: dict[int, tuple[Sequence[Tensor], Run]] = {}

    def __call__(
        self, images: Tensor, labels: Tensor, index: Tensor, targets: Tensor | None = None
    ) -> None:
        """Carry out one step: see :class:`dsd_bench.training.step.Stepper`."""
        size, batch = len(labels), [t for t in (images, labels, index, targets) if t is not None]
        if size not in self._graphs and self.context.plan.engine == "graph":
            self._warm[size] = self._warm.get(size, 0) + 1
            if self._warm[size] > WARM:
                self._capture(size, batch)
        if size not in self._graphs:
            self.step(*batch)
            return
        inputs, replay = self._graphs[size]
        for target, tensor in zip(inputs, batch):
            target.copy_(tensor)
        replay()

    def _capture(self, size: int, batch: Sequence[Tensor]) -> None:
        """Capture the step on inputs of its own, or note that it cannot be."""
        inputs = [tensor.clone(memory_format=torch.preserve_format) for tensor in batch]
        try:
            replay = self.capture(lambda: self.step(*inputs), self.generators)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            self.context.change(f"no graph of the step could be made: {first}", engine="eager")
            self._graphs.clear()  # they would draw from generators' states of before
        else:
            self._graphs[size] = (inputs, replay)


def cuda_graph(run: Run, generators: Sequence[torch.Generator]) -> Run:
    """Capture ``run`` as a CUDA graph.

    Raises:
        RuntimeError: if it does what no graph can hold, such as waiting for a result. Then steps
            may go on without a graph: nothing was carried out, no random number drawn.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)  # so that every replay draws anew
    torch.cuda.synchronize()
    stream = torch.cuda.current_stream()
    cause: Exception | None = None
    try:
        with torch.cuda.graph(graph):
            try:
                run()
            except Exception as error:
                cause = error
                raise
    except Exception as error:
        _clean_up(stream, generators)
        # the end of a capture that failed raises once more, and does not say why
        raise cause or error from None
    finally:
        cause = None  # it holds this frame, and what it has of the device's memory
    return graph.replay


def _clean_up(stream: torch.cuda.Stream, generators: Sequence[torch.Generator]) -> None:
    """Undo what torch leaves behind where the end of a capture raises.

    The capture's stream stays the current one, and in older versions generators take themselves to
    be captured and refuse to draw; a copy of a generator's state does not.
    """
    torch.cuda.set_stream(stream)
    own = torch.cuda.default_generators[torch.cuda.current_device()]
    for generator in (own, *generators):
        generator.graphsafe_set_state(generator.clone_state())
