"""Mixup against its formula, and its shares against the Beta distribution."""

from __future__ import annotations

import pytest
import torch
from dsd_bench_robust.mixup import Mixup
from dsd_bench_robust.plugin import MixupParams
from scipy import stats
from torch import nn

from dsd_bench.regularizers import MixBatch, TrainingView


def make(alpha: float = 1.0, seed: int = 0) -> Mixup:
    """Return mixup at the beginning of a training."""
    mixup, draw = Mixup(MixupParams(alpha=alpha)), torch.Generator().manual_seed(seed)
    mixup.begin(TrainingView(nn.Linear(1, 1), 0, torch.device("cpu"), draw, None, 60, 10))
    return mixup


def batch(count: int = 6) -> MixBatch:
    """Return images whose pixels tell which they are, of as many classes."""
    images = torch.eye(count).view(count, 1, 1, count)
    labels = torch.arange(count)
    return MixBatch(images, torch.eye(count), labels, labels)


def test_images_and_labels_are_mixed_alike_with_one_other_of_the_batch() -> None:
    """Here an image is its label, so both must come out the same."""
    for seed in range(20):
        mixed = make(seed=seed).mix(batch())
        torch.testing.assert_close(mixed.images.flatten(1), mixed.targets, rtol=0, atol=1e-6)
        shares = mixed.targets.diagonal()
        partners = mixed.targets.sum(0)
        torch.testing.assert_close(partners, torch.ones(6))  # each is somebody's other once
        torch.testing.assert_close(mixed.targets.sum(1), torch.ones(6))
        assert (mixed.targets > 1e-6).sum(1).le(2).all()
        alone = shares > 1 - 1e-6  # who is mixed with itself
        assert len(shares[~alone].unique()) == 1 or (~alone).sum() == 0
        assert mixed.labels.equal(batch().labels)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_drawn_from_the_beta_distribution(alpha: float) -> None:
    """Kolmogorov-Smirnov against scipy's, two seeds."""
    mixup = make(alpha)
    pair = MixBatch(
        torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.eye(2), torch.arange(2), torch.arange(2)
    )
    found = []
    while len(found) < 2000:
        share = float(mixup.mix(pair).targets[0, 0])
        if share < 1:  # not mixed with itself
            found.append(share)
    assert stats.kstest(found, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_it_draws_from_its_own_generator() -> None:
    """And from nothing else: the same again, and torch's own stays as it was."""
    made = [make(seed=seed) for seed in (3, 3, 4)]
    before = torch.get_rng_state()
    one, two, other = (mixup.mix(batch()).targets for mixup in made)
    assert one.equal(two)
    assert not one.equal(other)
    assert torch.get_rng_state().equal(before)


def test_the_batch_itself_stays_as_it_was() -> None:
    """Its memory is the core's."""
    given = batch()
    make().mix(given)
    assert given.images.equal(batch().images)
    assert given.targets.equal(torch.eye(6))
