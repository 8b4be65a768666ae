"""The pruner ``obs``, which gives new weights with its masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dsd_bench.errors import UsageError
from dsd_bench.masks import Masks, prune_by_scores
from dsd_bench.pruners import Pruned, Pruner, PruneView
from dsd_bench_reconstruct.plugin import OBSParams

Tensors = dict[str, Tensor]


class OBS(Pruner):
    """Prune what the others of a row can best make up for, and let them (layer-wise OBS).

    For each row ``w`` of a linear layer's weight, over the inputs ``x`` of that layer on some
    training images, ``H = mean(x x') + damping`` is the Hessian of half the mean squared change of
    the output. A weight's score is its saliency ``w_q^2 / (2 [H^-1]_qq)``, with the inverse over
    the row's remaining weights (Hassibi and Stork 1992, equation 5). The new row is the one of the
    remaining weights whose output changes least: where one weight goes it is their equation 5 too,
    where several go it is the least-squares solution. Everything is computed in double precision.

    It needs a network all of whose prunable weights are those of linear layers, and takes, for
    each row, time of the order of the cube of the layer's width.
    """

    params: OBSParams

    def prune(self, view: PruneView) -> Pruned:
        """Return the next masks and the weights that make up for what goes.

        Raises:
            NothingLeft: if every layer is down to its last weight.
            UsageError: if a prunable weight is not a linear layer's.
        """
        parameters = dict(view.model.named_parameters(remove_duplicate=False))
        weights = {name: parameters[name].detach() for name in view.masks.weights}
        hessians = self._hessians(view)
        saliencies = {
            name: saliency(weights[name].double(), hessians[name], mask)
            for name, mask in view.masks.weights.items()
        }
        params = self.params
        masks = prune_by_scores(saliencies, view.masks, params.fraction, params.scope)
        return Pruned(masks, self._made_up(weights, hessians, view.masks, masks))

    def _made_up(
        self, weights: Mapping[str, Tensor], hessians: Tensors, before: Masks, after: Masks
    ) -> Tensors:
        """Return the new weights of the layers that lost some."""
        return {
            name: remaining(weight.double(), hessians[name], after.weights[name]).to(weight.dtype)
            for name, weight in weights.items()
            if before.counts[name] != after.counts[name]
        }

    @torch.no_grad()
    def _hessians(self, view: PruneView) -> Tensors:
        """Return for each weight the damped mean of ``x x'`` over all inputs of its layers."""
        layers = _layers(view)
        sums: Tensors = {}
        seen = dict.fromkeys(view.masks.weights, 0)

        def watch(name: str) -> object:
            def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                rows = inputs[0].detach().flatten(0, -2).double()
                sums[name] = sums.get(name, 0) + rows.T @ rows
                seen[name] += len(rows)

            return hook

        handles = [layer.register_forward_pre_hook(watch(name)) for layer, name in layers]
        training = [module for module in view.model.modules() if module.training]
        try:
            view.model.eval()
            for images, _ in view.batches(self.params.batches):
                view.model(images)
        finally:
            for handle in handles:
                handle.remove()
            for module in training:
                module.training = True
        return {name: self._damped(total / seen[name]) for name, total in sums.items()}

    def _damped(self, mean: Tensor) -> Tensor:
        share = self.params.damping * mean.diagonal().mean().clamp(min=1e-12)
        return mean + share * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)


def saliency(weight: Tensor, hessian: Tensor, mask: Tensor) -> Tensor:
    """Return what each remaining weight costs, when the others of its row make up for it.

    Args:
        weight: ``(rows, n)``, double.
        hessian: ``(n, n)``, positive definite.
        mask: ``(rows, n)``, True = remaining.

    Returns:
        ``w_q^2 / (2 [H^-1]_qq)``, ``(rows, n)``; 0 for what is gone.
    """
    inverse = torch.linalg.inv(_of_remaining(hessian, mask))
    return weight.square() * mask / (2 * inverse.diagonal(dim1=1, dim2=2))


def remaining(weight: Tensor, hessian: Tensor, mask: Tensor) -> Tensor:
    """Return the weights on ``mask`` whose outputs are nearest to those of ``weight``.

    They solve ``H_SS v = (H w)_S``, with S the row's remaining weights; 0 elsewhere. Arguments as
    for :func:`saliency`.
    """
    wanted = (weight @ hessian) * mask
    return torch.linalg.solve(_of_remaining(hessian, mask), wanted.unsqueeze(2)).squeeze(2) * mask


def _of_remaining(hessian: Tensor, mask: Tensor) -> Tensor:
    """Return the Hessian of each row's remaining weights, ``(rows, n, n)``; 1 where one is gone."""
    both = mask.unsqueeze(2) & mask.unsqueeze(1)
    return hessian * both + torch.diag_embed((~mask).to(hessian.dtype))


def _layers(view: PruneView) -> list[tuple[nn.Module, str]]:
    """Return the linear layers with the names of their weights."""
    names = {
        id(weight): name
        for name, weight in view.model.named_parameters(remove_duplicate=False)
        if name in view.masks.weights
    }
    layers = [
        (module, names[id(module.weight)])
        for module in view.model.modules()
        if isinstance(module, nn.Linear) and id(module.weight) in names
    ]
    if odd := sorted(view.masks.weights.keys() - {name for _, name in layers}):
        raise UsageError(
            f"it prunes linear layers alone, and '{odd[0]}' is none's weight; use a network of "
            "linear layers such as mlp"
        )
    return layers
