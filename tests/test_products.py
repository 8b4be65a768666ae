"""Which weights take part in which products: counts against formulas written out here."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional

from dsd_bench.masks import Masks, prunable_parameters
from dsd_bench.metrics import MeasureView
from dsd_bench.metrics.builtin import register_metrics
from dsd_bench.metrics.macs import count_macs, count_step

MACS = {component.name: component.create() for component in register_metrics()}["macs"]
LOW = torch.autocast("cpu", torch.bfloat16)


def effective(model, shape, fraction):
    """Prune the first ``fraction`` of each weight and return what the metric makes of it."""
    masks = {}
    for name, mask in Masks.dense(model).weights.items():
        keep = torch.arange(mask.numel()) >= fraction[name] * mask.numel()
        masks[name] = keep.view(mask.shape)
    view = MeasureView(model, Masks(masks), 1, torch.device("cpu"), shape, {}.get)
    return type(MACS)(MACS.params).measure(view)


class Functional(nn.Module):
    """Reads the weights of its layers itself, as torchvision's Swin and timm's BEiT do."""

    def __init__(self):
        super().__init__()
        self.plain, self.transposed = nn.Linear(4, 4), nn.Linear(4, 4)
        self.chunked, self.reshaped = nn.Linear(4, 8), nn.Conv2d(4, 4, 1)
        self.detached, self.summed = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = functional.linear(x.flatten(2).mT, self.plain.weight)
        x = x @ self.transposed.weight.mT.contiguous()
        first, second = self.chunked.weight.chunk(2)
        x = functional.linear(x, first) + functional.linear(x, second)
        x = functional.linear(x, self.reshaped.weight.reshape(4, 4))
        x = functional.linear(x, self.detached.weight.detach())
        x = torch.einsum("npc,oc->npo", x, self.summed.weight)
        return x.mean(1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", [nullcontext(), LOW], ids=["fp32", "bf16"])
def test_weights_that_are_read_by_functions(training, precision):
    model = Functional().train(training)
    with precision:
        total, layers = count_macs(model, torch.zeros(1, 4, 3, 3))
        step = count_step(model, torch.zeros(1, 4, 3, 3))
    macs = {
        f"{name}.weight": 9 * 16 * (1 + (name == "chunked")) for name, _ in model.named_children()
    }
    assert layers == macs
    assert total == step.forward == sum(macs.values())
    no_gradient_of_its_own = 9 * 16  # the detached one's
    assert step.layers["plain.weight"] == (144, 144)
    assert step.layers["detached.weight"] == (144, 144)
    assert step.layers["chunked.weight"] == (288, 576)
    assert step.backward == 2 * total - macs["plain.weight"] - no_gradient_of_its_own
    assert sum(backward for _, backward in step.layers.values()) == step.backward
    assert model.training == training


def test_copies_that_autocast_made_before_are_not_lost():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with LOW:
        model(torch.zeros(1, 1, 2, 2))  # autocast keeps its copy of the weight until its end
        assert count_macs(model, torch.zeros(1, 1, 2, 2)) == (12, {"1.weight": 12})


class Attention(nn.Module):
    """nn.MultiheadAttention, of one kind or another, between the positions of an image."""

    def __init__(self, **options):
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        tokens = x.flatten(2).mT
        other = tokens if self.mha.in_proj_weight is not None else tokens[..., : self.mha.kdim]
        attended, _ = self.mha(tokens, other, other, need_weights=False)
        return self.head(attended.mean(1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", [nullcontext(), LOW], ids=["fp32", "bf16"])
def test_packed_projections_of_attention(training, precision):
    model, n, d = Attention().train(training), 9, 8
    names = ["mha.in_proj_weight", "mha.out_proj.weight", "head.weight"]
    assert list(prunable_parameters(model)) == names
    macs = dict(zip(names, (3 * n * d * d, n * d * d, 3 * d)))
    attention = 2 * n * n * d  # queries by keys, and what comes of it by values
    with precision:
        assert count_macs(model, torch.zeros(1, d, 3, 3)) == (sum(macs.values()) + attention, macs)
        row = effective(model, (d, 3, 3), dict(zip(names, (0.25, 0.5, 0))))
        step = count_step(model, torch.zeros(1, d, 3, 3))
    assert row["macs_effective"] == sum(macs.values()) - 3 * n * 16 - n * 32 + attention
    assert step.layers[names[0]] == (3 * n * d * d, 3 * n * d * d)  # the image needs no gradient
    assert step.layers[names[1]] == (n * d * d, 2 * n * d * d)
    assert step.backward == 2 * step.forward - 3 * n * d * d


def test_separate_projections_of_attention():
    model = Attention(kdim=4, vdim=4)
    _, layers = count_macs(model, torch.zeros(1, 8, 3, 3))
    assert layers == {
        "mha.q_proj_weight": 9 * 64,
        "mha.k_proj_weight": 9 * 32,
        "mha.v_proj_weight": 9 * 32,
        "mha.out_proj.weight": 9 * 64,
        "head.weight": 24,
    }


def test_attention_of_different_lengths_reads_its_packed_weight_in_parts():
    class Pool(Attention):
        def forward(self, x):
            tokens = x.flatten(2).mT
            return self.head(self.mha(tokens[:, :1], tokens, tokens)[0].mean(1))

    _, layers = count_macs(Pool(), torch.zeros(1, 8, 3, 3))
    assert layers["mha.in_proj_weight"] == 64 + 9 * 2 * 64


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_encoder_layer_counts_alike_with_and_without_its_fused_path(device):
    with torch.device(device):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model = nn.Sequential(nn.Flatten(2), layer)
        images, d, n = torch.zeros(1, 5, 8, 1), 8, 5
        for training in (True, False):
            total, layers = count_macs(model.train(training), images)
            assert sum(layers.values()) == n * (4 * d * d + 2 * 16 * d)
            assert total == sum(layers.values()) + 2 * n * n * d
            assert count_step(model.train(training), images).forward == total


def vit(layers=2, d=16, mlp=32, patch=4, side=16, classes=10):
    """Return torchvision's ViT and its MACs by weight, and those of attention without one."""
    models = pytest.importorskip("torchvision.models")
    model = models.VisionTransformer(side, patch, layers, 2, d, mlp, num_classes=classes)
    n = (side // patch) ** 2 + 1
    macs = {"conv_proj.weight": (n - 1) * 3 * patch**2 * d}
    for i in range(layers):
        block = f"encoder.layers.encoder_layer_{i}"
        macs[f"{block}.self_attention.in_proj_weight"] = 3 * n * d * d
        macs[f"{block}.self_attention.out_proj.weight"] = n * d * d
        macs[f"{block}.mlp.0.weight"] = macs[f"{block}.mlp.3.weight"] = n * d * mlp
    macs["heads.head.weight"] = d * classes
    return model, (3, side, side), macs, layers * 2 * n * n * d


def swin(d=8, side=16, window=2, classes=10):
    """Return a torchvision Swin of two stages of one block each, likewise."""
    models = pytest.importorskip("torchvision.models")
    model = models.SwinTransformer([4, 4], d, [1, 1], [2, 2], [window] * 2, num_classes=classes)
    whole = (side // 4) ** 2
    macs = {"features.0.0.weight": whole * 3 * 16 * d}
    attention = 0
    for stage, n in {1: whole, 3: whole // 4}.items():
        block = f"features.{stage}.0"
        macs[f"{block}.attn.qkv.weight"] = 3 * n * d * d
        macs[f"{block}.attn.proj.weight"] = n * d * d
        macs[f"{block}.mlp.0.weight"] = macs[f"{block}.mlp.3.weight"] = 4 * n * d * d
        attention += 2 * n * window**2 * d
        if stage == 1:
            macs["features.2.reduction.weight"] = n // 4 * 4 * d * 2 * d
            d *= 2
    macs["head.weight"] = d * classes
    return model, (3, side, side), macs, attention


def convolutional():
    """Return a net with a strided, a depthwise and a transposed convolution, likewise."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.Conv2d(4, 6, 3, padding=1, dilation=2, groups=2),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 10),
    )
    macs = {
        "0.weight": 16 * 27 * 8,
        "1.weight": 16 * 9 * 8,
        "3.weight": 36 * 9 * 2 * 6,
        "5.weight": 6 * 36 * 10,
    }
    return model, (3, 8, 8), macs, 16 * 8 * 4 * 4  # no transposed convolution is pruned


@pytest.mark.parametrize("make", [vit, swin, convolutional])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", [nullcontext(), LOW], ids=["fp32", "bf16"])
def test_whole_networks_by_hand(make, training, precision):
    model, shape, macs, others = make()
    model.train(training)
    with precision:
        total, layers = count_macs(model, torch.zeros(1, *shape))
        step = count_step(model, torch.zeros(1, *shape))
        row = effective(model, shape, dict.fromkeys(macs, 0.5))
    assert layers == macs
    assert list(prunable_parameters(model)) == list(macs)
    assert total == step.forward == row["macs_dense"] == sum(macs.values()) + others
    assert row["macs_effective"] == sum(macs.values()) // 2 + others
    first = next(iter(macs))
    assert step.backward == 2 * total - macs[first]
    for name, count in macs.items():
        assert step.layers[name] == (count, count * (1 if name == first else 2))
    forward, backward = step.effective(dict.fromkeys(macs, 0.5))
    assert forward == row["macs_effective"]
    assert backward == (2 * sum(macs.values()) - macs[first]) // 2 + 2 * others


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "beit_base_patch16_224", "vit"])
def test_half_of_the_weights_are_about_half_of_the_work(name):
    timm = pytest.importorskip("timm")
    options = {"depths": (1, 1), "embed_dim": 32, "num_heads": (2, 4)} if "swin" in name else {}
    options = options or {"depth": 2, "embed_dim": 48, "num_heads": 4}
    word = "vit_tiny_patch16_224" if name == "vit" else name
    model = timm.create_model(word, num_classes=10, img_size=64, **options)
    half = dict.fromkeys(prunable_parameters(model), 0.5)
    row = effective(model, (3, 64, 64), half)
    # the rest is attention, which in a window of 49 positions is much for these few channels
    assert 0.49 < row["macs_effective"] / row["macs_dense"] < 0.61


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_fused_kernels_do_not_hide_products(device):
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
            self.head = nn.Linear(12, 2)

        def forward(self, x):
            x = x.flatten(2).mT
            x = functional.scaled_dot_product_attention(x, x, x)
            return self.head(self.rnn(x)[0].mean(1))

    with torch.device(device):
        total, _ = count_macs(Fused(), torch.zeros(1, 8, 5, 1))
    assert total == 2 * 25 * 8 + 2 * 5 * (8 + 6) * 4 * 6 + 24
    assert torch.backends.mkldnn.enabled
    assert torch.backends.cudnn.enabled


def test_inference_mode_within_a_model_hides_nothing():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(1, 2, 2), nn.Linear(2, 3)

        def forward(self, x):
            with torch.inference_mode():
                x = self.body(x).flatten(1)
            return self.head(x.clone())

    assert count_macs(Frozen(), torch.zeros(1, 1, 2, 2))[1] == {"body.weight": 8, "head.weight": 6}


def test_counting_loads_no_compiler():
    # in a process of its own, because other tests may have loaded it
    code = (
        "import sys, torch; from torch import nn; from dsd_bench.metrics.macs import count_step;"
        "count_step(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2));"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
