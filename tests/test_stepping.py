"""A step that does not fit into memory, and one that is recorded, against the plain step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench import RunConfig
from dsd_bench.errors import RunError
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan, prepare_folders
from dsd_bench.experiment.runner import run_folder
from dsd_bench.masks import Masks
from dsd_bench.optimizers.sgd import SGD
from dsd_bench.params import Params
from dsd_bench.plugins import catalogue
from dsd_bench.regularizers import Regularizer, TrainingView
from dsd_bench.store.reading import read_json
from dsd_bench.training import cuda_graph as graphing
from dsd_bench.training import device
from dsd_bench.training import step as stepping
from dsd_bench.training.cuda_graph import WARM, GraphedStep, cuda_graph
from dsd_bench.training.distributed import Team
from dsd_bench.training.step import Stepper, out_of_memory

Make = Callable[..., RunConfig]
NOT_ENOUGH = "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"
NO_HANDLE = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


class Tight(nn.Module):
    """A network for small batches only."""

    def __init__(self, norm: bool = False, room: int = 100, error: Any = None) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.room, self.error = room, error or torch.OutOfMemoryError("CUDA out of memory")
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        first, relu, last = self.net
        logits = last(relu(self.norm(first(images))))
        if len(images) > self.room:  # at the end, after everything is drawn
            raise self.error
        return logits


def batches(count: int, size: int = 16) -> list[tuple[Tensor, Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(2)
    images = [torch.randn(size, 6, generator=draw) for _ in range(count)]
    labels = [torch.randint(3, (size,), generator=draw) for _ in range(count)]
    return [(i, t, torch.arange(size)) for i, t in zip(images, labels)]


def dropped(
    model: nn.Module, place: device.ComputeContext, seed: int = 4
) -> tuple[Regularizer, Any]:
    component = catalogue().get("regularizer", "dropout").component
    regularizer = component.create(component.params(p=0.5))  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(seed)
    regularizer.begin(TrainingView(model, 1, place.device, generator))
    return regularizer, generator


def stepper(
    model: nn.Module, dropout: bool = False, device_rate: bool = False, **plan: Any
) -> Stepper:
    place = device.make_context("cpu", 1, False, "fp32")
    place.plan = replace(place.plan, **plan)
    masks = Masks.dense(model)
    draw = torch.Generator().manual_seed(1)
    half = {n: torch.rand(m.shape, generator=draw) < 0.5 for n, m in masks.weights.items()}
    Masks(half).apply(model)
    optimizer = SGD(model.parameters(), 0.9, 1e-3, device_rate)
    optimizer.set_rate(0.1)
    regularizers, generators = zip(dropped(model, place)) if dropout else ((), ())
    return Stepper(place, model, Masks(half), optimizer, regularizers, generators)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    "error", [None, MemoryError(), RuntimeError(NOT_ENOUGH), RuntimeError(NO_HANDLE)]
)
def test_a_batch_that_does_not_fit_is_taken_in_parts(error: Exception | None) -> None:
    whole, parts = Tight(), Tight(room=5, error=error)
    plain, tight = stepper(whole), stepper(parts)
    for batch in batches(3):
        plain(*batch)
        tight(*batch)
    assert tight.context.plan.micro_batch == 4
    assert parts.seen == [16, 8] + [4] * 12
    assert "4 images at a time" in tight.context.remarks[-1]
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)
    assert plain.context.plan.micro_batch is None
    assert plain.context.remarks == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda loss, step: None, "a NoneType as the loss; expected one number"),
        (lambda loss, step: loss.item(), "a float as the loss"),
        (lambda loss, step: loss + step.logits.sum(1), r"a Tensor \(16,\) as the loss"),
    ],
)
@pytest.mark.parametrize("method", ["loss", "criterion"])
def test_a_loss_that_is_not_one_number_names_whose_it_is(
    bad: Callable[..., Any], words: str, method: str
) -> None:
    def answer(self: Regularizer, *given: Any) -> Any:
        return bad(*given) if method == "loss" else bad(given[0].logits.sum(), given[0])

    answer.__qualname__ = f"Careless.{method}"
    careless = type("Careless", (Regularizer,), {method: answer})(Params())
    place = device.make_context("cpu", 1, False, "fp32")
    model = Tight()
    optimizer = SGD(model.parameters(), 0.9, 1e-3, False)
    step = Stepper(place, model, Masks.dense(model), optimizer, [careless])
    with pytest.raises(RunError, match=rf"^Careless\.{method} gave {words}"):
        step(*batches(1)[0])


@pytest.mark.parametrize("part", [3, 5, 6, 7, 15, 16, 17])
def test_parts_of_any_size_have_the_whole_batch_s_gradient(part: int) -> None:
    whole, parts = Tight(), Tight()
    plain, split = stepper(whole), stepper(parts, micro_batch=part)
    for batch in batches(2):
        plain(*batch)
        split(*batch)
    rest = [16 % part] if 16 % part else []
    assert parts.seen == ([16] if part >= 16 else [part] * (16 // part) + rest) * 2
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)


def test_losses_are_the_sum_of_what_was_learned_from_alone() -> None:
    """A batch that was tried before, or whose step failed, counts once, as it was done at last."""
    tight, model = stepper(Tight(room=5)), Tight()
    expected = 0.0
    known = stepper(model, micro_batch=4)
    for images, labels, index in batches(3):
        with torch.no_grad():
            for some, given in zip(images.split(4), labels.split(4)):
                expected += float(functional.cross_entropy(model(some), given))
        known(images, labels, index)
        tight(images, labels, index)
    assert float(tight.losses) == pytest.approx(expected, rel=1e-5)


def test_a_batch_of_another_size_is_tried_whole_first() -> None:
    model = Tight(room=5)
    tight = stepper(model)
    tight(*batches(1)[0])
    model.seen.clear()
    tight(*batches(1, size=20)[0])  # larger than what is known to fit in parts of four
    assert model.seen == [4] * 5
    model.seen.clear()
    tight(*batches(1, size=3)[0])
    assert model.seen == [3]


def test_what_is_known_to_fit_is_not_guarded_again() -> None:
    """Copies of generators' states and of losses cost a small network's step a good part."""
    made = stepper(Tight(), dropout=True)
    [real], asked = made.generators, list[int]()

    class Counted:
        def get_state(self) -> Tensor:
            asked.append(len(made.model.seen))  # type: ignore[arg-type]
            return real.get_state()

    made.generators = [Counted()]  # type: ignore[list-item]
    for batch in [*batches(3), *batches(1, size=9), *batches(1, size=17)]:
        made(*batch)
    assert asked == [0, 4]  # before the first batch and before a larger one


class Collecting:
    """Notes gradients instead of using them."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.grads = model, list[Tensor]()

    def step(self) -> None:
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.grads.append(torch.cat([grad.flatten() for grad in grads]))
        for parameter in self.model.parameters():
            parameter.grad = None


