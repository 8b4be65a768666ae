"""Runs side by side in worker processes, one thread each: the same bytes as one after another."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from dsd_bench.config.run import RunConfig
from dsd_bench.environment import TRACE, available_cores, switched_on
from dsd_bench.errors import RunError, UsageError
from dsd_bench.executors import Event, Executor, Job, Outcome, Settings
from dsd_bench.executors.cores import CoreClaim
from dsd_bench.executors.packing import Memory
from dsd_bench.executors.schedule import Queue
from dsd_bench.executors.signals import Stop, held_back, stop_on_signals
from dsd_bench.executors.worker import settings_to

Emit = Callable[[Event], None]
GRACE = 30.0
"""Seconds that workers get to write a checkpoint after an interruption."""
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "30000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


class Local(Executor):
    """Executes jobs in worker processes; each worker takes one job after another.

    The first worker that is ready tries the models out while the others start, so that a check
    costs no start of its own, and this process needs no torch.
    """

    _pool: _Pool | None = None

    def check(
        self, jobs: Sequence[Job], configs: Sequence[RunConfig], settings: Settings, emit: Emit
    ) -> None:
        """Start the workers and let one of them check; they wait for :meth:`execute`.

        Raises:
            UsageError: if the device does not exist, or something cannot be run.
        """
        self._pool = _Pool(settings, emit, Queue(jobs, settings.retries or 0))
        self._pool.check(configs)

    def execute(self, jobs: Sequence[Job], settings: Settings, emit: Emit) -> list[Outcome]:
        """Carry the jobs out, as many at once as ``settings.jobs`` says or as fit.

        Raises:
            UsageError: if the device does not exist.
        """
        pool = self._pool or _Pool(settings, emit, Queue(jobs, settings.retries or 0))
        # what was finished may have been found damaged since
        pool.todo, pool.emit = Queue(jobs, settings.retries or 0), emit
        if pool.todo.unfinished:
            with stop_on_signals(emit) as stop, pool:
                pool.work(stop)
        return pool.todo.results()

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()


class _Pool:
    """The workers and the jobs they are at."""

    def __init__(self, settings: Settings, emit: Emit, todo: Queue) -> None:
        self.settings, self.emit, self.todo = settings, emit, todo
        self.stop = Stop()
        self.open = False
        """Whether workers may get jobs."""
        self.trial: dict[str, Any] | None = None
        """What the first worker that is ready is to check; None once it was asked."""
        self.trier: _Worker | None = None
        """The worker that is checking."""
        self.inbox: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
        self.workers: list[_Worker] = []
        self.on_cpu = False
        self.claim = CoreClaim()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            self._kill()
        self.close()

    def close(self) -> None:
        """End the workers."""
        while self.workers:
            self.workers.pop().close()
        self.claim.release()

    def _kill(self) -> None:
        """End all workers at once: whatever they are at resumes from its last checkpoint."""
        for worker in self.workers:
            worker.process.kill()

    def begin(self) -> None:
        """Start as many workers as can be told now."""
        self.on_cpu = not may_have_gpu(self.settings.device)
        self._start(max(1, self._side_by_side()) if self.on_cpu else 1)

    def check(self, configs: Sequence[RunConfig]) -> None:
        """Let a worker try ``configs`` out."""
        self.trial = {"try": [config.to_json() for config in configs]}
        try:
            self.begin()
            while self._checking():
                self._handle(timeout=0.2)
        except BaseException:
            self._kill()  # they have nothing to save yet
            raise

    def _checking(self) -> bool:
        return self.trial is not None or self.trier is not None

    def work(self, stop: Stop) -> None:
        """Keep every worker busy until no job is left, or until stopped."""
        self.stop, self.open = stop, True
        if not self.workers:
            self.begin()
        self._feed()
        while self.todo.unfinished and not self.stop.is_set():
            self._handle(timeout=0.2)
        if self.stop.is_set():
            self._wind_down()

    def _side_by_side(self) -> int:
        """How many runs to have at once on the CPU."""
        abreast = self.todo.abreast
        return min(self.settings.jobs or slots(abreast, self.settings.threads), abreast)

    def _start(self, count: int, device: str | None = None) -> None:
        for _ in range(count):
            settings = replace(self.settings, device=device or self.settings.device)
            self.workers.append(_Worker(settings, self.inbox))
        if self.on_cpu:
            self._pin()

    def _pin(self) -> None:
        """Give each worker cores of its own, if together they take all there are.

        Not beside another command that has done so: both would crowd on the same cores.
        """
        shares = core_shares(len(self.workers), self.settings.threads)
        if not self.claim.take(set().union(*shares)):
            return
        taken = [worker.cores for worker in self.workers]
        free = [share for share in shares if share not in taken]
        for worker in self.workers if shares else ():
            if worker.cores is None:
                worker.pin(free.pop(0))

    def _handle(self, timeout: float) -> None:
        try:
            worker, message = self.inbox.get(timeout=timeout)
        except queue.Empty:
            return
        if message is None:
            self._died(worker)
        elif message["event"] == "ready":
            self._ready(worker, message)
        elif message["event"] == "tried":
            self._tried(message)
        elif message["event"] == "outcome":
            outcome = Outcome(**{k: v for k, v in message.items() if k != "event"})
            if self.todo.finish(outcome):
                text = f"{outcome.error}; once more"
                self.emit({"event": "note", "run_id": outcome.run_id, "text": text})
            worker.job = None
            # a worker that was told to stop, by whomever, takes no more runs
            worker.leaving = message["status"] == "interrupted"
            self._feed()
        elif message["event"] == "memory":
            self._pack(worker, Memory(message["used"], message["free"]))
        else:
            self.emit(message)

    def _pack(self, worker: _Worker, memory: Memory) -> None:
        """Start as many more workers on a GPU as its memory, the cores and the runs allow.

        A run that then does not fit beside the others has another turn.
        """
        worker.measured, device = True, worker.settings.device
        coming = sum(
            other.settings.device == device and not other.measured for other in self.workers
        )
        cores = available_cores() // self.settings.threads - len(self.workers)
        runs = self.todo.abreast - len(self.workers)
        count = min(memory.more(coming), cores, runs)
        if self.settings.jobs is not None or self.stop.is_set() or count < 1:
            return
        self.todo.allow(1)
        self._start(count, device)
        beside = sum(other.settings.device == device for other in self.workers)
        text = f"device {device}: a run takes {memory.each / 1e9:.1f} GB; {beside} side by side"
        self.emit({"event": "note", "text": text})

    def _ready(self, worker: _Worker, message: Event) -> None:
        if "error" in message:
            raise UsageError(message["error"])
        worker.ready = True
        if self.trial is not None:
            worker.send({**self.trial, "settings": settings_to(worker.settings)})
            self.trial, self.trier = None, worker
        if len(self.workers) == 1:
            self._spread(worker, message)
        self._feed()

    def _tried(self, message: Event) -> None:
        self.trier = None
        if "error" in message:
            kind = UsageError if message["exit_code"] == UsageError.exit_code else RunError
            raise kind(message["error"])

    def _spread(self, first: _Worker, message: Event) -> None:
        """Start the other workers, on a machine with GPUs each with a device of its own."""
        kind, count = message["device"].partition(":")[0], int(message["count"])
        if kind == "cpu":
            self.on_cpu = True
            self._start(self._side_by_side() - 1)
            return
        wanted = min(self.settings.jobs or count, self.todo.abreast)
        if message["count"] > 1:
            first.settings = replace(first.settings, device=f"{kind}:0")
        for index in range(1, wanted):
            device = f"{kind}:{index % count}" if count > 1 else message["device"]
            self._start(1, device)

    def _feed(self) -> None:
        for worker in self.workers if self.open else ():
            if worker.ready and not (worker.job or worker.leaving or self.stop.is_set()):
                worker.job = self.todo.next()
                if worker.job is not None:
                    worker.send_job(worker.job)

    def _died(self, worker: _Worker) -> None:
        """A worker was killed: its run is resumable; another worker takes the rest."""
        self.workers.remove(worker)
        job, code, said = worker.job, worker.process.wait(), worker.said()
        if job is None and not worker.ready and not self.stop.is_set():
            raise UsageError(f"a worker process could not start (exit code {code}):\n{said}")
        cause, said = _cause(code, said)
        if worker is self.trier:
            raise RunError(f"the process that tried the model out {cause}\n{said}".strip())
        if job is not None:
            error = f"the worker process {cause}; the run resumes from its last checkpoint\n{said}"
            error = error.strip()
            lost = Outcome(job.run_id, "failed", error, exit_code=1, transient=True)
            if self.todo.finish(lost):
                self.emit({"event": "note", "run_id": job.run_id, "text": f"{error}; once more"})
            else:
                self.emit({"event": "failed", "run_id": job.run_id, "error": error})
        if self.todo.unfinished and not self.stop.is_set():
            self._start(1, worker.settings.device)

    def _wind_down(self) -> None:
        """Let every worker write its checkpoint; a second Ctrl-C cuts that short."""
        try:
            for worker in self.workers:
                worker.send({"stop": True})
            for _ in range(int(GRACE / 0.2)):
                if not any(worker.job for worker in self.workers):
                    break
                self._handle(timeout=0.2)
        except KeyboardInterrupt:
            self._kill()
        self.todo.interrupt()


class _Worker:
    """One worker process and the thread that hears it."""

    def __init__(
        self, settings: Settings, inbox: queue.Queue[tuple[_Worker, Event | None]]
    ) -> None:
        self.settings, self.ready, self.leaving = settings, False, False
        self.measured = False
        """Whether it has told what its runs take on its GPU."""
        self.job: Job | None = None
        self.cores: set[int] | None = None
        with held_back():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dsd_bench.executors.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if settings.debug or switched_on(TRACE) else subprocess.PIPE,
                env=worker_environment(settings),
            )
        self.errors = Tail(self.process.stderr) if self.process.stderr else None
        self.send({"check": settings_to(settings)})
        threading.Thread(target=self._hear, args=(inbox,), daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Send a request; a dead worker is noticed elsewhere."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def send_job(self, job: Job) -> None:
        """Let the worker carry out ``job``."""
        path = str(Path(job.path).absolute())
        self.send({"run": path, "fresh": job.fresh, "settings": settings_to(self.settings)})

    def pin(self, cores: set[int]) -> None:
        """Keep the process on ``cores``: the system moves one about that shares the machine."""
        self.cores = cores
        with contextlib.suppress(OSError):  # it may be gone already
            os.sched_setaffinity(self.process.pid, cores)

    def said(self) -> str:
        """Return the end of what the worker wrote to standard error."""
        return self.errors.text() if self.errors else ""

    def close(self) -> None:
        """End the process: politely (it writes a checkpoint), then not."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _hear(self, inbox: queue.Queue[tuple[_Worker, Event | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # a start-up hook of Python's may print, too
                inbox.put((self, json.loads(line)))
        inbox.put((self, None))


