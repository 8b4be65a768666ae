from __future__ import annotations

import collections
import re
import subprocess
import sys
import types

import pytest
import torch
import torchvision
from torch import fx, nn
from torch.nn import functional

from dsd_bench.errors import UsageError
from dsd_bench.models.builtin import register_models
from dsd_bench.models.external import GrayToRGB, load_published
from dsd_bench.models.vgg import AverageTo, average_by_slices
from dsd_bench.params import validate
from dsd_bench.seeds import seeded_globals

COMPONENTS = {component.name: component for component in register_models()}
EVERY = [
    ("mlp", {}),
    ("vgg-like", {"depth": 2, "width_exponent": 3}),
    ("resnet18", {}),
    ("resnet50", {}),
    ("timm", {"name": "test_resnet"}),
    ("torchvision", {"name": "squeezenet1_1"}),
]


def build(kind, shape=(3, 32, 32), classes=10, download=False, **values):
    component = COMPONENTS[kind]
    params = validate(component.params, values, kind)
    return component.create(params).build(shape, classes, download=download)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "values"), EVERY)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_model_takes_the_images_and_gives_the_classes(name, values, channels):
    model = build(name, (channels, 32, 32), 7, **values)
    assert model.training
    assert model(torch.rand(2, channels, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(("name", "values"), [e for e in EVERY if e[0] != "resnet50"])
def test_the_global_generators_alone_decide_the_weights(name, values):
    states = []
    for seed in (0, 0, 1):
        with seeded_globals(seed):
            states.append(torch.cat([p.flatten() for p in build(name, **values).parameters()]))
    first, same, other = states
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_registering_imports_neither_torch_nor_torchvision_nor_timm():
    code = (
        "import sys\n"
        "import dsd_bench.models.builtin, dsd_bench.noise.builtin, dsd_bench.data.builtin\n"
        "assert not {'torch', 'torchvision', 'timm', 'sklearn', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_embedded_mlp_has_8832_weights_and_zero_biases():
    model = build("mlp", (1, 8, 8))
    weights = {n: p for n, p in model.named_parameters() if p.ndim == 2}
    assert [tuple(w.shape) for w in weights.values()] == [(64, 64), (64, 64), (10, 64)]
    assert sum(w.numel() for w in weights.values()) == 8832
    assert all(not p.any() for n, p in model.named_parameters() if n not in weights)


def test_mlp_weights_are_he_uniform():
    weight = build("mlp", (1, 20, 20), hidden="500")[1].weight
    bound = (6 / 400) ** 0.5
    assert 0.999 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


def test_mlp_ends_in_a_linear_layer_and_normalises_nothing():
    kinds = [type(layer) for layer in build("mlp", hidden="8x4")]
    assert kinds == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize(
    "hidden", ["", "64x", "x64", "0", "64x0", "064", "64,64", "-5", "a", "6.5"]
)
def test_hidden_sizes_that_are_none_are_refused(hidden):
    with pytest.raises(UsageError, match="64x64"):
        build("mlp", hidden=hidden)


def test_one_hidden_layer_may_be_a_number():
    assert COMPONENTS["mlp"].params(hidden=64) == COMPONENTS["mlp"].params(hidden="64")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("depth", "width", "expected"),
    [
        *[(1, 5, 25_962), (1, 6, 70_346), (1, 7, 214_410), (1, 8, 723_722), (1, 9, 2_627_082)],
        *[(2, 5, 97_322), (3, 5, 350_634), (4, 5, 1_299_626), (5, 5, 4_967_082)],
    ],
)
def test_vgg_like_has_the_parameters_of_table_3(depth, width, expected):
    assert count(build("vgg-like", depth=depth, width_exponent=width)) == expected


def test_vgg_like_is_convolution_relu_norm_twice_and_a_pool():
    kinds = [type(layer) for layer in build("vgg-like", depth=1, width_exponent=2)]
    block = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d] * 2 + [nn.MaxPool2d]
    assert kinds == [*block, AverageTo, nn.Flatten, nn.Linear]


def test_a_block_of_vgg_like_keeps_the_maximum_of_each_2x2_square():
    model, images = build("vgg-like", depth=1, width_exponent=2), torch.rand(2, 3, 9, 8)
    convolved, pooled = model[:6](images), model[:7](images)
    assert convolved.shape == (2, 4, 9, 8)
    squares = convolved[:, :, :8].reshape(2, 4, 4, 2, 4, 2)
    assert torch.equal(pooled, squares.amax(dim=(3, 5)))


def test_vgg_like_doubles_its_filters():
    layers = [m for m in build("vgg-like", depth=3, width_exponent=2) if isinstance(m, nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [4, 4, 8, 8, 16, 16]


@pytest.mark.parametrize(("shape", "most"), [((1, 8, 8), 3), ((3, 31, 40), 4), ((1, 28, 28), 4)])
def test_images_too_small_for_the_depth_are_refused(shape, most):
    model = build("vgg-like", shape, depth=most, width_exponent=1)
    assert model(torch.rand(2, *shape)).shape == (2, 10)
    with pytest.raises(UsageError, match=f"{shape[1]}x{shape[2]}: use depth <= {most}"):
        build("vgg-like", shape, depth=most + 1, width_exponent=1)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (7, 7), (8, 14), (16, 9)])
def test_averaging_by_slices_is_adaptive_average_pooling(size):
    images = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    seen = torch.rand(2, 3, 7, 7, dtype=torch.float64)
    ours, theirs = average_by_slices(images, 7), functional.adaptive_avg_pool2d(images, 7)
    assert torch.allclose(ours, theirs)
    gradients = [torch.autograd.grad(output, images, seen)[0] for output in (ours, theirs)]
    assert torch.allclose(*gradients)


def test_vgg_like_averages_by_slices_where_the_gradient_would_be_in_no_fixed_order():
    def operations(device):
        with torch.profiler.profile() as profile:
            AverageTo(7)(torch.empty(1, 1, 5, 5, device=device))
        return {event.key for event in profile.key_averages()}

    assert "aten::narrow" in operations("meta")
    assert "aten::adaptive_avg_pool2d" in operations("cpu")


def test_a_trace_of_vgg_like_shows_the_pooling():
    graph = fx.symbolic_trace(build("vgg-like", depth=1, width_exponent=1)).graph
    assert functional.adaptive_avg_pool2d in {node.target for node in graph.nodes}


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 11_689_512), ("resnet50", 25_557_032)])
def test_resnets_have_torchvisions_parameters(name, expected):
    model = build(name, (3, 224, 224), 1000)
    assert count(model) == expected
    reference = getattr(torchvision.models, name)()
    shapes = [(k, v.shape) for k, v in model.state_dict().items()]
    assert shapes == [(k, v.shape) for k, v in reference.state_dict().items()]


