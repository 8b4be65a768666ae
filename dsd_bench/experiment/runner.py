"""Carrying one run to its end from its folder alone: any process on any host can do it."""

from __future__ import annotations

import contextlib
import errno
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from dsd_bench.config.metrics import metric_key
from dsd_bench.config.run import Layout, RunConfig
from dsd_bench.config.words import build_component
from dsd_bench.data.prepare import Prepared
from dsd_bench.environment import Launch, launched
from dsd_bench.environment.contained import contained
from dsd_bench.errors import (
    DamagedFile,
    DsdError,
    Interrupted,
    OutOfMemory,
    RunError,
    Superseded,
    Unwritable,
    UsageError,
    message,
)
from dsd_bench.experiment.assemble import Sources, assemble
from dsd_bench.experiment.choosing import Choice, choice_of
from dsd_bench.experiment.ending import End, ended
from dsd_bench.experiment.protocol import Run
from dsd_bench.experiment.provenance import Provenance, distributions
from dsd_bench.experiment.settings import Emit, Outcome, Settings
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.digest import version
from dsd_bench.stopping import StopCriterion
from dsd_bench.store import attempts
from dsd_bench.store.checkpoint import Checkpoint, Row, plain_row, round_of, weights_name
from dsd_bench.store.curves import curves_in
from dsd_bench.store.folder import Reader, RunFolder
from dsd_bench.store.locks import LOCK, confirm, locked
from dsd_bench.store.reading import read_bytes, read_json
from dsd_bench.store.runs import finished, record_failure
from dsd_bench.store.weights import kept_rounds
from dsd_bench.training import device
from dsd_bench.training.step import out_of_memory


def run_folder(
    path: Path,
    settings: Settings,
    emit: Emit,
    stopping: Callable[[], bool],
    fresh: bool = False,
    held: bool = False,
) -> Outcome:
    """Run, resume or find finished the run in the folder ``path``.

    It never raises for the run's failure, but where several processes train together: the others
    wait for this one, and only its end lets ``torchrun`` end them.

    Args:
        path: a run folder with its ``config.json``.
        settings: where and how to run.
        emit: is called with events (:class:`dsd_bench.executors.Executor`); where it cannot write
            any more, because its reader has gone, the run stops with a checkpoint.
        stopping: is asked between steps whether to stop.
        fresh: whether to begin anew, leaving other runs' rounds of the same curve aside.
        held: whether the caller holds the run's lock.
    """
    launch = launched()
    listener = _Listener(emit, stopping)
    emit = listener.tell

    def carry() -> Outcome:
        with contained() as section:
            outside = section.outside(emit), section.outside(listener.stopping)
            return _carry(path, settings, *outside, launch, fresh, held)

    return _outcome(path, settings, emit, launch, carry)


def _outcome(
    path: Path, settings: Settings, emit: Emit, launch: Launch, act: Callable[[], Outcome]
) -> Outcome:
    """Return what ``act`` returns, or how the run in ``path`` ended by what it raises."""
    run_id = path.name
    try:
        return act()
    except Interrupted as error:
        if isinstance(error, Superseded):
            emit({"event": "note", "run_id": run_id, "text": str(error)})
        return Outcome(run_id, "interrupted", str(error), exit_code=error.exit_code)
    except KeyboardInterrupt:
        return Outcome(run_id, "interrupted", "interrupted", exit_code=130)
    except Exception as error:  # whatever a run or a plugin raises is this run's failure only
        known = explain(error, settings)
        if launch.leads and not finished(path):
            _record(path, run_id, known, emit)
        if not launch.alone:
            raise known from error
        trace = "".join(traceback.format_exception(error))
        code = (UsageError if isinstance(known, UsageError) else RunError).exit_code
        return Outcome(
            *(run_id, "failed", message(known)),
            exit_code=code,
            traceback=trace,
            transient=isinstance(known, OutOfMemory),
            recorded=not isinstance(known, Unwritable),
        )


