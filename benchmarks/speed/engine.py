"""The engine's own epochs."""

from __future__ import annotations

import hashlib

from benchmarks.speed.cases import Case, half_masks
from dsd_bench.config.run import ProtocolConfig
from dsd_bench.optimizers.plain import Sgd
from dsd_bench.params import Params
from dsd_bench.schedules.step import Step
from dsd_bench.training.device import ComputeContext
from dsd_bench.training.loop import Training
from dsd_bench.training.setup import TrainingSetup


class Engine:
    """Trains a half-pruned network as a run does, an epoch at a time."""

    def __init__(self, case: Case, context: ComputeContext) -> None:
        self.model = case.model(context)
        protocol = ProtocolConfig(
            rounds=1,
            dense_epochs=1,
            retrain_epochs=10**6,
            batch_size=case.batch,
            lr=1e-3,
            momentum=0.9,
            weight_decay=5e-4,
            milestones=(),
        )
        masks = half_masks(self.model)
        masks.apply(self.model)
        how = Sgd(Params()), Step(Params())
        setup = TrainingSetup(protocol, case.resident(context), context, 0, *how)
        self.training = Training(setup, self.model, masks, 1)

    def epoch(self) -> None:
        """Train for one epoch."""
        self.epochs(1)

    def epochs(self, count: int) -> None:
        """Train for ``count`` epochs."""
        self.training.epochs = self.training.cursor.epoch + count
        self.training.run(lambda training: None)

    def digest(self) -> str:
        """Return a digest of the network's state."""
        digest = hashlib.sha256()
        for tensor in self.model.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
