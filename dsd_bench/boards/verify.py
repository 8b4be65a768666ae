"""Whether a row agrees with itself: everything that can be recomputed from it is.

Each function yields one ``key: what is wrong`` for each mistake. What is not known (a third-party
pruner's counts, bits in rows of schema 1) is not checked.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ValidationError

from dsd_bench.boards.built_in import made, misstated
from dsd_bench.boards.chosen import wrong
from dsd_bench.boards.conditions import differing
from dsd_bench.boards.holders import held, used_components
from dsd_bench.boards.measured import counts, images_right, losses, macs
from dsd_bench.boards.methods import method_of, reseeded, teacher_ids, track_of, whole
from dsd_bench.boards.schema import BoardRow, CheckedRow, CheckedSeed, MethodConfig, SeedResult
from dsd_bench.config.run import ComponentConfig, RunConfig, canonical
from dsd_bench.errors import DsdError
from dsd_bench.params import NAME
from dsd_bench.stopping import StopCriterion, below

MARKUP = re.compile(r"[<>|`]|\]\(")
"""What makes a text more than a text in Markdown or HTML."""

LONGEST = 500
"""Characters of a text in a row: of a parameter, a version or a name of hardware."""

BY_SCORES = ("magnitude", "random", "gradient")
"""The built-in pruners that take whole fractions of the weights."""


def problems(row: BoardRow) -> list[str]:
    """Return every contradiction within a row, each with its key; [] if there is none."""
    found = [*_seeds(row), *_told(row)]
    for place, entry in enumerate(row.seeds):
        found += [f"seeds.{place}.{text}" for text in _entry(row, entry)]
    return found + (list(_identity(row)) if isinstance(row, CheckedRow) else [])


def _seeds(row: BoardRow) -> Iterator[str]:
    seeds = [entry.seed for entry in row.seeds]
    if seeds != sorted(set(seeds)):
        yield f"seeds: each once and ascending, not {seeds}"
    if len({entry.run_id for entry in row.seeds}) < len(seeds):
        yield "seeds: two seeds name the same run_id"


def _told(row: BoardRow) -> Iterator[str]:
    """Names of components are names, and what is told of machines and versions is a short text.

    No id depends on the latter, so anybody could write anything there.
    """
    config = row.config if isinstance(row, CheckedRow) else {}
    shared = {"track": row.track, "method": row.method}
    told = {name: part.model_dump(mode="json") for name, part in shared.items()}
    told["config"] = config
    yield from _names(told, "")
    used = set(used_components(config))
    plain: dict[str, Any] = {}
    for place, entry in enumerate(row.seeds):
        for text in held(entry, used):
            yield f"seeds.{place}.{text}"
        for name in ("plan", "versions", "hardware", "code"):
            value = getattr(entry, name, None)
            if name in plain and plain[name] == value:  # seeds seldom differ in them
                continue
            found = list(short(as_json(value), f"seeds.{place}.{name}"))
            if not found:
                plain[name] = value
            yield from found


def as_json(value: Any) -> Any:
    """Return JSON values as they are, models among them as JSON."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _names(value: Any, at: str) -> Iterator[str]:
    """Yield where a component is called by what is no name, and texts that no parameter has."""
    for key, item in _items(value):
        inner = f"{at}.{key}".removeprefix(".")[:200]
        if len(str(key)) > 100 or (isinstance(item, str) and len(item) > LONGEST):
            yield f"{inner}: longer than {LONGEST} characters, or the name of a value than 100"
        if key == "name" and isinstance(item, str) and not (NAME.match(item) and len(item) <= 100):
            yield f"{inner}: {item[:80]!r} is no name of a component"
        yield from _names(item, inner)


def short(value: Any, at: str, depth: int = 0) -> Iterator[str]:
    """Yield what is no short plain text, number or a few of them."""
    if isinstance(value, str) and (len(value) > LONGEST or MARKUP.search(value)):
        yield f"{at}: {value[:80]!r} is no short text without markup"
    if depth > 4 or len(_items(value)) > 100:
        yield f"{at}: more than a few texts and numbers"
        return
    for key, item in _items(value):
        if MARKUP.search(str(key)) or len(str(key)) > 100:
            yield f"{at}: {str(key)[:80]!r} is no short name"
        yield from short(item, f"{at}.{key}", depth + 1)


