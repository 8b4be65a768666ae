"""The cost ledger against hand formulas, the rows of real runs, and the paper's own column."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dsd_bench import RunConfig, configure, run
from dsd_bench.costs import macs_word
from dsd_bench.costs.convention import compare, in_paper_convention, price, prunings_of, sparsities
from dsd_bench.costs.counting import count_model, images_of_training, known_sizes
from dsd_bench.costs.expected import expected_cost, prunings
from dsd_bench.costs.ledger import read_ledger, training_cost
from dsd_bench.costs.paper import APPENDIX_E, COST_UNIT, TABLE_1
from dsd_bench.data import DatasetParams
from dsd_bench.data.prepare import part_sizes
from dsd_bench.errors import UsageError
from dsd_bench.experiment.assemble import Sources, load_data
from dsd_bench.metrics.macs import count_step
from dsd_bench.store.runs import load_run

CIFAR = (3, 32, 32)


def counted(shape=CIFAR, classes=10, **options):
    config = configure(dataset="cifar10", rounds=1, **options)
    return count_model(config.model, shape, classes).step


# --- one image ------------------------------------------------------------------------------


def test_an_mlp_by_hand():
    step = counted((1, 8, 8), model="mlp:hidden=20x30")
    layers = [64 * 20, 20 * 30, 30 * 10]
    assert step.forward == sum(layers)
    assert step.backward == 2 * sum(layers) - layers[0]  # the images need no gradient
    first, *rest = step.layers.values()
    assert first == (64 * 20, 64 * 20)
    assert rest == [(600, 1200), (300, 600)]


def vgg_layers():
    """VGG-like(5,5): two 3x3 convolutions a block, 32 filters doubled, a 7x7 pool at the end."""
    layers, channels, side = [], 3, 32
    for block in range(5):
        for _ in range(2):
            layers.append(side**2 * 9 * channels * 32 * 2**block)
            channels = 32 * 2**block
        side //= 2
    return [*layers, channels * 49 * 10]


def resnet18_layers():
    """torchvision's ResNet-18 with a 3x3 stem of stride 1 and no max-pool."""
    layers, channels, side = [32**2 * 27 * 64], 64, 32
    for width in (64, 128, 256, 512):
        down = width != channels
        side //= 2 if down else 1
        layers += [side**2 * 9 * channels * width] + [side**2 * 9 * width**2] * 3
        layers += [side**2 * channels * width] if down else []
        channels = width
    return [*layers, 512 * 10]


@pytest.mark.parametrize(
    ("model", "layers"),
    [("vgg-like:depth=5,width_exponent=5", vgg_layers()), ("resnet18", resnet18_layers())],
)
def test_convolutional_networks_by_hand(model, layers):
    step = counted(model=model)
    assert step.forward == sum(layers)
    assert step.backward == 2 * sum(layers) - layers[0]
    assert sum(f + b for f, b in step.layers.values()) == step.total
    assert sorted(f for f, _ in step.layers.values()) == sorted(layers)


def test_the_groups_of_a_convolution_are_counted_once():
    step = count_step(nn.Conv2d(8, 16, 3, groups=8, bias=False), torch.zeros(1, 8, 5, 5))
    assert step.forward == 9 * 16 * 9
    assert step.backward == step.forward


def test_counting_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_step(model, torch.zeros(1, 1, 2, 2))
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_large_images_are_counted_without_values():
    shape = (3, 96, 96)
    step = counted(shape, model="vgg-like:depth=1,width_exponent=2")
    layers = [96**2 * 27 * 4, 96**2 * 36 * 4, 4 * 49 * 10]
    assert step.forward == sum(layers)
    assert step.backward == 2 * sum(layers) - layers[0]


def test_effective_leaves_out_each_layers_pruned_share():
    step = counted((1, 8, 8), model="mlp:hidden=20x30")
    shares = dict(zip(step.layers, (0.5, 0.0, 0.9)))
    assert step.effective(shares) == (640 + 600 + 30, 640 + 1200 + 60)
    assert step.effective(dict.fromkeys(step.layers, 0.0)) == (step.forward, step.backward)


# --- images of a training -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "batch", "images"),
    [(1000, 100, 1000), (1050, 100, 1050), (1001, 100, 1000), (60, 100, 60), (1, 100, 1)],
)
def test_a_last_batch_of_one_is_left_out(samples, batch, images):
    config = configure(batch_size=batch, dense_epochs=3, retrain_epochs=2)
    assert images_of_training(config, 0, samples) == (3 * images, 0)
    assert images_of_training(config, 1, samples) == (2 * images, 0)


def test_redense_training_counts_its_epochs_densely(plain):
    config = configure(dense_epochs=3, retrain_epochs=2, redense_epochs=4)
    sizes = known_sizes(config)
    model = count_model(config.model, sizes.shape, sizes.classes)
    rows = [
        {"round": n, "sparsity": 0.5, "sparsity_per_layer": dict.fromkeys(model.prunable, 0.5)}
        for n in (0, 1)
    ]
    dense, pruned = (training_cost(config, row, model, sizes) for row in rows)
    assert dense.images == 3 * 1000
    assert pruned.images == 6 * 1000
    assert pruned.forward_effective == 8832 * (2 * 500 + 4 * 1000)


