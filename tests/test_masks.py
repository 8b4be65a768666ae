"""Masks: exact counts, order, nesting, and what is refused."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn.utils import prune

from dsd_bench.errors import DamagedFile, RunError
from dsd_bench.masks import (
    Masks,
    NothingLeft,
    computed_weights,
    layer_weights,
    leave_out,
    prunable_parameters,
    prune_by_scores,
    prune_count,
)


class Small(nn.Module):
    """Conv, batch norm and linear layers, with biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)


@pytest.fixture
def model() -> Small:
    torch.manual_seed(0)
    return Small()


def scores_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().abs() for name, weight in prunable_parameters(model).items()}


def masks_from(lists: list[list[bool]]) -> Masks:
    return Masks({f"w{i}": torch.tensor(keep) for i, keep in enumerate(lists)})


def reference(scores: list[list[float]], kept: list[list[bool]], fraction: float, scope: str):
    """Prune by walking a full stable sort, passing over each layer's last remaining weight."""
    result = [list(layer) for layer in kept]
    layers = range(len(kept))
    for group in [list(layers)] if scope == "global" else [[i] for i in layers]:
        order = sorted(
            ((scores[i][j], i, j) for i in group for j in range(len(kept[i])) if kept[i][j]),
        )
        count = max(1, round(fraction * len(order)))
        for _, i, j in order:
            if count and sum(result[i]) > 1:
                result[i][j] = False
                count -= 1
    return result


# prunable parameters


def test_only_conv_and_linear_weights_are_prunable(model):
    assert list(prunable_parameters(model)) == ["conv.weight", "hidden.weight", "head.weight"]


def test_a_shared_weight_counts_once(model):
    model.again = nn.Linear(6, 3)
    model.again.weight = model.head.weight
    assert "again.weight" not in prunable_parameters(model)


def test_a_lone_layer_is_prunable():
    assert list(prunable_parameters(nn.Linear(2, 2))) == ["weight"]


def test_a_computed_weight_is_not_prunable(model):
    nn.utils.parametrizations.weight_norm(model.hidden)
    assert list(prunable_parameters(model)) == ["conv.weight", "head.weight"]
    assert computed_weights(model) == {"hidden.weight": 24}


def test_weights_that_are_left_out_are_never_pruned(model):
    leave_out(model, ["hidden.weight", "norm.weight", "gone.weight"])
    for seen in (model, copy.deepcopy(model)):
        assert list(prunable_parameters(seen)) == ["conv.weight", "head.weight"]
        assert list(layer_weights(seen)) == ["conv.weight", "hidden.weight", "head.weight"]
    assert list(prunable_parameters(model.hidden)) == []
    assert Masks.dense(model).prunable == 4 * 2 * 9 + 3 * 6


def test_packed_projections_of_attention_are_prunable_one_by_one():
    """With keys of another width torch keeps three projections, else one packed weight."""
    packed, apart = nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2, kdim=3)
    three = [f"{x}_proj_weight" for x in "qkv"]
    assert list(prunable_parameters(packed)) == ["in_proj_weight", "out_proj.weight"]
    assert list(prunable_parameters(apart)) == [*three, "out_proj.weight"]
    leave_out(apart, ["k_proj_weight"])
    assert list(prunable_parameters(apart)) == [three[0], three[2], "out_proj.weight"]
    assert computed_weights(packed) == computed_weights(apart) == {}


# the value


def test_dense_masks_keep_everything(model):
    masks = Masks.dense(model)
    assert (masks.nonzero, masks.prunable, masks.sparsity) == (114, 114, 0.0)
    assert set(masks.densities().values()) == {1.0}


def test_dense_masks_are_contiguous_whatever_the_layout(model):
    masks = Masks.dense(model.to(memory_format=torch.channels_last))
    assert all(mask.is_contiguous() for _, mask in masks.all())


