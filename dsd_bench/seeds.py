"""Named streams of randomness: every draw has a name, and a name fixes the draw.

A stream's seed is a hash of the run's seed and the stream's name, such as
``(seed, "round", 3, "order")``. Streams are keyed by the round's index, so a run that goes on
from another run's rounds draws what it would have drawn itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]


def stream(seed: int, *names: str | int) -> int:
    """Return the 63-bit seed of the stream ``names`` of ``seed``."""
    text = "\x1f".join([str(seed), *(f"{type(name).__name__[0]}{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *names: str | int) -> numpy.random.Generator:
    """Return a numpy generator for a stream; used for data, so that no device is involved."""
    return numpy.random.Generator(numpy.random.PCG64(stream(seed, *names)))


def torch_stream(device: str | torch.device, seed: int, *names: str | int) -> torch.Generator:
    """Return a torch generator on ``device`` for a stream."""
    import torch

    return torch.Generator(device=device).manual_seed(stream(seed, *names))


def seed_globals(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators, which libraries draw from."""
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    # torch.manual_seed also notes the seed, with a traceback, for every kind of device that is
    # not in use, at each call: milliseconds, and memory that is never given back
    torch.default_generator.manual_seed(seed)
    for kind in ("cuda", "xpu"):
        if getattr(torch, kind).is_initialized():
            getattr(torch, kind).manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextlib.contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seed the global generators inside the block and put their states back after it."""
    with preserved_globals():
        seed_globals(seed)
        yield


@contextlib.contextmanager
def preserved_globals() -> Iterator[None]:
    """Put every global generator's state back after the block."""
    state = capture_globals()
    try:
        yield
    finally:
        restore_globals(state)


def capture_globals() -> Tensors:
    """Return the states of the global generators as tensors that safetensors can hold."""
    import torch

    _, words, gauss = random.getstate()
    _, np_words, np_pos, np_has_gauss, np_gauss = numpy.random.get_state(legacy=True)
    tail = [float(np_pos), float(np_has_gauss), float(np_gauss), float(gauss is not None)]
    state = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(numpy.asarray(np_words).astype(numpy.int64)),
        "rest": torch.tensor([*tail, gauss or 0.0], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_globals(state: Tensors) -> None:
    """Set the global generators to states that :func:`capture_globals` returned."""
    import torch

    np_pos, np_has_gauss, np_gauss, has_gauss, gauss = state["rest"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), gauss if has_gauss else None))
    np_words = state["numpy"].numpy().astype(numpy.uint32)
    numpy.random.set_state(("MT19937", np_words, int(np_pos), int(np_has_gauss), np_gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
