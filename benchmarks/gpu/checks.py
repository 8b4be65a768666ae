"""What is checked, in order: that it runs, that it repeats, that it is what a CPU computes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gpu.trials import CONV, MLP, Broken, Trial, folder, killed, trial
from benchmarks.speed.cases import cases
from benchmarks.speed.engine import Engine
from dsd_bench.config.run import Precision
from dsd_bench.plugins import catalogue
from dsd_bench.training.device import ComputeContext, resolve

MODELS = {"mlp": MLP, "vgg-like": CONV}
FEATURES = {
    "kd": ("--reg", "kd:teacher=best"),
    "augment": ("--reg", "augment"),
    "dropout": ("--reg", "dropout"),
    "l1 and l2": ("--reg", "l1", "--reg", "l2"),
    "gradient pruner": ("--pruner", "gradient"),
    "random pruner, rewind": ("--pruner", "random", "--perturber", "rewind"),
    "structured-l1, reinit": ("--pruner", "structured-l1", "--perturber", "reinit"),
    "re-dense training": ("--redense-epochs", "1"),
    "adam": ("--optimizer", "adam", "--lr", "0.001"),
    "adamw": ("--optimizer", "adamw", "--lr", "0.001"),
    "gradients clipped": ("--clip-norm", "1"),
    "another rate each step": ("--schedule", "one-cycle"),
    "entropy-gate": ("--stop", "entropy-gate"),
    "kd, augment and dropout": ("--reg", "kd", "--reg", "augment", "--reg", "dropout"),
    "timm": ("--model", "timm:resnet10t"),
}
OF_PLUGINS = {
    "elr": ("regularizer", ("--reg", "elr")),
    "mixup": ("regularizer", ("--reg", "mixup")),
    "attention-transfer": ("regularizer", ("--reg", "attention-transfer")),
    "sam": ("optimizer", ("--optimizer", "sam")),
    "rigl": ("updater", ("--updater", "rigl:every=5")),
}
"""Components of plugins that are tried where they are installed: by name, their kind and words."""
LITTLE = """
import sys, torch
from dsd_bench.cli.main import main
whole = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(float(sys.argv.pop(1)) / whole)
main(sys.argv[1:])
"""
"""Runs the command line where only so many bytes of the GPU's memory can be had."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: what the table calls it.
        hold: does it; returns what was seen, raises :class:`Broken` if it does not hold.
        quick: whether a rehearsal of a minute does it, too.
    """

    name: str
    hold: Callable[[], str]
    quick: bool = False


def checks(device: str) -> Iterator[Check]:
    """Yield every check for ``device``."""
    kind = resolve(device).type
    precisions: list[Precision] = ["fp32", "tf32", "bf16"] if kind == "cuda" else ["fp32", "bf16"]
    for precision in precisions:
        for name, model in MODELS.items():
            words: Sequence[str] = (*model, "--precision", precision)
            quick = precision == "fp32" and name == "mlp"
            yield Check(f"{name}, {precision}", partial(runs, words, device), quick)
            yield Check(
                f"{name}, {precision}: killed, taken up", partial(goes_on, words, device), quick
            )
        yield Check(f"graph as eager, {precision}", partial(graph_as_eager, device, precision))
    for name, words in FEATURES.items():
        for precision in ("fp32", "bf16"):
            full = (*CONV, *words, "--precision", precision)
            quick = name == "dropout" and precision == "fp32"
            yield Check(f"{name}, {precision}", partial(runs, full, device), quick)
    for name, (component, words) in OF_PLUGINS.items():
        if name in catalogue().names(component):
            yield Check(name, partial(runs, (*CONV, *words), device))
    yield Check("--deterministic", partial(runs, CONV, device, "--deterministic"))
    yield Check("a step that waits", partial(waits_as_eager, device))
    for name, model in MODELS.items():
        yield Check(f"{name}: as on a CPU", partial(as_on_cpu, model, device), name == "mlp")
    yield Check("side by side", partial(side_by_side, device), quick=True)
    if kind == "cuda":
        yield Check("too little memory", partial(too_little_memory, device))


def runs(words: Sequence[str], device: str, *flags: str) -> str:
    """The run ends well, and twice with the same bytes."""
    with folder() as one, folder() as other:
        first, second = (trial(words, device, path, *flags) for path in (one, other))
    _same(first, second, "run again")
    engine = first.plan["engine"]
    if resolve(device).type == "cuda" and engine != "graph":
        raise Broken("eager, not as a graph: " + _about("graph", first))
    return f"{engine}, {first.plan['layout']}, same bytes twice"


def goes_on(words: Sequence[str], device: str) -> str:
    """A run that is killed after a round ends with the bytes of one that is not."""
    longer = (*words, "--rounds", "12")
    with folder() as one, folder() as other:
        whole = trial(longer, device, one)
        in_time = killed(longer, device, other, rows=2)
        _same(whole, trial(longer, device, other), "taken up")
    if not in_time:
        raise Broken("it ended before it could be killed")
    return "same bytes"


def graph_as_eager(device: str, precision: Precision) -> str:
    """A captured step gives the weights that the same step gives uncaptured, bit for bit."""
    if resolve(device).type != "cuda":
        return "there are no graphs on this device"
    one, other = (_trained(device, precision, captured) for captured in (True, False))
    if one.context.plan.engine != "graph":
        raise Broken(one.context.remarks[-1])
    if one.digest != other.digest:
        raise Broken("other weights")
    return "same weights"


def waits_as_eager(device: str) -> str:
    """A step that no graph can hold goes on without one, and draws what it would have drawn."""
    if resolve(device).type != "cuda":
        return "there are no graphs on this device"
    one, other = (_trained(device, "fp32", captured, _waits) for captured in (True, False))
    if one.context.plan.engine != "eager":
        raise Broken("it was captured")
    if one.digest != other.digest:
        raise Broken("other weights")
    return one.context.remarks[-1]


@dataclass(frozen=True)
class _Trained:
    """A network's state after some epochs, and where they were computed."""

    digest: str
    context: ComputeContext


