"""Setting a process up for a GPU, as far as that can be seen where there is none."""

from __future__ import annotations

import pytest
import torch

from dsd_bench.training import device
from dsd_bench.training.distributed import Team


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let torch see two GPUs; return what becomes the current one, by torch's own checks."""
    current: list[int] = []
    monkeypatch.setattr(device, "_count", lambda kind: 2 if kind in ("cpu", "cuda") else 0)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", current.append, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    return current


@pytest.mark.parametrize(
    ("word", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)]
)
def test_every_word_for_a_gpu_is_one_with_a_number(gpus: list[int], word: str, index: int) -> None:
    made = device.make_context(word, 1, False, "fp32")
    assert made.device == torch.device("cuda", index)
    assert gpus == [index]
    assert (made.plan.device, made.plan.engine, made.plan.layout) == ("cuda", "graph", "nhwc")
    assert (made.plan.chip, made.plan.threads) == ("a GPU", 0)


def test_one_of_several_processes_touches_its_own_gpu_alone(
    gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that makes another GPU the current one takes memory there for good."""
    monkeypatch.setattr(device, "join", lambda kind: Team(1, 2, torch.device("cuda", 1)))
    made = device.make_context("auto", 1, False, "fp32")
    assert made.device == torch.device("cuda", 1)
    assert gpus == [1]
    assert made.plan.engine == "eager"
