"""Where a running protocol remembers itself. The protocol knows this interface, not files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dsd_bench.store.shapes import check_state

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

Row = Mapping[str, Any]
"""A finished round: a line of ``rounds.jsonl``; further metrics' values under ``metrics``."""

ROW = (
    *("round", "sparsity", "nonzero", "train_loss", "train_accuracy", "train_accuracy_clean"),
    *("train_accuracy_noisy", "val_accuracy", "val_loss", "test_accuracy", "test_loss"),
    *("entropy", "entropy_per_layer", "sparsity_per_layer", "macs_dense", "macs_effective"),
)
"""The keys of a row, in their order."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on exactly.

    Attributes:
        rows: the finished rounds; further metrics' values are under the key ``metrics``.
        round: the round whose training is under way or about to begin.
        training: whether ``round``'s pruning is done and its training under way.
        cursor: the place in that training: ``epoch``, ``step`` and the like.
        tensors: model, masks, optimiser and generators.
        plans: the execution plans so far, each with the round it began in.
        kept: names of the sets of weights that were kept so far.
    """

    rows: tuple[Row, ...]
    round: int
    training: bool
    cursor: Mapping[str, Any]
    tensors: Tensors
    plans: tuple[dict[str, Any], ...] = ()
    kept: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        """Return all but the tensors, as JSON."""
        return {
            "rows": list(self.rows),
            "round": self.round,
            "training": self.training,
            "cursor": dict(self.cursor),
            "plans": list(self.plans),
            "kept": list(self.kept),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], tensors: Tensors) -> Checkpoint:
        """Undo :meth:`state`.

        Raises:
            ValueError: if ``state`` is not what it should be.
        """
        check_state(state)
        return cls(
            tuple(state["rows"]),
            int(state["round"]),
            bool(state["training"]),
            state["cursor"],
            tensors,
            tuple(state["plans"]),
            tuple(state["kept"]),
        )


class CheckpointStore(Protocol):
    """Keeps checkpoints and named sets of weights."""

    def restore(self) -> Checkpoint | None:
        """Return the newest undamaged checkpoint, None to begin anew."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep ``checkpoint``, and the one before it."""

    def keep(self, name: str, tensors: Tensors) -> None:
        """Keep a set of tensors under ``name``, replacing an earlier one."""

    def recall(self, name: str) -> Tensors:
        """Return what :meth:`keep` was given."""

    def log(self, text: str) -> None:
        """Note a line for people."""
