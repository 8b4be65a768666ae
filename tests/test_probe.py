"""What is said before anything is trained: models tried out, and all else that can be known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dsd_bench import api, configure, run
from dsd_bench.errors import RunError, UsageError
from dsd_bench.executors import Settings, check_here
from dsd_bench.executors.local import Local
from dsd_bench.executors.planning import one_of_several_seeds
from dsd_bench.experiment.probe import probe_model
from dsd_bench.models.building import construct
from dsd_bench.models.mlp import MLPFactory
from dsd_bench.params import Params
from dsd_bench.plugins import catalogue
from dsd_bench.regularizers import Regularizer
from dsd_bench.seeds import capture_globals, seeded_globals
from dsd_bench.training.device import make_context
from dsd_bench.training.schedule import smallest_batch, steps_per_epoch

SHAPE, CLASSES = (1, 4, 4), 3


class Net(nn.Module):
    """Two linear layers, and a change of the output by mode."""

    def __init__(self, change=lambda logits, training: logits, before=lambda x: x):
        super().__init__()
        self.change, self.before = change, before
        self.first, self.last = nn.Linear(16, 5), nn.Linear(5, CLASSES)

    def forward(self, x):
        hidden = torch.relu(self.first(self.before(x).flatten(1)))
        return self.change(self.last(hidden), self.training)


def try_out(model, smallest=2, shape=SHAPE, precision="fp32"):
    context = make_context("cpu", 1, False, precision)
    return probe_model(model, "model 'odd'", shape, CLASSES, context, smallest)


def only(train, change):
    """Change the output in one mode only."""
    return lambda logits, training: change(logits) if training == train else logits


REFUSED = {
    "another number of classes": (lambda y: y[:, :2], r"gives the shape \(2, 2\) for 2 images"),
    "a sequence": (lambda y: y[:, None], r"gives the shape \(2, 1, 3\)"),
    "a tuple": (lambda y: (y, y), "gives a tuple of 2"),
    "a dict": (lambda y: {"out": y, "aux": y}, "gives a dict with out, aux"),
    "something else": (lambda y: "logits", "gives a str"),
    "half precision": (lambda y: y.half(), "gives float16"),
    "double precision": (lambda y: y.double(), "gives float64"),
    "classes": (lambda y: (y > 0).long(), "gives int64"),
    "no numbers": (lambda y: y / 0 * 0, "numbers that are not finite"),
    "a failure": (lambda y: y @ y, "cannot take 1x4x4 images.*RuntimeError: mat1 and mat2"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("train", [False, True])
def test_an_output_that_cannot_be_used_is_refused_in_either_mode(name, train):
    change, message = REFUSED[name]
    mode = "train" if train else "eval"
    with pytest.raises(UsageError, match=f"model 'odd' {message}.* in {mode} mode|{message}"):
        try_out(Net(only(train, change)))


def test_a_network_like_any_other_is_taken():
    found = try_out(Net())
    assert found.rectifiers
    assert found.untrained == ()


def test_an_output_for_one_image_may_not_lose_its_first_dimension():
    with pytest.raises(UsageError, match=r"gives the shape \(3,\) for 1 images in eval mode"):
        try_out(Net(lambda logits, training: logits.squeeze(0)))


def test_low_precision_is_right_where_it_was_asked_for():
    assert try_out(Net(), precision="bf16").rectifiers
    with pytest.raises(UsageError, match="gives bfloat16"):
        try_out(Net(lambda logits, training: logits.bfloat16()))


def test_a_model_may_not_change_its_input():
    with pytest.raises(UsageError, match="changes its input images in place"):
        try_out(Net(before=torch.relu_))


def test_a_model_may_draw_random_numbers_and_the_generators_stay():
    before = capture_globals()
    with seeded_globals(0):
        try_out(Net(lambda logits, training: logits + torch.randn(())))
    assert all(torch.equal(before[name], state) for name, state in capture_globals().items())


def test_weights_that_are_no_numbers_are_refused():
    model = Net()
    with torch.no_grad():
        model.last.bias[1] = torch.nan
    with pytest.raises(UsageError, match=r"new weights 'last\.bias' are not all finite"):
        try_out(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, training: y.detach(), "depends on no weight that may change"),
        (lambda y, training: y.detach().requires_grad_() * 1, "depends on no weight"),
        (
            lambda y, training: (y * 0).sqrt() + y,
            r"gradient of 'first\.\w+' is not finite",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        try_out(Net(change))


def test_a_backward_pass_that_fails_is_refused():
    def spoil(logits, training):
        squared = logits.exp()
        squared.add_(1)
        return squared

    with pytest.raises(UsageError, match="its backward pass fails: RuntimeError"):
        try_out(Net(spoil))


def test_weights_that_training_does_not_reach_are_named():
    model = Net()
    model.aside = nn.Linear(2, 2)
    model.last.weight.requires_grad_(False)
    assert try_out(model).untrained == ("last.weight", "aside.weight")


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5))
        self.last = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.last(self.layers(x).relu())


def test_batch_norm_and_single_images():
    assert try_out(Normed()).rectifiers
    with pytest.raises(UsageError, match="one image at a time; use a --batch-size of 2 or more"):
        try_out(Normed(), smallest=1)
    assert try_out(Net(), smallest=1).rectifiers


def test_images_that_are_too_small_are_said_to_be():
    model = nn.Sequential(nn.Conv2d(1, 2, 9), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(2, CLASSES))
    text = r"cannot take 1x4x4 images in eval mode.*the images are too small: it takes 224x224"
    with pytest.raises(UsageError, match=text):
        try_out(model)


@pytest.mark.parametrize(
    ("function", "found"), [(nn.GELU(), False), (nn.SiLU(), False), (nn.ReLU6(), True)]
)
def test_units_with_a_state_are_found(function, found):
    layers = nn.Flatten(), nn.Linear(16, 5), function, nn.Linear(5, CLASSES)
    assert try_out(nn.Sequential(*layers)).rectifiers is found


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 10, 99, 100, 101])
@pytest.mark.parametrize("samples", [1, 2, 3, 100, 101, 102])
def test_the_smallest_batch_of_an_epoch(samples, batch):
    sizes = [len(part) for part in torch.split(torch.arange(samples), min(batch, samples))]
    assert smallest_batch(samples, batch) == min(sizes[: steps_per_epoch(samples, batch)])


# --- building -------------------------------------------------------------------------------


class Factory:
    def __init__(self, make):
        self.make = make

    def build(self, shape, classes, *, download=False):
        return self.make()


def build(make):
    return construct(Factory(make), "model 'odd'", SHAPE, CLASSES)


def lazy():
    return nn.Sequential(
        nn.LazyConv2d(2, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)
    )


def test_lazy_layers_get_their_shapes_from_the_seed_alone():
    states = []
    for seed in (0, 0, 1):
        with seeded_globals(seed):
            model = build(lazy)
        assert all(module.training for module in model.modules())
        assert torch.equal(model[1].running_mean, torch.zeros(2))
        states.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_what_is_not_lazy_is_not_run_when_it_is_built():
    def fail(x):
        raise AssertionError("it was run")

    build(lambda: Net(before=fail))


def test_lazy_layers_that_are_not_used_are_refused():
    def make():
        model = Net()
        model.aside = nn.LazyLinear(2)
        return model

    with pytest.raises(UsageError, match=r"'aside\.weight' belongs to a lazy layer"):
        build(make)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "its factory returned a NoneType, no nn.Module"),
        (lambda: Net, "its factory returned a type"),
        (lambda: 1 / 0, "cannot be built for 1x4x4 images: ZeroDivisionError: division by zero"),
        (lambda: Net().to("meta"), r"'first\.weight' has no values"),
        (
            lambda: nn.Sequential(nn.LazyConv2d(2, 9)),
            "cannot take 1x4x4 images: RuntimeError: .*[Kk]ernel",
        ),
    ],
)
def test_a_factory_that_gives_no_network_is_refused(make, message):
    with pytest.raises(UsageError, match=f"^model 'odd'.*{message}"):
        build(make)


# --- before the first run -------------------------------------------------------------------


def made_of(monkeypatch, make):
    monkeypatch.setattr(
        MLPFactory, "build", lambda self, shape, classes, *, download=False: make(shape, classes)
    )


def smooth(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, classes))


def notes_of(configs, **settings):
    notes = []
    check_here(configs, Settings(device="cpu", **settings), notes.append)
    return [note["text"] for note in notes]


def test_nothing_is_said_of_the_default_run_and_nothing_drawn():
    before = capture_globals()
    assert notes_of([configure()]) == []
    assert all(torch.equal(before[name], state) for name, state in capture_globals().items())


def test_a_model_without_entropy_is_told_once(monkeypatch, tiny):
    made_of(monkeypatch, smooth)
    configs = [tiny(seed=0), tiny(seed=1), tiny(lr=0.1), tiny(reg=["kd"])]
    (note,) = notes_of(configs)
    assert "model 'mlp:8x8' has no units" in note or "model 'mlp:8' has no units" in note
    assert "its entropy will be null" in note


def test_a_rule_that_needs_entropy_is_refused_where_there_is_none(monkeypatch, tiny, tmp_path):
    made_of(monkeypatch, smooth)
    with pytest.raises(UsageError, match=r"'entropy-gate' needs 'entropy'.*use --stop patience"):
        run(tiny(stop="entropy-gate"), runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_any_rule_may_declare_its_columns(monkeypatch, tiny):
    component = catalogue().get("stop", "never").component
    columns = ("val_loss", "test_loss")
    monkeypatch.setitem(component.__dict__, "columns", columns)
    assert notes_of([tiny()]) == []
    nothing = "digits:train_size=60,val_size=0"
    with pytest.raises(UsageError, match=r"'never' needs 'val_loss'.*nothing is held out"):
        notes_of([tiny(dataset=nothing, selection="test")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perturber": "rewind:step=7"}, "the state after step 7, .* has 6 steps"),
        ({"dataset": "digits:train_size=5000"}, "train_size=5000: "),
        ({"model": "timm:resnet_18"}, "timm has no model 'resnet_18'.*resnet18"),
        ({"model": "torchvision:alexnet"}, "'torchvision:alexnet' cannot be built for 1x8x8"),
        ({"model": "torchvision:resnet18,pretrained=true"}, "add --download"),
        ({"model": "vgg-like:depth=4"}, "use depth <= 3"),
        ({"precision": "tf32"}, "tf32 needs an NVIDIA GPU"),
    ],
)
def test_what_can_be_known_is_told_once_and_leaves_no_folder(options, message, tiny, tmp_path):
    runs = [tiny(**options, seed=seed) for seed in range(3)]
    with pytest.raises(UsageError, match=message) as caught:
        api.execute(runs, tmp_path / "runs", Settings(device="cpu"), executor="inline")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("threads", "told"),
    [
        (2, ""),
        (3, "note: --threads 3: this machine has 2 cores to give: the run will be slower"),
        (16, "note: --threads 16: this machine has 2 cores to give: the run will be slower"),
        (17, "--threads 17: this machine has 2 cores to give; more than 16 threads would only"),
    ],
)
def test_more_threads_than_cores_are_told(threads, told, tiny, tmp_path, monkeypatch):
    for module in ("training.device", "experiment.checks"):
        monkeypatch.setattr(f"dsd_bench.{module}.available_cores", lambda: 2)
    events, settings = [], Settings(device="cpu", threads=threads)
    emit, where = events.append, tmp_path / "runs"
    if threads == 17:
        with pytest.raises(UsageError, match=f"^{told}"):
            api.execute([tiny(rounds=0)], where, settings, executor="inline", emit=emit)
        assert not where.exists()
        return
    api.execute([tiny(rounds=0)], where, settings, executor="inline", emit=emit)
    notes = [f"note: {event['text']}" for event in events if event["event"] == "note"]
    assert notes == ([told] if told else [])


def test_several_problems_are_told_together(tiny):
    bad = [tiny(perturber="rewind:step=7"), tiny(), tiny(dataset="digits:train_size=5000")]
    with pytest.raises(UsageError, match=r"(?s)^2 problems:.*step 7.*train_size"):
        notes_of(bad)


def test_regularizers_are_tried_on_the_model(monkeypatch, tiny):
    made_of(
        monkeypatch,
        lambda shape, classes: nn.Sequential(nn.Conv2d(1, classes, 8), nn.ReLU(), nn.Flatten()),
    )
    with pytest.raises(UsageError, match=r"dropout: the model .* has no linear layer"):
        notes_of([tiny(reg=["dropout"])])


def test_a_regularizer_that_fails_is_named(monkeypatch, tiny):
    monkeypatch.setattr(Regularizer, "loss", lambda self, loss, step: loss + step.logits[:, 99])
    with pytest.raises(UsageError, match=r"cannot be trained with 'dropout': IndexError: index 99"):
        notes_of([tiny(reg=["dropout"])])


def test_the_pruner_is_tried_on_the_model(monkeypatch, tiny):
    made_of(
        monkeypatch,
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.ReLU()),
    )
    with pytest.raises(UsageError, match=r"'structured-l1' cannot prune .*no layer"):
        notes_of([tiny(pruner="structured-l1")])
    assert notes_of([tiny()]) == []


class Half(nn.Module):
    """A layer that computes another weight of its own, a frozen one, and one like any other."""

    def __init__(self, classes):
        super().__init__()
        self.scaled, self.frozen, self.head = (
            nn.Linear(64, 8),
            nn.Linear(8, 8),
            nn.Linear(8, classes),
        )
        self.frozen.weight.requires_grad_(False)

    def forward(self, x):
        hidden = nn.functional.linear(x.flatten(1), self.scaled.weight * 2).relu()
        return self.head(self.frozen(hidden))


def test_what_is_not_pruned_and_what_is_not_trained_is_told_once(monkeypatch, tiny, tmp_path):
    made_of(monkeypatch, lambda shape, classes: Half(classes))
    notes = []
    configs = [tiny(seed=0), tiny(seed=1)]
    settings = Settings(device="cpu")
    api.execute(configs, tmp_path, settings, executor="inline", emit=notes.append)
    texts = [event["text"] for event in notes if event["event"] == "note"]
    assert len(texts) == 2
    assert "of the weights are never pruned: scaled.weight" in texts[0]
    assert "get no gradient (frozen, or unused in train mode): frozen.weight" in texts[1]


def test_a_model_with_nothing_to_prune_is_refused(monkeypatch, tiny):
    made_of(
        monkeypatch,
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Bilinear(64, 64, classes)),
    )
    with pytest.raises(UsageError, match=r"model 'mlp:8'.* no Conv or Linear weights"):
        notes_of([tiny()])


def test_finished_runs_are_not_tried_again(monkeypatch, tiny, tmp_path):
    run(tiny(), runs_dir=tmp_path)
    monkeypatch.setattr(MLPFactory, "build", None)
    assert run(tiny(), runs_dir=tmp_path).result["status"] == "done"


def test_a_failed_check_leaves_a_finished_run_alone(monkeypatch, tiny, tmp_path):
    before = run(tiny(), runs_dir=tmp_path)
    made_of(monkeypatch, lambda shape, classes: None)
    with pytest.raises(UsageError, match="returned a NoneType"):
        run(tiny(), runs_dir=tmp_path, force=True)
    assert (before.path / "result.json").is_file()


def test_the_check_does_not_change_a_run(monkeypatch, tiny, tmp_path):
    def rows(runs_dir):
        made = run(tiny(reg=["dropout:p=0.2"]), runs_dir=runs_dir)
        return (made.path / "rounds.jsonl").read_bytes()

    checked = rows(tmp_path / "checked")
    monkeypatch.setattr("dsd_bench.executors.inline.check_here", lambda *_: None)
    assert rows(tmp_path / "unchecked") == checked


def test_a_lazy_network_goes_through_a_whole_run(monkeypatch, tiny, tmp_path):
    made_of(monkeypatch, lambda shape, classes: nn.Sequential(
        nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(classes)
    ))  # fmt: skip
    made = run(tiny(perturber="reinit"), runs_dir=tmp_path)
    assert made.rows[0]["macs_dense"] == 64 * 8 + 8 * 10
    assert made.rows[2]["sparsity"] == pytest.approx(0.36, abs=0.01)
    assert isinstance(api.load_model(made.path)[1], nn.Linear)


def test_what_nobody_foresaw_is_no_mistake_of_the_users(monkeypatch, tiny):
    monkeypatch.setattr(
        "dsd_bench.data.sets.digits.Digits.outline", lambda self: {}["no such thing"]
    )
    with pytest.raises(RunError, match=r"KeyError.*bug"):
        notes_of([tiny()])


def test_one_of_several_seeds_is_checked(tiny):
    students = [tiny(seed=seed, reg=["kd"]) for seed in (0, 1)]
    others = [tiny(seed=0), tiny(seed=1), tiny(seed=1, rounds=3)]
    assert one_of_several_seeds([*students, *others]) == [students[0], others[0], others[2]]


# --- in worker processes --------------------------------------------------------------------


def test_a_worker_checks_before_any_folder_is_made(command, tmp_path):
    words = ("run", "--rounds", "1", "--epochs", "1", "--model", "vgg-like:depth=4")
    code, _, err = command(*words, "--seeds", "0-2", "--jobs", "2")
    assert code == 2
    assert err.count("use depth <= 3") == 1
    assert "bug" not in err
    assert not (tmp_path / "runs").exists()


def test_a_device_that_is_not_there_leaves_no_folder(command, tmp_path):
    code, _, err = command("run", "--rounds", "1", "--device", "cuda:77")
    assert code == 2
    assert "cuda:77" in err
    assert not (tmp_path / "runs").exists()


def test_workers_that_wait_for_the_check_are_ended_with_it(tiny, tmp_path):
    local, config = Local(Params()), tiny()
    planned = api.plan([config, tiny(seed=1)], tmp_path)
    local.check([item.job for item in planned], [config], Settings(device="cpu", jobs=2), print)
    workers = list(local._pool.workers)
    assert len(workers) == 2
    local.close()
    assert all(worker.process.returncode is not None for worker in workers)
    assert list(Path(tmp_path).iterdir()) == []
