"""The speed benchmark runs anywhere; workers' environment; the plain loop it compares with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.speed.__main__ import KINDS
from benchmarks.speed.cases import cases
from benchmarks.speed.engine import Engine
from benchmarks.speed.plain import Bare, Images, PlainLoop
from benchmarks.speed.roofline import Peaks, limit
from benchmarks.speed.timing import in_turn, ratio
from dsd_bench.executors import Settings
from dsd_bench.executors.local import worker_environment
from dsd_bench.training import device

ROOT = Path(__file__).parent.parent


def test_the_quick_benchmark_prints_every_kind_of_measurement(tmp_path: Path) -> None:
    words = ["-m", "benchmarks.speed", "--quick", "--json", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    value = json.loads(done.stdout)
    assert value["hardware"].keys() >= {"cpu", "gpu"}
    assert value["versions"]["torch"] == torch.__version__
    lines = {(line["kind"], line["measure"].split(",")[0]): line for line in value["lines"]}
    assert {kind for kind, _ in lines} == set(KINDS)
    assert lines["stream", "of decoder and boxes"]["value"] > 10
    assert lines["round", "checkpoint"]["value"] > 0
    assert 0 < lines["scale", "planning"]["value"] < 60
    assert lines["scale", "each"]["value"] > 0
    assert lines["scale", "dsd-bench status"]["value"] > 0
    assert lines["epoch", "plain loop / engine"]["value"] > 0.1  # on a quiet computer above 1
    assert lines["many", "2 at once"]["value"] > 0
    assert "same bytes" in lines["many", "2 at once"]["measure"]
    assert lines["command", "command to first step"]["value"] > 0
    assert lines["limit", "share of the roofline"]["value"] < 100


def test_the_plain_loop_and_bare_passes_see_the_same_data() -> None:
    digits, vgg = cases("cpu", quick=True)
    place = device.make_context("cpu", 1, False, "fp32")
    resident = digits.resident(place)
    image, label = Images(digits)[3]
    ready = resident.normalise(resident.train.gather(torch.tensor([3])))
    torch.testing.assert_close(image, ready[0], rtol=1e-5, atol=1e-5)
    assert label == resident.train.labels[3]
    image, _ = Images(vgg)[0]
    assert image.shape == vgg.shape
    assert sum(len(labels) for _, labels in Bare(vgg, place).batches) == vgg.images


def test_the_plain_loop_trains_only_what_is_left() -> None:
    case = cases("cpu", quick=True)[0]
    loop = PlainLoop(case, device.make_context("cpu", 1, False, "fp32"), workers=0)
    before = loop.model[1].weight_orig.detach().clone()
    loop.epoch()
    after = loop.model[1].weight_orig.detach()
    moved = after * (1 - 5e-4 * 1e-3) ** 5 != before * (1 - 5e-4 * 1e-3) ** 5
    assert moved[loop.model[1].weight_mask.bool()].float().mean() > 0.9
    assert not loop.model[1].weight[loop.model[1].weight_mask == 0].any()


def test_the_engine_of_the_benchmark_repeats_its_bytes() -> None:
    place = device.make_context("cpu", 1, False, "fp32")
    case = cases("cpu", quick=True)[1]
    first, second = Engine(case, place), Engine(case, place)
    first.epochs(2)
    second.epoch()
    assert first.digest() != second.digest()
    second.epoch()
    assert first.digest() == second.digest()


def test_the_limit_is_arithmetic_or_bytes() -> None:
    place = device.make_context("cpu", 1, False, "fp32")
    case = cases("cpu", quick=True)[0]  # 64-64-64-10, 500 images in 5 steps
    forward = 64 * 64 * 2 + 64 * 10
    products = forward + (forward + forward - 64 * 64)  # the first layer's input has no gradient
    assert limit(case, place, Peaks(1.0, 1e99)) == pytest.approx(2 * products * 500)
    features = 3 * (2 * (64 + 64) + 64 + 10) * 500
    weights = 3 * (2 * 64 * 65 + 10 * 65) * 5
    assert limit(case, place, Peaks(1e99, 1.0)) == pytest.approx(4 * (features + weights))


def test_times_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("benchmarks.speed.timing.SHORT", 0.0)
    things = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = in_turn(things, 3, torch.device("cpu"))
    assert calls == [*"aabb", *"ab" * 3]
    assert [len(times) for times in seconds.values()] == [3, 3]
    assert ratio({"a": [2.0, 9.0, 4.0], "b": [1.0, 3.0, 1.0]}, "a", "b") == 3.0


def test_workers_have_an_allocator_that_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    environment = worker_environment(Settings(threads=2))
    assert environment["MALLOC_MMAP_MAX_"] == "0"
    assert environment["MALLOC_TOP_PAD_"] == "4096"  # the user's
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert environment["PATH"] == os.environ["PATH"]
