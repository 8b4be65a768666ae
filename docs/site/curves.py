"""Curves of components on the embedded data, from the rows of its leaderboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsd_bench.figures import figure, legend, panel_curves, save
from dsd_bench.store.reading import read_json

BASELINE = "magnitude alone"


def draw_all(board: Path, folder: Path) -> dict[tuple[str, str], str]:
    """Draw each component that the board's rows try, beside magnitude pruning alone.

    Args:
        board: the board's folder, with ``rows/``.
        folder: where the figures go.

    Returns:
        For each (kind, name) Markdown with its figure, which lies in ``images/curves``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [read_json(path) for path in sorted((board / "rows").glob("*.json"))]
    plain = next(row for row in rows if not list(_varied(row)) and _usual(row))
    shown = {("pruner", "magnitude"): [plain]}
    for row in rows:
        varied = list(_varied(row))
        if len(varied) == 1:
            shown.setdefault(varied[0], []).append(row)
    for key in (("model", "mlp"), ("dataset", "digits"), ("noise", "symmetric")):
        shown[key] = [plain]
    return {key: _draw(key, found, plain, folder) for key, found in shown.items()}


def curves_of(row: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return a row's curves: for each seed its rounds, as ``rounds.jsonl`` has them."""
    made = []
    for seed in row["seeds"]:
        columns = seed["rounds"]
        rounds = range(len(columns["sparsity"]))
        made.append([{"round": i} | {name: columns[name][i] for name in columns} for i in rounds])
    return made


def _usual(row: dict[str, Any]) -> bool:
    """Whether a row is of the default method: magnitude, all layers at once, at the full rate."""
    pruner = row["method"]["pruner"]
    return (pruner["params"].get("scope"), row["method"]["retrain_lr_scale"]) == ("global", 1)


def _varied(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
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


def _label(row: dict[str, Any], key: tuple[str, str]) -> str:
    if key[0] != "regularizer":
        return key[1]
    found = next(one for one in row["method"]["regularizers"] if one["name"] == key[1])
    teacher = found.get("teacher")
    return f"{key[1]}:teacher={teacher['weights']}" if teacher else key[1]


def _draw(
    key: tuple[str, str], rows: list[dict[str, Any]], plain: dict[str, Any], folder: Path
) -> str:
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
    return (
        "## On the embedded data\n\n"
        f"![test accuracy over sparsity](../../images/curves/{file})\n\n"
        f"The default recipe: digits, 40 % of the train labels wrong; mean of {seeds} seeds, band:"
        " one standard deviation. From the rows of the"
        " [leaderboard](../../leaderboards/index.md)."
    )
