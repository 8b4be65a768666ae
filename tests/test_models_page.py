"""docs/models.md against the code that writes it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from benchmarks.models.timm_table import PAGE, Entry, apart, measured, page, reasons
from dsd_bench.metrics.prunable import LeftOut

LINES = PAGE.read_text().splitlines()
ROWS = {line.split("`")[1]: line for line in LINES if line.startswith("| `")}
QUICK = ("resnet", "nf_*", "deit")


@pytest.mark.parametrize("family", QUICK)
def test_the_pages_rows_are_what_the_code_measures(family):
    timm = pytest.importorskip("timm")
    if f"timm {timm.__version__} and" not in "\n".join(LINES):
        pytest.skip("the page is of another version of timm")
    _, _, _, model, rest = ROWS[family].split("`", 4)
    size = int(rest.split("|")[1])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert measured(family, model, size).row() == ROWS[family]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_page_counts_its_families():
    verdicts = [row.rsplit("|", 2)[1].strip() for row in ROWS.values()]
    counts = [verdicts.count("supported"), verdicts.count("in part")]
    counts.append(len(verdicts) - sum(counts))
    told = re.search(
        r"(\d+) families: (\d+) supported, (\d+) in part, (\d+) refused", "\n".join(LINES)
    )
    assert [int(number) for number in told.groups()] == [len(ROWS), *counts]
    assert len(ROWS) >= 60


def test_a_family_is_told_in_one_line_whatever_became_of_it():
    good = Entry("a", "a_small", 64, 0.5, "", 0.5, 3)
    part = Entry("b", "b_small", 64, 0.25, "2 computed (`x.weight`, ...)", 0.75)
    bad = Entry("c", "c_small", refused="AssertionError: height | width")
    assert good.row() == "| `a` | `a_small` | 64 | 50.0 % | - | 0.500 | 3 | supported |"
    assert part.row().endswith("| 2 computed (`x.weight`, ...) | 0.750 | none | in part |")
    assert bad.row().endswith("| - | - | - | - | refused: AssertionError: height / width |")
    text = page([bad, part, good])
    assert text.splitlines()[-3:] == [good.row(), part.row(), bad.row()]
    assert "3 families: 1 supported, 1 in part, 1 refused" in text


def test_reasons_in_few_words():
    left = LeftOut(("a.weight", "b.weight"), (), ("rnn.weight_ih_l0",), 0.5)
    assert reasons(left) == "2 computed (`a.weight`, ...); 1 other kinds (`rnn.weight_ih_l0`)"


def test_a_family_that_takes_too_long_or_dies_is_told(monkeypatch):
    import os
    import time

    from benchmarks.models import timm_table

    monkeypatch.setattr(timm_table, "tried", lambda *_: time.sleep(60))
    assert apart("a", ["a_small"], 0.2).refused == "over 0 s"
    monkeypatch.setattr(timm_table, "tried", lambda *_: os._exit(7))
    assert apart("a", ["a_small"], 60).refused == "its process ended with 7"


def test_a_model_that_does_not_train_is_refused(monkeypatch):
    from benchmarks.models import timm_table

    class Pair(nn.Linear):
        def forward(self, x):
            outputs = super().forward(x.flatten(1))
            return (outputs, outputs) if self.training else outputs

    monkeypatch.setattr(timm_table.TimmFactory, "build", lambda *_: Pair(48, 10))
    with pytest.raises(Exception, match="in train mode it does not give"):
        measured("a", "a_small", 4)
