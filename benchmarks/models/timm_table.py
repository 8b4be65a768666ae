"""Try a model of each of timm's families, and write docs/models.md.

    python -m benchmarks.models.timm_table [--families PATTERN ...] [--known FILE] [-o PAGE]

Each family's smallest model is built with random weights (nothing is downloaded) at the first of
some image sizes that it takes. Each family has a process of its own and a time limit.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn

from dsd_bench.errors import DsdError, UsageError
from dsd_bench.masks import prunable_parameters
from dsd_bench.metrics.macs import count_macs
from dsd_bench.metrics.passes import forward_pass
from dsd_bench.metrics.prunable import LeftOut, find_prunable
from dsd_bench.models.builtin import ExternalParams
from dsd_bench.models.external import TimmFactory
from dsd_bench.seeds import seeded_globals

PAGE = Path("docs/models.md")
SIZES = (64, 56, 128, 224, 256)
"""Sides of square images, tried in this order; then the size that the model was made for."""
CLASSES = 10
KINDS = (
    *("nf_*", "nfnet_*", "dm_nfnet_*", "resnetv2_*_bit", "resnetv2_*d_gn*", "tf_efficientnet_cc_*"),
    *("mobilenetv2_*", "mixnet_*", "fbnetc_*", "repvgg_*", "mobileone_*", "halonet*", "botnet*"),
    *("lambda_resnet*", "deit3_*", "coatnet_*", "poolformer_*", "resmlp_*", "gmlp_*", "seresnet*"),
)
"""Families that share a file with others but are built otherwise, by pattern of their names."""


@dataclass(frozen=True)
class Entry:
    """What became of one family.

    Attributes:
        family: a module of timm's, or a pattern of names.
        model: the one that was tried.
        size: side of its images, 0 where none did.
        prunable: share of all parameters, 0..1.
        left: what cannot be pruned and why, empty for nothing.
        ratio: effective MACs at a density of one half over dense ones, 0..1.
        rectifiers: how many on/off rectifiers one pass applies.
        refused: why the model cannot be used; empty if it can.
        smaller: why it cannot on the smallest images that were tried; empty if it can.
    """

    family: str
    model: str
    size: int = 0
    prunable: float = 0.0
    left: str = ""
    ratio: float = 0.0
    rectifiers: int = 0
    refused: str = ""
    smaller: str = ""

    def row(self) -> str:
        """Return the line of the page's table."""
        size = str(self.size or "-")
        if self.refused:
            cells = ["-", "-", "-", "-", f"refused: {self.refused}"]
        else:
            shares = [f"{self.prunable:.1%}".replace("%", " %"), self.left or "-"]
            rectifiers = str(self.rectifiers or "none")
            verdict = "in part" if self.left else "supported"
            cells = [*shares, f"{self.ratio:.3f}", rectifiers, verdict]
        cells = [cell.replace("|", "/") for cell in cells]
        return f"| {' | '.join([f'`{self.family}`', f'`{self.model}`', size, *cells])} |"


def families() -> dict[str, list[str]]:
    """Return the names of each family's models: those of a module, and of :data:`KINDS`."""
    import timm

    found = {module: timm.list_models(module=module) for module in timm.list_modules()}
    found |= {pattern: timm.list_models(pattern) for pattern in KINDS}
    found = {f: [n for n in names if not n.startswith("test_")] for f, names in found.items()}
    return {family: names for family, names in found.items() if names}


def smallest(names: Sequence[str]) -> str:
    """Return the model with the fewest parameters, counted without values."""
    import timm

    sizes = {}
    for name in names:
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except Exception:  # some compute with values while they are built
            continue
        sizes[name] = sum(parameter.numel() for parameter in model.parameters())
    return min(sizes, key=lambda name: sizes[name]) if sizes else names[0]


def tried(family: str, names: Sequence[str]) -> Entry:
    """Try the smallest model of a family on smaller and larger images."""
    import timm

    name = smallest(names)
    why: list[str] = []
    made_for = timm.models.get_pretrained_cfg(name)
    for size in (*SIZES, *({made_for.input_size[1]} - {*SIZES} if made_for else ())):
        try:
            entry = measured(family, name, size)
            return replace(entry, smaller=why[0] if why else "")
        except Exception as error:  # foreign code, which may raise anything
            first = str(error).splitlines()[0] if str(error) else "no message"
            told = isinstance(error, DsdError)
            why.append(first if told else f"{type(error).__name__}: {first}")
            if told and "can be pruned" in first:
                return Entry(family, name, size, refused=first)
    return Entry(family, name, refused=why[-1])


def measured(family: str, name: str, size: int) -> Entry:
    """Measure one model as a run would.

    Raises:
        Exception: whatever the model raises for such images.
    """
    shape = (3, size, size)
    factory = TimmFactory(ExternalParams(name=name))
    with seeded_globals(0):
        model = factory.build(shape, CLASSES)
        trains(model, shape)
    left = find_prunable(model, shape)
    total, layers = count_macs(model, torch.zeros(1, *shape))
    weights = sum(weight.numel() for weight in prunable_parameters(model).values())
    return Entry(
        family,
        name,
        size,
        prunable=weights / sum(parameter.numel() for parameter in model.parameters()),
        left=reasons(left),
        ratio=(total - 0.5 * sum(layers.values())) / total,
        rectifiers=rectifiers(model, shape),
    )


