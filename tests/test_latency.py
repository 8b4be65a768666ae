"""Latency: ratios of interleaved times, counters, backends, and the command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dsd_bench.errors import UsageError
from dsd_bench.latency import (
    AGAIN,
    BACKENDS,
    Subject,
    measure,
    measuring,
    median_interval,
    ratio,
    read_latency,
)
from dsd_bench.latency import backends as backends_module
from dsd_bench.latency.backends import Skipped, ready
from dsd_bench.latency.energy import NOT_MEASURED, Meter, Nvml, Rapl, counter_of
from dsd_bench.latency.records import Setting
from dsd_bench.latency.timing import cpu_clock, interleave

# -- ratios


def test_the_interval_is_that_of_order_statistics() -> None:
    # David and Nagaraja's table: of 10 values the 2nd and the 9th enclose the median in 97.9 %
    assert median_interval([float(n) for n in range(1, 11)]) == (2.0, 9.0)
    assert median_interval([5.0, 1.0, 2.0, 6.0, 3.0, 4.0]) == (1.0, 6.0)
    assert median_interval([float(n) for n in range(1, 41)]) == (14.0, 27.0)
    with pytest.raises(ValueError, match="5 values are too few"):
        median_interval([1.0] * 5)


def test_a_ratio_says_how_many_times_faster() -> None:
    found = ratio([2.0] * 8, [1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.blocks) == (2.0, 1.0, 4.0, 8)


@pytest.mark.parametrize("blocks", [6, 12, 40])
def test_the_interval_holds_under_noise_that_lasts(blocks: int) -> None:
    """What slows everything down for many blocks is in both; the rest is skewed, with outliers."""
    random = numpy.random.default_rng(blocks)
    inside, tries = 0, 1500
    for _ in range(tries):
        drift = numpy.exp(numpy.cumsum(random.normal(0, 0.05, blocks)))
        noise = random.gamma(2, 0.02, (2, blocks)) + (random.random((2, blocks)) < 0.05) * 1.0
        slow, fast = 3.0 * drift * (1 + noise[0]), 1.5 * drift * (1 + noise[1])
        found = ratio(slow.tolist(), fast.tolist())
        inside += found.low <= 2.0 <= found.high  # both noises are alike: the median ratio is 2
    assert inside / tries >= 0.945


@pytest.mark.parametrize(
    ("alike", "blocks", "told"),
    [(0.3, 40, 0.95), (0.6, 40, 0.90), (0.6, 240, 0.94), (0.9, 40, 0.66), (0.9, 240, 0.92)],
)
def test_the_interval_allows_for_ratios_that_are_like_their_neighbours(
    alike: float, blocks: int, told: float
) -> None:
    random = numpy.random.default_rng(blocks)
    inside, tries = 0, 1500
    for _ in range(tries):
        logs = [random.normal()]
        for step in random.normal(0, (1 - alike**2) ** 0.5, blocks - 1):
            logs.append(alike * logs[-1] + step)
        found = ratio((2 * numpy.exp(0.1 * numpy.array(logs))).tolist(), [1.0] * blocks)
        inside += found.low <= 2.0 <= found.high
    assert inside / tries == pytest.approx(told, abs=0.025)  # as docs/latency.md says


# -- timing


def test_every_call_is_timed_once_a_block_in_changing_order() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    told: list[tuple[str, int]] = []
    found = interleave(
        calls,
        7,
        lambda call, times: call() or float(times),  # type: ignore[func-returns-value]
        after=lambda name, times: told.append((name, times)),
    )
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys("abc", 7)
    blocks = [tuple(order[-21:][at : at + 3]) for at in range(0, 21, 3)]
    assert all(sorted(block) == ["a", "b", "c"] for block in blocks)
    assert len(set(blocks)) > 1
    assert len(told) == 21


def test_short_calls_are_repeated_and_long_ones_are_not() -> None:
    counts = {"short": 0, "long": 0}

    def short() -> None:
        counts["short"] += 1

    def long() -> None:
        counts["long"] += 1
        time.sleep(0.006)

    found = interleave({"short": short, "long": long}, 6, cpu_clock)
    assert counts["short"] > 600
    assert counts["long"] <= 3 + 1 + 6
    assert min(found["long"]) >= 0.006
    assert max(found["short"]) < 0.001


def test_an_interruption_keeps_whole_blocks() -> None:
    calls = 0

    def interrupted() -> None:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise KeyboardInterrupt

    found = interleave({"a": lambda: None, "b": interrupted}, 20, lambda call, times: call() or 1.0)  # type: ignore[func-returns-value]
    assert len(found["a"]) == len(found["b"]) < 20


def test_it_stops_when_it_may_not_go_on() -> None:
    found = interleave({"a": lambda: None}, 50, lambda call, times: 1.0, going=lambda n: n < 9)
    assert len(found["a"]) == 9


# -- energy


def package(folder: Path, name: str, value: int, turn: int = 1000) -> Path:
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "energy_uj").write_text(f"{value}\n")
    (place / "max_energy_range_uj").write_text(f"{turn}\n")
    return place


def test_rapl_adds_packages_and_goes_on_where_a_counter_begins_anew(tmp_path: Path) -> None:
    one, two = package(tmp_path, "intel-rapl:0", 900), package(tmp_path, "intel-rapl:1", 10)
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of the first: not counted twice
    counter = Rapl(tmp_path)
    (one / "energy_uj").write_text("950\n")
    assert counter.joules() == pytest.approx(50e-6)
    (one / "energy_uj").write_text("100\n")
    (two / "energy_uj").write_text("40\n")
    assert counter.joules() == pytest.approx((50 + 150 + 30) * 1e-6)


def test_what_cannot_be_read_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no readable"):
        Rapl(tmp_path)
    package(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("secret")
    assert counter_of("cpu", rapl=lambda: Rapl(tmp_path)) is None
    meter = Meter(None)
    meter.before("a")
    meter.after("a", 3)
    assert (meter.per_call("a"), meter.source) == (None, NOT_MEASURED)


class FakeNvml:
    """Counts the second GPU by its number, which is the only one that torch sees."""

    total = 5000

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-b":
            raise RuntimeError("no such GPU")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: str) -> int:
        self.total += 2000
        return self.total


def hidden(monkeypatch: pytest.MonkeyPatch, *visible: str) -> None:
    """Let torch see the GPUs ``visible`` alone."""

    def properties(index: int) -> SimpleNamespace:
        if index >= len(visible):
            raise AssertionError("Invalid device id")
        return SimpleNamespace(uuid=visible[index])

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)


def test_nvml_counts_millijoules_of_the_gpu_that_torch_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden(monkeypatch, "b")  # CUDA_VISIBLE_DEVICES=1
    meter = Meter(counter_of("cuda:0", nvml=lambda index: Nvml(index, FakeNvml())))
    meter.before("a")
    meter.after("a", 4)
    assert meter.per_call("a") == pytest.approx(0.5)
    assert counter_of("cuda:1", nvml=lambda index: Nvml(index, FakeNvml())) is None
    hidden(monkeypatch, "a", "b")
    assert counter_of("cuda", nvml=lambda index: Nvml(index, FakeNvml())) is None
    assert counter_of("cuda:1", nvml=lambda index: Nvml(index, FakeNvml())) is not None


# -- backends and measuring


def net(width: int) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, 4)
    return nn.Sequential(*layers).eval().requires_grad_(False)


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def subject() -> Subject:
    return Subject("a test", {"dense": net(64), "small": net(2)}, IMAGES)


def test_on_a_gpu_its_own_events_count_and_nothing_is_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is one of the current GPU, and cuDNN convolves in tf32 unless it is told."""
    seen: list[Any] = []

    class Current:
        def __init__(self, device: str) -> None:
            seen.append(device)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            seen.append("left")

    def setting(*_: object) -> Setting:
        seen.append(torch.backends.cudnn.allow_tf32)
        return Setting(backend="eager", batch=1, blocks=0, timings=[], skipped={"all": "a test"})

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(measuring, "_setting", setting)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert measure(subject(), ["eager"], [1], device="cuda:1").machine.chip == "a GPU"
    assert seen == ["cuda:1", False, "left"]
    assert torch.backends.cudnn.allow_tf32
    measure(subject(), ["eager"], [1])
    assert seen[3:] == [True]


