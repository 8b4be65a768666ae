"""From finished runs to row files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsd_bench.boards import tried, verified
from dsd_bench.boards.calibration import calibration
from dsd_bench.boards.conditions import differences, differing, same
from dsd_bench.boards.files import encode, explain, parse, read_plain, read_row, refuse_links
from dsd_bench.boards.methods import method_of, reseeded, teacher_ids, track_of, whole
from dsd_bench.boards.places import row_path
from dsd_bench.boards.schema import SCHEMA, BoardRow, CheckedRow, CheckedSeed
from dsd_bench.boards.schema import Rounds as Columns
from dsd_bench.boards.words import seeds_words
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError, collect
from dsd_bench.store import hashes
from dsd_bench.store.correct import CORRECT, read_bits
from dsd_bench.store.files import explained, write_atomic
from dsd_bench.store.provenance import read_provenance
from dsd_bench.store.runs import StoredRun

CHECKED = ("config.json", "rounds.jsonl", CORRECT)
"""Files of a run that a row is made from; ``result.json`` has their hashes."""

AGAIN = "run the same command again with --force"


def submit(
    runs: Sequence[StoredRun], leaderboards_dir: Path, replace: bool = False, mixed: bool = False
) -> list[Path]:
    """Write or extend the row files of ``runs`` and return their paths, sorted.

    Seeds of one method go into one file, in whatever order they are submitted. Submitting twice
    changes nothing. Either every file is written or, on a mistake, none.

    Args:
        runs: finished runs.
        leaderboards_dir: the folder of the boards.
        replace: whether a seed that a row has already may be replaced by other contents.
        mixed: whether seeds that were computed under different conditions may form one row,
            which then says so.

    Raises:
        UsageError: for no runs, unfinished ones, one given twice, damaged or incomplete ones,
            ones that would replace others or mix conditions without leave, or runs of which some
            select on test and some do not.
        dsd_bench.errors.RunError: if the folder cannot be written.
    """
    configs = _checked(runs)
    folders = dict.fromkeys(run.path.parent for run in runs)
    found = tried.census(folders, {tried.family_of(config) for config in configs})
    groups: dict[Path, list[BoardRow]] = {}
    rows: dict[Path, BoardRow] = {}
    problems: list[str] = []
    for run, config in zip(runs, configs):
        try:
            row = row_of(run, config, tried.count(found, config))
            groups.setdefault(leaderboards_dir / row_path(row), []).append(row)
        except UsageError as error:
            problems.append(str(error))
    for path, parts in groups.items():
        try:
            refuse_links(path)
            refuse_links(verified.outcome_path(path) or path)
            rows[path] = _together(path, parts, replace, mixed)
        except UsageError as error:
            problems.append(str(error))
    collect(problems)
    for path, row in rows.items():
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.exists() and read_plain(path) == encode(row)):
            with verified.kept(path, row):
                write_atomic(path, encode(row).encode())
    return sorted(rows)


def _checked(runs: Sequence[StoredRun]) -> list[RunConfig]:
    """Return the configurations of runs that can go on boards together."""
    if not runs:
        raise UsageError("no runs to submit")
    problems: list[str] = []
    seen: set[str] = set()
    for run in runs:
        if state := unfinished(run):
            problems.append(f"{run.path}: run {run.run_id} is {state}; only finished runs count")
        if run.run_id in seen:
            problems.append(f"{run.path}: run {run.run_id} is given twice")
        seen.add(run.run_id)
    collect(problems)
    configs = [RunConfig.from_json(run.config, str(run.path / "config.json")) for run in runs]
    by_test = [r.run_id for r, c in zip(runs, configs) if c.protocol.selection == "test"]
    if 0 < len(by_test) < len(runs):
        raise UsageError(
            f"{len(by_test)} of {len(runs)} runs select on test ({', '.join(by_test)}), the others "
            "on validation; no board mixes the two: submit them apart"
        )
    return configs


def unfinished(run: StoredRun) -> str | None:
    """Return ``unfinished`` or a quoted status such as ``'failed'``; None for a finished run."""
    status = run.result.get("status") if run.result else None
    if status == "done":
        return None
    return "unfinished" if status is None else f"'{status}'"


# -- one row of several


def _together(path: Path, new: Sequence[BoardRow], replace: bool, mixed: bool) -> BoardRow:
    """Return the row of ``path`` with the seeds of ``new``, rows of one seed each."""
    seeds, counts = _entries(new), _tried(new)
    said: list[str] = []
    if path.exists() or path.is_symlink():
        before = read_row(path)
        if any((before.track, before.method) != (row.track, row.method) for row in new):
            raise UsageError(f"{path}: holds another track or method under the same name")
        if isinstance(before, CheckedRow):
            said, counts = before.mixed, counts + _tried([before])
            seeds = _replaced(path, _entries([before]), seeds, replace)
        elif not replace or {entry.seed for entry in before.seeds} - set(seeds):
            raise UsageError(
                f"{path}: is of schema {before.row_schema}, which holds nothing that could be "
                f"checked; submit runs of all its seeds ({seeds_words(before.seeds)}) with "
                "--replace, or give --dir FOLDER for boards of your own"
            )
    entries = [seeds[seed] for seed in sorted(seeds)]
    if not mixed and not set(differing(entries)) <= set(said):
        raise UsageError(_unlike(path, entries))
    return _row(new[0], entries, max(counts, default=None), str(path))


def _tried(rows: Iterable[BoardRow]) -> list[int]:
    """Return the counts of what was tried, of the rows that tell it."""
    told = [row.tried for row in rows if isinstance(row, CheckedRow)]
    return [one.configurations for one in told if one]


def _entries(rows: Iterable[BoardRow]) -> dict[int, CheckedSeed]:
    return {e.seed: e for row in rows for e in row.seeds if isinstance(e, CheckedSeed)}


def _replaced(
    path: Path, before: dict[int, CheckedSeed], new: Mapping[int, CheckedSeed], replace: bool
) -> dict[int, CheckedSeed]:
    """Return the seeds of a row with new ones; another content for a seed needs leave."""
    other = {s: before[s] for s, e in new.items() if s in before and not same(before[s], e)}
    if other and not replace:
        ours = [new[seed] for seed in other]
        how = "; ".join(differences(ours, list(other.values()))) or "other numbers"
        raise UsageError(
            f"{path}: has other results for seed {seeds_words(ours)} already ({how}); to put yours "
            "in their place give --replace, for boards of your own --dir FOLDER"
        )
    return {**before, **new}


def _unlike(path: Path, entries: Sequence[CheckedSeed]) -> str:
    """Say which seeds of a row were computed under which conditions."""
    names = differing(entries)
    first = entries[0]
    other = [entry for entry in entries if differences([entry], [first])] or [first]
    how = "; ".join(differences(other, [e for e in entries if e not in other] or [first]))
    return (
        f"{path}: its seeds were not computed under the same conditions ({', '.join(names)}): "
        f"seed {seeds_words(other)} {f'has {how}' if how else 'changed them on the way'}; run "
        "them alike, or give --mixed for one row that says so, or --dir FOLDER for boards of "
        "your own"
    )


def _row(
    like: BoardRow, entries: Sequence[CheckedSeed], configurations: int | None, where: str
) -> BoardRow:
    """Return the row of ``entries``, of the track and method of ``like``; it is checked."""
    assert isinstance(like, CheckedRow)
    config = reseeded(RunConfig.model_validate(like.config), entries[0].seed)
    value = {
        "schema": SCHEMA,
        "track": like.track.model_dump(mode="json"),
        "method": like.method.model_dump(mode="json"),
        "seeds": [entry.model_dump(mode="json") for entry in entries],
        "config": whole(config),
        "mixed": differing(entries),
        **_count(configurations),
    }
    return parse(value, where)


# -- the row of one run


def row_of(run: StoredRun, config: RunConfig, configurations: int | None = None) -> BoardRow:
    """Return the row of a single finished run.

    Args:
        run: the run.
        config: its configuration.
        configurations: how many were tried (:mod:`.tried`); None: not known.

    Raises:
        UsageError: if a file of the run is damaged or missing, or contradicts another.
    """
    _check_hashes(run)
    entry = _entry(run, config)
    value = {
        "schema": SCHEMA,
        "track": track_of(config).model_dump(mode="json"),
        "method": method_of(config).model_dump(mode="json"),
        "seeds": [entry.model_dump(mode="json")],
        "config": whole(config),
        "mixed": differing([entry]),
        **_count(configurations),
    }
    return parse(value, str(run.path))


def _count(configurations: int | None) -> dict[str, Any]:
    return {} if configurations is None else {"tried": {"configurations": configurations}}


def _check_hashes(run: StoredRun) -> None:
    """Compare the files that a row is made from with their hashes in ``result.json``."""
    if not set(CHECKED) <= hashes.recorded(run.result).keys():
        raise UsageError(
            f"{run.path / 'result.json'}: made by an older version, without the hashes and bits "
            f"that a row needs; {AGAIN}"
        )
    hashes.check_texts(run.path, run.result)


def _entry(run: StoredRun, config: RunConfig) -> CheckedSeed:
    result = run.result or {}
    if [row.get("round") for row in run.rows] != list(range(len(run.rows))) or not run.rows:
        raise UsageError(f"{run.path / 'rounds.jsonl'}: the rounds are not 0, 1, 2, ... in order")
    value = {
        "seed": config.seed,
        "data_seed": config.data_seed,
        "run_id": run.run_id,
        "teachers": teacher_ids(config),
        "rounds": {name: [row.get(name) for row in run.rows] for name in Columns.model_fields},
        **{key: result.get(key) for key in ("best_round", "stopped_by")},
        **{key: result.get(key) for key in ("versions", "hardware")},
        "plan": _plans(result.get("plan")),
        "samples": _samples(result),
        "layers": _layers(run.rows[0]),
        "correct": _correct(run, result.get("best_round")),
        "code": read_provenance(run.path),
        **calibration(run),
    }
    try:
        return CheckedSeed.model_validate(value)
    except ValidationError as error:
        raise UsageError("\n".join(explain(error, str(run.path)))) from None


def _plans(plans: Any) -> Any:
    """Say the numerics of plans that were recorded before they had any: 1."""
    if not isinstance(plans, list):
        return plans
    return [{"numerics": 1, **plan} if isinstance(plan, Mapping) else plan for plan in plans]


def _samples(result: Mapping[str, Any]) -> Any:
    """Return the counts of images; the realised noise rate is a count of the train part's."""
    samples, noise = result.get("samples"), result.get("label_noise")
    rate = noise.get("rate") if isinstance(noise, Mapping) else None
    if not isinstance(samples, Mapping) or type(samples.get("train")) is not int:
        return samples
    noisy = round(rate * samples["train"]) if isinstance(rate, int | float) else None
    return {**{part: samples.get(part) for part in ("train", "val", "test")}, "noisy": noisy}


def _layers(row: Mapping[str, Any]) -> int | None:
    layers = row.get("sparsity_per_layer")
    return len(layers) if isinstance(layers, Mapping) else None


def _correct(run: StoredRun, best: Any) -> Any:
    """Return the bits of the dense and the selected network from ``correct.jsonl``."""
    bits = read_bits(run.path)
    if list(bits) != list(range(len(run.rows))):
        raise UsageError(f"{run.path / CORRECT}: has not one line for each round; {AGAIN}")
    return {"dense": bits[0], "selected": bits.get(best)}