@given(
    available=st.integers(2, 500),
    val_size=st.one_of(st.just(0.0), st.floats(0.01, 0.99), st.integers(1, 400)),
)
def test_part_sizes_add_up(available, val_size):
    params = DatasetParams(val_size=val_size)
    try:
        train, held = part_sizes(params, available, official_val=False)
    except UsageError:
        return
    assert train + held == available
    assert train > 0
    assert part_sizes(params, available, official_val=True) == (available, 0)


def test_known_sizes_are_those_of_the_prepared_data(tmp_path):
    for words in ("digits", "digits:val_size=0.1,train_size=100", "digits:val_size=30"):
        config = configure(dataset=words)
        data = load_data(config, Sources(tmp_path, tmp_path))
        sizes = known_sizes(config)
        assert sizes.train == len(data.train)
        assert sizes.measured == len(data.train) + len(data.val) + len(data.test)


# --- ledgers of runs ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A tiny run that distils from the best weights of a wider, pruned teacher."""
    torch.set_num_threads(1)
    options = {
        "dataset": "digits:train_size=61,val_size=30",  # 3 batches of 20, one image left out
        "model": "mlp:hidden=8",
        "batch_size": 20,
        "dense_epochs": 3,
        "retrain_epochs": 2,
        "rounds": 2,
        "reg": ["kd:teacher=best"],
        "teacher": {"model": "mlp:hidden=16", "rounds": 1},
    }
    return run(configure(**options), runs_dir=tmp_path_factory.mktemp("taught"))


def test_a_ledger_follows_from_the_rows(taught):
    ledger = read_ledger(taught)
    first, inner = 64 * 8, 8 * 10
    assert [training.images for training in ledger.trainings] == [180, 120, 120]
    for training, row in zip(ledger.trainings, taught.rows, strict=True):
        assert training.forward == training.images * (first + inner)
        assert training.backward == training.images * (first + 2 * inner)
        assert training.forward_effective == training.images * row["macs_effective"]
        kept = [(1 - row["sparsity_per_layer"][n]) for n in row["sparsity_per_layer"]]
        backward = training.images * (first * kept[0] + 2 * inner * kept[1])
        assert training.backward_effective == pytest.approx(backward)
    assert ledger.dense == 420 * (2 * first + 3 * inner + 16 * 74)


def test_teachers_are_shown_apart(taught):
    ledger = read_ledger(taught)
    (teacher,) = ledger.teachers
    found = load_run(taught.path.parent / teacher.run_id)
    assert teacher.ledger.dense == 300 * (2 * 64 * 16 + 3 * 160)
    assert ledger.teachers_dense == teacher.ledger.dense
    assert teacher.needed == found.result["best_round"] + 1
    taught_with = found.rows[found.result["best_round"]]["macs_effective"]
    assert ledger.trainings[1].teaching == 120 * 16 * 74
    assert ledger.trainings[1].teaching_effective == 120 * taught_with


def test_without_the_teachers_run_its_masks_are_unknown(taught, tmp_path):
    shutil.copytree(taught.path, tmp_path / taught.run_id)
    ledger = read_ledger(load_run(tmp_path / taught.run_id))
    assert ledger.dense == read_ledger(taught).dense
    assert (ledger.effective, ledger.teachers_dense, ledger.teachers_effective) == (None,) * 3
    assert in_paper_convention(ledger).teacher is None


def test_the_papers_convention_of_a_run(taught):
    cost = in_paper_convention(read_ledger(taught))
    prices = [3 * 592 * images for images in (180, 120, 120)]
    assert cost.trainings == 3
    assert (cost.counting_dense, cost.pruned_only) == (sum(prices), sum(prices[1:]))
    assert cost.teacher == sum(prices[: cost.teacher_trainings])


def test_a_run_that_recorded_other_macs_is_refused(plain):
    rows = tuple({**row, "macs_dense": row["macs_dense"] + 1} for row in plain.rows)
    with pytest.raises(UsageError, match=r"recorded 593 .* counts 592 here"):
        read_ledger(replace(plain, rows=rows))


def test_a_run_that_pruned_other_weights_is_refused(plain):
    rows = tuple({**row, "sparsity_per_layer": {"0.weight": 0.0}} for row in plain.rows)
    with pytest.raises(UsageError, match=r"did not prune '.*', which its model 'mlp' has"):
        read_ledger(replace(plain, rows=rows))


def test_a_run_without_a_round_is_refused(plain):
    with pytest.raises(UsageError, match=r"no finished round; finish it with: dsd-bench run"):
        read_ledger(replace(plain, rows=()))


# --- expected costs -------------------------------------------------------------------------


