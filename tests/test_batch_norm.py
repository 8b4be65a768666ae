"""Batch norm in channels_last on a CPU: against float64, and no worse than NCHW."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dsd_bench.training.batch_norm import applies, exact_forward, make_exact
from dsd_bench.training.device import make_context
from dsd_bench.training.layout import on_cpu, place

SHAPES = [(128, 32, 16, 16), (100, 64, 7, 7), (16, 512, 2, 2), (97, 5, 3, 1), (8, 3, 64, 64)]


def trained(norm: nn.Module, images: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return output, gradients and running statistics of one pass in train mode."""
    images = images.detach().requires_grad_()
    norm.train()(images).backward(gradient)
    found = [norm(images.detach()), images.grad, *(p.grad for p in norm.parameters())]
    return [
        t.detach() for t in [*found, *norm.buffers()] if t is not None and t.is_floating_point()
    ]


def errors(found: list[Tensor], right: list[Tensor]) -> list[float]:
    assert len(found) == len(right)
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, right)]


def last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def exactly(norm: nn.Module) -> nn.Module:
    made = copy.deepcopy(norm)
    assert exact_forward(made) is not None
    make_exact(made)
    return copy.deepcopy(made)  # a copy is as exact, with buffers of its own


@pytest.mark.parametrize("mean", [0.3, 10.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_worse_than_nchw_against_float64(shape: tuple[int, ...], mean: float) -> None:
    torch.manual_seed(0)
    images, gradient = torch.randn(shape) * 1.3 + mean, torch.randn(shape) + 0.1
    norm = nn.BatchNorm2d(shape[1])
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    right = trained(copy.deepcopy(norm).double(), images.double(), gradient.double())
    plain = errors(trained(copy.deepcopy(norm), images, gradient), right)
    ours = errors(trained(exactly(norm), last(images), last(gradient)), right)
    for mine, reference in zip(ours, plain):
        assert mine <= 1.5 * reference + 1e-7
    # what is mended: torch's own is off by far more where a channel has many values
    if shape[0] * shape[2] * shape[3] > 2**15:
        own = errors(trained(copy.deepcopy(norm), last(images), last(gradient)), right)
        assert max(own) > 5 * max(ours)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.BatchNorm2d(6, momentum=None),
        lambda: nn.BatchNorm2d(6, momentum=0.0),
        lambda: nn.BatchNorm2d(6, affine=False),
        lambda: nn.BatchNorm2d(6, track_running_stats=False),
        lambda: nn.BatchNorm2d(6, eps=1e-2, momentum=0.7),
    ],
)
def test_every_setting_as_torch(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(1)
    plain = make()
    ours = exactly(plain)
    for step in range(3):
        images, gradient = torch.randn(10, 6, 5, 4) + step, torch.randn(10, 6, 5, 4)
        if step == 2:
            plain.eval()
            ours.eval()
        one, two = images.clone().requires_grad_(), last(images).requires_grad_()
        a, b = plain(one), ours(two)
        a.backward(gradient)
        b.backward(gradient)
        torch.testing.assert_close(b, a)
        assert one.grad is not None
        torch.testing.assert_close(two.grad, one.grad)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
    for p, q in zip(plain.parameters(), ours.parameters()):
        torch.testing.assert_close(q.grad, p.grad)


def test_a_frozen_norm_and_a_frozen_input() -> None:
    images = last(torch.randn(8, 4, 3, 3))
    norm = exactly(nn.BatchNorm2d(4))
    norm.requires_grad_(False)
    given = images.clone().requires_grad_()
    norm(given).square().sum().backward()
    assert given.grad is not None
    norm.requires_grad_()
    norm(images).square().sum().backward()
    assert norm.weight.grad is not None


def test_a_gradient_of_the_gradient() -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3).double()

    def penalty(norm: nn.Module, images: Tensor) -> Tensor:
        given = images.clone().requires_grad_()
        loss = norm(given).pow(3).sum()
        (first,) = torch.autograd.grad(loss, given, create_graph=True)
        return torch.autograd.grad(first.square().sum(), given)[0]

    images = torch.randn(5, 3, 4, 4)
    torch.testing.assert_close(
        penalty(exactly(nn.BatchNorm2d(3)), last(images)),
        penalty(plain, images.double()).float(),
        rtol=1e-3,
        atol=1e-3,
    )