def _items(value: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _entry(row: BoardRow, entry: SeedResult) -> Iterator[str]:
    yield from _selected(row, entry)
    yield from _weights(entry)
    yield from macs(row.method, entry)
    yield from _pruned(row.method.pruner, entry)
    yield from _ended(row, entry)
    if isinstance(entry, CheckedSeed):
        yield from _records(entry)
        yield from counts(entry)
        yield from losses(entry.rounds)
        yield from _bits(entry)
        if entry.ece and len(entry.ece.test) != len(entry.rounds.sparsity):
            yield f"ece.test: {len(entry.ece.test)} values, but {len(entry.rounds.sparsity)} rounds"


# -- what rows of both schemas tell


def _selected(row: BoardRow, entry: SeedResult) -> Iterator[str]:
    """The selected round is the one that the chooser chooses on the part that selects."""
    fixed = row.track.data_seed
    if entry.data_seed != (entry.seed if fixed is None else fixed):
        yield f"data_seed: {entry.data_seed} is not the track's"
    column = _score(row)
    scores = getattr(entry.rounds, column)
    if None in scores:
        yield f"rounds.{column}: null, but the track selects by it"
        return
    if text := wrong(row.method.chooser, entry, column):
        yield f"best_round: {text}"


def _score(row: BoardRow) -> str:
    return f"{row.track.selection}_accuracy"


def _weights(entry: SeedResult) -> Iterator[str]:
    """Every round has fewer weights than the one before, and the sparsity is that of the count."""
    counts = entry.rounds.nonzero
    if not counts[0]:
        yield "rounds.nonzero.0: a network without weights"
        return
    for place, (before, now) in enumerate(pairwise(counts), start=1):
        if now >= before:
            yield f"rounds.nonzero.{place}: {now}, but the round before has {before}; it must fall"
    for place, (count, sparsity) in enumerate(zip(counts, entry.rounds.sparsity)):
        if sparsity != 1 - count / counts[0]:
            yield f"rounds.sparsity.{place}: {sparsity}, but {count} of {counts[0]} weights stay"


def _pruned(pruner: ComponentConfig, entry: SeedResult) -> Iterator[str]:
    """The built-in pruners take round(fraction * remaining) weights, at least 1, in their scope.

    A layer is never emptied. In scope ``layer`` each layer is off by less than one weight.
    """
    if pruner.name not in BY_SCORES or pruner.version != 1:
        return
    fraction, scope = pruner.params.get("fraction"), pruner.params.get("scope", "global")
    if not isinstance(fraction, float) or not 0 < fraction < 1:
        yield f"method.pruner.params.fraction: {fraction!r} is no fraction"
        return
    layers = entry.layers if isinstance(entry, CheckedSeed) else None
    counts = entry.rounds.nonzero
    for place, (before, now) in enumerate(pairwise(counts), start=1):
        gone = before - now
        wanted = max(1, round(fraction * before))
        if scope == "global":
            most = before - layers if layers is not None else wanted
            last = layers is None and place == len(counts) - 1
            right = gone == min(wanted, most) or (last and gone < wanted)
        else:
            right = layers is None or abs(gone - fraction * before) <= layers
        if not right:
            yield (
                f"rounds.nonzero.{place}: {now}, but {pruner.name} with fraction {fraction:g} "
                f"prunes {wanted} of {before}"
            )
            return


def _ended(row: BoardRow, entry: SeedResult) -> Iterator[str]:
    """The run ends where its method ends it, and nowhere else."""
    method, sparsity = row.method, entry.rounds.sparsity
    last, target = len(sparsity) - 1, method.target_sparsity
    if method.rounds is not None and last > method.rounds:
        yield f"rounds: {last} prunings, but the method allows {method.rounds}"
        return
    if target is not None and not all(below(value, target) for value in sparsity[:-1]):
        yield f"rounds: went on beyond the target sparsity of {target:g}"
        return
    otherwise = _schedule_end(method, last, sparsity[-1])
    allowed = {otherwise, *([method.stop.name] if method.stop.name != "never" else [])}
    rule: StopCriterion | None = made("stop", method.stop)
    if rule is not None:
        try:
            stops = _first_stop(rule, row, entry)
        except DsdError as error:
            yield f"rounds: {error}"
            return
        if stops is not None and stops < last:
            yield f"rounds: the stop rule '{method.stop.name}' ends the run in round {stops}"
            return
        allowed = {otherwise if stops is None else method.stop.name}
    if entry.stopped_by not in allowed:
        yield f"stopped_by: {entry.stopped_by!r}, but by its rounds {' or '.join(sorted(allowed))}"


def _schedule_end(method: MethodConfig, last: int, sparsity: float) -> str:
    """Return what ends a run that no stop rule ends."""
    if method.rounds is not None and last >= method.rounds:
        return "rounds"
    target = method.target_sparsity
    if target is not None and not below(sparsity, target):
        return "target-sparsity"
    return "nothing-left"


def _first_stop(rule: StopCriterion, row: BoardRow, entry: SeedResult) -> int | None:
    """Return the first round after which the rule ends the run, None if it never does."""
    score = _score(row)
    names = ("sparsity", "entropy", "train_accuracy", score)
    columns = {name: getattr(entry.rounds, name) for name in names}
    rounds = [
        {"round": place, **{name: values[place] for name, values in columns.items()}}
        for place in range(len(entry.rounds.sparsity))
    ]
    return next((n for n in range(len(rounds)) if rule.stop(rounds[: n + 1], score)), None)


# -- what rows of schema 2 tell


def _records(entry: CheckedSeed) -> Iterator[str]:
    """Plans and code are told for every round, and every plan has its numerics."""
    last = len(entry.rounds.sparsity) - 1
    plans = [plan if isinstance(plan, Mapping) else {} for plan in entry.plan]
    begins: Mapping[str, Sequence[Any]] = {
        "plan": [plan.get("from_round") for plan in plans],
        "code": [code.round for code in entry.code],
    }
    for name, rounds in begins.items():
        whole_ = all(type(number) is int for number in rounds)
        if not whole_ or rounds[0] != 0 or rounds != sorted(rounds) or rounds[-1] > last:
            yield f"{name}: begins in rounds {rounds}; expected 0 and then later ones up to {last}"
    for place, plan in enumerate(plans):
        numerics = plan.get("numerics")
        if type(numerics) is not int or numerics < 1:
            yield f"plan.{place}.numerics: {numerics!r} is no whole number from 1"


def _bits(entry: CheckedSeed) -> Iterator[str]:
    """The bits' means are the accuracies of the dense and the selected round."""
    rounds = {"dense": 0, "selected": entry.best_round}
    for name, place in rounds.items():
        if place >= len(entry.rounds.sparsity):
            return
        for part in ("val", "test"):
            images = getattr(entry.samples, part)
            text = getattr(getattr(entry.correct, name), part)
            right = images_right(getattr(entry.rounds, f"{part}_accuracy")[place], images)
            found = count_bits(text, images)
            if found is None:
                yield f"correct.{name}.{part}: no packed bits of {images} images"
            elif right is not None and found != right:
                yield (
                    f"correct.{name}.{part}: {found} of {images} images are right, "
                    f"but {right} by the accuracy of round {place}"
                )


def count_bits(text: str | None, images: int) -> int | None:
    """Return how many of ``images`` packed bits are set; None if ``text`` is not such bits.

    ``text`` is base64 of ``numpy.packbits``: 8 a byte, the first image's bit the highest,
    padded with zeros; None for no images.
    """
    if text is None or not images:
        return 0 if text is None and not images else None
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    bits = int.from_bytes(packed, "big")
    padding = 8 * len(packed) - images
    if not 0 <= padding < 8 or bits & ((1 << padding) - 1):
        return None
    return bits.bit_count() if base64.b64encode(packed).decode() == text else None


def _identity(row: CheckedRow) -> Iterator[str]:
    """Ids are hashes of the configuration, which is that of the row's track and method."""
    if row.mixed != differing(row.seeds):
        yield f"mixed: {row.mixed}, but by its seeds {differing(row.seeds)}"
    counts = {(e.samples.train, e.samples.val, e.samples.test, e.layers) for e in row.seeds}
    if len(counts) > 1:
        yield "seeds: samples or layers differ; one track and model has the same for all seeds"
    try:
        config = RunConfig.model_validate(row.config)
        if canonical(whole(config)) != canonical(row.config):
            yield "config: not as `dsd-bench submit` writes it"
            return
        if config.seed != row.seeds[0].seed:
            yield f"config.seed: {config.seed}, but the first seed is {row.seeds[0].seed}"
            return
        if track_of(config) != row.track:
            yield "track: not that of the configuration"
        if method_of(config) != row.method:
            yield "method: not that of the configuration"
        yield from misstated(config)
        yield from _ids(row, config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in ("config", *first["loc"]))
        yield f"{place}: {first['msg'].removeprefix('Value error, ')}"
    except (KeyError, TypeError, ValueError) as error:
        yield f"config: no configuration of a run: {error!r}"


def _ids(row: CheckedRow, config: RunConfig) -> Iterator[str]:
    for place, entry in enumerate(row.seeds):
        expected = reseeded(config, entry.seed)
        if entry.run_id != expected.run_id:
            yield f"seeds.{place}.run_id: {entry.run_id}, but its hash is {expected.run_id}"
        if entry.teachers != teacher_ids(expected):
            yield f"seeds.{place}.teachers: {entry.teachers}, not {teacher_ids(expected)}"
