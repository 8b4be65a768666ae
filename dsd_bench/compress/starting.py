"""What a user of ``compress`` asked for, and the options of the two ordinary runs it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsd_bench.config.naming import command
from dsd_bench.config.words import parse_component
from dsd_bench.errors import UsageError
from dsd_bench.params import format_word, main_field
from dsd_bench.plugins import catalogue
from dsd_bench.store.reading import read_json

FRACTION = {"magnitude": 0.2, "structured-l1": 0.25}
"""What a round prunes of what is left, unless it is said."""
CHOOSER = "one-se"
"""The sparsest round that the validation images cannot tell from the best: it needs no number that
nobody can give beforehand, and knows how few those images may be; docs/compress.md says more."""
PUBLISHERS = ("timm", "torchvision")
"""Model components whose weights can be downloaded."""
GENTLE, FRESH = 0.01, 0.1
"""Learning rates from weights that are good already, and from an initialisation."""
SMALL = 4096
"""Train images below which batches are of 32: 128 would leave an epoch hardly any steps."""

Layer = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What the command line said; None where it did not.

    Attributes:
        data: a folder of images, or a data set's word.
        model: a model component's word.
        weights: a safetensors file to begin from.
        head: ``keep`` or ``replace`` of it.
        download: whether published weights may be fetched: they are begun from, if no file is.
        size: height and width to resize images to.
        normalise: ``auto``, ``images``, or what ``imagefolder`` takes.
        skip_unreadable: whether images that cannot be read are skipped.
        structured: whether whole filters are pruned.
        fraction: pruned each round.
        choose: the chooser's word.
        stop: the stop criterion's word.
        distil: whether the curve is taught by the original.
        lr: learning rate of all trainings.
        batch_size: samples a step.
        dense_epochs, retrain_epochs, rounds: lengths, which then are not planned.
        seed: of both runs.
        precision: arithmetic.
        budget: seconds that all may take.
    """

    data: str
    model: str
    weights: str | None = None
    head: str | None = None
    download: bool = False
    size: int | None = None
    normalise: str = "auto"
    skip_unreadable: bool = False
    structured: bool = False
    fraction: float | None = None
    choose: str = CHOOSER
    stop: str = "entropy-gate"
    distil: bool = True
    lr: float | None = None
    batch_size: int | None = None
    dense_epochs: int | None = None
    retrain_epochs: int | None = None
    rounds: int | None = None
    seed: int = 0
    precision: str | None = None
    budget: float | None = None


@dataclass(frozen=True)
class Start:
    """Where the original begins, in words that ``run`` takes.

    Attributes:
        kind: ``given`` (their network as it is), ``tuned`` (good weights, trained on) or
            ``fresh`` (an initialisation).
        dataset, model: components' words; ``model`` with published weights if they are fetched.
        bare: the model's word without them.
        normalised: with which mean and std, in words.
        notes: what a user should know.
    """

    kind: str
    dataset: str
    model: str
    bare: str
    normalised: str
    notes: tuple[str, ...] = field(default=())


def start(asked: Asked) -> Start:
    """Say where the original begins.

    Raises:
        UsageError: for an unknown component, or what cannot go together.
    """
    entry, _ = parse_component("model", asked.model, "--model")
    name, bare = entry.component.name, asked.model
    published = name in PUBLISHERS
    if asked.head and not asked.weights:
        raise UsageError("--weights-head says what to do with the file of --weights: give one")
    params = _params("model", asked.model)
    fetched = published and not asked.weights and (asked.download or bool(params["pretrained"]))
    if published:
        model = {key: value for key, value in params.items() if key != "pretrained"}
        bare = format_word(name, model, "name")
    notes = []
    if fetched or asked.weights:
        given = asked.weights and asked.head != "replace" and not asked.dense_epochs
        kind = "given" if given else "tuned"
    else:
        kind = "fresh"
        ways = "--weights FILE" + (" or --download" if published else "")
        notes.append(f"no weights are given ({ways}): the network is trained from scratch first")
    dataset, normalised = _dataset(asked, name, params, kind != "fresh", notes)
    model_word = format_word(name, {**model, "pretrained": True}, "name") if fetched else bare
    return Start(kind, dataset, model_word, bare, normalised, tuple(notes))


def _params(kind: str, word: str) -> dict[str, Any]:
    _, values = parse_component(kind, word, f"--{kind}")
    return values.model_dump(mode="json")


def _dataset(
    asked: Asked, model: str, params: Mapping[str, Any], good: bool, notes: list[str]
) -> tuple[str, str]:
    """Return the data set's word, and how its images are normalised."""
    word = _data_word(asked.data)
    entry, values = parse_component("dataset", word, "DATA")
    component = entry.component
    told = values.model_dump(mode="json", exclude_unset=True)
    if asked.size is not None:
        _known(component.params.model_fields, "size", "--size", word)
        told["size"] = asked.size
    if asked.skip_unreadable:
        _known(component.params.model_fields, "unreadable", "--skip-unreadable", word)
        told["unreadable"] = "skip"
    how: str | None = asked.normalise
    if how == "auto":
        how = told.get("normalise") or (_published(asked, model, params, notes) if good else None)
        if how and "normalise" not in component.params.model_fields:
            how = None
    elif how == "images":
        how = None
    if how:
        _known(component.params.model_fields, "normalise", "--normalise", word)
        told["normalise"] = how
    else:
        told.pop("normalise", None)
    own = "mean and std of the train images" if component.name == "imagefolder" else "the set's own"
    return format_word(component.name, told, main_field(component.params)), how or own