def test_eager_takes_a_layout_and_computes_the_same() -> None:
    model = net(8)
    expected = model(IMAGES)
    found = ready("eager", model, IMAGES, 1, cpu_clock)
    assert found.layout in ("nchw", "nhwc")
    assert torch.allclose(found.logits, expected, atol=1e-5)
    assert torch.allclose(found.call(), expected, atol=1e-5)  # type: ignore[arg-type]


def test_the_faster_layout_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for faster, expected in (("nhwc", "nhwc"), ("nchw", "nchw")):
        seen: list[bool] = []

        model, seen = net(8), []

        def clock(call: Any, times: int, faster: str = faster, of: Any = (model, seen)) -> float:
            last = of[0][0].weight.is_contiguous(memory_format=torch.channels_last)
            of[1].append(last)
            return 1.0 if last == (faster == "nhwc") else 2.0

        assert ready("eager", model, IMAGES, 1, clock).layout == expected  # type: ignore[arg-type]
        assert set(seen) == {True, False}


def test_a_backend_that_is_missing_or_fails_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends_module.importlib.util, "find_spec", lambda name: None)
    for name in ("onnxruntime", "openvino"):
        with pytest.raises(Skipped, match=f"{name} not installed"):
            ready(name, net(4), IMAGES, 1, cpu_clock)

    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no kernel\nfor this")

    with pytest.raises(Skipped, match="no kernel"):
        ready("eager", Broken(), IMAGES, 1, cpu_clock)
    with pytest.raises(Skipped, match=r"reads no \.onnx"):
        ready("eager", Path("a.onnx"), IMAGES, 1, cpu_clock)