def _carry(
    path: Path,
    settings: Settings,
    emit: Emit,
    stopping: Callable[[], bool],
    launch: Launch,
    fresh: bool,
    held: bool,
) -> Outcome:
    """Carry the run on under its lock, where this process is not led by another."""
    config = RunConfig.from_json(read_json(path / "config.json"), str(path / "config.json"))
    if config.run_id != path.name:
        raise UsageError(f"{path}: the folder holds run {config.run_id}; name it so")
    if launch.alone and finished(path):  # its folder may be read-only
        return Outcome(path.name, "done")
    execution = _Execution(path, config, settings, emit, stopping, launch)
    if not launch.leads:  # the leader of the processes holds the lock, and writes
        return execution.run_leased(fresh)
    waiting = _Waiting(path.name, emit, stopping)
    with contextlib.nullcontext() if held else locked(path / LOCK, waiting):
        if settings.retries is None or finished(path):
            return execution.run_leased(fresh)
        if why := attempts.given_up(path, settings.retries):
            again = f"{why} (`dsd-bench retry` lets it be tried again)"
            emit({"event": "failed", "run_id": path.name, "error": again})
            return Outcome(path.name, "failed", again, exit_code=RunError.exit_code)
        attempts.begin(path)
        act = partial(execution.run_leased, fresh)
        outcome = _outcome(path, settings, emit, launch, act)
        _account(path, outcome)
        return outcome


def _account(path: Path, outcome: Outcome) -> None:
    """Note how the attempt ended whose run this process has, or had."""
    ended = "transient" if outcome.transient else cast(attempts.End, outcome.status)
    if not outcome.recorded:
        ended = "interrupted"
    try:
        confirm(path / LOCK)
        attempts.end(path, ended)
    except Superseded:
        if not finished(path):
            with contextlib.suppress(RunError):
                attempts.superseded(path)
    except RunError:
        attempts.take_back(path)


class _Listener:
    """Whoever started the run; that its output cannot be written is no failure of the run."""

    def __init__(self, emit: Emit, stopping: Callable[[], bool]) -> None:
        self._emit, self._stopping, self._gone = emit, stopping, False

    def tell(self, event: dict[str, Any]) -> None:
        """Pass an event on, as long as that can be written."""
        if not self._gone:
            try:
                self._emit(event)
            except OSError:
                self._gone = True

    def stopping(self) -> bool:
        """Whether to stop: it is told to, or nobody listens any more."""
        return self._gone or self._stopping()


class _Waiting:
    """Waits for another process that works on the same run; says so once, and can be stopped."""

    def __init__(self, run_id: str, emit: Emit, stopping: Callable[[], bool]) -> None:
        self.run_id, self.emit, self.stopping, self.told = run_id, emit, stopping, False

    def __call__(self, text: str) -> None:
        if self.stopping():
            raise Interrupted(f"stopped while {text}")
        if not self.told:
            self.told = True
            self.emit({"event": "note", "run_id": self.run_id, "text": f"waiting: {text}"})


