"""A run's folder by hand, and what trackers hold, read without this plugin."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RUN = "0123456789abcdef"

CONFIG = {
    "run_id": RUN,
    "seed": 3,
    "protocol": {"lr": 0.03, "milestones": [0.5, 0.75]},
    "pruner": {"name": "magnitude", "version": 1, "params": {"fraction": 0.2}},
    "perturber": {"name": "none", "version": 1, "params": {}},
    "stop": {"name": "never", "version": 1, "params": {}},
    "regularizers": [
        {"name": "kd", "version": 1, "params": {"teacher": "feedfeedfeedfeed", "tau": 2.0}}
    ],
}


class Folder:
    """A run's folder that a test fills."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(CONFIG))

    def rounds(self, count: int, timed: bool = True) -> None:
        """Have the run finished so many rounds; if not ``timed``, it is about to."""
        rows = [
            {"round": n, "test_accuracy": n / 8, "entropy": None, "sparsity_per_layer": {"1.w": n}}
            for n in range(count)
        ]
        self._lines("rounds.jsonl", rows)
        (self.path / "metrics").mkdir(exist_ok=True)
        self._lines("metrics/ece+bins-9.jsonl", [{"round": n, "all": n} for n in range(count)])
        times = [{"round": n, "seconds": 2.0 * n} for n in range(count - (not timed))]
        self._lines("timings.jsonl", times)

    def finish(self) -> None:
        """Have the run done."""
        result = {"best_round": 1, "stopped_by": "rounds", "reason": "all rounds are done"}
        self._write("result.json", json.dumps(result))

    def _lines(self, name: str, rows: list[dict[str, Any]]) -> None:
        self._write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def _write(self, name: str, text: str) -> None:
        """Replace a file in one step, as runs do."""
        fresh = self.path / f"{name}.fresh"
        fresh.write_text(text)
        fresh.replace(self.path / name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs" / RUN)


def of_tensorboard(trackers: Path, run_id: str) -> dict[str, list[int]]:
    """Return the steps of each number, by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [place] = {file.parent for file in trackers.glob("tensorboard/**/events*")}
    assert place.name == run_id
    found = EventAccumulator(str(place), size_guidance={"scalars": 0}).Reload()
    return {tag: [e.step for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def of_mlflow(trackers: Path, run_id: str) -> dict[str, list[int]]:
    """Return the steps of each number, by MLflow's own client."""
    from mlflow import MlflowClient

    client = MlflowClient((trackers / "mlflow").as_uri())
    [experiment] = [one for one in client.search_experiments() if one.name == "dsd-bench"]
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == run.data.tags["dsd_bench.run_id"] == run_id
    assert run.data.params["protocol.milestones.1"] == "0.75"
    assert run.info.status == "FINISHED"
    history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return {key: [metric.step for metric in metrics] for key, metrics in history.items()}


def of_wandb(trackers: Path, run_id: str) -> dict[str, list[int]]:
    """Return the steps of each number, from the file that ``wandb sync`` sends."""
    from wandb.proto.wandb_internal_pb2 import Record

    [file] = trackers.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
    found: dict[str, list[int]] = {}
    codes = []
    for data in _records(file.read_bytes()):
        record = Record.FromString(data)
        if record.HasField("run"):
            assert (record.run.run_id, record.run.display_name) == (run_id, run_id)
        if record.HasField("exit"):
            codes.append(record.exit.exit_code)
        for item in record.history.item:
            name = item.key or item.nested_key[0]
            found.setdefault(name, []).append(record.history.step.num)
    assert codes == [0]
    return found


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file of W&B: the log format of LevelDB after 7 bytes of its own.

    https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    block, at, whole = 2**15, 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or a last part
            yield whole
            whole = b""


Read = Callable[[Path, str], dict[str, list[int]]]

READ: dict[str, tuple[str, Read]] = {
    "tensorboard": ("tensorboard", of_tensorboard),
    "wandb": ("wandb:mode=offline", of_wandb),
    "mlflow": ("mlflow", of_mlflow),
}
"""How each tracker is asked for here, and how what it holds is read."""


@pytest.fixture(params=READ)
def tracker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Read]:
    """Return a tracker whose library is installed."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return READ[request.param]
