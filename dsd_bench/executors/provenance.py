"""Other plugin code than made the runs that are there: told, or refused, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dsd_bench.errors import UsageError, collect
from dsd_bench.executors import Event
from dsd_bench.executors.planning import Planned
from dsd_bench.experiment.provenance import ADVICE, OTHER, other_code


def check_code(planned: Sequence[Planned], accept: bool, emit: Callable[[Event], None]) -> None:
    """Compare the plugins that are installed with those behind the runs that are there.

    Finished runs are reused as they are, with a note; runs that are to go on are refused.

    Args:
        planned: the runs.
        accept: whether other code may go on with them.
        emit: is called with a note for each difference, however many runs it concerns.

    Raises:
        UsageError: one line for each difference, naming the first of the runs it concerns.
    """
    reused: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for item in planned:
        begun = any(item.job.path.glob("checkpoint*.safetensors"))
        if item.job.fresh or not (item.reused or begun):
            continue
        try:
            difference = other_code(item.job.path, item.config)
            told = f"{OTHER}: {difference}" if difference else ""
        except UsageError as error:
            told = str(error)
        if told:
            (reused if item.reused else refused).setdefault(told, []).append(item.job.run_id)
    for told, ids in reused.items():
        text = f"reused as it is{_more(ids)}; {told}"
        emit({"event": "note", "run_id": ids[0], "text": text})
    if not accept:
        collect([f"run {ids[0]}{_more(ids)}: {told}; {ADVICE}" for told, ids in refused.items()])


def _more(ids: Sequence[str]) -> str:
    return f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
