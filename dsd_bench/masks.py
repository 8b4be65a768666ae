"""Masks: which weights are left, as a value that checks itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from math import inf, isfinite
from typing import Literal

import numpy
import torch
from torch import Tensor, nn

from dsd_bench.errors import DamagedFile, RunError

_WEIGHTS, _TIED = "weights/", "tied/"
_WEIGHTS_OF: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], tuple[str, ...]], ...] = (
    ((nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d), ("weight",)),
    (nn.MultiheadAttention, ("in_proj_weight", *(f"{x}_proj_weight" for x in "qkv"))),
)
"""Kinds of layers, and the parameters of theirs that are weights of a convolution or product."""
_MARK = "_dsd_bench_left_out"
"""Attribute of a layer that names its weights that cannot be pruned."""


class NothingLeft(RunError):
    """No weight can be pruned any more without emptying a layer: the curve ends here."""


def layer_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of all Conv and Linear layers by name, in the model's order.

    The projections that ``nn.MultiheadAttention`` keeps packed are weights of linear layers too.
    A shared weight appears once, under the name that ``model.named_parameters()`` has for it,
    also if that is another kind of module's (an embedding's, say). Biases and normalisation
    parameters are never among them (Appendix B of the paper), nor are the parts of a weight that
    a parametrization computes.
    """
    held = {
        id(module._parameters.get(own)) for module in model.modules() for own in _names_of(module)
    }
    return {name: weight for name, weight in model.named_parameters() if id(weight) in held}


def prunable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that can be pruned by name, in the model's order.

    These are :func:`layer_weights` but for those that :func:`leave_out` was told of: the core
    finds them by a pass of the network before a run begins.
    """
    marked = {
        id(module._parameters.get(own))
        for module in model.modules()
        for own in getattr(module, _MARK, ())
    }
    return {name: w for name, w in layer_weights(model).items() if id(w) not in marked}


def leave_out(model: nn.Module, names: Collection[str]) -> None:
    """Never prune these weights of ``model``, nor of its copies, from now on.

    The layers are marked, so that whoever holds the model, or a part of it, finds the same weights.
    """
    unwanted = {id(weight) for name, weight in model.named_parameters() if name in names}
    for module in model.modules():
        own = [name for name in _weights_of(module) if id(module._parameters[name]) in unwanted]
        if own:
            setattr(module, _MARK, tuple(own))


def computed_weights(model: nn.Module) -> dict[str, int]:
    """Return the sizes, by name, of Conv and Linear weights that are no parameters.

    A parametrization (weight or spectral normalisation, say) computes them of others. It is asked
    to: in train mode it may then change its own state.
    """
    return {
        f"{name}.{own}" if name else own: getattr(module, own).numel()
        for name, module in model.named_modules()
        for own in _names_of(module)
        if own not in module._parameters and isinstance(getattr(module, own, None), Tensor)
    }


def _weights_of(module: nn.Module) -> list[str]:
    """Return the own names of a layer's weights that are parameters."""
    return [name for name in _names_of(module) if module._parameters.get(name) is not None]


def _names_of(module: nn.Module) -> tuple[str, ...]:
    """Return the names that a layer's weights have in it, if it has them."""
    return next((names for kind, names in _WEIGHTS_OF if isinstance(module, kind)), ())


