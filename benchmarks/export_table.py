"""How much smaller do pruned networks really get? A markdown table.

    python benchmarks/export_table.py [--only WORD] [--latency]

The embedded default run of seed 0 is trained; of the other networks the initial weights are pruned
by magnitude, because only the shapes matter here: 95 % of the single weights of each layer, or half
of the filters twice (built-in ``structured-l1``, which leaves sums whole; ``channels-l1`` of the
plugin dsd-bench-structured where it is installed, which prunes what a sum shares together). Batch
norms have the statistics of a new network, and scales of 1. ``--latency`` adds the median ratio of
dense to shrunk, both timed in turn in this process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dsd_bench import configure, run
from dsd_bench.config.words import parse_component
from dsd_bench.errors import DsdError
from dsd_bench.export import Shrunk, check, export_run, load_exported, shrink
from dsd_bench.export.running import sizes
from dsd_bench.masks import Masks
from dsd_bench.metrics.macs import count_macs
from dsd_bench.models.building import construct
from dsd_bench.pruners import PruneView

REPEATS = 15
BATCHES = (1, 32)


@dataclass(frozen=True)
class Case:
    """A network and how it is pruned: pruner, rounds, ``(C, H, W)``."""

    model: str
    pruner: str
    rounds: int
    shape: tuple[int, int, int]


CASES = tuple(
    Case(model, pruner, rounds, shape)
    for model, shape in (
        ("vgg-like:depth=2,width_exponent=4", (3, 32, 32)),
        ("resnet18", (3, 32, 32)),
        ("timm:resnet10t", (3, 64, 64)),
        ("timm:mobilenetv3_small_050", (3, 64, 64)),
    )
    for pruner, rounds in (
        ("magnitude:fraction=0.95,scope=layer", 1), ("structured-l1:fraction=0.5", 2),
        ("channels-l1:fraction=0.5", 2),
    )
)  # fmt: skip
HEAD = ["network", "pruner", "weights", "masked", "parameters", "shrunk", "MACs", "shrunk MACs",
        "bytes", "bits and values", "shrunk bytes", "largest difference of logits"]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose network or pruner has this in it")
    parser.add_argument("--latency", action="store_true", help="add ratios of times")
    options = parser.parse_args()
    head = HEAD + ([f"faster, batch {batch}" for batch in BATCHES] if options.latency else [])
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |", flush=True)
    for row in rows(options.only, options.latency):
        print("| " + " | ".join(row) + " |", flush=True)


def rows(only: str, latency: bool) -> Iterator[list[str]]:
    """Yield the cells of each case."""
    for pruner in ("magnitude", "structured-l1"):
        if only in f"mlp {pruner}":
            yield embedded(pruner, latency)
    for case in CASES:
        if only in f"{case.model} {case.pruner}":
            try:
                yield pruned(case, latency)
            except DsdError as error:
                print(f"{case.model}, {case.pruner}: {error}", file=sys.stderr)


def embedded(pruner: str, latency: bool) -> list[str]:
    """Return the row of the embedded default run of seed 0, at the round that it returns."""
    with tempfile.TemporaryDirectory() as folder:
        made = run(configure(seed=0, pruner=pruner), runs_dir=folder)
        told = export_run(made.path, Path(folder) / "a.safetensors", "best")
        small = load_exported(told.path)
        from dsd_bench import load_model

        dense = load_model(made.path, "dense")
    stored = told.stored_bytes
    cells = _cells(
        f"embedded, seed 0, round {told.round}", pruner,
        *(told.prunable, told.nonzero, told.parameters_dense, told.parameters_shrunk),
        *(told.macs_dense, told.macs_shrunk),
        *(stored["dense"] or 0, stored["sparse"] or 0, stored["shrunk"] or 0),
        told.check.max_abs_logit_difference,
    )  # fmt: skip
    return cells + (_ratios(dense, small, (1, 8, 8)) if latency else [])


def pruned(case: Case, latency: bool) -> list[str]:
    """Return the row of a new network that is pruned by magnitude."""
    torch.manual_seed(0)
    entry, params = parse_component("model", case.model, "model")
    model = construct(entry.component.create(params), case.model, case.shape, 10).eval()
    for module in model.modules():  # some begin with residual branches switched off
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
    masks = _masks(case, model)
    images = torch.randn(64, *case.shape)
    found: Shrunk = shrink(model, images[:4], masks=masks)
    checked = check(found.masked, found.model, images)
    assert checked.passed, checked
    stored = sizes(found, images, dict(masks.all()))
    image = images[:1] * 0
    cells = _cells(
        f"{case.model}, {'x'.join(map(str, case.shape))}", f"{case.pruner}, {case.rounds} rounds",
        *(found.prunable, found.nonzero, found.parameters_dense, found.parameters_shrunk),
        *(count_macs(net, image)[0] for net in (found.masked, found.model)),
        *(stored["dense"] or 0, stored["sparse"] or 0, stored["shrunk"] or 0),
        checked.max_abs_logit_difference,
    )  # fmt: skip
    return cells + (_ratios(model, found.model, case.shape) if latency else [])


def _masks(case: Case, model: nn.Module) -> Masks:
    entry, params = parse_component("pruner", case.pruner, "pruner")
    pruner, masks = entry.component.create(params), Masks.dense(model)

    def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield noise, of which pruners of channels need the shape."""
        return iter([(torch.randn(2, *case.shape), torch.zeros(2).long())] * count)

    for round in range(1, case.rounds + 1):
        view = PruneView(
            model, masks, round, torch.device("cpu"), torch.Generator().manual_seed(0), batches
        )
        masks = pruner.prune(view)
        with torch.no_grad():
            for name, mask in masks.all():
                model.get_parameter(name).masked_fill_(~mask, 0.0)
    return masks


def _cells(network: str, pruner: str, *values: float) -> list[str]:
    weights, left, before, after, macs, fewer, dense, sparse, shrunk, apart = values
    return [
        network, pruner, f"{weights:,}", f"{left:,} ({weights / left:.1f}x)", f"{before:,}",
        f"{after:,} ({before / after:.1f}x)", f"{macs:,}",
        f"{fewer:,} ({macs / max(1, fewer):.1f}x)",
        f"{dense:,}", f"{sparse:,}", f"{shrunk:,}", f"{apart:.2g}",
    ]  # fmt: skip


@torch.no_grad()
def _ratios(dense: nn.Module, small: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Return how many times faster the small network is, by batch."""
    found = []
    for batch in BATCHES:
        images = torch.randn(batch, *shape)
        for _ in range(3):
            dense(images), small(images)
        ratios = [_seconds(dense, images) / _seconds(small, images) for _ in range(REPEATS)]
        found.append(f"{statistics.median(ratios):.2f}x")
    return found


def _seconds(model: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    model(images)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
