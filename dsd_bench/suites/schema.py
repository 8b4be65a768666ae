"""The suite file: TOML, typed, every mistake told with its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dsd_bench.config.layers import KEYS
from dsd_bench.errors import UsageError, collect, suggest
from dsd_bench.store.reading import read_toml

FOLDER = "benchmarks"
"""Where suites lie, below the working directory or beside the package."""

Scale = Literal["small", "cpu", "paper"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScaleSpec(_Part):
    """What one scale adds to the suite.

    Attributes:
        note: how it departs from the question's original setting.
        seeds: as ``--seeds`` takes them.
        options: of every run, as in a ``--config`` file.
        grid: axes; one that the suite has too replaces the suite's.
    """

    note: str = ""
    seeds: str = "0-2"
    options: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}


class TableSpec(_Part):
    """How ``dsd-bench table`` lays the suite out.

    Attributes:
        columns: quantities (:mod:`dsd_bench.suites.quantities`).
        across: an axis whose entries become columns, one for each quantity.
        rounds: whether the rows are the rounds and the columns are the cells.
    """

    columns: list[str] = ["dense", "best", "best_sparsity", "selected", "sparsity"]
    across: str | None = None
    rounds: bool = False


class PlotSpec(_Part):
    """How ``dsd-bench plot`` draws the suite.

    Attributes:
        panels: axes whose entries get a column of panels each; the other axes are lines.
        rows: the measures that are stacked, as columns of ``rounds.jsonl`` or, of a further
            metric, ``METRIC.NAME``.
        phases: whether the phases of a panel with a single line are shaded.
        x: what the curves are drawn over: ``sparsity``, or the number of ``weights`` that are left,
            which networks of several sizes share.
    """

    panels: list[str] = []
    rows: list[str] = Field(default=["test_accuracy"], min_length=1)
    phases: bool = False
    x: Literal["sparsity", "weights"] = "sparsity"


class Axis(_Part):
    """One axis of the grid.

    Attributes:
        name: what its entries are of, such as ``noise`` or ``method``.
        entries: label and options of each entry, in order.
    """

    name: str
    entries: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def labels(self) -> list[str]:
        """The entries' labels."""
        return [label for label, _ in self.entries]


class Suite(_Part):
    """A suite as its file has it.

    Attributes:
        title: one line.
        question: what the runs shall answer.
        source: the paper and its figure or table.
        options: of every run at every scale.
        grid: axes; each is a list of values of the option that it is named after, or of tables
            with a ``label`` and the options that go together.
        scale: what differs between ``small``, ``cpu`` and ``paper``.
        table, plot: how results are shown.
        reported: the source's own numbers; each names entries of axes by their labels and gives
            quantities.
    """

    title: str
    question: str
    source: str
    options: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    scale: dict[Scale, ScaleSpec] = Field(min_length=1)
    table: TableSpec = TableSpec()
    plot: PlotSpec = PlotSpec()
    reported: list[dict[str, str | int | float]] = []

    def axes(self, scale: Scale) -> list[Axis]:
        """Return the axes at ``scale``, the scale's own first.

        Raises:
            UsageError: for a scale that the suite lacks, an empty axis or a wrong entry.
        """
        if scale not in self.scale:
            raise UsageError(f"the suite has no scale '{scale}'; it has {', '.join(self.scale)}")
        grid = {**self.scale[scale].grid}
        grid |= {name: values for name, values in self.grid.items() if name not in grid}
        problems: list[str] = []
        axes = [_axis(name, values, problems) for name, values in grid.items()]
        collect(problems)
        return axes


def _axis(name: str, values: list[Any], problems: list[str]) -> Axis:
    where = f"grid.{name}"
    if not values:
        problems.append(f"{where}: the axis is empty, so there is nothing to run")
    entries = []
    for value in values:
        if isinstance(value, Mapping):
            options = {key: item for key, item in value.items() if key != "label"}
            if not isinstance(value.get("label"), str):
                problems.append(f"{where}: an entry has no label: {dict(value)}")
            entries.append((str(value.get("label")), options))
            problems += unknown_options(options, f"{where} '{value.get('label')}'")
        elif name in KEYS:
            entries.append((str(value), {name: value}))
        else:
            problems.append(
                f"{where}: {value!r} says no option; name the axis after one"
                f"{suggest(name, KEYS)}, or write tables with a label and options"
            )
    labels = [label for label, _ in entries]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        problems.append(f"{where}: the label '{label}' is given twice")
    return Axis(name=name, entries=tuple(entries))