def test_the_cifar_stem_is_3x3_without_max_pool():
    model = build("resnet18", stem="cifar")
    assert count(model) == 11_173_962
    assert model.maxpool(model.conv1(torch.rand(1, 3, 32, 32))).shape == (1, 64, 32, 32)
    assert model.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("stem", "shape", "kernel"),
    [
        ("auto", (3, 64, 64), 3),
        ("auto", (3, 65, 64), 7),
        ("imagenet", (3, 32, 32), 7),
        ("cifar", (3, 224, 224), 3),
        ("imagenet", (1, 32, 32), 7),
        ("auto", (1, 28, 28), 3),
    ],
)
def test_the_stem_fits_the_images(stem, shape, kernel):
    model = build("resnet18", shape, stem=stem)
    assert model.conv1.weight.shape == (64, shape[0], kernel, kernel)
    assert isinstance(model.maxpool, nn.Identity) == (kernel == 3)


@pytest.mark.parametrize(("name", "wide"), [("resnet18", 8), ("resnet50", 32)])
@pytest.mark.parametrize("width", [1, 6, 16, 96])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 80, 80)])
def test_all_stages_have_the_width_that_is_asked_for(name, wide, width, shape):
    model = build(name, shape, width=width)
    stages = [model.layer1, model.layer2, model.layer3, model.layer4]
    filters = [stage[0].conv1.out_channels for stage in stages]
    assert filters == [width, 2 * width, 4 * width, 8 * width]
    assert (model.conv1.out_channels, model.fc.in_features) == (width, wide * width)
    assert model(torch.rand(2, *shape)).shape == (2, 10)
    assert (model.conv1.bias is None) == (model.fc.bias is not None)


def test_the_usual_width_is_torchvisions_network():
    torch.manual_seed(0)
    ours = build("resnet18", stem="imagenet", width=64).state_dict()
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("library", "name", "near"), [("timm", "resnet_18", "resnet18"), ("torchvision", "vgg", "vgg")]
)
def test_unknown_names_are_refused_with_the_nearest(library, name, near):
    with pytest.raises(UsageError, match=f"no model '{name}'.*{near}"):
        build(library, name=name)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_the_name_is_required(library):
    with pytest.raises(UsageError, match="'name' is required"):
        build(library)


