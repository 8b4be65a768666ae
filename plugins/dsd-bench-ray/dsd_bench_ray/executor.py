"""Workers as tasks of Ray."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from dsd_bench.errors import UsageError, describe
from dsd_bench.executors import Emit
from dsd_bench.executors.remote import Crew, RemoteExecutor, Standing
from dsd_bench_ray.plugin import RayParams, amounts

GRACE = 30.0
"""Seconds that a worker gets to write its checkpoint when it is to leave."""
ENDS = (0, 1, 130)
"""How a worker ends that has begun: all is done, some runs failed, it left early."""
PASSED_ON = ("PYTHONPATH", "DSD_BENCH_")
"""What environment variables of the command workers get; all others are those of their node."""


def carry_on(command: tuple[str, ...], environment: dict[str, str], log: Path) -> int:
    """Be a worker, within a task of Ray; return how it ended.

    The worker is a process of its own, with threads and allocator as dsd-bench sets them. It leaves
    when its standard input closes: when this task is cancelled, killed, or its node is.
    """
    environment = {**os.environ, **environment}
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [*command, "--attached"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
        )
    assert process.stdin is not None
    try:
        while process.poll() is None:  # a wait could not be cancelled
            time.sleep(0.1)
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.returncode


class Ray(RemoteExecutor):
    """Executes runs in tasks of Ray, which end with this process."""

    params: RayParams
    lasting = False
    every = 2.0

    def __init__(self, params: RayParams) -> None:
        super().__init__(params)
        self._tasks: dict[Any, Path] = {}
        self._ours = False

    @property
    def most(self) -> int:
        """How many workers to have at most."""
        if self.params.workers is not None:
            return self.params.workers
        wanted = {"CPU": self.params.cpus or 1.0, "GPU": self.params.gpus}
        wanted |= amounts(self.params.resources)
        there = self._ray().cluster_resources()
        fits = [there.get(name, 0.0) // amount for name, amount in wanted.items() if amount]
        return max(1, int(min(fits)))

    def absent(self) -> str | None:
        """Return why there is no Ray, in its own words."""
        try:
            self._ray()
        except UsageError as error:
            return str(error)
        return None

    def start(self, crew: Crew, count: int, emit: Emit) -> None:
        """Start ``count`` tasks; what no node can hold is told, because a cluster may grow."""
        ray, given = self._ray(), self.params
        wanted = {"CPU": given.cpus or float(crew.settings.threads), "GPU": given.gpus}
        wanted |= amounts(given.resources)
        if why := _too_much(wanted, [node for node in ray.nodes() if node["Alive"]]):
            emit({"event": "note", "text": f"ray: {why}; workers wait until one joins"})
        task = ray.remote(carry_on).options(
            num_cpus=wanted["CPU"],
            num_gpus=wanted["GPU"],
            resources=amounts(given.resources),
            max_retries=0,
            name=f"dsd-bench-{crew.name}",
        )
        passed = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
        first = len(list(crew.folder.glob("ray-*.log")))
        for number in range(first, first + count):
            log = crew.folder / f"ray-{number}.log"
            self._tasks[task.remote(crew.command, passed, log)] = log
        emit({"event": "note", "text": f"ray: {count} workers ({crew.folder})"})

    def standing(self, crew: Crew) -> Standing:
        """Count the tasks that have not ended; those without a log wait for their node."""
        left = self._left()
        running = sum(self._tasks[task].exists() for task in left)
        return Standing(running, len(left) - running, "for free resources")

    def lost(self, crew: Crew) -> list[str]:
        """Return how tasks ended whose worker did not end as workers do."""
        ray, found = self._ray(), []
        for task in set(self._tasks) - set(self._left()):
            log = self._tasks.pop(task)
            try:
                code = ray.get(task)
            except Exception as error:  # killed with its node, or for its memory
                found.append(f"{log.stem} was lost: {describe(error)}")
                continue
            if code not in ENDS:
                said = log.read_text("utf-8", "replace").strip()[-500:] if log.exists() else ""
                found.append(f"{log.stem} ended with exit code {code}; it said: {said}")
        return found

    def dismiss(self, crew: Crew) -> None:
        """Cancel what is left, so that workers write their checkpoints and leave."""
        left = self._left()
        for task in left:
            self._ray().cancel(task, force=False)
        if left:
            self._ray().wait(left, num_returns=len(left), timeout=GRACE + 5)

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        if self._ours:
            self._ours = False
            self._ray_module().shutdown()

    def _left(self) -> list[Any]:
        if not self._tasks:
            return []
        tasks = list(self._tasks)
        return list(self._ray().wait(tasks, num_returns=len(tasks), timeout=0)[1])

    def _ray_module(self) -> Any:
        try:
            import ray
        except ImportError as error:
            raise UsageError(
                f"--executor ray: Ray cannot be imported ({error}); pip install ray"
            ) from None
        return ray

    def _ray(self) -> Any:
        """Return Ray, connected.

        Raises:
            UsageError: if it is not installed, or the cluster does not answer.
        """
        ray = self._ray_module()
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            address = self.params.address
            try:
                ray.init(
                    address=address,
                    log_to_driver=False,
                    configure_logging=False,
                    **({"include_dashboard": False} if address == "local" else {}),
                )
            except Exception as error:  # of many kinds, by what was tried
                raise UsageError(
                    f"--executor ray: no cluster at {address}: {describe(error)}; "
                    "`ray start --head` starts one, ray:local needs none"
                ) from None
            self._ours = True
        return ray


def _too_much(wanted: dict[str, float], nodes: list[dict[str, Any]]) -> str | None:
    """Return what no node has; None if one of them can hold a worker."""
    for node in nodes:
        if all(node["Resources"].get(name, 0) >= amount for name, amount in wanted.items()):
            return None
    words = ", ".join(f"{name} {amount:g}" for name, amount in wanted.items() if amount)
    return f"no node of the cluster has {words}"
