"""Dropout before the classifier (Appendix D of the paper)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dsd_bench.errors import UsageError
from dsd_bench.regularizers import Regularizer, TrainingView
from dsd_bench.regularizers.builtin import DropoutParams


def classifier(model: nn.Module) -> nn.Linear:
    """Return the model's classifier: its last ``nn.Linear`` in the order of ``modules()``.

    Raises:
        UsageError: if there is none.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        name = type(model).__name__
        raise UsageError(f"dropout: the model ({name}) has no linear layer to put dropout before")
    return layers[-1]


class Dropout(Regularizer):
    """Zero each input of the classifier with probability p while training, else scale by 1/(1-p).

    Citation: Srivastava et al., Dropout, JMLR 2014.
    """

    params: DropoutParams
    _handle: RemovableHandle | None = None

    def begin(self, view: TrainingView) -> None:
        """Hook the classifier's input; masks come from the run's own stream."""
        self._generator = view.generator
        self._handle = classifier(view.model).register_forward_pre_hook(self._drop)

    def end(self) -> None:
        """Remove the hook."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _drop(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
        if not layer.training:
            return None
        keep = 1 - self.params.p
        mask = torch.empty_like(inputs[0]).bernoulli_(keep, generator=self._generator)
        return (inputs[0] * mask.div_(keep),)
