"""The ledger of a stored run: the MACs of every training, its teachers' apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsd_bench.analysis import selected_round
from dsd_bench.config.naming import command
from dsd_bench.config.run import RunConfig, TeacherConfig
from dsd_bench.config.training import passes_of
from dsd_bench.costs import Ledger, TeacherCost, TrainingCost
from dsd_bench.costs.counted import Counted
from dsd_bench.costs.counting import (
    Sizes,
    count_model,
    images_of_training,
    known_sizes,
    read_sizes,
)
from dsd_bench.costs.expected import teaching_step
from dsd_bench.errors import UsageError
from dsd_bench.store.checkpoint import Row
from dsd_bench.store.runs import StoredRun, finished, load_run


def read_ledger(run: StoredRun, data_dir: Path = Path("data")) -> Ledger:
    """Return the ledger of a run folder; teachers' runs are looked for beside it.

    Args:
        run: finished, or with at least one round.
        data_dir: where data sets lie; read only for those that do not tell their sizes.

    Raises:
        UsageError: if there is no round yet, or the model counts other MACs today than the run
            recorded.
    """
    if not run.rows:
        raise UsageError(
            f"run {run.run_id} has no finished round; finish it with: "
            + command("run", "--config", run.path / "config.json", runs_dir=run.path.parent)
        )
    config = RunConfig.from_json(run.config, str(run.path / "config.json"))
    sizes = known_sizes(config) or read_sizes(config, data_dir)
    counted = count_model(config.model, sizes.shape, sizes.classes)
    _check(run, counted)
    taught = [r.teacher for r in config.regularizers if r.teacher is not None]
    teachers = [_teacher(run.path.parent, teacher, data_dir) for teacher in taught]
    teaching = _teaching(teachers, teaching_step(config, sizes))
    done = finished(run.path)
    return Ledger(
        run_id=run.run_id,
        seed=run.seed,
        finished=done,
        best_round=selected_round(run) if done else None,
        step=(counted.step.forward, counted.step.backward),
        trainings=tuple(training_cost(config, row, counted, sizes, teaching) for row in run.rows),
        teachers=tuple(teachers),
    )


def training_cost(
    config: RunConfig,
    row: Row,
    counted: Counted,
    sizes: Sizes,
    teaching: tuple[int, int | None] = (0, 0),
) -> TrainingCost:
    """Return the cost of the training that ended in ``row``.

    Args:
        config: the run.
        row: a row of ``rounds.jsonl``.
        counted: the run's model.
        sizes: of its data.
        teaching: MACs of one image's forward pass through all teachers, dense and effective.
    """
    sparse, redense = images_of_training(config, row["round"], sizes.train, row.get("epochs", ()))
    images, step = sparse + redense, counted.step
    passes = passes_of(config)
    passed, sparse, redense = passes * images, passes * sparse, passes * redense
    forward, backward = step.effective(row["sparsity_per_layer"])
    dense, effective = teaching
    return TrainingCost(
        round=row["round"],
        sparsity=row["sparsity"],
        images=images,
        forward=passed * step.forward,
        backward=passed * step.backward,
        forward_effective=sparse * forward + redense * step.forward,
        backward_effective=sparse * backward + redense * step.backward,
        teaching=passed * dense,
        teaching_effective=None if effective is None else passed * effective,
    )


def _check(run: StoredRun, counted: Counted) -> None:
    """Refuse a ledger made with another model than the run's."""
    recorded, now = run.rows[0]["macs_dense"], counted.step.forward
    odd = sorted(counted.step.layers.keys() - run.rows[0]["sparsity_per_layer"].keys())
    name = run.config["model"]["name"]
    if recorded != now:
        raise UsageError(
            f"run {run.run_id} recorded {recorded:,} multiply-accumulates an image, its model "
            f"'{name}' counts {now:,} here: it is another version of the model's library, or the "
            "run's of dsd-bench; count where the run was made"
        )
    if odd:
        raise UsageError(
            f"run {run.run_id} did not prune '{odd[0]}', which its model '{name}' has among its "
            "prunable weights here; count with the version of dsd-bench that made the run"
        )


def _teacher(folder: Path, teacher: TeacherConfig, data_dir: Path) -> TeacherCost:
    path = folder / teacher.run_id
    if not finished(path):
        return TeacherCost(teacher.run_id, teacher.weights, None, None)
    run = load_run(path)
    ledger = read_ledger(run, data_dir)
    chosen = 0 if teacher.weights == "dense" else ledger.best_round or 0
    forward = int(run.rows[chosen]["macs_effective"])
    return TeacherCost(teacher.run_id, teacher.weights, ledger, forward)


def _teaching(teachers: Sequence[TeacherCost], dense: int) -> tuple[int, int | None]:
    """Return dense and effective forward MACs of one image through all teachers."""
    effective = [teacher.forward for teacher in teachers if teacher.forward is not None]
    return dense, sum(effective) if len(effective) == len(teachers) else None