def _trained(
    device: str,
    precision: Precision,
    captured: bool,
    hook: Callable[[nn.Module, object, Tensor], Tensor] | None = None,
) -> _Trained:
    """Train a small network, with a graph of its step or by the step that the graph is of.

    Without a graph, engines have another optimiser, which rounds otherwise.
    """
    case = cases("cuda", quick=True)[-1]
    context = case.context(device, 1, precision)
    made = Engine(case, context)
    if hook is not None:
        made.model.register_forward_hook(hook)
    if not captured:
        made.training.step = made.training.stepper
    made.epochs(8)
    return _Trained(made.digest(), context)


def _waits(model: nn.Module, inputs: object, logits: Tensor) -> Tensor:
    """Draw from the GPU's own generator, then wait for the device."""
    dropped = functional.dropout(logits, 0.5)
    float(dropped.detach().sum())
    return dropped


def as_on_cpu(words: Sequence[str], device: str) -> str:
    """One epoch and its measures agree with a CPU's, as far as rounding allows."""
    short = (*words, "--epochs", "1", "--rounds", "1")
    with folder() as here, folder() as there:
        on_device, on_cpu = trial(short, device, here).first, trial(short, "cpu", there).first
    largest = {}
    for column in ("train_loss", "val_loss", "test_loss", "entropy"):
        a, b = on_device[column], on_cpu[column]
        largest[column] = abs(a - b) / max(abs(b), 1e-12)
    for column in ("sparsity", "nonzero", "macs_dense", "macs_effective"):
        if on_device[column] != on_cpu[column]:
            raise Broken(f"{column}: {on_device[column]}, on a CPU {on_cpu[column]}")
    worst = max(largest, key=lambda column: largest[column])
    said = f"{worst} differs by {largest[worst]:.1e} of its value"
    if largest[worst] > 1e-3:
        raise Broken(said)
    return said


def side_by_side(device: str) -> str:
    """Runs beside each other give the bytes that each gives alone."""
    with folder() as one, folder() as other:
        together = trial(("--seeds", "0-3", "--jobs", "4"), device, one)
        alone = trial(("--seeds", "0-3", "--jobs", "1"), device, other)
    _same(alone, together, "side by side")
    return "4 at once: same bytes"


def too_little_memory(device: str) -> str:
    """A batch that does not fit is taken in parts, and where it cannot be, a word says so."""
    words = (
        *("run", "--dataset", "digits", "--model", "mlp:4096x4096", "--batch-size", "1000"),
        *("--seeds", "0", "--rounds", "0", "--epochs", "1", "--executor", "inline"),
        *("--device", device, "--json"),
    )
    command = (sys.executable, "-c", LITTLE)
    for megabytes in (900, 600, 400, 300, 250):
        with folder() as runs_dir:
            done = subprocess.run(
                [*command, str(megabytes * 2**20), *words, "--runs-dir", str(runs_dir)],
                check=False,
                capture_output=True,
                text=True,
            )
            log = "".join(path.read_text() for path in runs_dir.glob("*/log.txt"))
        if "did not fit" in log:
            return f"{megabytes} MiB: in parts"
        if "Traceback" in done.stderr + log:
            raise Broken(f"{megabytes} MiB: {(done.stderr + log).strip().splitlines()[-1]}")
        if done.returncode:
            return f"{megabytes} MiB: {done.stderr.strip().splitlines()[-1]}"
    raise Broken("it always fitted: nothing was tried")


def _same(one: Trial, other: Trial, how: str) -> None:
    if one.rows != other.rows:
        raise Broken(f"{how}: other bytes")


def _about(word: str, seen: Trial) -> str:
    return next((line for line in seen.log.splitlines() if word in line), "its log says nothing")