def test_counts_sparsity_and_densities():
    masks = Masks(
        {"a": torch.tensor([True, False, False, False]), "b": torch.tensor([True, True])},
        {"bias": torch.tensor([False])},
    )
    assert masks.counts == {"a": 1, "b": 2}
    assert (masks.nonzero, masks.prunable, masks.sparsity) == (3, 6, 0.5)
    assert masks.densities() == {"a": 0.25, "b": 1.0}


def test_masks_must_be_bool():
    with pytest.raises(TypeError, match="'a' is"):
        Masks({"a": torch.ones(2)})


def test_apply_leaves_positive_zeros_even_of_nan_and_negative_weights(model):
    masks = Masks.dense(model)
    masks.weights["hidden.weight"][0] = False
    masks.weights["hidden.weight"][1] = True
    masks = Masks(masks.weights, {"norm.bias": torch.tensor([True, False, True, True])})
    with torch.no_grad():
        model.hidden.weight.fill_(-1.0)
        model.hidden.weight[0, 0] = math.nan
        model.norm.bias.fill_(-2.0)
    masks.apply(model)
    assert model.hidden.weight[0].tolist() == [0.0] * 4
    assert not model.hidden.weight[0].signbit().any()
    assert model.hidden.weight[1:].eq(-1).all()
    assert model.norm.bias.tolist() == [-2.0, 0.0, -2.0, -2.0]


def test_apply_finds_a_weight_that_another_module_names_first():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "head": nn.Linear(2, 3)})
    model["head"].weight = model["embedding"].weight
    masks = Masks({"head.weight": torch.zeros(3, 2, dtype=torch.bool)})
    masks.apply(model)
    assert not model["embedding"].weight.any()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("hidden.weight", (1, 4), r"hidden.weight.*\(1, 4\).*Small has \(6, 4\)"),
        ("gone.weight", (6, 4), "gone.weight.*no such one"),
    ],
)
def test_apply_refuses_masks_of_another_model(model, name, shape, message):
    with pytest.raises(RunError, match=message):
        Masks({name: torch.ones(shape, dtype=torch.bool)}).apply(model)


def test_nesting_looks_at_every_mask():
    more, less = [True, True, False], [True, False, False]
    assert masks_from([less]).nested_in(masks_from([more]))
    assert not masks_from([more]).nested_in(masks_from([less]))
    assert not masks_from([less]).nested_in(masks_from([less, less]))
    tied = Masks(masks_from([less]).weights, {"bias": torch.tensor([False])})
    assert tied.nested_in(masks_from([less]))
    assert not masks_from([less]).nested_in(tied)


def test_tensors_go_there_and_back():
    masks = Masks({"a.weight": torch.tensor([True, False])}, {"a.bias": torch.tensor([False])})
    tensors = masks.tensors()
    assert set(tensors) == {"weights/a.weight", "tied/a.bias"}
    again = Masks.from_tensors(tensors | {"model/a.weight": torch.ones(2)})
    assert {n: m.tolist() for n, m in again.all()} == {n: m.tolist() for n, m in masks.all()}
    assert set(again.tied) == {"a.bias"}


def test_damaged_tensors_are_refused():
    with pytest.raises(DamagedFile, match="no masks"):
        Masks.from_tensors({"model/a": torch.ones(1)})
    with pytest.raises(DamagedFile, match="not bool"):
        Masks.from_tensors({"weights/a": torch.ones(1)})


def test_to_moves_every_mask():
    masks = Masks({"a": torch.tensor([True])}, {"b": torch.tensor([True])}).to("meta")
    assert {mask.device.type for _, mask in masks.all()} == {"meta"}


# pruning by scores


@pytest.mark.parametrize(
    ("fraction", "remaining", "count"), [(0.2, 8832, 1766), (0.5, 5, 2), (0.5, 7, 4), (0.2, 2, 1)]
)
def test_amount(fraction, remaining, count):
    assert prune_count(fraction, remaining) == count


@st.composite
def layers(draw):
    shapes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    score = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 0.5, 2.0])
    scores = [draw(st.lists(score, min_size=n, max_size=n)) for n in shapes]
    kept = [draw(st.lists(st.booleans(), min_size=n, max_size=n)) for n in shapes]
    return scores, kept


