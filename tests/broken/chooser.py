"""Choosers that each break one check."""

from __future__ import annotations

import sys

from dsd_bench.choosers import Chooser


class Good(Chooser):
    """The last round that is no worse than the dense one."""

    steady = True

    def choose(self, rounds, score):
        good = [n for n, row in enumerate(rounds) if row[score] >= rounds[0][score]]
        return good[-1]


class Answers(Good):
    """Answers the round after the last."""

    def choose(self, rounds, score):
        return len(rounds)


class Pure(Good):
    """Remembers what it chose."""

    def choose(self, rounds, score):
        self.last = max(getattr(self, "last", 0), super().choose(rounds, score))
        return min(self.last, len(rounds) - 1)


class LeavesRounds(Good):
    """Notes in the rounds that it saw them."""

    def choose(self, rounds, score):
        rounds[-1]["seen"] = True
        return super().choose(rounds, score)


class AbsentColumns(Good):
    """Reads entropy without declaring it."""

    def choose(self, rounds, score):
        return 0 if rounds[-1]["entropy"] < 0 else super().choose(rounds, score)


class Columns(Good):
    """Declares a column that there is not."""


class Steady(Good):
    """Goes back to a round that it had passed over."""

    def choose(self, rounds, score):
        return len(rounds) // 2


class Resumes(Good):
    """Answers by how often it was asked, which a run that goes on was less."""

    def choose(self, rounds, score):
        self.asked = [*getattr(self, "asked", []), len(rounds)]
        return 0 if self.asked[:1] == [1] else len(rounds) - 1


class SurvivesKill(Good):
    """Chooses the dense round in the process that is to be killed, and the last one elsewhere."""

    def choose(self, rounds, score):
        if any("SIGKILL" in word for word in sys.orig_argv):
            raise ValueError("not here")
        return super().choose(rounds, score)