def unknown_options(options: Mapping[str, Any], where: str) -> list[str]:
    """Return a sentence for each key that is no option of a run, or not a suite's to say."""
    unknown = [key for key in options if key not in KEYS]
    problems = [f"{where}: unknown option '{key}'{suggest(key, KEYS)}" for key in unknown]
    if "seeds" in options:
        problems.append(f"{where}: seeds are said once for a scale: [scale.small] seeds = ...")
    for key in ("data_dir", "runs_dir"):
        if key in options:
            problems.append(f"{where}: {key} is the command's to say, not a suite's")
    return problems


def read_suite(path: Path) -> Suite:
    """Read a suite file.

    Raises:
        UsageError: naming the file and everything that is wrong in it.
    """
    try:
        suite = Suite.model_validate(read_toml(path))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such suite") from None
    except ValidationError as error:
        collect([f"{path}: {_sentence(item)}" for item in error.errors()])
        raise AssertionError from error
    collect([f"{path}: {problem}" for problem in _problems(suite)])
    return suite


def _sentence(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {"table": TableSpec, "plot": PlotSpec}
        parent = str(item["loc"][0]) if len(item["loc"]) > 1 else ""
        model = models.get(parent, ScaleSpec if parent == "scale" else Suite)
        return f"unknown key '{place}'{suggest(str(item['loc'][-1]), model.model_fields)}"
    return f"{place}: {item['msg']}"


def _problems(suite: Suite) -> list[str]:
    """Return what pydantic cannot see: options, axes and quantities that do not exist."""
    from dsd_bench.suites.quantities import QUANTITIES

    problems = unknown_options(suite.options, "options")
    names: set[str] = set()
    labels: dict[str, set[str]] = {}
    for scale, spec in suite.scale.items():
        problems += unknown_options(spec.options, f"scale.{scale}.options")
        names |= {*suite.grid, *spec.grid}
        try:
            for axis in suite.axes(scale):
                labels.setdefault(axis.name, set()).update(axis.labels)
        except UsageError as error:
            problems.append(str(error))
    used = [*suite.plot.panels, *([suite.table.across] if suite.table.across else [])]
    problems += [f"'{name}' is no axis{suggest(name, names)}" for name in used if name not in names]
    if suite.plot.phases and suite.plot.x != "sparsity":
        problems.append("plot: phases are drawn over sparsity; leave out phases, or x")
    known = {*QUANTITIES, *(f"{name}_std" for name in QUANTITIES)}
    wanted = [name for name in suite.table.columns if name not in QUANTITIES]
    problems += [f"table.columns: no quantity '{n}'{suggest(n, QUANTITIES)}" for n in wanted]
    for entry in suite.reported:
        wrong = [key for key in entry if key not in known | names | {"round", "of"}]
        problems += [f"reported: '{key}' is neither an axis nor a quantity" for key in wrong]
        problems += _wrong_kinds(entry, names)
        problems += [
            f"reported: {key} has no entry '{value}'{suggest(str(value), labels[key])}"
            for key, value in entry.items()
            if key in labels and isinstance(value, str) and value not in labels[key]
        ]
    return list(dict.fromkeys(problems))


def _wrong_kinds(entry: Mapping[str, str | int | float], names: set[str]) -> list[str]:
    """Return a sentence for each label that is no text and each number that is one."""
    from dsd_bench.suites.quantities import QUANTITIES, Statement

    problems = []
    for key, value in entry.items():
        told = QUANTITIES.get(key.removesuffix("_std"))
        if key in names | {"of"} or isinstance(told, Statement):
            if not isinstance(value, str):
                problems.append(f"reported: {key} = {value!r} must be a text, in quotes")
        elif (told or key == "round") and isinstance(value, str):
            problems.append(f"reported: {key} = {value!r} must be a number")
    return problems


def find_suite(word: str) -> Path:
    """Return the file that ``word`` names: a path, or the name of one in ``benchmarks/``.

    Raises:
        UsageError: if there is none; it lists those that there are.
    """
    found = known_suites()
    try:
        if Path(word).is_file():
            return Path(word)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise UsageError(f"no suite '{word}': {error.strerror}") from None
    if word.removesuffix(".toml") in found:
        return found[word.removesuffix(".toml")]
    raise UsageError(f"no suite '{word}'{suggest(word, found)}")


def known_suites() -> dict[str, Path]:
    """Return the suites by name: of ``./benchmarks``, else those that came with the package."""
    package = Path(__file__).parents[1]
    for folder in (Path(FOLDER), package.parent / FOLDER, package / FOLDER):
        files = sorted(folder.glob("*.toml"))
        if files:
            return {file.stem: file for file in files}
    return {}
