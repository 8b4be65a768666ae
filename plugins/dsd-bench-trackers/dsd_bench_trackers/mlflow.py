"""MLflow: a server, or a store in a folder.

``MlflowClient`` (https://mlflow.org/docs/latest/python_api/mlflow.client.html) alone is used, which
keeps no state of the process. MLflow gives runs ids of its own; ours is a tag, by which a resumed
run is found again.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from dsd_bench_trackers.session import Ended
from dsd_bench_trackers.view import Values, View
from dsd_bench_trackers.words import MlflowParams

RUN, GROUP = "dsd_bench.run_id", "dsd_bench.group"
"""Tags of a run."""
STATES: dict[Ended, str] = {"finished": "FINISHED", "failed": "FAILED", "left": "KILLED"}
MOST = 100
"""Parameters of one request."""
LONGEST = 500
"""Characters of a parameter."""


class Mlflow:
    """A run of MLflow.

    ``log_batch`` may have been cut short by a kill, so of a resumed run it is asked which numbers
    of which round are there.
    """

    def __init__(self, client: MlflowClient, run_id: str, resumed: bool) -> None:
        self._client, self._id, self._resumed = client, run_id, resumed
        self.known: set[int] = set()
        self._there: dict[str, set[int]] = {}

    def log(self, round: int, values: Values) -> None:
        """Log the numbers of a round that are not there; its number is the step."""
        now = int(1000 * time.time())
        named = {_name(key): value for key, value in values.items()}
        missing = [
            Metric(key, value, now, round)
            for key, value in named.items()
            if round not in self._steps(key)
        ]
        if missing:
            self._client.log_batch(self._id, metrics=missing)

    def end(self, view: View, how: Ended) -> None:
        """Log what came out and end the run."""
        for key, value in view.summary().items():
            if isinstance(value, float):
                step = int(view.summary()["best_round"])
                if step not in self._steps(_name(key)):
                    self._client.log_metric(self._id, _name(key), value, step=step)
            else:
                self._client.set_tag(self._id, f"dsd_bench.{key}", value)
        if how == "failed":
            self._client.set_tag(self._id, "dsd_bench.error", str(view.error)[:LONGEST])
        self._client.set_terminated(self._id, STATES[how])

    def _steps(self, key: str) -> set[int]:
        if not self._resumed:
            return set()
        if key not in self._there:
            history = self._client.get_metric_history(self._id, key)
            self._there[key] = {metric.step for metric in history}
        return self._there[key]


def begin(params: MlflowParams, view: View) -> Mlflow:
    """Begin a run of MLflow, or go on with the one that has the run's id as a tag."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it works, and needs no database
    store = view.home / "mlflow"
    uri = params.uri or os.environ.get("MLFLOW_TRACKING_URI") or store.absolute().as_uri()
    client = MlflowClient(tracking_uri=uri)
    experiment = _experiment(client, params.experiment)
    found = client.search_runs([experiment], f"tags.`{RUN}` = '{view.run_id}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
    tags = {RUN: view.run_id, GROUP: view.group(params.group)}
    run = found[0] if found else client.create_run(experiment, tags=tags, run_name=view.run_id)
    there, run_id = run.data.params, run.info.run_id
    pairs = [Param(key, str(value)[:LONGEST]) for key, value in view.config.items()]
    missing = [pair for pair in pairs if pair.key not in there]
    for first in range(0, len(missing), MOST):
        client.log_batch(run_id, params=missing[first : first + MOST])
    return Mlflow(client, run_id, resumed=bool(found))


def _experiment(client: MlflowClient, name: str) -> Any:
    """Return the id of an experiment, which several processes may be making at once."""
    if (found := client.get_experiment_by_name(name)) is not None:
        return found.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def _name(key: str) -> str:
    """Return a metric's name in the letters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", key)