def test_a_batch_that_does_not_fit_is_said() -> None:
    class Greedy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
            return images.flatten(1)

    found = measure(
        Subject("greedy", {"dense": Greedy(), "x": Greedy()}, IMAGES), ["eager"], [2, 8]
    )
    assert found.settings[0].blocks
    assert found.settings[1].timings == []
    assert "batch 8 does not fit into memory" in found.settings[1].skipped["all"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_other_runtimes_compute_the_same(backend: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip(backend)
    model = net(8)
    found = ready(backend, model, IMAGES, 1, cpu_clock)
    assert torch.allclose(found.logits, model(IMAGES), atol=1e-4)


def test_what_is_measured_is_told(tmp_path: Path) -> None:
    found = measure(subject(), ["eager"], [1, 16], blocks=8)
    assert [(one.backend, one.batch, one.blocks) for one in found.settings] == [
        ("eager", 1, 8),
        ("eager", 16, 8),
    ]
    for one in found.settings:
        names = [timing.name for timing in one.timings]
        assert names == ["dense", "small", AGAIN]
        dense, small, again = one.timings
        assert (dense.faster, dense.low, dense.high, dense.apart) == (1, 1, 1, 0)
        assert small.low <= small.faster <= small.high
        assert again.apart == pytest.approx(0, abs=1e-5)
        assert small.apart > 0
        assert one.unsteady == max(abs(again.low - 1), abs(again.high - 1))
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(found.model_dump(mode="json")))
    assert read_latency(path) == found


def test_a_network_alone_is_timed_beside_its_copy() -> None:
    (one,) = measure(Subject("alone", {"net": net(8)}, IMAGES), ["eager"], [1], blocks=8).settings
    assert [timing.name for timing in one.timings] == ["net", AGAIN]
    assert one.blocks == 8


def test_a_small_network_is_faster() -> None:
    images = torch.randn(64, 3, 8, 8)
    found = measure(Subject("a", {"dense": net(256), "small": net(1)}, images), ["eager"], [64])
    small = found.settings[0].timings[1]
    assert small.low > 1


def test_a_budget_ends_it_after_the_least_blocks() -> None:
    (one,) = measure(subject(), ["eager"], [1], blocks=5000, budget=0.01).settings
    assert one.blocks == 6


def test_an_unsteady_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def clock(call: Any, times: int) -> float:
        nonlocal calls
        calls += 1
        return 1.0 + 0.5 * (calls % 3 == 0)

    monkeypatch.setattr("dsd_bench.latency.measuring.cpu_clock", clock)
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 1.0, 1.0))
    told = " ".join(measure(subject(), ["eager"], [1], blocks=20).warnings())
    assert "the machine was busy before it began (load 99)" in told
    assert "two equal networks came out up to" in told


# -- files


