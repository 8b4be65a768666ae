"""Whether a smaller network computes what the masked one does, on real images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TIMES = 10.0
"""How many of the masked network's own rounding errors the smaller one may differ by: other shapes
use other kernels, which sum in another order."""
FLOOR = 64.0
"""The same in units of rounding of the largest logit, for networks whose own error is tiny."""
BATCH = 64


@dataclass(frozen=True)
class Check:
    """How far two networks are apart on some images.

    Attributes:
        images: how many.
        max_abs_logit_difference: largest difference of a logit.
        tolerance: largest that is allowed: :data:`TIMES` the largest error of the masked network
            against its own evaluation in double precision, at least :data:`FLOOR` roundings of the
            largest logit.
        own_error: that error.
        largest_logit: in double precision.
        agree: share of images that both put into the same class.
    """

    images: int
    max_abs_logit_difference: float
    tolerance: float
    own_error: float
    largest_logit: float
    agree: float

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; never if it is no number."""
        return self.max_abs_logit_difference <= self.tolerance


def check(masked: nn.Module, other: Callable[[Tensor], Tensor], images: Tensor) -> Check:
    """Compare two networks.

    Args:
        masked: the reference, on the CPU and in eval mode.
        other: gives logits ``(N, classes)`` for images.
        images: normalised float ``(N, C, H, W)``.
    """
    exact = copy.deepcopy(masked).double()
    parts = torch.split(images, BATCH)
    with torch.no_grad():
        wanted = torch.cat([exact(part.double()) for part in parts])
        plain = torch.cat([masked(part) for part in parts])
        found = torch.cat([other(part) for part in parts]).to(plain)
    own = float((plain.double() - wanted).abs().max())
    largest = float(wanted.abs().max())
    floor = FLOOR * torch.finfo(plain.dtype).eps * largest
    return Check(
        images=len(images),
        max_abs_logit_difference=float((plain - found).abs().max()),
        tolerance=max(TIMES * own, floor),
        own_error=own,
        largest_logit=largest,
        agree=float((plain.argmax(1) == found.argmax(1)).float().mean()),
    )
