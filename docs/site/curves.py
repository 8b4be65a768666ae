"""Curves of components on the embedded data, from the rows of its leaderboards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dsd_bench.figures import figure, legend, panel_curves, save
from dsd_bench.store.reading import read_json

Row = dict[str, Any]
"""A row file's contents."""

BASELINE = "magnitude alone"


def draw_all(boards: Sequence[Path], folder: Path) -> dict[tuple[str, str], str]:
    """Draw each component that a board's rows try, beside magnitude pruning alone.

    Args:
        boards: the boards' folders, with ``rows/``; a component is drawn from the first that has
            it.
        folder: where the figures go.

    Returns:
        For each (kind, name) Markdown with its figure, which lies in ``images/curves``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[tuple[str, str], str] = {}
    for board in boards:
        for key, (rows, plain) in _shown(board).items():
            if key not in drawn:
                drawn[key] = _draw(key, rows, plain, folder)
    return drawn


def _shown(board: Path) -> dict[tuple[str, str], tuple[list[Row], Row]]:
    """Return for each component its rows on a board, and the row of magnitude pruning alone."""
    rows = [read_json(path) for path in sorted((board / "rows").glob("*.json"))]
    plain = next(row for row in rows if not list(_varied(row)) and _usual(row))
    shown = {("pruner", "magnitude"): [plain]}
    for row in rows:
        if key := _subject(row):
            shown.setdefault(key, []).append(row)
    for key in (("model", "mlp"), ("dataset", "digits"), ("noise", "symmetric")):
        shown[key] = [plain]
    return {key: (found, plain) for key, found in shown.items()}


def curves_of(row: Row) -> list[list[dict[str, Any]]]:
    """Return a row's curves: for each seed its rounds, as ``rounds.jsonl`` has them."""
    made = []
    for seed in row["seeds"]:
        columns = seed["rounds"]
        rounds = range(len(columns["sparsity"]))
        made.append([{"round": i} | {name: columns[name][i] for name in columns} for i in rounds])
    return made


def _subject(row: Row) -> tuple[str, str] | None:
    """Return the component that a row is about; None where it tries several.

    An updater is a row's subject whatever pruner and perturber it goes with.
    """
    varied = dict(_varied(row))
    if "updater" in varied and not varied.keys() - {"pruner", "perturber", "updater"}:
        return "updater", varied["updater"]
    return next(iter(varied.items())) if len([*_varied(row)]) == 1 else None


def _usual(row: Row) -> bool:
    """Whether a row is of the default method: magnitude, all layers at once, at the full rate."""
    pruner = row["method"]["pruner"]
    return (pruner["params"].get("scope"), row["method"]["retrain_lr_scale"]) == ("global", 1)


def _varied(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the components of a method that the default one does not have."""
    method = row["method"]
    if method["pruner"]["name"] != "magnitude":
        yield "pruner", method["pruner"]["name"]
    if method["perturber"]["name"] != "none":
        yield "perturber", method["perturber"]["name"]
    for one in method["regularizers"]:
        yield "regularizer", one["name"]
    if method["stop"]["name"] != "never":
        yield "stop", method["stop"]["name"]
    for kind in ("updater", "optimizer", "schedule"):
        if method.get(kind):
            yield kind, method[kind]["name"]


def _label(row: Row, key: tuple[str, str]) -> str:
    if key[0] != "regularizer":
        return key[1]
    found = next(one for one in row["method"]["regularizers"] if one["name"] == key[1])
    teacher = found.get("teacher")
    return f"{key[1]}:teacher={teacher['weights']}" if teacher else key[1]


def _draw(key: tuple[str, str], rows: list[Row], plain: Row, folder: Path) -> str:
    kind, name = key
    groups = {BASELINE: curves_of(plain)}
    if rows != [plain]:
        groups |= {_label(row, key): curves_of(row) for row in rows}
    file = f"{kind}-{name}.svg"
    with figure(120, 80) as (fig, [[axis]]):
        lines = panel_curves(axis, groups)
        legend(fig, lines)
        save(fig, folder / file)
    seeds = len(rows[0]["seeds"])
    schedule = plain["track"]["schedule"]
    return (
        "## On the embedded data\n\n"
        f"![test accuracy over sparsity](../../images/curves/{file})\n\n"
        "The embedded recipe: digits, 40 % of the train labels wrong;"
        f" {schedule['dense_epochs']} epochs, then {schedule['retrain_epochs']} in each round; mean"
        f" of {seeds} seeds, band: one standard deviation. From the rows of the"
        " [leaderboard](../../leaderboards/index.md)."
    )