def test_a_share_of_a_batch_weighs_by_its_size() -> None:
    """DistributedDataParallel averages over processes: shares of 10 and 6 of 16 must not tie."""
    (images, labels, index), found = batches(1)[0], []
    for shares in ([slice(0, 16)], [slice(0, 10), slice(10, 16)]):
        made = stepper(Tight())
        made.optimizer = collecting = Collecting(made.model)  # type: ignore[assignment]
        made.context.team = Team(0, len(shares))
        for mine in shares:
            made(images[mine], labels[mine], index[mine], whole=16)
        found.append(torch.stack(collecting.grads).mean(0))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_a_step_tried_again_draws_what_the_first_try_drew() -> None:
    found, planned = Tight(room=5), Tight()
    tight = stepper(found, dropout=True)
    known = stepper(planned, dropout=True, micro_batch=4)
    for batch in batches(3):
        tight(*batch)
        known(*batch)
    assert torch.equal(weights(found), weights(planned))
    assert torch.isfinite(tight.losses)
    assert tight.losses == known.losses


def test_with_batch_norms_the_error_says_what_fits() -> None:
    tight = stepper(Tight(norm=True, room=5))
    with pytest.raises(RunError, match=r"batch of 16 .*batch norms.*--batch-size 4 fits"):
        tight(*batches(1)[0])
    tight.model.eval()  # its statistics do not depend on the batch now
    tight(*batches(1)[0])


