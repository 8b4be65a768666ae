"""What rules that read the rounds of a run have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from dsd_bench.errors import RunError

Rounds = Sequence[Mapping[str, Any]]

MARGIN = 1e-9
"""How far two numbers must be apart to differ: far more than rounding makes of decimals, far less
than one image or one weight."""

_HINTS = {
    "entropy": ": entropy is that of rectifiers (ReLU) and this model has none; try 'patience'",
    "val_accuracy": ": is there a validation part to judge by?",
}


def below(value: float, limit: float) -> bool:
    """Whether ``value`` is less than ``limit`` by more than rounding explains.

    Accuracies and sparsities are counts divided by counts, and 0.545 - 0.05 is 0.495 on paper but
    not in binary. So whoever compares a difference with a limit asks this; ties are not below.
    """
    return value < limit - MARGIN


class Columns(Sequence[Mapping[str, Any]]):
    """Rounds that are held by column, for those who ask many rules of one curve.

    They are what a list of rows is, and :func:`column` need not look through them each time.

    Args:
        columns: equally long; at least one.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = columns
        self._floats: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        names = tuple(self._columns)
        return (dict(zip(names, values)) for values in zip(*self._columns.values()))

    @overload
    def __getitem__(self, at: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Columns: ...
    def __getitem__(self, at: int | slice) -> Mapping[str, Any] | Columns:
        found = {name: values[at] for name, values in self._columns.items()}
        return Columns(found) if isinstance(at, slice) else found

    def floats(self, name: str) -> list[float] | None:
        """Return a column, which nobody changes; None where there is none or a value lacks."""
        if name not in self._floats:
            values = self._columns.get(name)
            if values is None or None in values:
                return None
            self._floats[name] = list(map(float, values))
        return self._floats[name]


def column(rounds: Rounds, name: str, who: str) -> list[float]:
    """Return a column of ``rounds``.

    Args:
        rounds: rows of ``rounds.jsonl``.
        name: of the column.
        who: what needs it, such as ``the stop rule 'patience'``.

    Raises:
        RunError: naming the first round that lacks it.
    """
    if isinstance(rounds, Columns) and (held := rounds.floats(name)) is not None:
        return held
    values = [row.get(name) for row in rounds]
    if None not in values:
        return list(map(float, values))  # type: ignore[arg-type]
    missing = values.index(None)
    number = rounds[missing].get("round", missing)
    raise RunError(f"{who} needs '{name}', which round {number} lacks{_HINTS.get(name, '')}")
