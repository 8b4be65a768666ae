"""The optimisers against torch's own, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dsd_bench.config.run import ProtocolConfig
from dsd_bench.optimizers import Optimizer, Stepping
from dsd_bench.optimizers.plain import Adam, AdamW, Sgd, make_stepping
from dsd_bench.optimizers.sgd import SGD
from dsd_bench.optimizers.wrapping import Torch
from dsd_bench.params import Params

RATES = [0.1, 0.1, 0.03, 0.03, 0.007]


class Partly(nn.Module):
    """A network that leaves a parameter out now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.never = nn.Linear(5, 7), nn.Linear(3, 3)
        self.sometimes = nn.Parameter(torch.ones(2))

    def loss(self, step: int) -> Tensor:
        draw = torch.Generator().manual_seed(step)
        loss = self.first(torch.randn(4, 5, generator=draw)).square().sum()
        return loss * self.sometimes.square().sum() if step % 2 else loss


def model() -> Partly:
    torch.manual_seed(3)
    return Partly()


def train(net: Partly, optimizer: Stepping, steps: range) -> None:
    for step in steps:
        optimizer.set_rate(RATES[step])
        net.loss(step).backward()
        optimizer.step()
        assert all(p.grad is None for p in net.parameters())


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_sgd_has_the_bits_of_torchs(momentum: float, decay: float) -> None:
    ours, theirs = model(), model()
    train(ours, SGD(ours.parameters(), momentum, decay), range(5))
    plain = torch.optim.SGD(theirs.parameters(), lr=1, momentum=momentum, weight_decay=decay)
    train(theirs, Torch(plain), range(5))
    assert same(ours, theirs)
    assert not same(ours, model())


def test_a_rate_in_a_tensor_differs_by_a_rounding_only() -> None:
    ours, recordable = model(), model()
    train(ours, SGD(ours.parameters(), 0.9, 1e-2), range(5))
    train(recordable, SGD(recordable.parameters(), 0.9, 1e-2, device_rate=True), range(5))
    for one, other in zip(ours.parameters(), recordable.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_state_from_a_file_lies_as_the_weights_do() -> None:
    """Files keep no layout, and torch's kernels for lists of tensors take none of several."""
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    before, after = (Torch(torch.optim.Adam(layer.parameters())) for _ in range(2))
    layer(torch.ones(2, 3, 8, 8)).sum().backward()
    before.step()
    state = {k: v.contiguous() if isinstance(v, Tensor) else v for k, v in before.state().items()}
    after.load(state)
    for name, value in after.state().items():
        assert isinstance(value, Tensor)
        expected = before.state()[name]
        assert isinstance(expected, Tensor)
        assert torch.equal(value, expected)
        assert value.stride() == expected.stride()


@pytest.mark.parametrize("kind", [Sgd, Adam, AdamW])
def test_it_goes_on_from_its_state(kind: type[Optimizer]) -> None:
    protocol, made = ProtocolConfig(rounds=1, weight_decay=1e-2), kind(Params())
    whole, cut, again = model(), model(), model()
    train(whole, make_stepping(made, whole, protocol), range(5))
    before = make_stepping(made, cut, protocol)
    train(cut, before, range(3))
    state = {k: v.clone() if isinstance(v, Tensor) else v for k, v in before.state().items()}
    again.load_state_dict(cut.state_dict())
    after = make_stepping(made, again, protocol)
    after.load(state)
    train(again, after, range(3, 5))
    assert same(whole, again)


def test_a_training_imports_no_compiler(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from dsd_bench import RunConfig, configure, run
        tiny = {"dataset": "digits:train_size=60,val_size=30", "model": "mlp:hidden=8"}
        run(configure(**tiny, rounds=1, epochs=1), runs_dir=Path(sys.argv[1]))
        assert "torch" in sys.modules and "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("wide", [3, 300])
def test_masks_are_as_multiplying_the_gradients_first(momentum: float, wide: int) -> None:
    """On one vector (small networks), on lists, and with a parameter that has no gradient."""

    def network() -> Partly:
        net = model()
        torch.manual_seed(0)
        net.first = nn.Linear(5, 70 * wide)
        return net

    ours, theirs = network(), network()
    draw = torch.Generator().manual_seed(0)
    masks = {
        name: (torch.rand(p.shape, generator=draw) < 0.5).float()
        for name, p in ours.named_parameters()
        if name != "sometimes"
    }
    own = dict(ours.named_parameters())
    mine = SGD(ours.parameters(), momentum, 1e-2)
    mine.hold({own[name]: mask for name, mask in masks.items()})
    train(ours, mine, range(5))
    plain = torch.optim.SGD(theirs.parameters(), lr=1, momentum=momentum, weight_decay=1e-2)
    for step in range(5):
        plain.param_groups[0]["lr"] = RATES[step]
        plain.zero_grad()
        theirs.loss(step).backward()
        for name, p in theirs.named_parameters():
            if p.grad is not None and name in masks:
                p.grad *= masks[name]
        plain.step()
    assert same(ours, theirs)


def test_state_on_one_vector_is_the_state_of_lists() -> None:
    ours = model()
    optimizer = SGD(ours.parameters(), 0.9, 0.0)
    train(ours, optimizer, range(3))
    state = {name: torch.as_tensor(v).clone() for name, v in optimizer.state().items()}
    again = model()
    again.load_state_dict(ours.state_dict())
    other = SGD(again.parameters(), 0.9, 0.0)
    other.load(state)
    train(ours, optimizer, range(3, 5))
    train(again, other, range(3, 5))
    assert same(ours, again)


def test_without_torch_s_own_joining_the_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsd_bench.optimizers import sgd

    trained = []
    for joining in (sgd._flatten, sgd._joined):
        monkeypatch.setattr(sgd, "_flatten", joining)
        net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
        for number, parameter in enumerate(net.parameters()):
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
        stepping = SGD(net.parameters(), 0.9, 1e-2)
        assert stepping._flat is not None
        for step, rate in enumerate(RATES):
            stepping.set_rate(rate)
            images = torch.randn(4, 5, generator=torch.Generator().manual_seed(step))
            net(images).square().sum().backward()
            stepping.step()
        trained.append(net)
    assert same(*trained)
