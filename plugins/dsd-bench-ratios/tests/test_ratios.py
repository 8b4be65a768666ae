"""The pruners alone, held to other ways of computing the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from dsd_bench_ratios.counts import shared_out
from dsd_bench_ratios.lamp import Lamp, lamp
from dsd_bench_ratios.layers import Erk, RandomAt, Uniform
from dsd_bench_ratios.plugin import RandomAtParams, RatioParams
from dsd_bench_ratios.recorded import parse, render
from pydantic import ValidationError
from torch import nn

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks, NothingLeft, prune_count
from dsd_bench.pruners import Pruner, PrunerParams, PruneView


@pytest.fixture
def model() -> nn.Module:
    """Return a network of layers of very different sizes."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, groups=2)
    return nn.Sequential(first, second, nn.Flatten(), nn.Linear(64, 30), nn.Linear(30, 4))


def view(model: nn.Module, masks: Masks, round: int = 1, seed: int = 0) -> PruneView:
    """Return what a pruner sees."""
    draw = torch.Generator().manual_seed(seed + round)
    return PruneView(model, masks, round, torch.device("cpu"), draw, lambda count: iter(()))


def curve(pruner: Pruner, model: nn.Module, rounds: int = 12, seed: int = 0) -> Iterator[Masks]:
    """Yield the masks after each pruning; weights are left as they are."""
    masks = Masks.dense(model)
    for round in range(1, rounds + 1):
        masks = pruner.prune(view(model, masks, round, seed))
        yield masks


# -- LAMP ----------------------------------------------------------------------------------------


def test_lamp_is_a_share_of_what_is_left_from_the_weight_on() -> None:
    """By hand: squares 1, 9, 16, 4; kept but for the 9."""
    weight, mask = torch.tensor([[1.0, -3.0], [4.0, 2.0]]), torch.tensor([[1, 0], [1, 1]]).bool()
    expected = torch.tensor([[1 / 21, 0], [1, 4 / 20]], dtype=torch.float64)
    torch.testing.assert_close(lamp(weight, mask), expected)


def test_lamp_agrees_with_the_formula_weight_by_weight() -> None:
    """Equation 4, as the paper writes it."""
    torch.manual_seed(1)
    weight, mask = torch.randn(6, 7), torch.rand(6, 7) > 0.3
    kept = [float(w) ** 2 for w in weight[mask].double()]
    expected = torch.tensor([w / sum(v for v in kept if v >= w) for w in kept]).double()
    torch.testing.assert_close(lamp(weight, mask)[mask], expected, rtol=1e-6, atol=0)


def test_lamp_does_not_depend_on_a_layers_scale(model: nn.Module) -> None:
    """Unlike magnitude: multiplied by 1000, a layer keeps as many weights."""
    before = next(curve(Lamp(PrunerParams()), model)).counts
    model[0].weight.data *= 1000
    assert next(curve(Lamp(PrunerParams()), model)).counts == before


def test_lamp_of_a_layer_of_zeros_is_zero() -> None:
    """Not NaN, which the core refuses."""
    assert lamp(torch.zeros(2, 2), torch.ones(2, 2).bool()).eq(0).all()


# -- counts --------------------------------------------------------------------------------------


def reference_erk(shapes: list[tuple[int, ...]], density: float) -> list[float]:
    """Return ERK's densities as the authors' code finds them: layer after layer made dense."""
    raw = [sum(shape) / torch.Size(shape).numel() for shape in shapes]
    sizes = [torch.Size(shape).numel() for shape in shapes]
    dense: set[int] = set()
    while True:
        budget = density * sum(sizes) - sum(sizes[i] for i in dense)
        open_ = [i for i in range(len(shapes)) if i not in dense]
        eps = budget / sum(raw[i] * sizes[i] for i in open_)
        most = max(raw[i] for i in open_)
        if most * eps <= 1:
            return [1.0 if i in dense else eps * raw[i] for i in range(len(shapes))]
        dense |= {i for i in open_ if raw[i] == most}


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
def test_erk_gives_the_densities_of_the_authors_code(model: nn.Module, fraction: float) -> None:
    """To a weight, in the first round; some layers are capped there."""
    masks = next(curve(Erk(RatioParams(fraction=fraction)), model))
    shapes = [tuple(mask.shape) for mask in masks.weights.values()]
    expected = reference_erk(shapes, masks.nonzero / masks.prunable)
    assert fraction > 0.5 or max(expected) == 1
    for count, mask, density in zip(masks.counts.values(), masks.weights.values(), expected):
        assert abs(count - density * mask.numel()) < 1


def test_uniform_has_one_density_and_prunes_by_magnitude(model: nn.Module) -> None:
    """To a weight in every round; what stays is what is large."""
    for masks in curve(Uniform(RatioParams()), model):
        for name, mask in masks.weights.items():
            assert abs(masks.counts[name] - (1 - masks.sparsity) * mask.numel()) < 1
            size = model.get_parameter(name).abs()
            assert size[mask].min() >= size[~mask].max()


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.61])
@pytest.mark.parametrize("made", [Uniform, Erk, RandomAt])
def test_counts_are_exact_and_masks_nested_to_the_end(
    model: nn.Module, made: type[Pruner], fraction: float
) -> None:
    """The total is round(fraction * remaining) less in every round, while layers can give."""
    params = (RandomAtParams if made is RandomAt else RatioParams)(fraction=fraction)
    masks = Masks.dense(model)
    for round in range(1, 500):
        if masks.nonzero == 4:
            break
        after = made(params).prune(view(model, masks, round))
        assert after.nonzero == max(4, masks.nonzero - prune_count(fraction, masks.nonzero))
        assert after.nested_in(masks)
        assert min(after.counts.values()) >= 1
        masks = after
    with pytest.raises(NothingLeft):
        made(params).prune(view(model, masks))


