"""Where a running protocol remembers itself. The protocol knows this interface, not files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dsd_bench.store.shapes import check_state

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

Row = Mapping[str, Any]
"""A finished round: a line of ``rounds.jsonl``, and what is written elsewhere, see BESIDE."""

BESIDE = ("metrics", "correct")
"""Keys of a row that have files of their own: further metrics' values by metric and name, and
which images are right, ``{"val": base64 or None, "test": base64}`` (:mod:`.correct`). Rows of
checkpoints from before there were such bits lack ``correct``."""

ROW = (
    *("round", "sparsity", "nonzero", "train_loss", "train_accuracy", "train_accuracy_clean"),
    *("train_accuracy_noisy", "val_accuracy", "val_loss", "test_accuracy", "test_loss"),
    *("entropy", "entropy_per_layer", "sparsity_per_layer", "macs_dense", "macs_effective"),
)
"""The keys of a row, in their order."""

DENSE = "dense"
"""What the weights of round 0 are kept as."""


def plain_row(row: Row) -> dict[str, Any]:
    """Return what ``rounds.jsonl`` holds of a row."""
    return {key: value for key, value in row.items() if key not in BESIDE}


def weights_name(round: int) -> str:
    """Return the name under which a round's weights are kept."""
    return f"round-{round:03d}" if round else DENSE


def round_of(name: str) -> int | None:
    """Return the round whose weights are kept as ``name``; None for snapshots."""
    if name == DENSE:
        return 0
    kind, _, number = name.partition("-")
    return int(number) if kind == "round" and number.isdecimal() else None


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
        needed: those of them without which the run cannot go on or end.
    """

    rows: tuple[Row, ...]
    round: int
    training: bool
    cursor: Mapping[str, Any]
    tensors: Tensors
    plans: tuple[dict[str, Any], ...] = ()
    kept: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        """Return all but the tensors, as JSON."""
        return {
            "rows": list(self.rows),
            "round": self.round,
            "training": self.training,
            "cursor": dict(self.cursor),
            "plans": list(self.plans),
            "kept": list(self.kept),
            "needed": list(self.needed),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], tensors: Tensors) -> Checkpoint:
        """Undo :meth:`state`; also of the first release, which named the records ``best-NNN``.

        Raises:
            ValueError: if it is not such a state.
        """
        check_state(state)
        rows = tuple(state["rows"])
        kept = tuple(name.replace("best-", "round-", 1) for name in state["kept"])
        needed = tuple(state["needed"]) if "needed" in state else _unbeaten(kept)
        return cls(
            rows,
            int(state["round"]),
            bool(state["training"]),
            state["cursor"],
            tensors,
            tuple(state["plans"]),
            kept,
            needed,
        )


def _unbeaten(kept: Iterable[str]) -> tuple[str, ...]:
    """Return what is needed of the first release's kept weights: not the records that fell."""
    names = list(kept)
    beaten = [name for name in names if name.startswith("round-")][:-1]
    return tuple(name for name in names if name not in beaten)


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