def record(tmp_path: Path, **changes: Any) -> Path:
    found = measure(subject(), ["eager"], [1], blocks=6).model_dump(mode="json")
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(found | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latency_schema": 2}, "latency_schema"),
        ({"title": 3}, "title"),
        ({"title": "a\u202eb"}, "control, direction or invisible"),
        ({"title": "x" * 501}, "title"),
        ({"settings": [{"backend": "eager"}]}, "settings.0"),
        ({"machine": {}}, "machine.device"),
        ({"extra": 1}, "extra"),
        ({"notes": ["\x1b[31m"]}, "control"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = record(tmp_path, **changes)
    with pytest.raises(UsageError, match=said) as caught:
        read_latency(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN}', "{}" * 10**6])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "latency.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"latency\.json"):
        read_latency(path)
    with pytest.raises(UsageError, match="no such file"):
        read_latency(tmp_path / "none.json")


# -- the command


def test_a_run_is_timed_dense_masked_and_shrunk(
    tiny_run: Any, command: Any, tmp_path: Path
) -> None:
    (run,) = tiny_run("--keep", "all")["runs"]
    words = ["latency", run["run_id"], "--batch", "2", "--blocks", "6"]
    code, out, err = command(*words, "-o", "lat.json")
    assert code == 0, err
    assert "masked and shrunk agree" in out
    assert "eager, batch 2, 6 blocks" in out
    found = read_latency(tmp_path / "lat.json")
    names = [one.name for one in found.settings[0].timings]
    assert names == ["dense", "masked", "shrunk", AGAIN]
    code, out, _ = command(*words, "--json", "--round", "1")
    assert code == 0
    assert json.loads(out)["title"].endswith("round 1 (by number)")

    code, out, err = command("export", run["run_id"], "-o", "small.safetensors")
    assert code == 0, err
    code, out, err = command("latency", "small.safetensors", "small.safetensors", "--blocks", "6")
    assert code == 0, err
    assert "the images are random" in out
    code, out, err = command(*words, "small.safetensors", "--json")
    assert code == 0, err
    assert "small.safetensors" in [one["name"] for one in json.loads(out)["settings"][0]["timings"]]


def test_a_measurement_goes_into_report_and_card(
    tiny_run: Any, command: Any, tmp_path: Path
) -> None:
    (run,) = tiny_run()["runs"]
    found = measure(subject(), ["eager"], [3], blocks=6).model_dump(mode="json")
    found["title"] = "<b>|run"
    (tmp_path / "lat.json").write_text(json.dumps(found))
    code, _, err = command("report", run["run_id"], "-o", "a.html", "--latency", "lat.json")
    assert code == 0, err
    page = (tmp_path / "a.html").read_text()
    assert '<section id="speed">' in page
    assert "<b>|run" not in page
    assert "dense again" in page
    code, _, err = command("export", run["run_id"], "-o", "s.safetensors", "--latency", "lat.json")
    assert code == 0, err
    card = (tmp_path / "s.safetensors.md").read_text()
    speed = card.partition("## Speed")[2]
    assert speed.count("| eager | 3 |") == 3
    assert "<b>" not in card
    assert "timed in turns" in speed
    for words in (
        ("report", run["run_id"], "-o", "b.html"),
        ("export", run["run_id"], "-o", "t.onnx"),
    ):
        code, _, err = command(*words, "--latency", "none.json")
        assert code == 2
        assert "none.json: no such file" in err
    assert not (tmp_path / "b.html").exists()
    assert not (tmp_path / "t.onnx").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.pt2",), "a .pt2 may hold pickles and is never loaded"),
        (("a.safetensors",), "a.safetensors"),
        (("nothing",), "no run"),
        (("one", "two"), "give one run"),
        (("a.safetensors", "--device", "tpu"), "--device 'tpu': cpu, cuda or cuda:1"),
        (("a.safetensors", "--backend", "eager", "--all-backends"), "exclude each other"),
        (("a.safetensors", "--budget", "soon"), "is no time"),
        (("a.safetensors", "--batch", "0"), "--batch"),
        (("a.safetensors", "--round", "-1"), "a.safetensors"),
    ],
)
def test_bad_input_is_said_in_one_message(command: Any, words: tuple[str, ...], said: str) -> None:
    code, _, err = command("latency", *words)
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_files_of_other_programs_are_not_called_damaged_alone(command: Any) -> None:
    save_file(dict(net(4).state_dict()), "own.safetensors")
    torch.save(net(4).state_dict(), "own.pth")
    code, _, err = command("latency", "own.safetensors")
    assert (code, "not written by dsd-bench" in err) == (1, True)
    code, _, err = command("latency", "own.pth")
    assert (code, "own.pth: is neither a run nor a file that" in err) == (2, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there_is_said(command: Any) -> None:
    code, _, err = command("latency", "x.safetensors", "--device", "cuda")
    assert code == 2
    assert "no NVIDIA GPU" in err


def test_the_command_offers_what_there_is() -> None:
    from dsd_bench.cli.latency import BACKENDS as offered

    assert offered == BACKENDS