def _data_word(data: str) -> str:
    """Return the word of the data set that is meant: a folder, else one by name.

    Raises:
        UsageError: if it is neither.
    """
    path, name = Path(data), data.partition(":")[0]
    if path.is_dir():
        return f"imagefolder:{_quoted(data)}"
    try:
        catalogue().get("dataset", name)
    except UsageError as error:
        if path.exists():
            raise UsageError(f"DATA: {data} is a file, not a folder of images") from None
        if _looks_like_path(data):
            raise UsageError(f"DATA: {data}: no such folder") from None
        raise UsageError(f"DATA: there is no folder '{data}', and {error}") from None
    return data


def _quoted(path: str) -> str:
    return f'"{path}"' if any(sign in path for sign in ",='\" ") else path


def _looks_like_path(word: str) -> bool:
    return word.startswith((".", "/", "~")) or ("/" in word and ":" not in word)


def _known(fields: Mapping[str, Any], key: str, option: str, word: str) -> None:
    if key not in fields:
        others = [entry.component for entry in catalogue().entries("dataset")]
        names = ", ".join(one.name for one in others if key in one.params.model_fields)
        raise UsageError(f"{option}: the data set '{word}' cannot do that; these can: {names}")


def _published(asked: Asked, model: str, params: Mapping[str, Any], notes: list[str]) -> str | None:
    """Return by which name images of given weights are normalised; None: by their own values."""
    beside = Path(asked.weights).absolute().parent if asked.weights else None
    for folder in (beside, beside and beside.parent):
        if folder is not None and (folder / "config.json").is_file():
            config = read_json(folder / "config.json")  # weights that a run kept: as it had it
            found = config.get("dataset", {}).get("params", {}).get("normalise")
            return found if isinstance(found, str) else None
    if model == "torchvision":
        return "imagenet"
    return _of_timm(str(params["name"]), notes) if model == "timm" else None


def _of_timm(name: str, notes: list[str]) -> str | None:
    import timm

    from dsd_bench.data.sets.recipes import PUBLISHED

    try:
        config = timm.models.get_pretrained_cfg(name)
    except Exception:  # what is wrong with the name is said when the model is built
        return None
    if config is None:
        return None
    for word, (mean, std) in PUBLISHED.items():
        if _close(config.mean, mean) and _close(config.std, std):
            return word
    notes.append(
        f"timm's '{name}' was trained with mean {config.mean} and std {config.std}, which have no "
        "name here: images are normalised by their own"
    )
    return None


def _close(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(abs(a - b) < 1e-3 for a, b in zip(one, other))


def pruner_word(asked: Asked) -> str:
    """Return the pruner's word."""
    name = "structured-l1" if asked.structured else "magnitude"
    fraction = FRACTION[name] if asked.fraction is None else asked.fraction
    return format_word(name, {"fraction": fraction})


def common(asked: Asked, begin: Start, train: int) -> Layer:
    """Return the options that both runs have.

    Args:
        asked: by the user.
        begin: where the original begins.
        train: images that are trained on.
    """
    layer: Layer = {"dataset": begin.dataset, "seeds": str(asked.seed)}
    layer["lr"] = asked.lr if asked.lr is not None else (FRESH if begin.kind == "fresh" else GENTLE)
    layer["batch_size"] = asked.batch_size or (32 if train < SMALL else 128)
    if not begin.dataset.startswith("imagefolder:"):
        layer["noise"] = "none"  # a data set's recipe may have some; here labels are meant
    return layer | ({"precision": asked.precision} if asked.precision else {})


def original_layer(asked: Asked, begin: Start, shared: Layer, dense_epochs: int) -> Layer:
    """Return the options of the run that is the original: one row, nothing pruned."""
    layer = {**shared, "model": begin.model, "rounds": 0, "dense_epochs": dense_epochs}
    layer |= {"weights": asked.weights} if asked.weights else {}
    return layer | ({"weights_head": asked.head} if asked.head else {})


def curve_layer(
    asked: Asked, begin: Start, shared: Layer, lengths: Mapping[str, int], original: Layer
) -> Layer:
    """Return the options of the run that prunes.

    Args:
        asked: by the user.
        begin: where the original began.
        shared: from :func:`common`.
        lengths: ``rounds`` and ``retrain_epochs``.
        original: what ties it to the original: ``weights`` and ``reg``.
    """
    layer = {**shared, "model": begin.bare, "dense_epochs": 0, **lengths}
    if asked.lr is None:
        layer["lr"] = GENTLE  # whatever the original began from, it is good now
    layer |= {"pruner": pruner_word(asked), "stop": asked.stop, "choose": asked.choose}
    return {**layer, **original}


def run_command(layer: Layer, places: Mapping[str, Path], download: bool = False) -> str:
    """Return the ``dsd-bench run`` that makes the same run.

    Args:
        layer: its options.
        places: ``data_dir`` and ``runs_dir``.
        download: whether it fetches published weights.
    """
    runs_dir, data_dir = places["runs_dir"], places["data_dir"]
    words: list[str] = []
    for key, value in layer.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [f"--{key.replace('_', '-')}", str(one)]
    words += ["--data-dir", str(data_dir)] if str(data_dir) != "data" else []
    words += ["--download"] if download else []
    return command("run", *words, runs_dir=runs_dir)
