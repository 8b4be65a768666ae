"""The pruners ``snip`` and ``grasp``, which look at gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from dsd_bench.gradients import mean_gradients, probing
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench_at_init.plugin import GraSPParams, SNIPParams

Batch = tuple[Tensor, Tensor]


class SNIP(Pruner):
    """Score ``|w * dL/dw|`` of the network as it is initialised (Lee et al. 2019, equation 6).

    ``L`` is the mean cross-entropy over ``batches`` training batches, in train mode. The built-in
    ``gradient`` scores trained networks so, in eval mode.
    """

    params: SNIPParams

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return the scores, of the weights' shapes."""
        weights = prunable(view)
        batches = view.batches(self.params.batches)
        gradients = mean_gradients(view.model, weights, batches, train=True)
        return {name: (w.detach() * gradients[name]).abs() for name, w in weights.items()}


class GraSP(Pruner):
    """Score ``w * (H g)`` of the network as it is initialised (Wang et al. 2020, equation 8).

    ``g`` is the gradient and ``H`` the Hessian of the cross-entropy of the logits divided by
    ``temperature``: a batch's mean, added up over ``batches`` training batches, in train mode.
    Without a weight of a large score the gradient's norm would fall, so those stay.
    """

    params: GraSPParams

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return the scores, of the weights' shapes; a weight that the loss ignores scores 0."""
        weights = prunable(view)
        values, batches = list(weights.values()), list(view.batches(self.params.batches))
        # of the kinds of attention only the plain one can be differentiated twice
        with probing(view.model, values, train=True), sdpa_kernel(SDPBackend.MATH):
            first = [g.detach() for g in self._gradients(view.model, values, batches)]
            products = [torch.zeros_like(value) for value in values]
            for batch in batches:
                again = self._gradients(view.model, values, [batch], graph=True)
                flow = sum((g * h).sum() for g, h in zip(first, again, strict=True))
                parts = torch.autograd.grad(flow, values, allow_unused=True)
                for product, part in zip(products, parts, strict=True):
                    if part is not None:
                        product.add_(part)
        pairs = zip(weights.items(), products, strict=True)
        return {name: weight.detach() * product for (name, weight), product in pairs}

    def _gradients(
        self,
        model: nn.Module,
        values: list[nn.Parameter],
        batches: Iterable[Batch],
        graph: bool = False,
    ) -> list[Tensor]:
        """Return the gradients of the batches' mean losses, added up."""
        totals: list[Tensor] = [torch.zeros_like(value) for value in values]
        for images, labels in batches:
            loss = functional.cross_entropy(model(images) / self.params.temperature, labels)
            parts = torch.autograd.grad(loss, values, create_graph=graph, allow_unused=True)
            totals = [t if p is None else t + p for t, p in zip(totals, parts, strict=True)]
        return totals


def prunable(view: PruneView) -> dict[str, nn.Parameter]:
    """Return the weights that can be pruned, by name."""
    parameters = dict(view.model.named_parameters(remove_duplicate=False))
    return {name: parameters[name] for name in view.masks.weights}
