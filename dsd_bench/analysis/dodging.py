"""Whether a method dodges the double descent that the vanilla curve of its track shows."""

from __future__ import annotations

from dataclasses import dataclass

from dsd_bench.analysis.evidence import CANNOT_TELL, DOUBLE_DESCENT, NO_DOUBLE_DESCENT, Evidence
from dsd_bench.analysis.fairness import Fairness


@dataclass(frozen=True)
class Dodge:
    """A statement on a method beside the vanilla curve of its track, with its evidence.

    Attributes:
        verdict: ``"dodged"``, ``"not dodged"``, ``"nothing to dodge"``, ``"stopped early"`` or
            ``"cannot tell"``.
        reason: both curves' depths and thresholds, in words, and what must be said beside them.
        method: the evidence of the method's curve.
        vanilla: of the vanilla curve.
    """

    verdict: str
    reason: str
    method: Evidence
    vanilla: Evidence


def dodge(method: Evidence, vanilla: Evidence, fair: Fairness | None = None) -> Dodge:
    """Compare a method with the vanilla curve of the same track.

    - *nothing to dodge*: vanilla shows no double descent;
    - *dodged*: vanilla shows it and the method does not (its depth is under its threshold);
    - *stopped early*: likewise, but each round of the method trains from weights that were set
      back, and for fewer epochs than the dense training: that alone keeps wrong labels out;
    - *not dodged*: both show it;
    - *cannot tell*: one of the two curves does not tell, or it is not known whether the method
      was stopped early.

    It is a statement about the dip alone: a method whose accuracy only falls dodges too.

    Args:
        method: what :func:`judge` says of the method's seeds.
        vanilla: of the vanilla curve's; same data, noise, model and schedule.
        fair: whether the method's trainings are whole, and the net interpolates; None where all
            is known to be well.
    """
    if vanilla.verdict == NO_DOUBLE_DESCENT:
        verdict = "nothing to dodge"
    elif CANNOT_TELL in (vanilla.verdict, method.verdict):
        verdict = CANNOT_TELL
    else:
        verdict = "not dodged" if method.verdict == DOUBLE_DESCENT else _dodged(fair)
    notes = fair.notes if fair else ()
    reason = "; ".join((f"this method: {_told(method)}; vanilla: {_told(vanilla)}", *notes))
    return Dodge(verdict, reason, method, vanilla)


def _dodged(fair: Fairness | None) -> str:
    if fair is None or fair.stopped_early is False:
        return "dodged"
    return "stopped early" if fair.stopped_early else CANNOT_TELL


def _told(evidence: Evidence) -> str:
    count = len(evidence.seeds)
    return f"{evidence.reason} ({count} seed{'' if count == 1 else 's'})"
