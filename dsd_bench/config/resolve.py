"""From what a user said to runs: recipe < file < options, then everything typed and checked.

A *layer* is a dictionary of options, from a data set's recipe, a TOML file, a run's
``config.json`` or the command line. Later layers win, option by option.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsd_bench import params
from dsd_bench.components import Component, option_of
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
from dsd_bench.config.metrics import canonical_metric
from dsd_bench.config.naming import command
from dsd_bench.config.run import (
    LATER,
    OWN_CHOICE,
    ComponentConfig,
    DatasetConfig,
    ProtocolConfig,
    PrunerConfig,
    RegularizerConfig,
    RunConfig,
    TeacherConfig,
    WeightsConfig,
)
from dsd_bench.config.words import build_component, component_name, parse_component
from dsd_bench.environment.contained import contained
from dsd_bench.errors import DataError, UsageError, collect
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.origins import remembering
from dsd_bench.store.given import contents
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import find_run

DEFAULT_ROUNDS = 20

WEIGHTS = ("best", "dense")
"""The two words for a derived teacher; anything else names a run."""

NO_WEIGHTS = "none"
"""What ``--weights`` says to begin from an initialisation after all."""

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
    problems: list[str] = []
    given = [normalise(layer) for layer in layers]
    places = [layer["runs_dir"] for layer in given if layer.get("runs_dir")]
    with remembering(Path(places[-1] if places else "runs")):
        reading = _Reading(given, problems)
        seeds = reading.seeds()
        draft = reading.draft()
    for seed in seeds:
        problems += draft.problems(seed)
    collect(list(dict.fromkeys(problems)))
    return [draft.config(seed) for seed in seeds]


@dataclass(frozen=True)
class _Link:
    """A chosen regularizer, and whom it learns from.

    Attributes:
        component: the regularizer's.
        values: its parameters.
        weights: which of the teacher's weights.
        teacher: the teacher: a run that exists, or the draft that gives one for each seed.
        where: what problems with it are told under.
    """

    component: Component
    values: dict[str, Any]
    weights: str
    teacher: _Draft | RunConfig | None
    where: str

    def config(self, seed: int) -> RegularizerConfig:
        """Return it as the run of ``seed`` has it."""
        values, taught = self.values, None
        if self.teacher is not None:
            config = self.teacher.config(seed) if isinstance(self.teacher, _Draft) else self.teacher
            told = {"run_id": config.run_id, "weights": self.weights, "config": config}
            taught = TeacherConfig.model_validate(told)
            if isinstance(self.teacher, RunConfig):  # a prefix may fit another run some day
                values = {**values, "teacher": config.run_id}
        name, version = self.component.name, self.component.version
        return RegularizerConfig(name=name, version=version, params=values, teacher=taught)


@dataclass(frozen=True)
class _Draft:
    """Everything of a configuration but the seed; None where there was a problem."""

    data_seed: int | None
    fingerprint: str
    dataset: DatasetConfig | None
    pruner: PrunerConfig | None
    protocol: ProtocolConfig | None
    chosen: Mapping[str, ComponentConfig | None]
    links: tuple[_Link, ...]
    metrics: tuple[str, ...]
    weights: WeightsConfig | None = None

    def config(self, seed: int) -> RunConfig:
        """Return the configuration for ``seed``; only of a draft without problems."""
        assert self.dataset is not None
        assert self.pruner is not None
        assert self.protocol is not None
        return RunConfig(
            seed=seed,
            data_seed=self._data_seed(seed),
            fingerprint=self.fingerprint,
            dataset=self.dataset,
            pruner=self.pruner,
            protocol=self.protocol,
            regularizers=tuple(link.config(seed) for link in self.links),
            metrics=self.metrics,
            weights=self.weights,
            **{kind: part for kind, part in self.chosen.items() if part is not None},
        )

    def problems(self, seed: int) -> Iterable[str]:
        """Yield what is wrong for ``seed`` alone.

        That is a teacher that exists and may have been trained on the student's test images.
        """
        if self.dataset is None:
            return
        for link in self.links:
            if not isinstance(teacher := link.teacher, RunConfig):
                continue
            pairs = {
                "data_seed": (teacher.data_seed, self._data_seed(seed)),
                "dataset": (teacher.dataset.placeless(), self.dataset.placeless()),
                "fingerprint": (teacher.fingerprint, self.fingerprint),
            }
            other = [f"{key} {its}, not {own}" for key, (its, own) in pairs.items() if its != own]
            if other:
                text = f"teacher {teacher.run_id} was trained on another split: {'; '.join(other)}"
                yield f"{link.where}: {text}"

    def _data_seed(self, seed: int) -> int:
        return seed if self.data_seed is None else self.data_seed


class _Reading:
    """Reads one stack of layers, noting problems instead of stopping at the first."""

    def __init__(self, layers: Sequence[Layer], problems: list[str], where: str = "") -> None:
        self.user = list(layers)
        self.problems = problems
        self.where = where
        self.options = merge([self._recipe(), *self.user])
        self.data_dir = Path(self.options.get("data_dir") or "data")
        self.runs_dir = Path(self.options.get("runs_dir") or "runs")

    def seeds(self) -> list[int]:
        """Return the seeds that are asked for."""
        try:
            return parse_seeds(self.options.get("seeds", "0"))
        except UsageError as error:
            self.problems.append(str(error))
            return [0]

    def draft(self) -> _Draft:
        """Read everything else."""
        chosen = {
            kind: self._component(kind, self.options.get(kind, default))
            for kind, default in SINGLE.items()
            if kind not in ("dataset", "pruner")
        }
        chosen |= {kind: self._later(kind) for kind in LATER}
        dataset, pruner = self._dataset(), self._pruner()
        protocol = self._protocol()
        links = tuple(self._links())
        if self.options.get("teacher") and not any(link.component.teacher for link in links):
            text = "a teacher is described, but no regularizer distils; add --reg kd"
            self.problems.append(f"{self.where}{text}")
        metrics = self._metrics({kind: chosen[kind] for kind in ("stop", "chooser")})
        fingerprint = self._fingerprint(dataset)
        data_seed = self._data_seed()
        self._check_selection(protocol, dataset)
        weights = self._weights()
        told = data_seed, fingerprint, dataset, pruner, protocol
        return _Draft(*told, chosen, links, metrics, weights)

    def _recipe(self) -> Layer:
        """Return the recipe of the chosen data set for the chosen model, {} if there is none."""
        options = merge(self.user)
        try:
            word = options.get("dataset", SINGLE["dataset"])
            entry, values = parse_component("dataset", word, flag("dataset"))
            model = options.get("model")
            name = None if model is None else component_name(model, flag("model"))
            dataset = entry.component.create(values)
            with contained():
                recipe = dataset.recipe(name)
            return normalise(recipe)
        except UsageError as error:
            self.problems.append(str(error))
            return {}

    def _checked(self, option: str, word: Any) -> tuple[Component, dict[str, Any]] | None:
        try:
            entry, values = parse_component(option, word, f"{self.where}{flag(option)}")
        except UsageError as error:
            self.problems.append(str(error))
            return None
        return entry.component, values.model_dump(mode="json")

    def _component(self, option: str, word: Any) -> ComponentConfig | None:
        found = self._checked(option, word)
        if found is None:
            return None
        component, values = found
        return ComponentConfig(name=component.name, version=component.version, params=values)

    def _later(self, kind: str) -> ComponentConfig | None:
        """Return a component of a kind that came later, None for what was always there of it."""
        option = option_of(kind)
        made = self._component(option, self.options.get(option, LATER[kind][0]))
        return None if made is None or made.name in LATER[kind] else made

    def _pruner(self) -> PrunerConfig | None:
        made = self._component("pruner", self.options.get("pruner", SINGLE["pruner"]))
        if made is None:
            return None
        declared = catalogue().get("pruner", made.name).component
        return PrunerConfig(**dict(made), at_initialisation=declared.at_initialisation)

    def _dataset(self) -> DatasetConfig | None:
        made = self._component("dataset", self.options.get("dataset", SINGLE["dataset"]))
        if made is None:
            return None
        fields = catalogue().get("dataset", made.name).component.params.model_fields.items()
        places = tuple(name for name, field in fields if params.field_extra(field).get("place"))
        return DatasetConfig(**dict(made), places=places)

    def _protocol(self) -> ProtocolConfig | None:
        values = {key: self.options[key] for key in PROTOCOL if self.options.get(key) is not None}
        if (name := self._name(values.pop("optimizer", None))) in LATER["optimizer"]:
            values["optimizer"] = name  # any other is a component
        if "rounds" not in values and "target_sparsity" not in values:
            values["rounds"] = DEFAULT_ROUNDS
        try:
            return ProtocolConfig.model_validate(values)
        except ValidationError as error:
            self.problems += params.messages(ProtocolConfig, error, f"{self.where}protocol")
            return None

    def _name(self, word: Any) -> str | None:
        """Return the component that a word names; what is wrong with it is told elsewhere."""
        try:
            return None if word is None else component_name(word, "")
        except UsageError:
            return None

    def _links(self) -> Iterable[_Link]:
        where = f"{self.where}{flag('reg')}"
        for word in self.options.get("reg") or []:
            found = self._checked("reg", word)
            if found is None:
                continue
            component, values = found
            which = values["teacher"] if component.teacher else ""
            teacher = self._teacher(which, word) if component.teacher else None
            weights = which if which in WEIGHTS else "best"
            yield _Link(component, values, weights, teacher, where)

    def _teacher(self, which: str, word: Any) -> _Draft | RunConfig | None:
        """Return the teacher: derived from the student, or a run that exists."""
        if which in WEIGHTS:
            return self._derived_teacher()
        if isinstance(word, Mapping) and isinstance(word.get("teacher"), Mapping):
            return TeacherConfig.model_validate(word["teacher"]).config  # a run's config.json
        try:
            path = find_run(which, self.runs_dir)
            if path.resolve().parent != self.runs_dir.resolve():
                raise UsageError(f"{path} does not lie in {self.runs_dir}; set --runs-dir")
            file = path / "config.json"
            config = RunConfig.from_json(read_json(file), str(file))
            if config.chooser is not None:
                words = command("run", "--config", file, "--choose", "best", runs_dir=self.runs_dir)
                raise UsageError(
                    f"run {config.run_id} chose its round by '{config.chooser.name}'; "
                    f"{OWN_CHOICE}; make the same curve's run that does with: {words}"
                )
            return config
        except UsageError as error:
            self.problems.append(f"{self.where}{flag('reg')}: teacher: {error}")
            return None

    def _derived_teacher(self) -> _Draft:
        """The student's without distillation, stop rule and chooser, then ``[teacher]``."""
        own = normalise(self.options.get("teacher") or {}, f"{self.where}[teacher]")
        for key in sorted(STUDENT_ONLY & set(own)):
            self.problems.append(f"{self.where}[teacher]: {key} is always the student's")
        if own.pop("choose", None) is not None:
            self.problems.append(f"{self.where}[teacher]: choose: {OWN_CHOICE}")
        nested = own.pop("teacher", {})
        own_alone = ("stop", "choose", "teacher")
        base = [{k: v for k, v in layer.items() if k not in own_alone} for layer in self.user]
        for layer in base:
            if "reg" in layer:
                layer["reg"] = [word for word in layer["reg"] or [] if not _distils(word)]
        if "model" in own and "weights" not in own:  # they are those of the student's model
            base = [
                {k: v for k, v in layer.items() if k not in ("weights", "weights_head")}
                for layer in base
            ]
        return _Reading([*base, own, {"teacher": nested}], self.problems, "teacher: ").draft()

    def _metrics(self, rules: Mapping[str, ComponentConfig | None]) -> tuple[str, ...]:
        words = list(self.options.get("metric", []))
        for kind, rule in rules.items():
            if rule is not None:
                words += catalogue().get(kind, rule.name).component.metrics
        found = []
        for word in words:
            try:
                found.append(canonical_metric(word, f"{self.where}{flag('metric')}"))
            except UsageError as error:
                self.problems.append(str(error))
        return tuple(dict.fromkeys(found))

    def _weights(self) -> WeightsConfig | None:
        """Return the weights to begin from; a file is read, what a run recorded is not."""
        word, head = self.options.get("weights"), self.options.get("weights_head")
        where = f"{self.where}{flag('weights')}"
        if word in (None, NO_WEIGHTS):
            if word is None and head is not None:
                text = f"says what to do with the file of {flag('weights')}, which is not given"
                self.problems.append(f"{self.where}{flag('weights_head')} {text}")
            return None
        try:
            told = {"head": head} if head is not None else {}
            if not isinstance(word, Mapping):
                word = {"file": str(word), "sha256": contents(Path(str(word)))}
            return WeightsConfig.model_validate({**word, **told})
        except UsageError as error:
            self.problems.append(f"{where}: {error}")
        except ValidationError as error:
            self.problems += params.messages(WeightsConfig, error, where)
        return None

    def _fingerprint(self, dataset: ComponentConfig | None) -> str:
        if dataset is None:
            return ""
        try:
            made = build_component(catalogue(), "dataset", dataset)
            with contained():
                return str(made.fingerprint(self.data_dir))
        except DataError as error:
            self.problems.append(str(error))
            return ""

    def _data_seed(self) -> int | None:
        value = self.options.get("data_seed")
        try:
            return None if value is None else parse_seed(value)
        except UsageError as error:
            self.problems.append(f"{self.where}{flag('data_seed')}: {error}")
            return None

    def _check_selection(
        self, protocol: ProtocolConfig | None, data: ComponentConfig | None
    ) -> None:
        if protocol and data and protocol.selection == "val" and data.params.get("val_size") == 0:
            text = "val_size=0 holds nothing out to select by; give a size or --selection test"
            self.problems.append(f"{self.where}{flag('dataset')} {data.name}: {text}")


def _distils(word: Any) -> bool:
    try:
        name = component_name(word, "reg")
        return catalogue().get("regularizer", name).component.teacher
    except UsageError:
        return False
