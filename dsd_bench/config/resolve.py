"""From what a user said to runs: recipe < file < options, then everything typed and checked.

A *layer* is a dictionary of options, from a data set's recipe, a TOML file, a run's
``config.json`` or the command line. Later layers win, option by option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsd_bench import params
from dsd_bench.config.layers import (
    PROTOCOL,
    SINGLE,
    Layer,
    flag,
    merge,
    normalise,
    parse_seed,
    parse_seeds,
)
from dsd_bench.config.run import (
    ComponentConfig,
    DatasetConfig,
    ProtocolConfig,
    RegularizerConfig,
    RunConfig,
    TeacherConfig,
)
from dsd_bench.config.words import build_component, component_name, parse_component
from dsd_bench.errors import DataError, UsageError, collect
from dsd_bench.plugins import Catalogue, Registration, catalogue
from dsd_bench.store.runs import find_run, read_json

DEFAULT_ROUNDS = 20

WEIGHTS = ("best", "dense")
"""The two words for a derived teacher; anything else names a run."""

STUDENT_ONLY = {"dataset", "seeds", "data_seed", "data_dir", "runs_dir"}
"""What a teacher cannot have of its own: both see the same split."""


def configure(*, seed: int = 0, **options: Any) -> RunConfig:
    """Resolve options as the command line does, for one seed.

    Options are those of ``dsd-bench run`` with underscores: ``dataset``, ``model``, ``noise``,
    ``pruner``, ``perturber``, ``reg`` (a list), ``stop``, ``rounds``, ``epochs``, ``lr``, ...;
    ``teacher`` is a dictionary of the same; ``data_dir`` and ``runs_dir`` say where to look.

    Example:
        >>> configure(reg=["kd:teacher=dense"], rounds=2).stop.name
        'never'

    Raises:
        UsageError: all mistakes at once.
    """
    return resolve({**options, "seeds": str(seed)})[0]


def resolve(*layers: Mapping[str, Any]) -> list[RunConfig]:
    """Turn layers of options, weakest first, into one configuration for each seed.

    Raises:
        UsageError: every mistake at once, each with where it is and what would be right.
    """
    clean = [normalise(layer) for layer in layers]
    merged = merge(clean)
    problems: list[str] = []
    try:
        default = _recipe(clean, problems).get("seeds", "0")
        seeds = parse_seeds(merged.get("seeds", default))
    except UsageError as error:
        problems.append(str(error))
        seeds = [0]
    first = _Resolver(clean, problems).config(seeds[0])
    collect(list(dict.fromkeys(problems)))
    assert first is not None
    rest = [_Resolver(clean, problems).config(seed) for seed in seeds[1:]]
    collect(list(dict.fromkeys(problems)))
    return [first, *(config for config in rest if config is not None)]


class _Resolver:
    """Resolves one stack of layers, noting problems instead of stopping at the first."""

    def __init__(self, layers: Sequence[Layer], problems: list[str], where: str = "") -> None:
        self.catalogue: Catalogue = catalogue()
        self.user = list(layers)
        self.problems = problems
        self.where = where
        self.options = merge([_recipe(self.user, problems), *self.user])
        self.data_dir = Path(self.options.get("data_dir") or "data")
        self.runs_dir = Path(self.options.get("runs_dir") or "runs")

    def config(self, seed: int) -> RunConfig | None:
        """Return the configuration for ``seed``, or None if there were problems."""
        before = len(self.problems)
        options = self.options
        chosen = {
            key: self._component(key, options.get(key, default))
            for key, default in SINGLE.items()
            if key != "dataset"
        }
        dataset = self._dataset()
        protocol = self._protocol()
        regularizers = tuple(self._regularizers(seed))
        distils = any(map(self._distils, self.options.get("reg") or []))
        if self.options.get("teacher") and not distils:
            text = "a teacher is described, but no regularizer distils; add --reg kd"
            self.problems.append(f"{self.where}{text}")
        metrics = self._metrics(chosen["stop"])
        fingerprint = self._fingerprint(dataset)
        data_seed = self._data_seed(seed)
        self._check_selection(protocol, dataset)
        if len(self.problems) > before or protocol is None or dataset is None:
            return None
        return RunConfig(
            seed=seed,
            data_seed=data_seed,
            fingerprint=fingerprint,
            dataset=dataset,
            protocol=protocol,
            regularizers=regularizers,
            metrics=metrics,
            **{key: value for key, value in chosen.items() if value is not None},
        )

    def _component(self, option: str, word: Any) -> ComponentConfig | None:
        found = self._checked(option, word)
        if found is None:
            return None
        entry, values = found
        version = entry.component.version
        return ComponentConfig(name=entry.component.name, version=version, params=values)

    def _dataset(self) -> DatasetConfig | None:
        made = self._component("dataset", self.options.get("dataset", SINGLE["dataset"]))
        if made is None:
            return None
        fields = self.catalogue.get("dataset", made.name).component.params.model_fields.items()
        places = tuple(name for name, field in fields if params.field_extra(field).get("place"))
        return DatasetConfig(**dict(made), places=places)

    def _checked(self, option: str, word: Any) -> tuple[Registration, dict[str, Any]] | None:
        try:
            entry, values = parse_component(option, word, f"{self.where}{flag(option)}")
        except UsageError as error:
            self.problems.append(str(error))
            return None
        return entry, values.model_dump(mode="json")

    def _regularizers(self, seed: int) -> list[RegularizerConfig]:
        chosen = []
        for word in self.options.get("reg") or []:
            found = self._checked("reg", word)
            if found is None:
                continue
            entry, values = found
            teacher = None
            if entry.component.teacher:
                teacher = self._teacher(values["teacher"], seed, word)
                if teacher is not None and values["teacher"] not in WEIGHTS:
                    values["teacher"] = teacher.run_id  # a prefix may fit another run some day
            chosen.append(
                RegularizerConfig(
                    name=entry.component.name,
                    version=entry.component.version,
                    params=values,
                    teacher=teacher,
                )
            )
        return chosen

    def _teacher(self, which: str, seed: int, word: Any) -> TeacherConfig | None:
        """Return the teacher's run: derived from the student, or one that exists."""
        weights = which if which in WEIGHTS else "best"
        if which in WEIGHTS:
            config = self._derived_teacher().config(seed)
        elif isinstance(word, Mapping) and isinstance(word.get("teacher"), Mapping):
            config = TeacherConfig.model_validate(word["teacher"]).config  # a run's config.json
        else:
            config = self._named_teacher(which)
        if config is None or not self._same_data(config, seed):
            return None
        return TeacherConfig.model_validate(
            {"run_id": config.run_id, "weights": weights, "config": config}
        )

    def _same_data(self, teacher: RunConfig, seed: int) -> bool:
        """Refuse a teacher that may have been trained on the student's test images."""
        dataset = self._dataset()
        if dataset is None:
            return False
        pairs = {
            "data_seed": (teacher.data_seed, self._data_seed(seed)),
            "dataset": (teacher.dataset.placeless(), dataset.placeless()),
            "fingerprint": (teacher.fingerprint, self._fingerprint(dataset)),
        }
        other = [f"{key} {its}, not {own}" for key, (its, own) in pairs.items() if its != own]
        if other:
            text = f"teacher {teacher.run_id} was trained on another split: {'; '.join(other)}"
            self.problems.append(f"{self.where}{flag('reg')}: {text}")
        return not other

    def _derived_teacher(self) -> _Resolver:
        """The student's configuration without distillation and stop rule, then ``[teacher]``."""
        own = normalise(self.options.get("teacher") or {}, f"{self.where}[teacher]")
        for key in sorted(STUDENT_ONLY & set(own)):
            self.problems.append(f"{self.where}[teacher]: {key} is always the student's")
        nested = own.pop("teacher", {})
        base = [
            {k: v for k, v in layer.items() if k not in ("stop", "teacher")} for layer in self.user
        ]
        for layer in base:
            if "reg" in layer:
                layer["reg"] = [word for word in layer["reg"] or [] if not self._distils(word)]
        return _Resolver([*base, own, {"teacher": nested}], self.problems, "teacher: ")

    def _distils(self, word: Any) -> bool:
        try:
            name = component_name(word, "reg")
            return self.catalogue.get("regularizer", name).component.teacher
        except UsageError:
            return False

    def _named_teacher(self, word: str) -> RunConfig | None:
        try:
            path = find_run(word, self.runs_dir)
            if path.resolve().parent != self.runs_dir.resolve():
                raise UsageError(f"{path} does not lie in {self.runs_dir}; set --runs-dir")
            return RunConfig.from_json(read_json(path / "config.json"), str(path / "config.json"))
        except UsageError as error:
            self.problems.append(f"{self.where}{flag('reg')}: teacher: {error}")
            return None

    def _protocol(self) -> ProtocolConfig | None:
        values = {key: self.options[key] for key in PROTOCOL if self.options.get(key) is not None}
        if "rounds" not in values and "target_sparsity" not in values:
            values["rounds"] = DEFAULT_ROUNDS
        try:
            return ProtocolConfig.model_validate(values)
        except ValidationError as error:
            self.problems += params.messages(ProtocolConfig, error, f"{self.where}protocol")
            return None

    def _check_selection(
        self, protocol: ProtocolConfig | None, data: ComponentConfig | None
    ) -> None:
        if protocol and data and protocol.selection == "val" and data.params.get("val_size") == 0:
            text = "val_size=0 holds nothing out to select by; give a size or --selection test"
            self.problems.append(f"{self.where}{flag('dataset')} {data.name}: {text}")

    def _metrics(self, stop: ComponentConfig | None) -> tuple[str, ...]:
        names = [str(name) for name in self.options.get("metric", [])]
        if stop is not None:
            names += self.catalogue.get("stop", stop.name).component.metrics
        for name in names:
            try:
                self.catalogue.get("metric", name, f"{self.where}{flag('metric')}")
            except UsageError as error:
                self.problems.append(str(error))
        return tuple(dict.fromkeys(names))

    def _fingerprint(self, dataset: ComponentConfig | None) -> str:
        if dataset is None:
            return ""
        try:
            made = build_component(self.catalogue, "dataset", dataset)
            return str(made.fingerprint(self.data_dir))
        except DataError as error:
            self.problems.append(str(error))
            return ""

    def _data_seed(self, seed: int) -> int:
        value = self.options.get("data_seed")
        try:
            return seed if value is None else parse_seed(value)
        except UsageError as error:
            self.problems.append(f"{self.where}{flag('data_seed')}: {error}")
            return seed


def _recipe(layers: Sequence[Layer], problems: list[str]) -> Layer:
    """Return the recipe of the chosen data set for the chosen model, {} if there is none."""
    options = merge(layers)
    try:
        word = options.get("dataset", SINGLE["dataset"])
        entry, values = parse_component("dataset", word, flag("dataset"))
        model = options.get("model")
        name = None if model is None else component_name(model, flag("model"))
        return normalise(entry.component.create(values).recipe(name))
    except UsageError as error:
        problems.append(str(error))
        return {}