class _Execution:
    """One attempt at a run; also the protocol's watcher."""

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        settings: Settings,
        emit: Emit,
        stopping: Callable[[], bool],
        launch: Launch,
    ) -> None:
        # absolute, because a component may change the working folder
        self.path, self.config, self.settings = path.absolute(), config, settings
        self.run_id, self.stopping, self._emit = path.name, stopping, emit
        self.launch, folder = launch, RunFolder if launch.leads else Reader
        self.folder = folder(self.path, config.curve_id, lambda text: self.emit("note", text=text))

    def run_leased(self, fresh: bool) -> Outcome:
        """Carry the run on; what fails because another process has it now is no failure.

        Raises:
            Superseded: if it was taken over while this process slept.
        """
        try:
            return self.run(fresh)
        except Exception:
            confirm(self.path / LOCK)
            raise

    def run(self, fresh: bool) -> Outcome:
        """Carry the run to its end under the lock."""
        if self.launch.alone and finished(self.path):
            return Outcome(self.run_id, "done")
        precision = self.config.protocol.precision
        settings = self.settings
        context = device.make_context(
            *(settings.device, settings.threads, settings.deterministic, precision),
            settings.layout,
        )
        if context.team.broadcast(finished(self.path)):
            return Outcome(self.run_id, "done")
        self.folder.tidy()
        sources = Sources(
            self.path.parent,
            settings.data_dir,
            settings.download,
            settings.checkpoint_seconds,
            settings.keep,
        )
        experiment, prepared = assemble(self.config, context, sources)
        if context.team.leads and not fresh and not self.folder.has_checkpoint:
            adopt_rounds(self.folder, self.config, self._provenance(), context.cpu_layout)
        context.team.barrier()
        end = Run(experiment, self.folder, self).follow()
        result = self._result(end, context, prepared)
        best, rounds_stay = weights_name(end.best_round), settings.keep != "none"
        result = self.folder.finish(best, result, rounds_stay)
        chosen = "best" if self.config.chooser is None else "chosen"
        self.folder.log(f"done: {end.reason}; {chosen} round {end.best_round}")
        self._observe("run_finished", result=result)
        self.emit("finished", result=result)
        context.team.barrier()  # for the files, which another run may need next
        return Outcome(self.run_id, "done", resumed_from_round=end.resumed_from_round)

    def emit(self, event: str, **values: Any) -> None:
        """Tell whoever started the run."""
        if self.launch.leads:
            self._emit({"event": event, "run_id": self.run_id, **values})

    # -- the protocol's watcher

    def goes_on(self, round: int, midway: bool) -> None:
        """Record the code that is to train, or refuse to mix it with another."""
        if self.launch.leads:
            self._provenance().go_on(round, midway)

    def begun(self, resumed_from_round: int | None, rows: Sequence[Row]) -> None:
        """Tell that the run begins, and with which rounds."""
        resumed = resumed_from_round
        self.folder.log("began" if resumed is None else f"resumed in round {resumed}")
        self._observe("run_started", config=self.config.to_json(), path=self.path)
        self.emit("started", resumed_from_round=resumed, rows=[plain_row(row) for row in rows])

    def progress(
        self, round: int, epoch: int, epochs: int, images_per_second: float, within: float
    ) -> None:
        """Pass the progress on."""
        self.emit(
            "progress",
            round=round,
            epoch=epoch,
            epochs=epochs,
            images_per_second=int(images_per_second),
            within=within,
        )

    def round(self, row: Row, timing: Mapping[str, Any]) -> None:
        """Note the timing and pass the row on."""
        context = device.resolve(self.settings.device)
        memory = {"peak_memory_bytes": device.peak_memory(context)}
        self.folder.add_timing({"round": row["round"], **timing, **memory})
        self._observe("round_finished", row=plain_row(row))
        self.emit("round", row=plain_row(row))
        device.forget_peak(context)

    # -- the rest

    def _provenance(self) -> Provenance:
        accept = self.settings.accept_versions
        return Provenance(self.path, self.config, device.versions(), accept, self._note)

    def _observe(self, hook: str, **values: Any) -> None:
        """Tell observers; what they raise is noted and costs nothing."""
        if not self.launch.leads:
            return
        catalogue().notify(hook, self._note, run_id=self.run_id, **values)

    def _note(self, text: str) -> None:
        self.folder.log(text)
        self.emit("note", text=text)

    def _result(self, end: End, context: device.ComputeContext, data: Prepared) -> dict[str, Any]:
        plugins = {name: version(name) for name in distributions(self.config)}
        samples = {name: getattr(data, name) for name in ("train", "val", "test")}
        return {
            "run_id": self.run_id,
            "status": "done",
            "best_round": end.best_round,
            "stopped_by": end.stopped_by,
            "reason": end.reason,
            "label_noise": dict(data.label_noise),
            "samples": {name: len(p.labels) if p else 0 for name, p in samples.items()},
            "plan": list(end.plans),
            "versions": device.versions() | plugins,
            "hardware": device.hardware(context.device),
        }


def adopt_rounds(
    folder: RunFolder, config: RunConfig, provenance: Provenance, cpu_layout: Layout
) -> None:
    """Begin a run with the rounds of the run of the same curve that has gone furthest.

    Args:
        folder: the run's.
        config: the run.
        provenance: of the code that is to go on.
        cpu_layout: the layout that this version gives the network on a CPU.

    Raises:
        UsageError: if only rounds of other code are to be had, and that is not accepted.
    """
    refused = None
    lacking = None
    stop: StopCriterion = build_component(catalogue(), "stop", config.stop)
    choice = choice_of(config)
    for donor in donors(folder.path, config):
        try:
            found = RunFolder(donor, config.curve_id).read()
            checkpoint = usable(found, config, stop, choice, cpu_layout)
            if checkpoint is None:
                continue
            refuse_lost(donor, checkpoint, choice)
            try:
                provenance.adopt(donor, checkpoint.round, checkpoint.training)
            except UsageError as error:
                refused = refused or error
                continue
            folder.adopt(donor, checkpoint)
            return
        except NotKept as error:
            lacking = lacking or error
        except (DamagedFile, UsageError) as error:
            folder.log(f"cannot go on from {donor.name}: {error}")
    if refused is not None:
        raise refused
    if lacking is not None:
        folder.warn(f"{lacking}; training the curve anew")