def trains(model: nn.Module, shape: tuple[int, int, int]) -> None:
    """Take the gradient of two images in train mode.

    Raises:
        UsageError: if what comes out is no ``(2, classes)`` of finite numbers.
    """
    outputs = model.train()(torch.rand(2, *shape))
    if not isinstance(outputs, Tensor) or outputs.shape != (2, CLASSES):
        raise UsageError("in train mode it does not give (N, classes)")
    nn.functional.cross_entropy(outputs, torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    if not outputs.isfinite().all():
        raise UsageError("its outputs are not finite")
    for parameter in model.parameters():
        parameter.grad = None


def rectifiers(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return how many rectifiers one pass applies, as the entropy counts them."""
    images, labels = torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    found = forward_pass(model, [images], labels, labels, Tensor.float, count_relu=True)
    return len(found.relu_counts)


def reasons(left: LeftOut) -> str:
    """Say in few words what is left out and why."""
    kinds = {"computed": left.computed, "unused": left.unused, "other kinds": left.foreign}
    told = [f"{len(n)} {kind} (`{n[0]}`{', ...' * (len(n) > 1)})" for kind, n in kinds.items() if n]
    return "; ".join(told)


def apart(family: str, names: Sequence[str], seconds: float) -> Entry:
    """Try a family in a process of its own, ended after ``seconds``."""
    # forked: torch and timm are imported once, and nothing was computed here before
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, family, names))
    process.start()
    sender.close()
    try:
        entry = receiver.recv() if receiver.poll(seconds) else f"over {seconds:.0f} s"
    except EOFError:
        process.join()
        entry = f"its process ended with {process.exitcode}"
    process.kill()
    process.join()
    return entry if isinstance(entry, Entry) else Entry(family, names[0], refused=entry)


def _work(sender: Connection, family: str, names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    sender.send(tried(family, names))


def page(entries: Iterable[Entry]) -> str:
    """Return the page, without a date, so that the same versions give the same page."""
    import timm

    entries = sorted(entries, key=lambda entry: entry.family)
    refused = sum(bool(entry.refused) for entry in entries)
    part = sum(bool(entry.left) for entry in entries)
    counts = f"{len(entries)} families: {len(entries) - refused - part} supported, {part} in part, "
    head = INTRODUCTION.format(
        counts=f"{counts}{refused} refused",
        timm=timm.__version__,
        torch=torch.__version__.partition("+")[0],
        sizes=", ".join(map(str, SIZES)),
    )
    small = [f"- `{e.model}`: {e.smaller}" for e in entries if e.smaller and not e.refused]
    tail = [SMALLER.format(size=SIZES[0]), *dict.fromkeys(small), ""] if small else [""]
    return "\n".join([head, *(entry.row() for entry in entries), *tail])


SMALLER = """
Images of {size} pixels are refused, before a run's training and with these words, by
"""

INTRODUCTION = """\
# Models of timm, family by family

<!-- generated by: python -m benchmarks.models.timm_table -->

Of each of timm's families the smallest model, with random weights, 10 classes and small images
(the first that it takes of {sizes} pixels, then its own size), with timm {timm} and
torch {torch}. {counts}.

- *prunable*: share of all parameters that are weights which can be pruned
  ([architecture.md](architecture.md), "Rules of pruning").
- *left out*: how many weights cannot be, the first of them, and why. *computed*: the layer
  multiplies with another tensor that it makes of the weight (standardised or normalised
  convolutions), so that a zero in the weight is no zero in the layer. *unused*: the forward pass
  does not read it. *other kinds*: no Conv or Linear layer's (recurrent layers, mixtures of
  kernels, tables of positions that are multiplied). A run tells the same in its log.
- *MACs at half*: effective multiply-accumulates over dense ones with half of each prunable
  weight's entries pruned ([ledger.md](ledger.md)). 0.5 if all work is done by prunable weights;
  what is above comes of products without a weight (attention) and of weights that are left out.
- *rectifiers*: how many on/off rectifiers one pass applies. Where there are none, entropy is
  absent, and a stop rule that reads it (`entropy-gate`) cannot be used.
- *refused*: a run ends before its training, with the reason given here.

Each was also trained for one step of two images. Whether it trains well at this size is another
matter.

| family | model | px | prunable | left out | MACs at half | rectifiers | verdict |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--families", nargs="+", default=["*"], help="patterns; default: all")
    parser.add_argument("--seconds", type=float, default=300, help="time limit for each family")
    parser.add_argument("--known", type=Path, help="file of results that are taken up and added to")
    parser.add_argument("-o", type=Path, default=PAGE, dest="page", help=f"default: {PAGE}")
    options = parser.parse_args(words)
    warnings.simplefilter("ignore")
    known: Path | None = options.known
    lines = known.read_text().splitlines() if known and known.exists() else []
    entries = {entry.family: entry for entry in (Entry(**json.loads(line)) for line in lines)}
    for family, names in _wanted(options.families):
        if family not in entries:
            entries[family] = apart(family, names, options.seconds)
            print(entries[family].row(), flush=True)
            if known:
                with known.open("a") as file:
                    file.write(json.dumps(asdict(entries[family])) + "\n")
    options.page.write_text(page(entries.values()), encoding="utf-8")
    return 0


def _wanted(patterns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for family, names in families().items():
        if any(family == pattern or fnmatch.fnmatch(family, pattern) for pattern in patterns):
            yield family, names


if __name__ == "__main__":
    sys.exit(main())
