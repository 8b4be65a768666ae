"""Stop criteria that each break one check."""

from __future__ import annotations

import sys

from dsd_bench.stopping import StopCriterion


class Good(StopCriterion):
    """Stop at a tenth of the best."""

    def stop(self, rounds, score):
        if rounds[-1][score] < 0.1 * max(row[score] for row in rounds):
            return "it fell"
        return None


class Answers(Good):
    """Answers False."""

    def stop(self, rounds, score):
        return False


class Pure(Good):
    """Counts how often it was asked."""

    asked = 0

    def stop(self, rounds, score):
        self.asked += 1
        return "enough" if self.asked > 3 else None


class LeavesRounds(Good):
    """Notes in the rounds that it saw them."""

    def stop(self, rounds, score):
        rounds[-1]["seen"] = True
        return


class AbsentColumns(Good):
    """Reads entropy without declaring it."""

    def stop(self, rounds, score):
        return "dead" if rounds[-1]["entropy"] < 0 else None


class Columns(Good):
    """Declares a column that there is not."""


class Resumes(Good):
    """Remembers the rounds that it saw, which a run that goes on has not asked about."""

    def stop(self, rounds, score):
        self.seen = [*getattr(self, "seen", []), len(rounds)]
        return "three in a row" if self.seen[-2:] == [1, 2] else None


class SurvivesKill(Good):
    """Stops at once in the process that is to be killed."""

    def stop(self, rounds, score):
        return "here" if any("SIGKILL" in word for word in sys.orig_argv) else None
