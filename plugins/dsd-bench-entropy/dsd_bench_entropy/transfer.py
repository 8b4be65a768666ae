"""The regularizer ``attention-transfer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from dsd_bench.errors import RunError
from dsd_bench.regularizers import Regularizer, Step, TrainingView
from dsd_bench_entropy.plugin import AUTO, AttentionTransferParams


def attention(activations: Tensor, power: float) -> Tensor:
    """Return ``sum over channels of |a|^p`` at each position, as vectors of length 1, float32.

    Zagoruyko and Komodakis 2017, Section 3.1. A layer without positions has one of each unit.

    Args:
        activations: ``(N, C, H, W)`` or ``(N, units)``.
        power: p.
    """
    sizes = activations.float().abs().pow(power)
    return functional.normalize(sizes.flatten(2).sum(1) if sizes.dim() > 2 else sizes, dim=1)


class AttentionTransfer(Regularizer):
    """Loss -> loss + beta * sum over layers of the mean squared difference of attention maps.

    The mean is over images and positions, as in the authors' code, whose beta is 1000; in their
    equation 2 it is a norm of the difference and half a beta. Where the teacher's maps are of
    another size, the larger ones are averaged down.
    """

    params: AttentionTransferParams

    def begin(self, view: TrainingView) -> None:
        """Watch the layers of both networks."""
        assert view.teacher_model is not None, "the core gives it its teacher"
        self._model = view.teacher_model
        self._student = _Outputs(view.model, self.params.layers, "layers")
        self._teacher = _Outputs(self._model, self.params.teacher_layers, "teacher_layers")

    def end(self) -> None:
        """Watch them no longer; called also where :meth:`begin` failed."""
        for name in ("_student", "_teacher"):
            if outputs := self.__dict__.pop(name, None):
                outputs.close()

    def loss(self, loss: Tensor, step: Step) -> Tensor:
        """Return the loss and the maps' differences.

        Raises:
            RunError: if the networks' maps cannot be compared.
        """
        ours = self._student.take()
        with torch.no_grad():
            self._model(step.images)
        theirs = self._teacher.take()
        if len(ours) != len(theirs):
            raise RunError(
                f"attention-transfer: the network has {len(ours)} layers to compare, its teacher "
                f"{len(theirs)}; name them: layers=a+b,teacher_layers=c+d"
            )
        pairs = zip(ours, theirs, strict=True)
        differences = [_difference(one, other, self.params.power) for one, other in pairs]
        return loss + self.params.beta * torch.stack(differences).sum()


def _difference(ours: Tensor, theirs: Tensor, power: float) -> Tensor:
    """Return the mean squared difference of two layers' maps."""
    if ours.dim() == theirs.dim() == 4:
        (a, b), (c, d) = ours.shape[2:], theirs.shape[2:]
        size = min(a, c), min(b, d)
        ours, theirs = (_at(size, each) for each in (ours, theirs))
    one, other = attention(ours, power), attention(theirs, power)
    if one.shape != other.shape:
        raise RunError(
            f"attention-transfer: layers of {tuple(ours.shape[1:])} and of "
            f"{tuple(theirs.shape[1:])} have no maps to compare; name others with layers=... and "
            "teacher_layers=..."
        )
    return (one - other).square().mean()


def _at(size: tuple[int, int], activations: Tensor) -> Tensor:
    if activations.shape[2:] == size:
        return activations
    return functional.adaptive_avg_pool2d(activations, size)


class _Outputs:
    """What some layers of a network gave in its last forward pass."""

    def __init__(self, model: nn.Module, layers: str, where: str) -> None:
        self._auto = layers == AUTO
        modules = dict(model.named_modules())
        names = [n for n, _ in model.named_children()] if self._auto else layers.split("+")
        if unknown := [name for name in names if name not in modules]:
            raise RunError(
                f"attention-transfer: {where}={layers}: {type(model).__name__} has no layer "
                f"'{unknown[0]}'; it has: {', '.join(filter(None, modules))}"
            )
        self._last: dict[str, tuple[nn.Module, Tensor]] = {}
        self._names = names
        self._handles: list[RemovableHandle] = [
            modules[name].register_forward_hook(self._keeping(name)) for name in names
        ]

    def _keeping(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._last[name] = module, output

        return keep

    def take(self) -> list[Tensor]:
        """Return the chosen outputs, in order, and forget all."""
        given = [self._last[name] for name in self._names if name in self._last]
        self._last = {}
        return _chosen(given) if self._auto else [output for _, output in given]

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()


def _chosen(given: list[tuple[nn.Module, Tensor]]) -> list[Tensor]:
    """Return the last output of every map size, else those of ReLUs.

    Raises:
        RunError: if there is neither.
    """
    maps = {o.shape[2:]: o for _, o in given if o.dim() == 4 and o.shape[2:].numel() > 1}
    units = [o for module, o in given if isinstance(module, nn.ReLU) and o.dim() == 2]
    if not maps and not units:
        raise RunError(
            "attention-transfer: no child of the network gives maps, and none is a ReLU; name "
            "layers with layers=a+b"
        )
    return list(maps.values()) or units