@pytest.mark.parametrize(("library", "name"), [("timm", "resnet18"), ("torchvision", "resnet18")])
def test_published_weights_need_download(library, name):
    with pytest.raises(UsageError, match="add --download"):
        build(library, name=name, pretrained=True)


@pytest.mark.parametrize(
    ("library", "name", "shape"),
    [
        ("timm", "test_vit", (1, 8, 8)),
        ("timm", "test_resnet.nonsense", (3, 32, 32)),
        ("torchvision", "alexnet", (1, 8, 8)),
        ("torchvision", "vit_b_32", (3, 40, 40)),
        ("torchvision", "vit_b_32", (3, 32, 64)),
        ("torchvision", "resnet18", (4, 32, 32)),
    ],
)
def test_what_a_library_refuses_is_one_line_that_names_the_model(library, name, shape):
    with pytest.raises(UsageError, match=f"'{library}:{name}' cannot be built") as caught:
        build(library, shape, name=name)
    assert "x".join(map(str, shape)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_transformers_are_built_for_the_size_of_the_images():
    model = build("timm", (1, 32, 48), name="test_vit")
    assert model.patch_embed.img_size == (32, 48)
    assert build("torchvision", (3, 64, 64), name="vit_b_32").image_size == 64


def test_torchvision_models_have_no_auxiliary_heads():
    output = build("torchvision", (3, 64, 64), 5, name="googlenet")(torch.rand(2, 3, 64, 64))
    assert output.shape == (2, 5)


def test_grayscale_images_are_repeated_for_torchvision():
    model = build("torchvision", (1, 64, 64), name="squeezenet1_1").eval()
    gray, inner = torch.rand(2, 1, 64, 64), model[1]
    assert isinstance(model[0], GrayToRGB)
    assert torch.equal(model(gray), inner(gray.repeat(1, 3, 1, 1)))


def test_timm_adapts_the_first_layer_to_grayscale():
    model = build("timm", (1, 32, 32), name="test_resnet")
    assert next(model.parameters()).shape[1] == 1


@pytest.fixture
def published(monkeypatch):
    """Stand for torchvision's download: a file with the weights of a network of ours."""
    asked = {}

    def publish(name, change=lambda state: None):
        state = torchvision.models.get_model(name).state_dict()
        change(state)

        def get(self, **options):
            asked.update(options)
            return collections.OrderedDict(state)

        monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", get)
        return state, asked

    return publish


def test_published_weights_are_loaded_but_for_the_head(published):
    state, asked = published("squeezenet1_1")
    model = build("torchvision", (3, 64, 64), 7, True, name="squeezenet1_1", pretrained=True)
    ours = model.state_dict()
    assert all(torch.equal(ours[k], v) for k, v in state.items() if not k.startswith("classifier"))
    assert ours["classifier.1.weight"].shape == (7, 512, 1, 1)
    assert asked["weights_only"] is True


def test_published_weights_keep_the_head_for_as_many_classes(published):
    state, _ = published("squeezenet1_1")
    model = build("torchvision", (3, 64, 64), 1000, True, name="squeezenet1_1", pretrained=True)
    assert torch.equal(model.state_dict()["classifier.1.weight"], state["classifier.1.weight"])


def test_published_weights_under_densenets_old_names_are_found():
    model = torchvision.models.DenseNet(4, (2,), 4, num_classes=7)
    fresh = torchvision.models.DenseNet(4, (2,), 4, num_classes=7).state_dict()
    old = {re.sub(r"(denselayer.*(?:norm|conv))([12])", r"\1.\2", k): v for k, v in fresh.items()}
    assert "features.denseblock1.denselayer2.norm.1.weight" in old
    weights = types.SimpleNamespace(
        get_state_dict=lambda **_: old, meta={"categories": [""] * 1000}
    )
    load_published(model, weights, 7)
    assert all(torch.equal(value, fresh[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("change", ["missing", "misshapen"])
def test_published_weights_that_do_not_fit_are_refused(published, change):
    def spoil(state):
        weight = state.pop("features.0.weight")
        if change == "misshapen":
            state["features.0.weight"] = weight[:, :, :2]

    published("squeezenet1_1", spoil)
    with pytest.raises(UsageError, match=r"with published weights .*features\.0\.weight"):
        build("torchvision", (3, 64, 64), 7, True, name="squeezenet1_1", pretrained=True)


def test_a_failed_download_is_a_clear_error(monkeypatch):
    import timm

    def fail(name, pretrained, **options):
        assert pretrained
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UsageError, match=r"published weights .* no route to host"):
        build("timm", download=True, name="test_resnet", pretrained=True)