def test_whom_it_leaves_alone() -> None:
    norm = exactly(nn.BatchNorm2d(4)).train()
    assert type(norm) is nn.BatchNorm2d
    good = last(torch.randn(8, 4, 3, 3))
    assert applies(norm, good)
    assert not applies(norm, torch.randn(8, 4, 3, 3))  # NCHW: torch's own is exact
    assert not applies(norm, good.bfloat16())
    assert not applies(norm, good.double())
    assert not applies(norm.eval(), good)
    with pytest.raises(ValueError, match="more than 1 value"):
        norm.train()(last(torch.randn(1, 4, 1, 1)))
    assert exact_forward(nn.BatchNorm1d(3)) is None
    assert exact_forward(nn.SyncBatchNorm(3)) is None


def test_timms_batch_norm_with_an_activation() -> None:
    from timm.layers import BatchNormAct2d

    torch.manual_seed(0)
    plain = BatchNormAct2d(16)
    images, gradient = torch.randn(64, 16, 24, 24) + 3, torch.randn(64, 16, 24, 24)
    right = trained(copy.deepcopy(plain).double(), images.double(), gradient.double())
    ours = errors(trained(exactly(plain), last(images), last(gradient)), right)
    assert max(ours) < 3e-6
    assert max(ours) < 0.2 * max(errors(trained(plain, last(images), last(gradient)), right))


def vgg() -> nn.Module:
    from dsd_bench.models.vgg import vgg_like

    return vgg_like(3, 1, 8, 10)


class Own(nn.BatchNorm2d):
    """Somebody's own batch norm, of which nothing is known."""


@pytest.mark.parametrize(
    ("model", "fp32", "bf16"),
    [
        (vgg(), "nhwc", "nhwc"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), Own(4)), "nchw", "nhwc"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3)), "nhwc", "nhwc"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), *[nn.Linear(4, 4) for _ in range(4)]), "nchw", "nchw"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4)), "nchw", "nchw"),
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), "nchw", "nchw"),
    ],
)
def test_the_rule(model: nn.Module, fp32: str, bf16: str) -> None:
    assert on_cpu(model, "fp32") == fp32
    assert on_cpu(model, "bf16") == bf16


def test_a_whole_network_is_as_exact_as_in_nchw() -> None:
    """Loss, gradients and running statistics of VGG-like against float64, in both layouts."""
    torch.manual_seed(0)
    plain = vgg().train()
    images, labels = torch.randn(128, 3, 32, 32), torch.randint(10, (128,))

    def step(model: nn.Module, given: Tensor) -> list[Tensor]:
        nn.functional.cross_entropy(model(given), labels).backward()
        named = [p.grad for p in model.parameters() if p.grad is not None and p.dim() > 1]
        return [*named, *(b for n, b in model.named_buffers() if "running" in n)]

    right = step(copy.deepcopy(plain).double(), images.double())
    nchw = errors(step(copy.deepcopy(plain), images), right)
    context = make_context("cpu", 1, False, "fp32")
    context.lay_out(on_cpu(plain, "fp32"))
    placed = place(copy.deepcopy(plain), context)
    assert context.plan.layout == "nhwc"
    assert context.plan.to_json()["numerics"] == 2
    assert any("forward" in vars(part) for part in placed.modules())
    assert placed.state_dict().keys() == plain.state_dict().keys()
    nhwc = errors(step(placed, images.contiguous(memory_format=context.memory_format)), right)
    assert max(nhwc) < 1.5 * max(nchw)


def test_what_was_asked_for_wins() -> None:
    for asked, plan in [("nchw", "nchw"), ("nhwc", "nhwc"), ("auto", "nhwc")]:
        context = make_context("cpu", 1, False, "fp32", asked)  # type: ignore[arg-type]
        context.lay_out("nhwc")
        assert context.plan.layout == plan


def test_a_teacher_keeps_the_layout_of_its_student() -> None:
    context = make_context("cpu", 1, False, "fp32")
    context.lay_out("nhwc")
    for model in (vgg(), place(vgg(), context)):
        assert on_cpu(model, "fp32") == "nhwc"  # also of one that was placed before
