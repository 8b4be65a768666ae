"""Whether a method dodges the double descent that the vanilla curve of its track shows."""

from __future__ import annotations

from dataclasses import dataclass

from dsd_bench.analysis.evidence import CANNOT_TELL, DOUBLE_DESCENT, NO_DOUBLE_DESCENT, Evidence


@dataclass(frozen=True)
class Dodge:
    """A statement on a method beside the vanilla curve of its track, with its evidence.

    Attributes:
        verdict: ``"dodged"``, ``"not dodged"``, ``"nothing to dodge"`` or ``"cannot tell"``.
        reason: both curves' depths and thresholds, in words.
        method: the evidence of the method's curve.
        vanilla: of the vanilla curve.
    """

    verdict: str
    reason: str
    method: Evidence
    vanilla: Evidence


def dodge(method: Evidence, vanilla: Evidence) -> Dodge:
    """Compare a method with the vanilla curve of the same track.

    - *nothing to dodge*: vanilla shows no double descent;
    - *dodged*: vanilla shows it and the method does not (its depth is under its threshold);
    - *not dodged*: both show it;
    - *cannot tell*: one of the two curves does not tell.

    It is a statement about the dip alone: a method whose accuracy only falls dodges too.

    Args:
        method: what :func:`judge` says of the method's seeds.
        vanilla: of the vanilla curve's; same data, noise, model and schedule.
    """
    if vanilla.verdict == NO_DOUBLE_DESCENT:
        verdict = "nothing to dodge"
    elif CANNOT_TELL in (vanilla.verdict, method.verdict):
        verdict = CANNOT_TELL
    else:
        verdict = "not dodged" if method.verdict == DOUBLE_DESCENT else "dodged"
    reason = f"this method: {_told(method)}; vanilla: {_told(vanilla)}"
    return Dodge(verdict, reason, method, vanilla)


def _told(evidence: Evidence) -> str:
    count = len(evidence.seeds)
    return f"{evidence.reason} ({count} seed{'' if count == 1 else 's'})"