def test_shares_are_exact_and_within_their_bounds() -> None:
    """On random layers: whole numbers, the right sum, in proportion where there is no bound."""
    draw = random.Random(0)
    for _ in range(300):
        most = [draw.randint(1, 10 ** draw.randint(0, 5)) for _ in range(draw.randint(1, 12))]
        weights = [draw.uniform(0.1, 100) for _ in most]
        total = draw.randint(len(most), sum(most))
        found = shared_out(total, weights, most)
        assert sum(found) == total
        assert all(1 <= count <= top for count, top in zip(found, most))
        free = [c / w for c, w, top in zip(found, weights, most) if 2 < c < top - 1]
        slack = [2 / w for c, w, top in zip(found, weights, most) if 2 < c < top - 1]
        assert not free or max(free) - min(free) <= 2 * max(slack)


# -- random at another run's ratios --------------------------------------------------------------


def record(folder: Path, curve: list[Masks]) -> Path:
    """Write the rounds of a run with these masks, as far as they matter; return its folder."""
    dense = dict.fromkeys(curve[0].weights, 1.0)
    densities = [dense, *(masks.densities() for masks in curve)]
    rows = [{"sparsity_per_layer": {k: 1 - d for k, d in row.items()}} for row in densities]
    folder.mkdir(parents=True)
    (folder / "rounds.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_a_run_that_is_named_gives_its_counts_in_every_round(
    model: nn.Module, tmp_path: Path
) -> None:
    """Counts as LAMP's, weights of one's own, other ones under another seed."""
    theirs = list(curve(Lamp(PrunerParams()), model))
    params = RandomAtParams(ratios=str(record(tmp_path / "run", theirs)))
    ours = list(curve(RandomAt(params), model))
    assert [masks.counts for masks in ours] == [masks.counts for masks in theirs]
    other = list(curve(RandomAt(params), model, seed=100))
    for masks in (theirs, other):
        assert not ours[0].weights["3.weight"].equal(masks[0].weights["3.weight"])
    assert all(now.nested_in(before) for before, now in pairwise(ours))


def test_the_ratios_are_in_the_parameters_and_the_run_is_needed_no_more(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, its file and its id give the same parameters, which stay when it has gone."""
    run = record(tmp_path / "runs" / "0123456789abcdef", list(curve(Erk(RatioParams()), model)))
    monkeypatch.chdir(tmp_path)
    named = [str(run), f"{run}/rounds.jsonl", run.name, "01234"]
    first, *others = [RandomAtParams(ratios=name) for name in named]
    assert all(other == first for other in others)
    (run / "rounds.jsonl").unlink()
    assert RandomAtParams(**json.loads(first.model_dump_json())) == first
    assert len(parse(first.ratios)["0.weight"]) == 12


def test_layers_of_a_hundred_million_weights_keep_their_count() -> None:
    """Nine digits are enough."""
    for count in (1, 33_333_333, 99_999_999):
        share = parse(render({"a": (1 - (1 - count / 10**8),)}))["a"][0]
        assert round(share * 10**8) == count


def test_after_the_last_recorded_pruning_the_curve_ends(model: nn.Module, tmp_path: Path) -> None:
    """As where nothing is left to prune."""
    theirs = list(curve(Lamp(PrunerParams()), model, rounds=2))
    pruner = RandomAt(RandomAtParams(ratios=str(record(tmp_path / "run", theirs))))
    with pytest.raises(NothingLeft, match="of 2 prunings"):
        list(curve(pruner, model))


@pytest.mark.parametrize(
    ("ratios", "fraction", "message"),
    [
        ("a.weight:0.8", 0.2, "other layers than this network has .see 0.weight"),
        ("RUN", 0.3, "leave 2266 weights, but 1982 are to be left"),
    ],
)
def test_ratios_of_another_network_or_fraction_are_refused(
    model: nn.Module, tmp_path: Path, ratios: str, fraction: float, message: str
) -> None:
    """In the first pruning, which is tried out before anything is trained."""
    run = str(record(tmp_path / "run", list(curve(Lamp(PrunerParams()), model))))
    params = RandomAtParams(ratios=run if ratios == "RUN" else ratios, fraction=fraction)
    with pytest.raises(RunError, match=message):
        RandomAt(params).prune(view(model, Masks.dense(model)))


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ("erkk", "expected erk, uniform, a run"),
        ("a:0.5+a:0.5", "named twice"),
        ("a:0.5:0.4+b:0.5", "equally many rounds"),
        ("a:1.5", "from 0 to 1"),
        ("EMPTY", "no pruned round yet"),
        ("BROKEN", "is not the rounds.jsonl of a run"),
    ],
)
def test_what_is_no_ratios_is_refused(tmp_path: Path, ratios: str, message: str) -> None:
    """With the parameters, before any run is planned."""
    for name, text in (("EMPTY", '{"sparsity_per_layer": {"a": 0}}\n'), ("BROKEN", "{}\n{}\n")):
        (tmp_path / name).write_text(text)
    given = str(tmp_path / ratios) if ratios.isupper() else ratios
    with pytest.raises(ValidationError, match=message):
        RandomAtParams(ratios=given)
