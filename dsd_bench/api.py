"""dsd-bench from Python: the same runs, the same folders, the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dsd_bench.config.run import RunConfig
from dsd_bench.config.words import parse_component
from dsd_bench.environment import launched
from dsd_bench.environment.contained import contained
from dsd_bench.errors import Interrupted, RunError, UsageError, plain
from dsd_bench.executors import Event, Executor, Keep, Outcome, Settings
from dsd_bench.executors.planning import (
    Planned,
    check_finished,
    clear,
    one_of_several_seeds,
    plan,
    prepare_folders,
)
from dsd_bench.executors.provenance import check_code
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.origins import remembering
from dsd_bench.store.runs import StoredRun, find_run, load_run, stored_ids

if TYPE_CHECKING:
    import pandas
    from torch import nn


@dataclass(frozen=True)
class Finished:
    """A planned run and how it ended."""

    planned: Planned
    outcome: Outcome

    @property
    def run(self) -> StoredRun:
        """The run's folder as it is now."""
        return load_run(self.planned.job.path, verify=self.outcome.status == "done")


def run(
    config: RunConfig,
    *,
    runs_dir: str | Path = "runs",
    device: str = "auto",
    data_dir: str | Path = "data",
    download: bool = False,
    executor: str = "inline",
    force: bool = False,
    accept_versions: bool = False,
    keep: Keep | None = None,
) -> StoredRun:
    """Carry a run (and its teachers, first) to its end and return it.

    A finished run is returned as it is; an interrupted one goes on from its checkpoint.

    Args:
        config: from :func:`dsd_bench.configure`.
        runs_dir: where run folders lie.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:0``, ...
        data_dir: where data sets lie.
        download: whether data and pretrained weights may be downloaded.
        executor: ``inline`` (this process), ``local`` (worker processes) or a plugin's, with its
            parameters.
        force: whether to begin a finished run anew.
        accept_versions: whether to go on with rounds that other plugin code made.
        keep: which rounds' weights stay: ``all``, ``records`` (those that beat all rounds before
            them) or ``none`` but the dense and the best; by default all up to 256 MiB a run.

    What the command line notes, such as a finished run of other plugin code, is a Python warning.

    Raises:
        UsageError, RunError, Interrupted: as the command line would say.

    Example:
        >>> from dsd_bench import configure, run
        >>> run(configure(rounds=2, epochs=5)).rows[-1]["round"]  # doctest: +SKIP
        2
    """
    settings = Settings(
        device=device,
        data_dir=Path(data_dir).absolute(),
        download=download,
        accept_versions=accept_versions,
        keep=keep,
        wait=True,
    )
    finished = execute(
        [config], Path(runs_dir), settings, executor=executor, force=force, emit=_warn
    )
    for item in finished:
        if item.outcome.status == "interrupted":
            raise Interrupted(item.outcome.error or "interrupted")
        if item.outcome.status == "failed":
            kind = UsageError if item.outcome.exit_code == UsageError.exit_code else RunError
            raise kind(f"run {item.outcome.run_id}: {item.outcome.error}")
    return next(f.run for f in finished if f.planned.config.run_id == config.run_id)


def _warn(event: Event) -> None:
    if event["event"] == "note":
        run_id = f"run {event['run_id']}: " if "run_id" in event else ""
        warnings.warn(plain(f"{run_id}{event['text']}"), stacklevel=4)


def execute(
    configs: Sequence[RunConfig],
    runs_dir: Path,
    settings: Settings,
    *,
    executor: str = "local",
    force: bool = False,
    emit: Callable[[Event], None] = lambda event: None,
) -> list[Finished]:
    """Plan runs and their teachers and let an executor carry them to an end.

    Returns every run in its order, teachers before the students that need them.

    Raises:
        UsageError: for what can be known before the first run starts.
    """
    for text in check_data(configs, settings):
        emit({"event": "note", "text": text})
    planned = plan(configs, runs_dir, force)
    return execute_plan(planned, runs_dir, settings, executor=executor, emit=emit)