def _cause(code: int, said: str) -> tuple[str, str]:
    """Say how a process ended, and what of its last words helps; none where memory was short."""
    if code == -signal.SIGKILL:
        return "was killed (out of memory? try fewer --jobs)", ""
    if code == -signal.SIGABRT and "memory allocation of" in said:  # the words of safetensors' Rust
        return "ran out of memory: try fewer --jobs", ""
    return f"ended with exit code {code}", said


class Tail:
    """Reads a stream to its end, so that nobody who writes there waits, and keeps its last part."""

    KEPT = 2000
    """Bytes that are kept."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._kept = stream, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return the last part; waits a moment for what is still on its way."""
        self._thread.join(timeout=2)
        return self._kept.decode(errors="replace").strip()

    def _read(self) -> None:
        with self._stream:
            while data := os.read(self._stream.fileno(), 2**16):
                self._kept = (self._kept + data)[-self.KEPT :]


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker, set before any import.

    It has as many threads as the run, and an allocator (of GNU systems; others ignore the words)
    that keeps what it got: giving the buffers of every step back to the system and getting them
    again costs convolutional networks some 10 to 20 % of their time (docs/performance.md). What the
    user has set stays.
    """
    threads = str(settings.threads)
    return {**ALLOCATOR, **os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def slots(runs: int, threads: int) -> int:
    """Return how many runs to have side by side on the CPU.

    As many as there are cores; all of them if that is less than twice as many, because a last
    lonely run would leave the other cores idle. It changes the time, never the numbers.
    """
    cores = max(1, available_cores() // threads)
    return runs if runs < 2 * cores else cores


def core_shares(runs: int, threads: int) -> list[set[int]]:
    """Return cores for each of ``runs``, if they need all there are, else nothing.

    Fewer are left free: two commands at once would pick the same cores.
    """
    if not hasattr(os, "sched_setaffinity"):  # not on every system
        return []
    cores = sorted(os.sched_getaffinity(0))
    if runs * threads != len(cores):
        return []
    return [set(cores[first : first + threads]) for first in range(0, len(cores), threads)]


def may_have_gpu(device: str) -> bool:
    """Guess, without importing torch, whether ``device`` could be a GPU."""
    if device != "auto":
        return device != "cpu"
    return sys.platform == "darwin" or any(Path("/dev").glob("nvidia[0-9]*")) or _has_dri()


def _has_dri() -> bool:
    return any(Path("/dev/dri").glob("renderD*")) if Path("/dev/dri").exists() else False