@pytest.mark.parametrize(("room", "fits"), [(8, 8), (7, 4), (3, 2), (2, 2)])
def test_the_error_names_the_largest_batch_that_fits(room: int, fits: int) -> None:
    with pytest.raises(RunError, match=f"--batch-size {fits} fits"):
        stepper(Tight(norm=True, room=room))(*batches(1)[0])


def test_nothing_fits() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        stepper(Tight(room=0))(*batches(1)[0])
    with pytest.raises(RunError, match="not even two images fit"):
        stepper(Tight(room=0, norm=True))(*batches(1)[0])


def test_other_errors_stay_what_they_are() -> None:
    model = Tight(room=5, error=RuntimeError("shapes differ"))
    made = stepper(model)
    with pytest.raises(RuntimeError, match="shapes differ"):
        made(*batches(1)[0])
    assert model.seen == [16]
    assert not out_of_memory(ValueError("no"))
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert out_of_memory(RuntimeError("CUDA error: out of memory"))


def test_another_error_while_it_is_sought_what_fits_stays_what_it_is() -> None:
    class Shaped(Tight):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) < 16:
                raise RuntimeError("shapes differ")
            return super().forward(images)

    with pytest.raises(RuntimeError, match="shapes differ"):
        stepper(Shaped(norm=True, room=5))(*batches(1)[0])


@pytest.mark.parametrize(("kind", "freed"), [("cpu", []), ("cuda", [8, 4])])
def test_before_a_smaller_try_the_gpu_s_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch, kind: str, freed: list[int]
) -> None:
    """What the allocator holds in pieces of the first try's size is of no use to the next."""
    model, found = Tight(room=5), list[int]()
    made = stepper(model)
    monkeypatch.setattr(made.context, "settle", lambda: None)
    made.context.device = torch.device(kind)  # stands in: the tensors stay on the CPU
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: found.append(model.seen[-1] // 2))
    made(*batches(1)[0])
    assert found == freed


def test_while_a_step_is_recorded_no_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """That would be one more error, which hides the first."""
    made = stepper(Tight(error=ValueError("why"), room=5))
    monkeypatch.setattr(made.context, "settle", lambda: None)
    made.context.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: 1 / 0)
    with pytest.raises(ValueError, match="why"):
        made(*batches(1)[0])


def graph_like(calls: list[str]) -> Any:
    """Record as a CUDA graph does: without doing it; replays read the inputs where they lie."""

    def record(run: Callable[[], None], generators: Sequence[torch.Generator]) -> Any:
        calls.append(f"recorded, {len(generators)} generators")

        def replay() -> None:
            calls.append("replayed")
            run()

        return replay

    return record


@pytest.mark.parametrize("dropout", [False, True])
def test_a_recorded_step_equals_the_plain_one(dropout: bool) -> None:
    plain, model, calls = Tight(), Tight(), list[str]()
    step = stepper(plain, dropout, device_rate=True)
    inner = stepper(model, dropout, device_rate=True, engine="graph")
    taped = GraphedStep(inner, inner.context, inner.generators, graph_like(calls))
    for place, batch in enumerate([*batches(6), *batches(1, size=7), *batches(6)]):
        step.optimizer.set_rate(0.1 / (place + 1))
        inner.optimizer.set_rate(0.1 / (place + 1))
        step(*batch)
        taped(*batch)
        assert torch.equal(weights(plain), weights(model))
    assert calls == [f"recorded, {int(dropout)} generators"] + ["replayed"] * (12 - WARM)
    assert step.losses == inner.losses


