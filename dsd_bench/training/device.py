"""The execution plan: where and how a run is computed. It is recorded, never hashed."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dsd_bench.config.run import AskedLayout, Layout, Precision
from dsd_bench.environment import available_cores
from dsd_bench.errors import UsageError
from dsd_bench.training.distributed import Team, join

FIRST_NUMERICS = 1
"""That of plans that do not say: the first release's."""


def numerics(device: str, layout: str) -> int:
    """Return the number of this version's arithmetic under a plan.

    It is raised whenever a version of dsd-bench may give other bytes for the same configuration;
    docs/architecture.md says what each number concerns.

    Args:
        device: the torch device's type.
        layout: ``nchw`` or ``nhwc``.
    """
    return 2 if device == "cpu" and layout == "nhwc" else 1


_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps|xpu(:\d+)?")

THREADS_PER_CORE = 8
"""Most CPU threads of a run: more than one a core may be another machine's plan, taken up here."""


@dataclass(frozen=True)
class Plan:
    """How a run is computed. Same run id under the same plan: same bytes.

    Attributes:
        device: the torch device's type.
        chip: the instruction set on a CPU, the name of a GPU.
        threads: CPU threads (0 on a GPU, where they don't matter).
        processes: how many train one model together.
        layout: ``nchw`` or ``nhwc`` (channels_last).
        precision: ``fp32``, ``tf32`` or ``bf16`` (autocast; weights and optimiser stay fp32).
        engine: ``eager``, or ``graph``: each training's step is recorded once and replayed.
        micro_batch: images at a time where a whole batch did not fit into memory, else None.
        deterministic: whether non-deterministic operations were refused.
        torch: torch's version.
        cuda: versions of CUDA and cuDNN on an NVIDIA GPU, else empty.
    """

    device: str
    chip: str
    threads: int
    processes: int
    layout: Layout
    precision: Precision
    engine: str
    micro_batch: int | None
    deterministic: bool
    torch: str
    cuda: str

    @property
    def numerics(self) -> int:
        """The number of the engine's arithmetic under this plan."""
        return numerics(self.device, self.layout)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON, ``numerics`` included."""
        return {**asdict(self), "numerics": self.numerics}


@dataclass
class ComputeContext:
    """A device that has been set up, and what follows from it for a run.

    Attributes:
        device: where to compute.
        plan: how; it changes only by :meth:`change`.
        remarks: why the plan was changed, for the run's log.
        team: the processes that train the model together.
        threads: CPU threads of this process, whatever the device.
        asked: the layout that was asked for.
        cpu_layout: the layout that this run has on a CPU, wherever it is computed now.
    """

    device: torch.device
    plan: Plan
    remarks: list[str] = field(default_factory=list)
    team: Team = field(default_factory=Team)
    threads: int = 1
    asked: AskedLayout = "auto"
    cpu_layout: Layout = "nchw"

    def settle(self) -> None:
        """Undo what a component changed of how this process computes: the plan says how it does."""
        wanted = self.threads, self.plan.deterministic, self.precision
        if not _as_set_up(*wanted, self.plan.device == "cuda"):
            _set_up(*wanted)

    @property
    def precision(self) -> Precision:
        """How precisely to compute."""
        return self.plan.precision

    def change(self, why: str, **values: Any) -> None:
        """Go on with another plan: what was planned is not possible here."""
        self.plan = replace(self.plan, **values)
        self.remarks.append(why)

    def lay_out(self, cpu_layout: Layout) -> None:
        """Choose the run's layout: what was asked for, or ``cpu_layout`` on a CPU, else NHWC."""
        self.cpu_layout = cpu_layout if self.asked == "auto" else self.asked
        layout = self.cpu_layout if self.device.type == "cpu" or self.asked != "auto" else "nhwc"
        self.plan = replace(self.plan, layout=layout)

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and convolution weights."""
        return torch.channels_last if self.plan.layout == "nhwc" else torch.contiguous_format

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context that computes in bf16 if the run's precision says so."""
        if self.precision != "bf16":
            return contextlib.nullcontext()
        # weights change between uses, so a cache of their casts would only cost memory
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def eval_batch(self, shape: tuple[int, int, int]) -> int:
        """Return how many images of ``shape`` to measure at once."""
        pixels = 2**20 if self.device.type == "cpu" else 2**22
        return max(1, min(4096, pixels // (shape[1] * shape[2])))


def resolve(word: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ... into a device that exists.

    Raises:
        UsageError: saying which devices there are.
    """
    if not _DEVICE.fullmatch(word):
        raise UsageError(f"--device: '{word}' is none of auto, cpu, cuda, cuda:N, mps, xpu")
    if word == "auto":
        word = next((kind for kind in ("cuda", "xpu", "mps") if _count(kind)), "cpu")
    device = torch.device(word)
    count = _count(device.type)
    if device.type != "cpu" and (device.index or 0) >= count:
        have = f"{count} {device.type} devices (numbered from 0)" if count else "none"
        raise UsageError(
            f"--device: {word} was asked for, but torch {torch.__version__} sees {have}; "
            "use --device auto or cpu"
        )
    return device


def _count(kind: str) -> int:
    if kind == "cpu":
        return 1
    backend = getattr(torch, kind, None)
    if backend is None or not backend.is_available():
        return 0
    return int(backend.device_count())


def make_context(
    word: str,
    threads: int,
    deterministic: bool,
    precision: Precision,
    layout: AskedLayout = "auto",
) -> ComputeContext:
    """Set this process up for a run and return where and how it will be computed.

    On a CPU the layout is NCHW until :meth:`ComputeContext.lay_out` has seen the network.

    Raises:
        UsageError: if the device does not exist or cannot compute in ``precision``, or the
            machine has far fewer cores than ``threads``.
    """
    device = resolve(word)
    if precision == "tf32" and device.type != "cuda":
        raise UsageError("--precision tf32 needs an NVIDIA GPU; use fp32 or bf16 here")
    if threads > (most := THREADS_PER_CORE * (cores := available_cores())):
        raise UsageError(
            f"--threads {threads}: this machine has {cores} cores to give; more than {most} "
            "threads would only wait for each other"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _set_up(threads, deterministic, precision)
    on_cpu = device.type == "cpu"
    team = join(device.type)
    if device.type == "cuda":
        # its number is part of it: set_device takes none without, and tensors' devices have one
        device = team.device if team.size > 1 else torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)  # whatever draws from the current device's generator
    elif team.size > 1:
        device = team.device
    plan = Plan(
        device=device.type,
        chip=torch.backends.cpu.get_cpu_capability() if on_cpu else _gpu_name(device),
        threads=threads if on_cpu else 0,
        processes=team.size,
        layout=("nchw" if on_cpu else "nhwc") if layout == "auto" else layout,
        precision=precision,
        engine="graph" if device.type == "cuda" and team.size == 1 else "eager",
        micro_batch=None,
        deterministic=deterministic,
        torch=torch.__version__,
        cuda=_cuda_versions() if device.type == "cuda" else "",
    )
    return ComputeContext(device, plan, team=team, threads=threads, asked=layout)


def _set_up(threads: int, deterministic: bool, precision: Precision) -> None:
    """Set what the whole process computes with."""
    tf32 = precision == "tf32"
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    # cuDNN's autotuner may choose another algorithm each time: same plan, other bits
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)  # imports torch's compiler: 2 s


def _as_set_up(threads: int, deterministic: bool, precision: Precision, on_gpu: bool) -> bool:
    """Whether what :func:`_set_up` set is still so; it takes about a microsecond."""
    tf32 = precision == "tf32"
    return (
        torch.get_num_threads() == threads
        and torch.get_default_dtype() is torch.float32
        and torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        and torch.are_deterministic_algorithms_enabled() == deterministic
        and (not on_gpu or _cudnn() == (tf32, False, True))
    )


def _cudnn() -> tuple[bool, bool, bool]:
    flags = torch.backends.cudnn
    return flags.allow_tf32, flags.benchmark, flags.deterministic


def _cuda_versions() -> str:
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return f"{torch.version.cuda}, cudnn {cudnn}"


def without_bf16() -> bool:
    """Whether this CPU is known to have no instructions for bf16: there it is emulated."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.10
    fast = ("avx512_bf16", "amx_bf16", "avx_ne_convert")
    return told.get("architecture") == "x86_64" and not any(told.get(name) for name in fast)


def _gpu_name(device: torch.device) -> str:
    backend = getattr(torch, device.type)
    return str(backend.get_device_name(device)) if hasattr(backend, "get_device_name") else ""


def hardware(device: torch.device) -> dict[str, Any]:
    """Return what the numbers were computed on, for people."""
    gpu = _gpu_name(device) if device.type != "cpu" else None
    return {"cpu": _cpu_name(), "cores": os.cpu_count(), "gpu": gpu, "system": platform.system()}


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int | None:
    """Return the most memory that was in use, in bytes: of the device, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak(device: torch.device) -> None:
    """Let the device's peak memory be measured anew; a process's own cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def other_numerics(plans: Iterable[Mapping[str, Any]], cpu_layout: Layout) -> list[int]:
    """Return the numerics among ``plans`` that are not this version's, ascending.

    Args:
        plans: those of rounds, as JSON.
        cpu_layout: the layout that this version gives their network on a CPU.
    """
    return sorted(
        {
            found
            for plan in plans
            if (found := plan.get("numerics", FIRST_NUMERICS))
            != numerics(plan.get("device", "cpu"), cpu_layout)
        }
    )


def refuse_other_numerics(plans: Iterable[Mapping[str, Any]], cpu_layout: Layout) -> None:
    """Raise :class:`UsageError` for rounds that this version would have computed otherwise."""
    if other := other_numerics(plans, cpu_layout):
        layouts = {1: "nchw", 2: "nhwc"}
        mend = (
            f"go on with it by --layout {layouts[other[0]]}"
            if other[0] in layouts
            else "finish it with the version that began it"
        )
        raise UsageError(
            f"its rounds were computed under numerics {other[0]}, and this version of dsd-bench "
            f"computes them otherwise: one curve would mix two arithmetics; {mend}, or begin anew "
            "with --force"
        )


def versions() -> dict[str, str]:
    """Return the versions that the numbers depend on."""
    import numpy

    from dsd_bench import __version__

    return {
        "dsd-bench": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "cuda": torch.version.cuda or "",
    }
