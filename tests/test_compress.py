"""``compress`` without training: what is planned, counted and compared."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import numpy
import pytest
import torch
from scipy.stats import binomtest

from dsd_bench.compress import counts, fitting, memory, outcome, starting
from dsd_bench.compress.counts import Classes
from dsd_bench.compress.fitting import Lengths, Paces
from dsd_bench.compress.starting import Asked, start
from dsd_bench.costs.counting import Sizes
from dsd_bench.costs.timing import Pace
from dsd_bench.errors import DataError, UsageError

SIZES = Sizes((3, 8, 8), 2, 100, 150)
PACES = Paces(SIZES, 32, Pace(0.1, 0.001), Pace(0.2, 0.001))


# --- how sure one can be ----------------------------------------------------------------------


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (7, 10), (937, 1000), (1, 1)])
def test_wilsons_interval(right: int, n: int) -> None:
    found = outcome.share(right, n)
    wanted = binomtest(right, n).proportion_ci(0.95, "wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert found.value == right / n


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (5, 5), (3, 9), (30, 12)])
def test_mcnemars_test_is_the_binomial(lost: int, won: int) -> None:
    wanted = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert outcome.mcnemar(lost, won) == pytest.approx(wanted)


def test_bonett_and_prices_interval() -> None:
    """Airways before and after (Bentur et al.; Fagerland et al. 2014, Table 7): -0.51 to -0.01."""
    found = outcome.change(7, 1, 21)
    assert found.value == pytest.approx(-6 / 21)
    assert (found.low, found.high) == pytest.approx((-0.51, -0.01), abs=0.005)


def test_the_interval_covers_the_truth() -> None:
    """Every outcome of 20 images, weighted: it covers in at least 94 % of all cases."""
    n, down, up = 20, 0.15, 0.1
    covered = 0.0
    for lost, won in itertools.product(range(n + 1), repeat=2):
        if lost + won <= n:
            ways = math.comb(n, lost) * math.comb(n - lost, won)
            chance = ways * down**lost * up**won * (1 - down - up) ** (n - lost - won)
            found = outcome.change(lost, won, n)
            covered += chance * (found.low <= up - down <= found.high)
    assert 0.94 <= covered <= 0.99


def test_holms_correction_is_his_procedure() -> None:
    draw = numpy.random.default_rng(0)
    for _ in range(50):
        values = draw.uniform(0, 0.1, int(draw.integers(1, 8))).tolist()
        corrected = outcome.holm(values)
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
                if values[at] > level / (len(values) - rank):
                    break
                rejected.add(at)
            assert {at for at, p in enumerate(corrected) if p <= level} == rejected
    assert outcome.holm([]) == []


def classes_of(labels: list[int], names: tuple[str, ...] = ("a", "b", "c")) -> Classes:
    found = numpy.array(labels)
    test = tuple(int((found == at).sum()) for at in range(len(names)))
    return Classes(names, (5,) * len(names), (1,) * len(names), test, found)


def test_classes_one_by_one() -> None:
    labels = [0] * 6 + [1] * 2
    before = numpy.array([1, 1, 1, 1, 0, 0, 1, 1], bool)
    after = numpy.array([1, 1, 1, 1, 1, 0, 0, 1], bool)
    found = outcome.compare(before, after, classes_of(labels))
    assert (found.before.right, found.after.right) == (6, 6)
    assert (found.change.lost, found.change.won, found.change.value) == (1, 1, 0.0)
    assert found.balanced_before == pytest.approx((4 / 6 + 1) / 2)
    assert found.balanced_after == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert [one.name for one in found.classes] == ["b", "a", "c"]  # the one that lost most first
    assert found.classes[0].change is not None
    assert found.classes[0].change.value == -0.5
    assert (found.classes[2].before, found.classes[2].holm) == (None, None)  # without images
    assert found.classes[0].holm == 1.0


# --- images of each class ---------------------------------------------------------------------


def prepared(train: list[int], val: list[int], test: list[int], classes: int = 3) -> Any:
    def part(labels: list[int]) -> Any:
        return SimpleNamespace(clean=numpy.array(labels, numpy.int64))

    return SimpleNamespace(
        train=part(train), val=part(val) if val else None, test=part(test), classes=classes
    )


def test_a_class_that_nothing_is_learned_of() -> None:
    found = counts.count(prepared([0, 1, 1], [0], [2]), ("a", "b", "c"))
    with pytest.raises(DataError, match="no image to train on is left of 'c'"):
        counts.notes(found)


def test_what_is_odd_of_classes_is_told() -> None:
    many = [0] * 90 + [1] * 10 + [2]
    told = counts.notes(counts.count(prepared(many, [0, 1], [0, 1, 2]), ("a", "b", "c")))
    assert told[0].startswith("validation has no image of 'c'")
    assert told[1] == "validation has 2 images: one of them is 50.0 points"
    assert told[-1].startswith("classes have from 1 to 90 train images")
    even = [0, 1, 2] * 40
    assert counts.notes(counts.count(prepared(even, even, even), ("a", "b", "c"))) == []


def test_classes_without_names_get_numbers() -> None:
    assert counts.count(prepared([0, 1, 2], [], [0]), ()).names == ("0", "1", "2")


# --- lengths ----------------------------------------------------------------------------------


def test_seconds_are_those_of_all_trainings() -> None:
    # 100 images in batches of 32: 4 steps; 150 images are measured after each training
    assert PACES.seconds(Lengths(10, 5, 3)) == pytest.approx(
        10 * 4 * 0.1 + 0.15 + 3 * 5 * 4 * 0.2 + 4 * 0.15
    )


@pytest.mark.parametrize("budget", [20.0, 60.0, 600.0, 1e5])
@pytest.mark.parametrize("structured", [False, True])
def test_a_budget_is_used_and_not_exceeded(budget: float, structured: bool) -> None:
    asked = Asked("x", "mlp", structured=structured, budget=budget)
    lengths = fitting.fit(asked, "tuned", PACES)
    able = (1 - fitting.KEPT_BACK) * budget
    assert PACES.seconds(lengths) <= able
    longer = [one for one in fitting.candidates(asked, "tuned") if PACES.seconds(one) <= able]
    assert longer[0] == lengths  # the first that fits is the longest
    if lengths.retrain_epochs < fitting.LONGEST:
        more = Lengths(lengths.dense_epochs, lengths.retrain_epochs + 1, lengths.rounds)
        assert PACES.seconds(more) > able or lengths.rounds < fitting.ROUNDS[structured]


def test_candidates_get_shorter() -> None:
    seconds = [PACES.seconds(one) for one in fitting.candidates(Asked("x", "mlp"), "fresh")]
    assert seconds == sorted(seconds, reverse=True)


def test_lengths_that_were_asked_for_stay() -> None:
    asked = Asked("x", "mlp", dense_epochs=3, retrain_epochs=2, rounds=5, budget=30.0)
    assert fitting.fit(asked, "fresh", PACES) == Lengths(3, 2, 5)
    with pytest.raises(UsageError, match="not even 3 epochs for the original, then at most 5"):
        fitting.fit(Asked("x", "mlp", dense_epochs=3, retrain_epochs=2, rounds=5, budget=1.0),
                    "fresh", PACES)  # fmt: skip


def test_a_budget_that_is_too_short_says_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"not even .* 3 rounds of 1 epoch fit into 2 s.*about "):
        fitting.fit(Asked("x", "mlp", budget=2.0), "given", PACES)


def test_an_original_as_given_is_not_trained() -> None:
    assert fitting.usual(Asked("x", "mlp"), "given").dense_epochs == 0
    assert fitting.fit(Asked("x", "mlp", budget=1e5), "given", PACES).dense_epochs == 0


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"dense_epochs": 1, "retrain_epochs": "2", "rounds": 3},
        {"dense_epochs": -1, "retrain_epochs": 2, "rounds": 3},
    ],
)
def test_a_damaged_plan_is_made_anew(told: dict[str, Any]) -> None:
    assert fitting.remembered(told) is None


# --- where it begins --------------------------------------------------------------------------


def test_a_folder_is_an_image_folder(folder: Path) -> None:
    found = start(Asked(str(folder), "mlp", size=8))
    assert found.kind == "fresh"
    assert found.dataset == f"imagefolder:{folder},size=8"
    assert "no weights are given (--weights FILE)" in found.notes[0]


def test_a_folder_with_a_comma_in_its_name(tmp_path: Path) -> None:
    fakes.image_folder(tmp_path / "a, b=c")
    found = start(Asked(str(tmp_path / "a, b=c"), "mlp"))
    assert found.dataset == f'imagefolder:"{tmp_path}/a, b=c"'


def test_published_weights_say_how_images_are_normalised(folder: Path) -> None:
    pytest.importorskip("timm")
    found = start(Asked(str(folder), "timm:resnet10t", download=True))
    assert (found.kind, found.model) == ("tuned", "timm:resnet10t,pretrained=true")
    assert (found.bare, found.normalised) == ("timm:resnet10t", "imagenet")
    assert found.dataset.endswith(",normalise=imagenet")
    halves = start(Asked(str(folder), "timm:test_resnet", download=True))
    assert halves.normalised == "inception"
    own = start(Asked(str(folder), "timm:resnet10t", download=True, normalise="images"))
    assert "normalise" not in own.dataset
    assert start(Asked(str(folder), "timm:resnet10t")).normalised.startswith("mean and std of")


def test_nothing_is_fetched_unless_asked(folder: Path) -> None:
    assert start(Asked(str(folder), "timm:resnet10t")).model == "timm:resnet10t"
    assert start(Asked(str(folder), "timm:x", weights="f", download=True)).model == "timm:x"


def test_weights_of_a_run_say_how_its_images_were(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    text = '{"dataset": {"params": {"normalise": "clip"}}}'
    (run / "config.json").write_text(text)
    found = start(Asked(str(folder), "timm:resnet10t", weights=str(run / "dense.safetensors")))
    assert (found.kind, found.normalised) == ("given", "clip")
    (run / "config.json").write_text('{"dataset": {"params": {}}}')
    found = start(Asked(str(folder), "timm:resnet10t", weights=str(run / "dense.safetensors")))
    assert found.normalised.startswith("mean and std of the train images")


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"weights": "f"}, "given"),
        ({"weights": "f", "dense_epochs": 0}, "given"),
        ({"weights": "f", "dense_epochs": 5}, "tuned"),
        ({"weights": "f", "head": "replace"}, "tuned"),
    ],
)
def test_kinds_of_beginnings(asked: dict[str, Any], kind: str) -> None:
    assert start(Asked("digits", "mlp", **asked)).kind == kind


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"data": "./nowhere", "model": "mlp"}, "nowhere: no such folder"),
        ({"data": "digits", "model": "mlp", "head": "keep"}, "--weights-head says what to do"),
        ({"data": "digits", "model": "mlp", "size": 8}, "--size: the data set 'digits' cannot"),
        ({"data": "digits", "model": "mlp", "size": 8}, "these can: cifar10, .*, imagefolder"),
        ({"data": "cifar10", "model": "mlp", "skip_unreadable": True}, "^--skip-unreadable: the"),
        ({"data": "photo", "model": "mlp"}, "there is no folder 'photo', and there is no dataset"),
        ({"data": __file__, "model": "mlp"}, "is a file, not a folder"),
        ({"data": "digits", "model": "mlp", "normalise": "clip"}, "--normalise: the data set"),
        ({"data": "digits", "model": "nonsense"}, "nonsense"),
        ({"data": "digit", "model": "mlp"}, "did you mean 'digits'"),
    ],
)
def test_what_cannot_be_begun(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        start(Asked(**asked))


def test_small_sets_get_small_batches_and_good_weights_small_steps() -> None:
    fresh, given = start(Asked("digits", "mlp")), start(Asked("digits", "mlp", weights="f"))
    assert starting.common(Asked("digits", "mlp"), fresh, 100)["batch_size"] == 32
    assert starting.common(Asked("digits", "mlp"), fresh, 50_000)["batch_size"] == 128
    assert starting.common(Asked("digits", "mlp"), fresh, 100)["lr"] == starting.FRESH
    assert starting.common(Asked("digits", "mlp"), given, 100)["lr"] == starting.GENTLE
    layer = starting.curve_layer(Asked("digits", "mlp"), fresh, {"lr": 0.1}, {}, {})
    assert layer["lr"] == starting.GENTLE
    layer = starting.curve_layer(Asked("digits", "mlp", lr=0.2), fresh, {"lr": 0.2}, {}, {})
    assert layer["lr"] == 0.2


# --- memory -----------------------------------------------------------------------------------


def test_activations_are_what_layers_give() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten()
    ).train()
    assert memory.activation_bytes(model, SIZES) == 3 * 4 * 8 * 8 * 4
    assert model.training
    one = memory.needed(model, SIZES, 1, 0, False)
    assert memory.needed(model, SIZES, 11, 0, False) - one == 10 * 2 * 3 * 4 * 8 * 8 * 4
