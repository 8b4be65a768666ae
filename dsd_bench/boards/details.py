"""What stands below the tables of a board: each method in full, its runs, code and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsd_bench.boards.cells import percent
from dsd_bench.boards.marks import ON_TEST, mixed
from dsd_bench.boards.ranking import Line
from dsd_bench.boards.schema import BoardRow, CheckedRow, Code, MethodConfig, Plugin, SeedResult
from dsd_bench.boards.words import escape, part_words, plain, regularizer_words, seeds_words
from dsd_bench.config.run import canonical


def name(line: Line) -> str:
    """Return a method's label with its marks."""
    return escape(line.label) + "".join(line.marks)


def details(place: int, line: Line) -> list[str]:
    """Say in full what a method is and which runs it rests on."""
    link = f"rows/{line.path.name}"
    mark = ON_TEST if line.row.track.selection == "test" else ""
    told = mixed(line.row)
    return [
        f"{place}. **{name(line)}** ([row]({link}))",
        *([f"   - mixed: {escape(', '.join(told))} differ among its seeds"] if told else []),
        f"   - {escape(_method_words(line.row.method))}",
        *(f"   - {escape(text)}" for text in _evidence(line.row)),
        *(f"   - {_run_words(entry, mark)}" for entry in line.row.seeds),
    ]


def _evidence(row: BoardRow) -> list[str]:
    """Say what was tried, and whether releases were (not escaped); nothing of schema 1."""
    if not isinstance(row, CheckedRow):
        return []
    told = [_code_words(code) for entry in row.seeds for code in entry.code]
    return [f"tried: {_tried(row)}", f"code: {' / '.join(dict.fromkeys(told))}"]


def _tried(row: CheckedRow) -> str:
    if row.tried is None:
        return "unknown"
    count = row.tried.configurations
    if count == 1:
        return "1 configuration of these components, at the least"
    return f"best of {count:,} configurations of these components, at the least"


def _code_words(code: Code) -> str:
    """Name each component's distribution with version, state and the beginning of its digest."""
    core = code.core or Plugin(version=code.versions.get("dsd-bench", "unknown"), sha256=None)
    held: dict[str, list[str]] = {}
    for kind, names in sorted((code.components or {}).items()):
        for one, distribution in sorted(names.items()):
            held.setdefault(distribution, []).append(f"{kind} {one}")
    plugins = [
        f"{', '.join(held.get(which, ['components unknown']))} of {_plugin(which, plugin)}"
        for which, plugin in sorted(code.plugins.items())
    ]
    return "; ".join([_plugin("dsd-bench", core), *plugins])


def _plugin(distribution: str, plugin: Plugin) -> str:
    digest = plugin.sha256[:12] if plugin.sha256 else "unknown"
    state = plugin.state or "release or dirty: unknown"
    return f"{distribution} {plugin.version} ({state}, sha256 {digest})"


def _method_words(method: MethodConfig) -> str:
    chain = " + ".join(map(regularizer_words, method.regularizers)) or "none"
    target = f"to sparsity {method.target_sparsity}"
    end = target if method.rounds is None else f"{method.rounds} prunings"
    others = [(kind, getattr(method, kind)) for kind in ("updater", "optimizer", "schedule")]
    choice = method.chooser and f"choose {part_words('chooser', method.chooser)}"
    parts = [
        f"pruner {part_words('pruner', method.pruner)}",
        f"perturber {part_words('perturber', method.perturber)}",
        *(f"{kind} {part_words(kind, part)}" for kind, part in others if part),
        f"regularizers {chain}",
        f"stop {part_words('stop', method.stop)}",
        *([choice] if choice else []),
        f"at most {end}" if method.stop.name != "never" else end,
        f"learning rate of retraining x {method.retrain_lr_scale:g}",
        *([f"re-dense training {method.redense_epochs} epochs"] if method.redense_epochs else []),
    ]
    return "; ".join(parts)


def _run_words(entry: SeedResult, mark: str) -> str:
    last = len(entry.rounds.sparsity) - 1
    stopped = f"; ended by {escape(entry.stopped_by)}" if entry.stopped_by else ""
    teachers = "".join(f"; teacher run `{run_id}`" for run_id in entry.teachers)
    accuracy = percent(entry.rounds.test_accuracy[entry.best_round])
    return (
        f"seed {entry.seed}: run `{entry.run_id}`, round {entry.best_round} of {last} selected, "
        f"{accuracy} %{mark}{stopped}{teachers}"
    )


def origins(lines: Sequence[Line]) -> list[str]:
    """Say where the runs ran; runs of one plan, one set of versions and one machine together."""
    groups: dict[str, dict[int, list[SeedResult]]] = {}
    for place, line in enumerate(lines, 1):
        for entry in line.row.seeds:
            key = canonical([entry.versions, entry.hardware, entry.plan])
            groups.setdefault(key, {}).setdefault(place, []).append(entry)
    return [text for members in groups.values() for text in _origin(members)]


def _origin(members: Mapping[int, Sequence[SeedResult]]) -> list[str]:
    entry = next(iter(members.values()))[0]
    facts = {"versions": entry.versions, "hardware": entry.hardware, "plan": entry.plan}
    told = [f"method {place} (seeds {seeds_words(runs)})" for place, runs in members.items()]
    return [
        f"- {', '.join(told)}",
        *(f"  - {name}: {escape(plain(value))}" for name, value in facts.items()),
    ]
