"""How many weights each layer keeps: whole numbers with an exact sum."""

from __future__ import annotations

from collections.abc import Sequence


def shared_out(total: int, weights: Sequence[float], most: Sequence[int]) -> list[int]:
    """Share ``total`` out in proportion to ``weights``, at least 1 and at most ``most`` each.

    What a capped layer cannot take goes to the others in proportion, as in ERK (Evci et al. 2020,
    Section 3): layer ``l`` gets ``min(most_l, max(1, e * weights_l))``, with the one ``e`` that
    makes the sum right. Fractions are rounded by largest remainder, equal ones in order.

    Args:
        total: from ``len(most)`` to ``sum(most)``.
        weights: of each layer, > 0.
        most: of each layer, >= 1.
    """
    exact = _filled(total, weights, most)
    whole = [int(share) for share in exact]
    missing = total - sum(whole)
    room = [layer for layer in range(len(most)) if whole[layer] < most[layer]]
    room.sort(key=lambda layer: whole[layer] - exact[layer])
    for layer in room[:missing]:
        whole[layer] += 1
    return whole


def _filled(total: int, weights: Sequence[float], most: Sequence[int]) -> list[float]:
    """Return the shares before rounding."""

    def at(e: float) -> list[float]:
        return [min(top, max(1.0, e * weight)) for weight, top in zip(weights, most, strict=True)]

    # the sum grows with e, in straight lines between the points where a layer meets a bound
    bends = sorted({0.0, *(1 / w for w in weights), *(top / w for top, w in zip(most, weights))})
    below = max(e for e in bends if sum(at(e)) <= total)
    above = min((e for e in bends if e > below), default=below)
    low, high = sum(at(below)), sum(at(above))
    e = below + (above - below) * (total - low) / (high - low) if high > low else below
    return at(e)
