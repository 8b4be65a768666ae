"""What a round costs beside its training, part by part, in a real run of a large network."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import dsd_bench
from dsd_bench.experiment.protocol import Run

PARTS = {
    "_prune": "pruning",
    "_row": "measuring, entropy included",
    "_keep_round": "keeping weights",
    "_save": "checkpoint",
    "_train": "training",
}
"""The protocol's steps of a round, and what the table calls them."""
EPOCHS, ROUNDS = 2, 2


@dataclass(frozen=True)
class Round:
    """A round's seconds.

    Attributes:
        parts: by what was done, the mean over the rounds; checkpoints within trainings too.
        epoch: one epoch of the training.
    """

    parts: dict[str, float]
    epoch: float

    @property
    def enough(self) -> float:
        """Epochs a round from which everything beside the training takes 5 % of it or less."""
        return sum(self.parts.values()) / (0.05 * self.epoch)


def measure(model: str, dataset: str, device: str) -> Round:
    """Run ``model`` for a few short rounds, and time their parts."""
    spent: dict[str, float] = defaultdict(float)
    config = dsd_bench.configure(
        model=model, dataset=dataset, rounds=ROUNDS, epochs=EPOCHS, lr=1e-3, batch_size=64
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name in PARTS:
            stack.enter_context(_timed(name, spent))
        dsd_bench.run(config, runs_dir=folder, device=device)
    training = spent.pop("_train") / (ROUNDS + 1)
    parts = {PARTS[name]: seconds / (ROUNDS + 1) for name, seconds in spent.items()}
    return Round(parts, training / EPOCHS)


@contextmanager
def _timed(name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add the seconds of a step of the protocol to ``spent``."""
    plain: Callable[..., Any] = getattr(Run, name)

    def timed(self: Run, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return plain(self, *args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - start

    with mock.patch.object(Run, name, timed):
        yield