class NotKept(UsageError):
    """The weights of a round that a run needs were not kept by the one it would begin with."""


def refuse_lost(donor: Path, checkpoint: Checkpoint, choice: Choice) -> None:
    """Refuse rounds of which weights are gone that a run with this choice needs.

    Raises:
        NotKept: naming them.
    """
    kept = {weights_name(round) for round in kept_rounds(donor)} & set(checkpoint.kept)
    if lost := choice.missing(checkpoint.rows, [*kept], ended=not checkpoint.tensors):
        rounds = ", ".join(map(str, lost))
        raise NotKept(
            f"run {donor.name} has the rounds of this curve, but not the weights of round {rounds} "
            f"that chooser '{choice.name}' needs (its --keep)"
        )


def donors(path: Path, config: RunConfig) -> Iterator[Path]:
    """Yield the folders of other runs of the same curve, those with most rounds first."""
    found = []
    for name in curves_in(path.parent).of(config.curve_id):
        other = path.parent / name
        with contextlib.suppress(OSError, UsageError):  # none yet, or a damaged neighbour
            if name != path.name:
                found.append((-read_bytes(other / "rounds.jsonl").count(b"\n"), name, other))
    for _, _, other in sorted(found):
        with contextlib.suppress(UsageError):
            if RunConfig.from_json(read_json(other / "config.json")).curve_id == config.curve_id:
                yield other


def usable(
    checkpoint: Checkpoint,
    config: RunConfig,
    stop: StopCriterion,
    choice: Choice,
    cpu_layout: Layout,
) -> Checkpoint | None:
    """Return what a run of ``config`` can use of another run's checkpoint of the same curve.

    Raises:
        UsageError: if its rounds were computed under other numerics.
    """
    device.refuse_other_numerics(checkpoint.plans, cpu_layout)
    wanted = set(map(metric_key, config.metrics))
    if any(wanted - set(row.get("metrics", {})) for row in checkpoint.rows):
        return None
    rows = checkpoint.rows
    for count in range(1, len(rows) + 1):
        if ended(config, stop, rows[:count]):
            # nothing is left to train: the rows and the chosen weights are enough
            chosen = weights_name(choice.of(rows[:count]))
            needed = tuple(dict.fromkeys(["dense", chosen]))
            kept = tuple(name for name in checkpoint.kept if (round_of(name) or 0) < count)
            plans = tuple(plan for plan in checkpoint.plans if plan["from_round"] < count)
            return Checkpoint(rows[:count], count, False, {}, {}, plans, kept, needed)
    if not checkpoint.tensors:
        return None
    return replace(checkpoint, needed=choice.needed(rows, checkpoint.kept, ended=False))


def explain(error: Exception, settings: Settings) -> DsdError:
    """Turn any exception into one that says what to do."""
    if isinstance(error, DsdError):
        return error
    if out_of_memory(error):
        return OutOfMemory(
            f"out of memory on {settings.device}: use a smaller --batch-size or fewer --jobs; "
            "the run resumes from its last checkpoint"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Unwritable(f"{error.filename or 'a file'}: the disk is full; free some space")
    text = message(error).strip().splitlines()
    whose = "this looks like a bug of dsd-bench or a plugin; --debug shows where"
    if place := catalogue().place(error):
        whose = f"in {place}; --debug shows the way there"
    return RunError(f"{type(error).__name__}: {text[0] if text else 'no message'} ({whose})")


def _record(path: Path, run_id: str, error: DsdError, emit: Emit) -> None:
    """Note a failure in the run's folder, as far as that can be written."""
    text = message(error)
    try:
        RunFolder(path).log(f"failed: {text}")
        if not isinstance(error, Unwritable):  # that is none of the run
            record_failure(path, text)
    except DsdError as second:
        emit({"event": "note", "run_id": run_id, "text": f"could not note the failure: {second}"})
    catalogue().notify(
        "run_failed",
        lambda text: emit({"event": "note", "run_id": run_id, "text": text}),
        run_id=run_id,
        error=text,
    )
    emit({"event": "failed", "run_id": run_id, "error": text})
