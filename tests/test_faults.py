"""A small version of the campaign of faults (docs/reliability.md): each kind once."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.campaign import KINDS, Campaign, Verdict
from faults.table import markdown


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("faults"), seed=7)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_a_sweep_ends_with_the_same_bytes(kind: str, campaign: Campaign) -> None:
    for index in range(5):  # a sweep may be over before anything has happened to it
        verdict = campaign.run(kind, index, goal=2, real=False)
        if verdict.skipped:
            pytest.skip(verdict.skipped)
        assert not verdict.wrong, "\n".join([*verdict.faults, *verdict.wrong])
        if verdict.faults:
            return
    pytest.fail("no fault happened")


def test_the_campaign_notices_what_is_broken(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, seed=7, broken="checksum")
    assert campaign.run("damaged weights", 0, goal=3).wrong


def test_the_table_counts_faults_and_what_could_not_be_tried() -> None:
    verdicts = [
        Verdict("SIGTERM", 0, ["1 s: a", "2 s: b"]),
        Verdict("SIGTERM", 1, ["1 s: a"], wrong=["something"]),
        Verdict("full disk", 0, skipped="no root"),
    ]
    lines = markdown(verdicts).splitlines()
    assert lines[2:] == [
        "| SIGTERM | 2 | 3 | 1 of 2 sweeps |",
        "| full disk | - | - | not tried: no root |",
        "| all | 2 | 3 | 1 of 2 sweeps |",
    ]


def test_cases_are_drawn_by_their_weights_and_repeat_with_their_seed(campaign: Campaign) -> None:
    cases = campaign.cases(["SIGTERM", "dead host"])
    assert [next(cases) for _ in range(4)] == [
        *(("SIGTERM", 0), ("SIGTERM", 1), ("dead host", 0), ("SIGTERM", 2)),
    ]