def execute_plan(
    planned: Sequence[Planned],
    runs_dir: Path,
    settings: Settings,
    *,
    executor: str = "local",
    emit: Callable[[Event], None] = lambda event: None,
) -> list[Finished]:
    """Let an executor carry planned runs to an end.

    Raises:
        UsageError: for what can be known before the first run starts; no folder is made then.
    """
    launch = launched()
    if not launch.alone:
        executor = "inline"  # each process of torchrun does the same runs, together
    entry, params = parse_component("executor", executor, "--executor")
    made: Executor = entry.component.create(params)
    if not made.elsewhere:
        check_device(settings.device)
    check_code(planned, settings.accept_versions, emit)
    jobs = [item.job for item in planned]
    try:
        if configs := one_of_several_seeds(item.config for item in planned if not item.reused):
            with contained() as section:
                made.check(jobs, configs, settings, section.outside(emit))
        if launch.leads:
            prepare_folders(planned, runs_dir)
            for item in planned:
                if item.job.fresh:
                    clear(item.job.path, _noting(emit, item.job.run_id))
            check_finished(planned, lambda run_id, text: _noting(emit, run_id)(text))
        if not launch.alone:
            _meet(settings)
        with contained() as section:
            outcomes = made.execute(jobs, settings, section.outside(emit))
    finally:
        made.close()
    return [Finished(item, outcome) for item, outcome in zip(planned, outcomes, strict=True)]


def _noting(emit: Callable[[Event], None], run_id: str) -> Callable[[str], None]:
    return lambda text: emit({"event": "note", "run_id": run_id, "text": text})


def _meet(settings: Settings) -> None:
    """Wait until the leader of the processes has prepared the folders."""
    from dsd_bench.training import device
    from dsd_bench.training.distributed import join

    join(device.resolve(settings.device).type).barrier()


def check_device(word: str) -> None:
    """Raise :class:`UsageError` if there is no such device, also where nothing is left to run.

    ``auto`` and ``cpu`` are always there: for them torch need not be imported.
    """
    if word not in ("auto", "cpu"):
        from dsd_bench.training.device import resolve

        resolve(word)


def check_data(configs: Sequence[RunConfig], settings: Settings) -> list[str]:
    """Raise :class:`dsd_bench.errors.DataError` if data of any run or teacher are missing.

    Returns what a user should know of the data before they are used.
    """
    from dsd_bench.config.words import build_component
    from dsd_bench.executors.planning import teachers

    seen: set[str] = set()
    notes: list[str] = []
    everything = [*configs, *(teacher for config in configs for teacher in teachers(config))]
    for config in everything:
        key = config.dataset.model_dump_json()
        if key not in seen:
            seen.add(key)
            dataset = build_component(catalogue(), "dataset", config.dataset)
            with contained():
                dataset.check(settings.data_dir, settings.download)
                notes += map(str, dataset.notes(settings.data_dir))
    return notes


def load_runs(runs_dir: str | Path = "runs") -> pandas.DataFrame:
    """Return every run in a folder as a tidy table, one row per run and round.

    ``runs_dir`` may also be one run's folder. Columns: :func:`dsd_bench.reports.frames.runs_frame`.

    Raises:
        UsageError: if there is no such folder, or a file in it is damaged.
    """
    from dsd_bench.reports.frames import runs_frame

    folder = Path(runs_dir)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    if (folder / "config.json").is_file():
        return runs_frame([load_run(folder)])
    return runs_frame([load_run(folder / run_id) for run_id in stored_ids(folder)])


def load_model(
    run: str | Path,
    weights: Literal["best", "dense"] | int = "best",
    *,
    runs_dir: str | Path = "runs",
    data_dir: str | Path = "data",
) -> nn.Module:
    """Return a run's trained network on the CPU, in eval mode; pruned weights are exact zeros.

    Args:
        run: an id, a unique prefix of one, or a path.
        weights: ``best`` (the selected round), ``dense`` (round 0), or a round whose weights were
            kept (:attr:`dsd_bench.executors.Settings.keep`), from 0.
        runs_dir: where run folders lie.
        data_dir: where the data set lies; read only where the shape of its images is not known
            without it.

    Raises:
        UsageError: if the run's configuration cannot be read, or the round was not kept.
        DamagedFile: if the weights are missing, damaged, or not those of this run.
    """
    from dsd_bench.experiment.assemble import Sources, build_model, image_shape, load_kept_weights
    from dsd_bench.store.reading import read_json
    from dsd_bench.store.weights import name_of, read_weights
    from dsd_bench.training import device

    path = find_run(str(run), Path(runs_dir))
    config = RunConfig.from_json(read_json(path / "config.json"), str(path / "config.json"))
    tensors = read_weights(path, name_of(weights, path), config.run_id)
    context = device.make_context("cpu", 1, False, "fp32")
    shape, classes = image_shape(config, Sources(path.parent, Path(data_dir)))
    with remembering(path):
        model = build_model(config.model.unfetched(), 0, shape, classes, context)
    load_kept_weights(model, tensors, str(path))
    return model.eval()
