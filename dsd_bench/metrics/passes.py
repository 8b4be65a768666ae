"""One pass of a network over images, counting how often each rectifier is on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dsd_bench.errors import RunError
from dsd_bench.metrics import Outputs
from dsd_bench.metrics.rectifiers import Rectifiers


def forward_pass(
    model: nn.Module,
    images: Iterable[Tensor],
    labels: Tensor,
    clean: Tensor,
    normalise: Callable[[Tensor], Tensor],
    *,
    count_relu: bool = False,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Outputs:
    """Run ``model`` over all images in eval mode without gradients; its flags come back after.

    Args:
        model: the network.
        images: chunks of them, uint8 ``(B, C, H, W)`` on the model's device, as
            :meth:`dsd_bench.data.on_device.Part.chunks` or ``torch.split`` gives them.
        labels: int64 ``(N,)``, given labels, on the device.
        clean: int64 ``(N,)``, true classes, on the device.
        normalise: uint8 ``(B, C, H, W)`` -> what the model takes.
        count_relu: whether to count the rectifier units that are on.
        autocast: ``autocast()`` is a context in which the network computes, for low precision.
    """
    counter = ReluCounter() if count_relu else None
    logits = []
    with evaluating(model), autocast():
        for chunk in images:
            inputs = normalise(chunk)
            outputs = model(inputs) if counter is None else counter.run(model, inputs)
            logits.append(outputs.float())
    counts = counter.counts if counter else ()
    return Outputs(torch.cat(logits), labels, clean, counts)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into eval mode without gradients, and every module's own flag back after.

    Attention is computed step by step: its fused kernels hide ReLUs and products from counting.
    """
    flags = [(module, module.training) for module in model.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, training in flags:
            module.training = training


def without_compiler(mode: type[TorchDispatchMode]) -> type[TorchDispatchMode]:
    """Take off what keeps torch's compiler out of a mode's code: it imports the compiler first.

    Nothing is compiled here, and the import takes 1.8 s and 0.5 GB in each process.
    """
    mode.__torch_dispatch__ = inspect.unwrap(mode.__torch_dispatch__)  # type: ignore[method-assign]
    return mode


@without_compiler
class ReluCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts for how many images each element of each rectifier's output is on.

    It watches the operation itself (:mod:`dsd_bench.metrics.rectifiers` says which ones), so that
    functional calls count, and a module that is used twice counts twice. An output without one
    entry for each image (a ReLU of a table of parameters, say) says nothing about images and is
    left out.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._images = 0
        self._rectifiers = Rectifiers()
        self._batch: list[Tensor | None] = []
        self._totals: list[Tensor | None] = []

    @property
    def counts(self) -> tuple[Tensor, ...]:
        """One int64 tensor for each application, in order, on the device."""
        return tuple(total for total in self._totals if total is not None)

    def run(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Return ``model(inputs)`` and add to the counts.

        Raises:
            RunError: if the ReLU applications differ from those of the batch before.
        """
        self._images, self._batch, self._rectifiers = len(inputs), [], Rectifiers()
        with self:
            outputs: Tensor = model(inputs)
        if not self._totals:
            self._totals = self._batch
        elif len(self._totals) != len(self._batch):
            raise RunError("the model applies its ReLUs more often to some batches than to others")
        else:
            self._totals = [
                None if total is None or new is None else total + new
                for total, new in zip(self._totals, self._batch)
            ]
        return outputs

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Carry out an operation and count if it is a rectifier."""
        kwargs = kwargs or {}
        found = self._rectifiers.before(func, args, kwargs)
        out = func(*args, **kwargs)
        self._rectifiers.after(func, args, out)
        if found is not None:
            units = out if found.gate is None else found.gate
            of_images = units.shape[:1] == (self._images,) and units.is_floating_point()
            self._batch.append(_positive(units) if found.counts and of_images else None)
        return out


def _positive(out: Tensor) -> Tensor:
    """Return the counts over the first dimension of a rectifier's output: its signs are 0 or 1.

    Summed as float32, exact up to 2^24 images: three times faster than a sum of booleans.
    """
    return out.sign().sum(0, dtype=torch.float32).long()