def test_the_expected_cost_is_what_the_ledger_finds(taught):
    cost = expected_cost(RunConfig.from_json(taught.config))
    ledger = read_ledger(taught)
    assert (cost.trainings, cost.images) == (3, 420)
    assert cost.macs == ledger.dense
    assert cost.teaching == sum(training.teaching for training in ledger.trainings)
    assert not cost.at_most


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_target_sparsity_is_reached_in_the_expected_number_of_trainings(tiny, tmp_path, scope):
    pruner = f"magnitude:fraction=0.45,scope={scope}"
    config = tiny(rounds=None, target_sparsity=0.8, pruner=pruner, epochs=1)
    made = run(config, runs_dir=tmp_path)
    assert expected_cost(config).trainings == len(made.rows)


@given(size=st.integers(2, 5000), fraction=st.floats(0.05, 0.9), target=st.floats(0.01, 0.99))
def test_prunings_reach_the_target_and_not_before(size, fraction, target):
    left, count = size, prunings([size], fraction, target)
    for _ in range(count):
        assert 1 - left / size < target
        left = max(1, left - max(1, round(fraction * left)))
    assert 1 - left / size >= target or left == 1


def test_a_stop_rule_makes_it_an_upper_bound(tiny):
    assert expected_cost(tiny(stop="patience")).at_most


def test_the_rounds_to_a_target_of_structured_pruning_are_unknown(tiny):
    assert expected_cost(tiny(rounds=None, target_sparsity=0.9, pruner="structured-l1")) is None


def test_data_that_tell_their_sizes_only_when_read(folder, tmp_path):
    options = {"dataset": f"imagefolder:{folder}", "model": "mlp:hidden=8", "epochs": 1}
    config = configure(**options, rounds=0, data_dir=tmp_path)
    assert expected_cost(config) is None
    made = run(config, runs_dir=tmp_path / "runs", data_dir=tmp_path)
    (training,) = read_ledger(made, tmp_path).trainings
    assert training.images == made.result["samples"]["train"]
    assert training.forward == training.images * made.rows[0]["macs_dense"]


# --- the paper ------------------------------------------------------------------------------


def test_the_price_of_a_training_is_the_papers_within_two_percent():
    ours = price(counted(model="vgg-like:depth=5,width_exponent=5").forward)
    assert ours == 3 * sum(vgg_layers()) * 50_000 * 160
    assert ours == pytest.approx(COST_UNIT, rel=0.02)


def test_every_cost_of_the_paper_is_a_multiple_of_its_unit():
    for row in APPENDIX_E:
        for cost in filter(None, (row.cost, row.teacher_cost)):
            assert cost * 1e15 / COST_UNIT == pytest.approx(round(cost / 1.628), abs=0.005)


def test_where_the_paper_contradicts_itself():
    found = compare(price(sum(vgg_layers())))
    assert sparsities(found, "n+1") == [36.00, 48.80, 91.41, 94.50]
    assert sparsities(found, "n") == [95.60, 96.48, 98.56, 99.26, 99.70]
    assert sparsities(found, "neither") == [99.80]
    assert {one.charged for one in found if one.fits in ("neither", "whole curve")} == {30}
    table_1 = [one for one in found if one.row in TABLE_1]
    assert [(one.prunings, one.charged) for one in table_1] == [
        (25, 30),
        (2, 3),
        (22, 22),
        (22, 22),
    ]
    assert [one.teacher_charged for one in table_1] == [None, None, 1, 29]


@given(st.integers(0, 40))
def test_prunings_of_a_printed_sparsity(n):
    assert prunings_of(1 - 0.8**n) == n


# --- the command ----------------------------------------------------------------------------


def test_the_command_prints_tables_csv_and_json(command, taught):
    code, out, _ = command("ledger", str(taught.path))
    assert code == 0
    assert "teachers' own" in out
    assert macs_word(read_ledger(taught).dense) in out
    code, out, _ = command("ledger", str(taught.path), "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["role"] for row in rows] == ["run"] * 3 + ["teacher"] * 2
    assert sum(int(row["forward"]) for row in rows[:3]) == 420 * 592
    code, out, _ = command("ledger", str(taught.path), "--json")
    (entry,) = json.loads(out)["runs"]
    assert entry["total"]["dense"] == read_ledger(taught).dense
    assert entry["teachers"][0]["ledger"]["run_id"] == entry["teachers"][0]["run_id"]


def test_the_command_in_the_papers_convention(command, taught):
    code, out, _ = command("ledger", str(taught.path), "--convention", "paper")
    cost = in_paper_convention(read_ledger(taught))
    assert code == 0
    assert f"{macs_word(cost.counting_dense)}" in out
    assert f"(+{macs_word(cost.teacher)})" in out


def test_the_command_checks_the_paper_without_a_run(command):
    code, out, _ = command("ledger", "--paper")
    assert code == 0
    assert "1.613 P" in out
    assert " ".join(out.split()).count("36.00, 48.80, 91.41, 94.50 %") == 1
    code, out, _ = command("ledger", "--paper", "--json")
    assert len(json.loads(out)["rows"]) == 24
    code, out, _ = command("ledger", "--paper", "--csv")
    assert len(out.splitlines()) == 25


@pytest.mark.parametrize("words", [(), ("--paper", "abcd"), ("abcd", "--csv", "--json")])
def test_the_command_refuses_what_makes_no_sense(command, words):
    assert command("ledger", *words)[0] == 2
