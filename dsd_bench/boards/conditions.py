"""Under which conditions the seeds of a row were computed, and whether they are one and the same.

Same id and same conditions: same bytes. Under other ones (another chip, another torch, another
version of a plugin) the same run gives other numbers, so seeds that were computed under
different conditions form one row only if the row says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsd_bench.boards.schema import CheckedSeed, SeedResult
from dsd_bench.config.run import canonical

HARDWARE = ("cpu", "gpu", "system")
"""What of the hardware can change a number; the number of cores cannot."""


def differing(entries: Sequence[SeedResult]) -> list[str]:
    """Return the names of the conditions that have several values among ``entries``, sorted."""
    return sorted(name for name, values in _values(entries).items() if len(values) > 1)


def differences(one: Sequence[SeedResult], other: Sequence[SeedResult]) -> list[str]:
    """Return ``name: value, not value`` for each condition that differs between two sides."""
    ours, theirs = _values(one), _values(other)
    return [
        f"{name}: {_told(ours.get(name))}, not {_told(theirs.get(name))}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


LATER: Any = {
    "code": {"__all__": {"core": True, "components": True, "plugins": {"__all__": {"state"}}}}
}
"""What of a seed rows of older releases do not tell; no number depends on it."""


def same(one: CheckedSeed, other: CheckedSeed) -> bool:
    """Whether two entries say the same, but for what one of them does not tell."""
    apart = {**LATER, **({} if one.ece and other.ece else {"ece": True})}
    return one.model_dump(exclude=apart) == other.model_dump(exclude=apart)


def _told(values: set[str] | None) -> str:
    return " and ".join(sorted(values)) if values else "unknown"


def _values(entries: Sequence[SeedResult]) -> dict[str, set[str]]:
    """Return every condition's values as JSON; a key that only some plans have counts as null."""
    found = {
        (kind, canonical(part)): part for entry in entries for kind, part in _conditions(entry)
    }
    groups: dict[str, set[str]] = {}
    for kind in {kind for kind, _ in found}:
        parts = [part for (other, _), part in found.items() if other == kind]
        for name in {name for part in parts for name in part}:
            groups.setdefault(name, set()).update(canonical(part.get(name)) for part in parts)
    return groups


def _conditions(entry: SeedResult) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the plans, the hardware and the plugins of one seed; a resumed run has several."""
    for plan in entry.plan if isinstance(entry.plan, list) else [entry.plan]:
        if isinstance(plan, Mapping):
            yield "plan", {key: value for key, value in plan.items() if key != "from_round"}
    yield "hardware", {key: entry.hardware.get(key) for key in HARDWARE}
    for code in getattr(entry, "code", []):
        plugins = {name: plugin.sha256 or plugin.version for name, plugin in code.plugins.items()}
        yield "code", {"plugins": plugins}
