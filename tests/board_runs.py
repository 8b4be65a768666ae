"""Synthetic run folders for the tests of boards: whole, and consistent in every number."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy

from dsd_bench.config.run import RunConfig
from dsd_bench.stopping.builtin import register_stop_criteria
from dsd_bench.store import StoredRun, load_run

PROTOCOL = {
    "rounds": 4,
    "dense_epochs": 200,
    "retrain_epochs": 50,
    "batch_size": 100,
    "lr": 0.02,
    "weight_decay": 1e-3,
}
DIP = (0.70, 0.60, 0.65, 0.75, 0.50)
WEIGHTS = 1000
LAYERS = 2
TRAIN, NOISY = 1000, 400


def part(name: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "params": params}


def stop_rule(name: str, **params: Any) -> dict[str, Any]:
    """Return a built-in stop rule in the version that is installed."""
    versions = {rule.name: rule.version for rule in register_stop_criteria()}
    return {"name": name, "version": versions[name], "params": params}


def config(seed: int = 0, regularizers: Any = (), **changes: Any) -> RunConfig:
    """Return a configuration; unknown keywords but components go to the protocol."""
    value: dict[str, Any] = {
        "seed": seed,
        "data_seed": seed,
        "fingerprint": "sha256:0123",
        "model": part("mlp", hidden="64x64"),
        "dataset": part("digits", train_size=None, val_size=200.0, transform="none"),
        "noise": part("symmetric", rate=0.4, validation=False),
        "pruner": part("magnitude", fraction=0.2, scope="global"),
        "perturber": part("none"),
        "stop": part("never"),
        "regularizers": list(regularizers),
    }
    own = {*value, *(key for key, item in changes.items() if isinstance(item, dict))}
    protocol = PROTOCOL | {key: changes.pop(key) for key in [*changes] if key not in own}
    return RunConfig.model_validate({**value, **changes, "protocol": protocol})


def kd(seed: int = 0, weights: str = "best", named: str | None = None, **changes: Any) -> Any:
    """Return a distilling regularizer with its teacher."""
    teacher = config(seed, **changes)
    params = {"alpha": 0.8, "temperature": 10.0, "teacher": named or weights}
    told = {"run_id": teacher.run_id, "weights": weights, "config": teacher.model_dump()}
    return {**part("kd"), "params": params, "teacher": told}


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "from_round": 0,
        "device": "cpu",
        "chip": "AVX2",
        "threads": 1,
        "torch": "2.15.0",
        "numerics": 1,
        **changes,
    }


def code(**plugins: str) -> dict[str, Any]:
    """Return a line of provenance; each keyword is a distribution with the letter of its digest."""
    told = {name: {"version": "1.0", "sha256": 64 * letter} for name, letter in plugins.items()}
    return {"round": 0, "versions": {"dsd-bench": "0.1.0", "torch": "2.15.0"}, "plugins": told}


def remaining(rounds: int, fraction: float) -> list[int]:
    """Return the weights that are left in each round."""
    counts = [WEIGHTS]
    while len(counts) < rounds:
        counts.append(counts[-1] - max(1, round(fraction * counts[-1])))
    return counts


def row(index: int, test: float, val: float | None, nonzero: int) -> dict[str, Any]:
    return {
        "round": index,
        "sparsity": 1 - nonzero / WEIGHTS,
        "nonzero": nonzero,
        "train_loss": 0.1,
        "train_accuracy": 0.9,
        "train_accuracy_clean": 0.95,
        "train_accuracy_noisy": 0.825,
        "val_accuracy": val,
        "val_loss": None if val is None else 1.0,
        "test_accuracy": test,
        "test_loss": 1.25,
        "entropy": 0.7,
        "entropy_per_layer": [0.7],
        "sparsity_per_layer": {"0.weight": 0.1, "2.weight": 0.1},
        "macs_dense": 2000,
        "macs_effective": 2 * nonzero,
    }


def bits(accuracy: float | None, images: int) -> str | None:
    """Return packed bits of that accuracy, drawn anew for each accuracy."""
    if accuracy is None:
        return None
    right = numpy.arange(images) < round(accuracy * images)
    shuffled = numpy.random.default_rng(images).permutation(right)
    return base64.b64encode(numpy.packbits(shuffled)).decode()


def write_run(
    runs_dir: Path,
    configuration: RunConfig | None = None,
    test: Any = None,
    val: Any = None,
    images: int = 100,
    provenance: Any = None,
    **result: Any,
) -> StoredRun:
    """Write a finished run's folder and read it back; ``result`` goes to ``result.json``.

    Accuracies are rounded to whole numbers of ``images``, of the test and the validation part.
    """
    configuration = configuration or config()
    patient = configuration.stop.name == "patience"
    test = DIP[: 2 if patient else None] if test is None else test
    test = [round(value * images) / images for value in test]
    scores = test if val is None else [round(value * images) / images for value in val]
    fraction = configuration.pruner.params.get("fraction", 0.2)
    counts = remaining(len(test), fraction)
    rows = [row(*values) for values in zip(range(len(test)), test, scores, counts)]
    by = test if configuration.protocol.selection == "test" else scores
    ends = "rounds" if len(test) - 1 == configuration.protocol.rounds else "nothing-left"
    told = {
        "run_id": configuration.run_id,
        "status": "done",
        "best_round": by.index(max(by)),
        "stopped_by": "patience" if patient else ends,
        "reason": "it ended",
        "label_noise": {"rate": NOISY / TRAIN, "matrix": []},
        "samples": {"train": TRAIN, "val": images, "test": images},
        "plan": [plan()],
        "versions": {"dsd-bench": "0.1.0", "torch": "2.15.0"},
        "hardware": {"cpu": "a chip", "cores": 2, "gpu": None},
    } | result
    folder = runs_dir / configuration.run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "rounds.jsonl", rows)
    right = [
        {"round": r["round"], **{p: bits(r[f"{p}_accuracy"], images) for p in ("val", "test")}}
        for r in rows
    ]
    write_lines(folder / "correct.jsonl", right)
    write_lines(folder / "provenance.jsonl", provenance or [code()])
    (folder / "config.json").write_text(json.dumps(configuration.to_json()))
    if told["status"] is not None:
        (folder / "result.json").write_text(json.dumps(told))
        rehash(folder)
    return load_run(folder)


def write_lines(path: Path, rows: Any) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in rows))


def rehash(folder: Path) -> StoredRun:
    """Record the present files' hashes, as if the run had written them so; read it again."""
    path = folder / "result.json"
    names = ("config.json", "rounds.jsonl", "correct.jsonl")
    hashes = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": hashes}))
    return load_run(folder)