@settings(max_examples=300, deadline=None)
@given(layers(), st.floats(0.01, 0.99), st.sampled_from(["global", "layer"]))
def test_pruning_is_what_a_full_stable_sort_gives(case, fraction, scope):
    scores, kept = case
    given_scores = {f"w{i}": torch.tensor(layer) for i, layer in enumerate(scores)}
    expected = reference(scores, kept, fraction, scope)
    if expected == kept:
        with pytest.raises(NothingLeft):
            prune_by_scores(given_scores, masks_from(kept), fraction, scope)
    else:
        pruned = prune_by_scores(given_scores, masks_from(kept), fraction, scope)
        assert [mask.tolist() for mask in pruned.weights.values()] == expected


@pytest.mark.parametrize("fraction", [0.2, 0.31])
def test_global_rounds_agree_with_torch(model, fraction):
    torch_model = Small()
    torch_model.load_state_dict(model.state_dict())
    parts = [(torch_model.conv, "weight"), (torch_model.hidden, "weight")]
    parts.append((torch_model.head, "weight"))
    masks = Masks.dense(model)
    for _ in range(3):
        prune.global_unstructured(parts, prune.L1Unstructured, amount=fraction)
        masks = prune_by_scores(scores_of(model), masks, fraction, "global")
        for (part, _name), mask in zip(parts, masks.weights.values()):
            assert torch.equal(part.weight_mask.bool(), mask)


def test_layer_rounds_agree_with_torch(model):
    torch_model = Small()
    torch_model.load_state_dict(model.state_dict())
    masks = Masks.dense(model)
    for _ in range(5):
        masks = prune_by_scores(scores_of(model), masks, 0.3, "layer")
        for name, mask in masks.weights.items():
            part = torch_model.get_submodule(name.removesuffix(".weight"))
            prune.l1_unstructured(part, "weight", amount=0.3)
            assert torch.equal(part.weight_mask.bool(), mask)


def prune_to_the_end(model, scope):
    """Prune with new scores each round; what is pruned scores high, and must not come back."""
    rounds = [Masks.dense(model)]
    while len(rounds) < 100:
        masks = rounds[-1].weights
        scores = {name: torch.rand_like(s) for name, s in scores_of(model).items()}
        scores = {name: s + 2.0 * ~masks[name] for name, s in scores.items()}
        try:
            rounds.append(prune_by_scores(scores, rounds[-1], 0.4, scope))
        except NothingLeft:
            break
    return rounds


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_rounds_nest_until_one_weight_is_left_in_each_layer(model, scope):
    rounds = prune_to_the_end(model, scope)
    for before, after in pairwise(rounds):
        assert after.nested_in(before)
        assert after.nonzero < before.nonzero
    assert set(rounds[-1].counts.values()) == {1}


def test_a_protected_weight_does_not_change_the_count():
    masks = masks_from([[True] * 2, [True] * 8])
    low, high = torch.tensor([0.1, 0.1]), torch.arange(1.0, 9.0)
    pruned = prune_by_scores({"w0": low, "w1": high}, masks, 0.3, "global")
    assert pruned.weights["w0"].tolist() == [False, True]
    assert pruned.weights["w1"].tolist() == [False, False] + [True] * 6


def test_earlier_masks_stay_as_they_were(model):
    before = Masks.dense(model)
    prune_by_scores(scores_of(model), before, 0.5, "layer")
    assert before.nonzero == sum(int(m.sum()) for m in before.weights.values()) == 114


def test_tied_masks_are_kept():
    masks = Masks(masks_from([[True, True]]).weights, {"bias": torch.tensor([False])})
    pruned = prune_by_scores({"w0": torch.tensor([1.0, 2.0])}, masks, 0.5, "global")
    assert pruned.tied["bias"].tolist() == [False]