def test_each_batch_size_is_recorded_once() -> None:
    calls: list[str] = []
    inner = stepper(Tight(), engine="graph")
    taped = GraphedStep(inner, inner.context, (), graph_like(calls))
    for _ in range(WARM + 2):
        for size in (16, 7):
            taped(*batches(1, size)[0])
    assert len([c for c in calls if c.startswith("recorded")]) == 2


def test_what_cannot_be_recorded_is_called_and_noted() -> None:
    def refuse(run: Callable[[], None], generators: Sequence[torch.Generator]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    plain, model = Tight(), Tight()
    step, inner = stepper(plain), stepper(model, engine="graph")
    taped = GraphedStep(inner, inner.context, (), refuse)
    for batch in batches(WARM + 3):
        step(*batch)
        taped(*batch)
    assert torch.equal(weights(plain), weights(model))
    assert inner.context.plan.engine == "eager"
    assert inner.context.remarks == [
        "no graph of the step could be made: operation not permitted when stream is capturing"
    ]


class Capturing:
    """Stands in for ``torch.cuda.graph``: of a capture that failed the end raises, as torch's does,
    and its stream stays the current one.
    """

    stream = "the usual one"

    def __init__(self, graph: Any) -> None: ...

    def __enter__(self) -> None:
        Capturing.stream = "the capture's"

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:
            raise RuntimeError("operation failed due to a previous error during capture")
        Capturing.stream = "the usual one"


class Drawing:
    """Stands in for a generator on a GPU, which does not draw once its state was in a capture."""

    state = "captured"

    def clone_state(self) -> str:
        return "fresh"

    def graphsafe_set_state(self, state: str) -> None:
        self.state = state


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Drawing:
    """Stand in for what a capture needs of torch; return the default generator."""

    class Graph:
        def register_generator_state(self, generator: Any) -> None: ...

        def replay(self) -> None: ...

    default = Drawing()
    known = {"CUDAGraph": Graph, "graph": Capturing, "default_generators": (default,)}
    known |= {"synchronize": lambda: None, "current_device": lambda: 0}
    known |= {"current_stream": lambda: Capturing.stream}
    known |= {"set_stream": lambda stream: setattr(Capturing, "stream", stream)}
    for name, value in known.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(Capturing, "stream", "the usual one")
    return default


@pytest.mark.parametrize("kind", [RuntimeError, RunError])
def test_where_a_capture_fails_torch_is_as_before(gpu: Drawing, kind: type[Exception]) -> None:
    generator = Drawing()
    graph = cuda_graph(lambda: None, [generator])  # type: ignore[list-item]
    assert graph is not None
    assert (gpu.state, generator.state) == ("captured", "captured")

    def waits() -> None:
        assert Capturing.stream == "the capture's"
        raise kind("the step waits for the host")

    with pytest.raises(kind, match="the step waits for the host"):
        cuda_graph(waits, [generator])  # type: ignore[list-item]
    assert Capturing.stream == "the usual one"
    assert (gpu.state, generator.state) == ("fresh", "fresh")


def test_where_one_size_cannot_be_recorded_none_is_replayed_any_more() -> None:
    """A graph draws from the generators' states of its time, which a failure replaces."""
    calls: list[str] = []
    record = graph_like(calls)

    def picky(run: Callable[[], None], generators: Sequence[torch.Generator]) -> Any:
        if calls:
            raise RuntimeError("not this one")
        return record(run, generators)

    inner = stepper(Tight(), engine="graph")
    taped = GraphedStep(inner, inner.context, (), picky)
    for size in (16, 7, 16):
        for _ in range(WARM + 2):
            taped(*batches(1, size)[0])
    assert calls == ["recorded, 0 generators", "replayed", "replayed"]


def test_a_step_that_fails_leaves_no_gradient_behind() -> None:
    model = Tight()
    inner = stepper(model)

    class Broken(Regularizer):
        def loss(self, loss: Tensor, step: Any) -> Tensor:
            loss.backward(retain_graph=True)
            raise RuntimeError("half done")

    inner.regularizers = [catalogue().get("regularizer", "l1").component.create()]
    inner.regularizers[0].__class__ = Broken
    with pytest.raises(RuntimeError, match="half done"):
        inner(*batches(1)[0])
    assert all(p.grad is None for p in model.parameters())


def test_what_a_regularizer_changed_of_torch_is_undone_before_the_gradients() -> None:
    inner, seen = stepper(Tight()), list[torch.dtype]()

    class Untidy(Regularizer):
        def loss(self, loss: Tensor, step: Any) -> Tensor:
            torch.set_default_dtype(torch.float64)
            return loss

    regularizer = catalogue().get("regularizer", "l1").component.create()
    regularizer.__class__ = Untidy
    inner.regularizers = [regularizer]  # type: ignore[list-item]
    weight = next(inner.model.parameters())
    weight.register_hook(lambda grad: seen.append(torch.get_default_dtype()))
    try:
        inner(*batches(1)[0])
    finally:
        torch.set_default_dtype(torch.float32)
    assert seen == [torch.float32]


def test_the_plan_is_recorded_and_a_change_of_it(tiny: Make, tmp_path: Any) -> None:
    from dsd_bench import run
    from dsd_bench.training.step import Stepper as Real

    first = Real._backward
    seen = []

    def tight(self: Real, images: Tensor, *rest: Any) -> None:
        seen.append(len(images))
        if len(images) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        first(self, images, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Real, "_backward", tight)
        finished = run(tiny(), runs_dir=tmp_path)
    assert finished.result is not None
    plans = finished.result["plan"]
    assert [plan["micro_batch"] for plan in plans] == [None, 10]
    assert plans[0].keys() >= {"device", "threads", "layout", "precision", "engine", "torch"}
    assert seen[:3] == [20, 10, 10]
    assert max(seen[1:]) == 10
    assert "10 images at a time" in (finished.path / "log.txt").read_text()


def test_without_torch_s_engine_the_plain_call_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight = torch.tensor(0.3)
    grads = []
    for engine in (stepping._engine, None):
        monkeypatch.setattr(stepping, "_engine", engine)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        loss = model(torch.ones(5, 4)).square().mean()
        stepping._run_backward(loss, weight)
        assert not any(p.grad.requires_grad for p in model.parameters())  # type: ignore[union-attr]
        with pytest.raises(RuntimeError, match="second time"):  # its memory was given back
            stepping._run_backward(loss, weight)
        grads.append([p.grad.clone() for p in model.parameters()])  # type: ignore[union-attr]
    assert stepping._engine is None
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_run_without_graphs_is_the_same_when_resumed(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed capture must not choose the optimiser of later rounds: a resumed run fails anew."""
    made = device.make_context

    def pretended(*given: Any) -> device.ComputeContext:
        context = made(*given)
        context.change("pretended", engine="graph")
        return context

    def refused(run: Any, generators: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(device, "make_context", pretended)
    monkeypatch.setattr(graphing, "cuda_graph", refused)
    config = tiny(epochs=5, rounds=3)
    written = {}
    for name in ("whole", "resumed"):
        rounds: list[Any] = []
        (item,) = plan([config], tmp_path / name)
        prepare_folders([item], tmp_path / name)

        def heard(event: dict[str, Any], rounds: list[Any] = rounds) -> None:
            rounds.extend([event] if event["event"] == "round" else [])

        def stopping(name: str = name, rounds: list[Any] = rounds) -> bool:
            return name == "resumed" and len(rounds) == 2

        first = run_folder(item.job.path, Settings(), heard, stopping)
        assert first.status == ("done" if name == "whole" else "interrupted")
        if name == "resumed":
            assert run_folder(item.job.path, Settings(), heard, lambda: False).status == "done"
        plans = read_json(item.job.path / "result.json")["plan"]
        assert "eager" in {one["engine"] for one in plans}
        written[name] = [
            (item.job.path / file).read_bytes() for file in ("rounds.jsonl", "best.safetensors")
        ]
    assert written["resumed"] == written["whole"]