@dataclass(frozen=True, eq=False)
class Masks:
    """True = kept, for each prunable weight by parameter name. A value: never changed in place.

    Attributes:
        weights: bool tensors of the weights' shapes; only these count for sparsity.
        tied: bool tensors for further parameters that go with pruned structures (a filter's
            bias, its batch-norm's affine).
    """

    weights: Mapping[str, Tensor]
    tied: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, mask in self.all():
            if mask.dtype != torch.bool:
                raise TypeError(f"mask '{name}' is {mask.dtype}, not bool")

    @classmethod
    def dense(cls, model: nn.Module) -> Masks:
        """Return masks that keep every prunable weight of ``model``, on the weights' devices."""
        return cls(
            {
                name: torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
                for name, weight in prunable_parameters(model).items()
            }
        )

    def ordered(self, model: nn.Module) -> Masks:
        """Return the same masks in the model's order, which breaks ties and orders the rows.

        Files do not keep it.

        Raises:
            RunError: if they are of other weights than can be pruned in ``model``.
        """
        known = prunable_parameters(model)
        if odd := sorted(known.keys() ^ self.weights.keys()):
            some = ", ".join(odd[:3]) + (", ..." if odd[3:] else "")
            raise RunError(
                f"the masks are of other weights than can be pruned in {type(model).__name__} now "
                f"(see {some}); --force begins a run anew"
            )
        weights = {name: self.weights[name] for name in known}
        tied = {n: self.tied[n] for n, _ in model.named_parameters() if n in self.tied}
        return Masks(weights, tied)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Masks:
        """Return the masks that :meth:`tensors` wrote; keys without its prefixes are ignored.

        Raises:
            DamagedFile: if there is no mask among ``tensors``, or one is not bool.
        """
        parts = {
            prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            for prefix in (_WEIGHTS, _TIED)
        }
        if not parts[_WEIGHTS]:
            raise DamagedFile(f"no masks: expected tensors named '{_WEIGHTS}...'")
        try:
            return cls(parts[_WEIGHTS], parts[_TIED])
        except TypeError as error:
            raise DamagedFile(str(error)) from None

    def tensors(self) -> dict[str, Tensor]:
        """Return every mask as a plain tensor, named ``weights/NAME`` or ``tied/NAME``."""
        return {_WEIGHTS + name: mask for name, mask in self.weights.items()} | {
            _TIED + name: mask for name, mask in self.tied.items()
        }

    def to(self, device: torch.device | str) -> Masks:
        """Return the same masks on ``device``."""
        return Masks(
            {name: mask.to(device) for name, mask in self.weights.items()},
            {name: mask.to(device) for name, mask in self.tied.items()},
        )

    def all(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every mask with its parameter's name, the prunable weights first."""
        yield from self.weights.items()
        yield from self.tied.items()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Kept weights of each prunable parameter, counted once."""
        return {name: int(mask.count_nonzero()) for name, mask in self.weights.items()}

    @cached_property
    def prunable(self) -> int:
        """Number of prunable weights, kept or not."""
        return sum(mask.numel() for mask in self.weights.values())

    @property
    def nonzero(self) -> int:
        """Number of kept prunable weights."""
        return sum(self.counts.values())

    @property
    def sparsity(self) -> float:
        """1 - nonzero / prunable."""
        return 1 - self.nonzero / self.prunable

    def densities(self) -> dict[str, float]:
        """Return kept / all for each prunable parameter, in 0..1."""
        return {name: self.counts[name] / mask.numel() for name, mask in self.weights.items()}

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Set the pruned parameters of ``model`` to exact (positive) zero, whatever they hold.

        Raises:
            RunError: if ``model`` lacks a masked parameter, or has it in another shape.
        """
        # A shared weight has several names; a mask of someone else's may go by any of them.
        parameters = dict(model.named_parameters(remove_duplicate=False))
        for name, mask in self.all():
            found = parameters[name].shape if name in parameters else None
            if found != mask.shape:
                raise RunError(
                    f"the mask of '{name}' has the shape {tuple(mask.shape)}, "
                    f"but {type(model).__name__} has {tuple(found) if found else 'no such one'}"
                )
            parameters[name].masked_fill_(~mask, 0.0)

    def nested_in(self, before: Masks) -> bool:
        """Whether everything that ``before`` pruned is pruned here too."""
        now = dict(self.all())
        return all(
            name in now and not bool((now[name] & ~mask).any()) for name, mask in before.all()
        )


def prune_count(fraction: float, remaining: int) -> int:
    """Return how many of ``remaining`` to prune: round(fraction * remaining), at least 1.

    Halves round to even, as in ``torch.nn.utils.prune``.
    """
    return max(1, round(fraction * remaining))


@torch.no_grad()
def prune_by_scores(
    scores: Mapping[str, Tensor],
    masks: Masks,
    fraction: float,
    scope: Literal["global", "layer"],
) -> Masks:
    """Prune the lowest-scored ``fraction`` of the remaining weights.

    Exactly :func:`prune_count` weights go, per scope: those that a full stable sort of the
    remaining scores puts first. Ties go in the model's order (the first weight first). A layer is
    never emptied: its best remaining weight (the last of equals) stays, and the next one in the
    order goes instead, so the count holds while any layer has more than one weight.

    Args:
        scores: a finite score for each prunable weight, by name; higher = keep. Scores of
            weights already pruned are ignored. Any real dtype; on the masks' device or not.
        masks: the masks so far.
        fraction: of the remaining weights, in (0, 1).
        scope: ``global`` ranks all layers together, ``layer`` each alone.

    Raises:
        NothingLeft: if every layer is down to one weight.
        RunError: for missing, misshapen or non-finite scores.
    """
    ranked = _comparable(scores, masks.weights)
    groups = [list(masks.weights)] if scope == "global" else [[name] for name in masks.weights]
    kept: dict[str, Tensor] = {}
    for group in groups:
        remaining = sum(masks.counts[name] for name in group)
        kept.update(_prune_group(group, ranked, masks, prune_count(fraction, remaining)))
    if not kept:
        raise NothingLeft("every layer is down to its last weight")
    return Masks(dict(masks.weights) | kept, masks.tied)


@torch.no_grad()
def prune_to(scores: Mapping[str, Tensor], masks: Masks, count: int | Mapping[str, int]) -> Masks:
    """Prune the lowest-scored weights until exactly ``count`` are left.

    Ties, and a layer's last weight, are as in :func:`prune_by_scores`.

    Args:
        scores: as for :func:`prune_by_scores`.
        masks: the masks so far.
        count: weights to keep: of all layers together, or of each by its name; those of layers
            that are not named stay.

    Raises:
        RunError: for scores that cannot be used, or if so many are not there, or if a layer would
            be left without a weight.
    """
    ranked = _comparable(scores, masks.weights)
    everything = list(masks.weights)
    wanted = (
        [(everything, count)] if isinstance(count, int) else [([n], c) for n, c in count.items()]
    )
    kept: dict[str, Tensor] = {}
    for group, left in wanted:
        there = sum(masks.counts[name] for name in group)
        least = sum(min(masks.counts[name], 1) for name in group)
        if not least <= left <= there:
            where = "all layers together" if len(group) > 1 else f"'{group[0]}'"
            raise RunError(f"{left} weights of {where} cannot be kept: from {least} to {there} can")
        kept.update(_prune_group(group, ranked, masks, there - left))
    return Masks(dict(masks.weights) | kept, masks.tied)


@torch.no_grad()
def grow_by_scores(scores: Mapping[str, Tensor], masks: Masks, counts: Mapping[str, int]) -> Masks:
    """Bring back the highest-scored pruned weights of each layer; ties go in the layer's order.

    Args:
        scores: a finite score for each prunable weight, by name; higher = bring back. Scores of
            weights that are there are ignored.
        masks: the masks so far.
        counts: weights to bring back, by layer; a layer that is not named stays as it is.

    Raises:
        RunError: for missing, misshapen or non-finite scores, or if so many are not pruned.
    """
    missing = {name: (~mask).contiguous() for name, mask in masks.weights.items()}
    ranked = _comparable(scores, missing)
    grown = {}
    for name, count in counts.items():
        pruned = masks.weights[name].numel() - masks.counts[name]
        if not 0 <= count <= pruned:
            raise RunError(f"{count} weights of '{name}' cannot come back: {pruned} are pruned")
        if count:
            back = _lowest({name: -ranked[name]}, {name: missing[name]}, count)[name]
            grown[name] = masks.weights[name] | back
    return Masks(dict(masks.weights) | grown, masks.tied)


def _comparable(scores: Mapping[str, Tensor], of: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Check the scores of some weights and bring all to a dtype that loses nothing, one device."""
    _check(scores, of)
    wide = [scores[name].dtype for name in of]
    dtypes = [dtype if dtype.is_floating_point else torch.float64 for dtype in wide]
    dtype = reduce(torch.promote_types, dtypes, torch.float32)
    return {
        name: scores[name].detach().to(some.device, dtype).contiguous() for name, some in of.items()
    }


def _check(scores: Mapping[str, Tensor], of: Mapping[str, Tensor]) -> None:
    """Say which scores cannot be used, and why."""
    if not isinstance(scores, Mapping):
        raise RunError(
            f"the scores are a {type(scores).__name__}; expected a dict of tensors by weights' "
            "names"
        )
    for name, some in of.items():
        if name not in scores:
            raise RunError(f"there are no scores for '{name}'")
        given = scores[name]
        if not isinstance(given, Tensor):
            raise RunError(f"the scores for '{name}' are a {type(given).__name__}, no tensor")
        if given.shape != some.shape:
            shapes = f"{tuple(given.shape)}, not {tuple(some.shape)}"
            raise RunError(f"the scores for '{name}' have the shape {shapes}")
        # NaN spreads to both ends, so two numbers tell about all.
        ends = torch.where(some, given.to(some.device), 0).aminmax()
        if not all(isfinite(end.item()) for end in ends):
            raise RunError(f"the scores for '{name}' are not all finite")


def _prune_group(
    names: Sequence[str], scores: Mapping[str, Tensor], masks: Masks, count: int
) -> dict[str, Tensor]:
    """Return the next masks of the weights that are ranked together; none if none can go."""
    count = min(count, sum(max(masks.counts[name] - 1, 0) for name in names))
    if not count:
        return {}
    candidates = {name: _candidates(scores[name], masks.weights[name]) for name in names}
    gone = _lowest(scores, candidates, count)
    return {name: masks.weights[name] & ~gone[name] for name in names}


def _lowest(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], count: int
) -> dict[str, Tensor]:
    """Return which ``count`` candidates of all layers have the lowest scores; ties in order."""
    threshold, ties = _threshold([(scores[name], may) for name, may in candidates.items()], count)
    found = {}
    for name, may in candidates.items():
        lowest = may & (scores[name] < threshold)
        if ties:
            equal = may & (scores[name] == threshold)
            first = equal.view(-1).nonzero().view(-1)[:ties]
            lowest.view(-1)[first] = True
            ties -= len(first)
        found[name] = lowest
    return found


def _candidates(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the weights that may go: the kept ones but for the layer's last best."""
    candidates = mask.clone(memory_format=torch.contiguous_format)
    if bool(mask.any()):
        best = torch.where(mask, scores, -inf).max()
        last = (candidates & (scores == best)).view(-1).nonzero()[-1]
        candidates.view(-1)[last] = False
    return candidates


def _threshold(pairs: Sequence[tuple[Tensor, Tensor]], count: int) -> tuple[float, int]:
    """Return the ``count``-th lowest candidate score, and how many equal to it are to go.

    Done on the host: ``numpy.partition`` is 10 times faster than ``kthvalue`` on a CPU, and
    ``kthvalue`` is not deterministic on CUDA. 25 M weights are pruned in about 0.5 s.
    """
    parts = [scores.cpu().numpy()[may_go.cpu().numpy()] for scores, may_go in pairs]
    flat = numpy.concatenate(parts)
    flat.partition(count - 1)
    threshold = flat[count - 1]
    return float(threshold), count - int((flat[:count] < threshold).sum())