def test_mixed_dtypes_are_compared_without_rounding():
    # 2**24 + 1 is no float32: rounded, it would tie with 2**24 and another weight would go.
    scores = {
        "w0": torch.tensor([2**24 + 1, 2**40, 2**41]),
        "w1": torch.tensor([2.0**24, 2.0**42]),
        "w2": torch.tensor([2.0**24 - 65536, 2.0**42], dtype=torch.bfloat16),
    }
    masks = masks_from([[True] * 3, [True] * 2, [True] * 2])
    pruned = prune_by_scores(scores, masks, 2 / 7, "global")
    assert [m.tolist() for m in pruned.weights.values()] == [
        [True, True, True],
        [False, True],
        [False, True],
    ]


def test_layout_and_gradients_of_scores_do_not_matter(model):
    plain = prune_by_scores(scores_of(model), Masks.dense(model), 0.5, "global")
    model.to(memory_format=torch.channels_last)
    odd = {name: weight.abs() for name, weight in prunable_parameters(model).items()}
    masks = {
        n: m.to(memory_format=torch.channels_last) if m.dim() == 4 else m
        for n, m in Masks.dense(model).weights.items()
    }
    same = prune_by_scores(odd, Masks(masks), 0.5, "global")
    assert all(torch.equal(mask, same.weights[name]) for name, mask in plain.weights.items())


def test_missing_scores_are_named(model):
    scores = scores_of(model)
    del scores["head.weight"]
    with pytest.raises(RunError, match=r"no scores for 'head\.weight'"):
        prune_by_scores(scores, Masks.dense(model), 0.2, "global")


def test_misshapen_scores_are_named(model):
    scores = scores_of(model) | {"head.weight": torch.ones(3, 1)}
    with pytest.raises(RunError, match=r"'head\.weight' have the shape \(3, 1\), not \(3, 6\)"):
        prune_by_scores(scores, Masks.dense(model), 0.2, "global")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (None, "the scores are a NoneType; expected a dict of tensors"),
        ([torch.ones(3, 6)], "the scores are a list; expected a dict of tensors"),
        ({"hidden.weight": [0.5]}, r"the scores for 'hidden\.weight' are a list, no tensor"),
    ],
)
def test_scores_that_are_no_tensors_by_name_are_refused(model, bad, words):
    given = scores_of(model) | bad if isinstance(bad, dict) else bad
    with pytest.raises(RunError, match=words):
        prune_by_scores(given, Masks.dense(model), 0.2, "global")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_must_be_finite_where_weights_remain(model, bad):
    scores, masks = scores_of(model), Masks.dense(model)
    scores["hidden.weight"][2, 1] = bad
    with pytest.raises(RunError, match=r"'hidden\.weight' are not all finite"):
        prune_by_scores(scores, masks, 0.2, "global")
    masks.weights["hidden.weight"][2, 1] = False
    pruned = prune_by_scores(scores, Masks(masks.weights), 0.2, "global")
    assert pruned.nonzero == 113 - prune_count(0.2, 113)


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int32, torch.uint8, torch.float64, torch.bfloat16, torch.float32]
)
def test_scores_of_any_dtype_rank_exactly(dtype: torch.dtype) -> None:
    """Neighbours that float32 cannot tell apart are told apart in their own dtype."""
    big = 2**24 if dtype in (torch.int64, torch.int32, torch.float64) else 100
    scores = torch.tensor([big + 1, big, big + 3, big + 2]).to(dtype)
    masks = Masks({"weight": torch.ones(4, dtype=torch.bool)})
    kept = prune_by_scores({"weight": scores}, masks, 0.25, "global").weights["weight"]
    assert kept.tolist() == [True, False, True, True]


def test_masks_of_many_other_weights_are_refused_by_the_first_names():
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(5)])
    other = Masks({"else": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(RunError, match=r"0\.weight, 1\.weight, 2\.weight, \.\.\."):
        other.ordered(model)
    with pytest.raises(RunError, match="else"):
        Masks(dict(Masks.dense(model).weights) | dict(other.weights)).ordered(model)
