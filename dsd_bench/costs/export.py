"""Ledgers as JSON and as the rows of a CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dsd_bench.costs import Ledger, total
from dsd_bench.costs.convention import Comparison, in_paper_convention

COLUMNS = (
    *("run_id", "seed", "role", "student", "round", "sparsity", "images"),
    *("forward", "backward", "forward_effective", "backward_effective"),
    *("teaching", "teaching_effective"),
)
"""Of the CSV. ``role`` is ``run`` or ``teacher``; ``student`` the run that a teacher taught."""


def to_json(ledger: Ledger) -> dict[str, Any]:
    """Return a ledger with its totals, and what the paper's convention makes of it."""
    return {
        "run_id": ledger.run_id,
        "seed": ledger.seed,
        "finished": ledger.finished,
        "best_round": ledger.best_round,
        "image": {"forward": ledger.step[0], "backward": ledger.step[1]},
        "trainings": [
            {**asdict(training), "dense": training.dense, "effective": training.effective}
            for training in ledger.trainings
        ],
        "total": {
            "dense": ledger.dense,
            "effective": ledger.effective,
            "dense_training": ledger.trainings[0].dense,
            "pruned_dense": sum(training.dense for training in ledger.trainings[1:]),
            "pruned_effective": total(ledger.trainings[1:]),
            "teachers_dense": ledger.teachers_dense,
            "teachers_effective": ledger.teachers_effective,
        },
        "teachers": [
            {
                "run_id": teacher.run_id,
                "weights": teacher.weights,
                "needed": teacher.needed,
                "forward": teacher.forward,
                "ledger": to_json(teacher.ledger) if teacher.ledger else None,
            }
            for teacher in ledger.teachers
        ],
        "paper": asdict(in_paper_convention(ledger)),
    }


def to_rows(ledgers: Sequence[Ledger], student: str = "") -> list[dict[str, Any]]:
    """Return one row for each training of each run, then of its teachers; keys: COLUMNS."""
    rows = []
    for ledger in ledgers:
        who = {
            "run_id": ledger.run_id,
            "seed": ledger.seed,
            "role": "teacher" if student else "run",
            "student": student,
        }
        rows += [{**who, **asdict(training)} for training in ledger.trainings]
        taught = [teacher.ledger for teacher in ledger.teachers if teacher.ledger]
        rows += to_rows(taught, ledger.run_id)
    return rows


def comparison_row(found: Comparison) -> dict[str, Any]:
    """Return a row of the paper's cost column beside what is counted here, flat."""
    rest = {key: value for key, value in asdict(found).items() if key != "row"}
    return {**asdict(found.row), **rest}
