"""Timings on synthetic data: what they depend on, where they are kept, what is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dsd_bench import configure
from dsd_bench.costs import timing
from dsd_bench.costs.counting import Sizes, known_sizes
from dsd_bench.costs.timing import Pace, cache_file, expected_seconds, pace, read_cache, timed_part
from dsd_bench.training import device


@pytest.fixture
def place():
    return device.make_context("cpu", 1, False, "fp32")


@pytest.fixture
def timings(monkeypatch):
    """Replace the measurement; return how often it was made."""
    made = []

    def measured(config, sizes, place):
        made.append(config)
        return Pace(step=0.5, image=0.001)

    monkeypatch.setattr(timing, "measure_pace", measured)
    monkeypatch.setattr(timing, "time", Clock())
    return made


class Clock:
    """The clocks of a process that had the processor for a share of the time.

    Args:
        took: seconds between two looks.
        had: the share.
    """

    def __init__(self, took=1.0, had=1.0):
        self.took, self.had, self.wall, self.own = took, had, 0.0, 0.0

    def perf_counter(self):
        self.wall += self.took
        return self.wall

    def process_time(self):
        self.own += self.took * self.had
        return self.own


def test_the_seconds_of_a_run_by_hand(tiny, place, timings, tmp_path):
    config = tiny(rounds=2, dense_epochs=5, retrain_epochs=2, epochs=None)  # 60 images, batch 20
    seconds = expected_seconds(config, place, tmp_path / "c.json")
    assert seconds == pytest.approx(0.5 * 3 * (5 + 2 + 2) + 0.001 * 3 * (60 + 30 + 597))


def test_what_was_timed_once_is_not_timed_again(tiny, place, timings, tmp_path):
    file = tmp_path / "deep" / "c.json"
    first = expected_seconds(tiny(), place, file)
    assert expected_seconds(tiny(seed=3, lr=0.5), place, file) == first
    assert len(timings) == 1
    assert len(read_cache(file)) == 1


@pytest.mark.parametrize(
    ("took", "had", "kept"),
    [(4.0, 0.85, True), (4.0, 0.75, False), (0.3, 0.4, True), (0.3, 0.2, False), (4.0, 2.0, True)],
)
def test_a_timing_that_had_to_wait_for_a_core_is_told_but_not_kept(
    tiny, place, timings, tmp_path, monkeypatch, took, had, kept
):
    monkeypatch.setattr(timing, "time", Clock(took, had))
    for _ in range(2):
        assert pace(tiny(), known_sizes(tiny()), place, tmp_path / "c.json") == Pace(0.5, 0.001)
    assert len(timings) == (1 if kept else 2)
    assert len(read_cache(tmp_path / "c.json")) == kept


def test_the_processors_time_says_nothing_of_a_gpu(tiny, timings, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "time", Clock(4.0, 0.1))
    monkeypatch.setattr(timing, "lay_out", lambda *given: None)
    monkeypatch.setattr(timing, "timed_part", lambda *given: {})
    gpu = SimpleNamespace(device=torch.device("cuda:0"))
    pace(tiny(), known_sizes(tiny()), gpu, tmp_path / "c.json")
    assert len(read_cache(tmp_path / "c.json")) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"model": "mlp:hidden=9"},
        {"batch_size": 10},
        {"optimizer": "adam"},
        {"reg": ["l1"]},
        {"reg": ["kd"]},
        {"dataset": "cifar10"},
    ],
)
def test_what_changes_a_step_is_timed_anew(tiny, place, options):
    def key(config):
        return timed_part(config, known_sizes(config), place)

    assert key(tiny()) != key(tiny(**options))


def test_the_teachers_model_counts_but_not_its_run(tiny, place):
    sizes = known_sizes(tiny())
    narrow, wide, later = (
        timed_part(tiny(reg=["kd"], **more), sizes, place)["regularizers"]
        for more in ({}, {"teacher": {"model": "mlp:hidden=99"}}, {"seed": 4})
    )
    assert narrow == later != wide


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"x": 1}',
        '{"x": {"step": -1, "image": 1}}',
        '{"x": {"step": NaN, "image": 1}}',
    ],
)
def test_a_damaged_cache_is_as_good_as_none(tiny, place, timings, tmp_path, text):
    file = tmp_path / "c.json"
    file.write_text(text)
    assert read_cache(file) == {}
    assert expected_seconds(tiny(), place, file) > 0
    assert list(read_cache(file).values()) == [Pace(0.5, 0.001)]


def test_other_timings_in_the_file_stay(tiny, place, timings, tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"other": {"step": 1, "image": 2}}))
    pace(tiny(), known_sizes(tiny()), place, file)
    assert read_cache(file)["other"] == Pace(1.0, 2.0)
    assert len(read_cache(file)) == 2


def test_a_cache_that_cannot_be_written_does_no_harm(tiny, place, timings, tmp_path):
    (tmp_path / "file").write_text("")
    assert expected_seconds(tiny(), place, tmp_path / "file" / "c.json") > 0


def test_the_cache_lies_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file() == tmp_path / "dsd-bench" / "calibration.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_file() == Path.home() / ".cache" / "dsd-bench" / "calibration.json"


def test_unknown_sizes_have_no_time(folder, place, timings, tmp_path):
    config = configure(dataset=f"imagefolder:{folder}", model="mlp:hidden=8", rounds=1)
    assert expected_seconds(config, place, tmp_path / "c.json") is None
    assert timings == []


@pytest.mark.parametrize("reg", [[], ["kd", "dropout"], ["augment", "l2"]])
def test_steps_of_the_real_engine_are_timed(tiny, place, reg):
    before = torch.get_rng_state()
    found = timing.measure_pace(tiny(reg=reg), known_sizes(tiny()), place)
    assert 0 < found.step < 1
    assert 0 < found.image < 0.1
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_of_twice_the_images_takes_longer(tiny, place):
    sizes = Sizes((1, 16, 16), 10, 4000, 4000)
    slow, quick = (
        timing.measure_pace(tiny(model="mlp:hidden=512x512", batch_size=n), sizes, place)
        for n in (1000, 10)
    )
    assert slow.step > 2 * quick.step
