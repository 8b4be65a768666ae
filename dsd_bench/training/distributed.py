"""Several processes that train one model together: ``torchrun``, DistributedDataParallel.

The leader (rank 0) owns the run's folder, makes masks and measures; the others train their share of
every batch and are told the rest. What is random is drawn for the whole batch, so the run is the
same one, within rounding, however many processes there are.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dsd_bench.environment import launched
from dsd_bench.errors import UsageError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""What makes an image's output depend on the others of its batch, in train mode."""
PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: the leader measures alone, which may take long."""


@dataclass(frozen=True)
class Team:
    """The processes that train one model; alone by default.

    Attributes:
        rank: this process, 0..size-1.
        size: how many there are.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process owns the files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return this process's part of ``count`` samples; parts differ by one at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def adapt(self, model: nn.Module) -> nn.Module:
        """Return ``model`` with batch norms that see the whole batch.

        Raises:
            UsageError: where PyTorch cannot do that: on a CPU.
        """
        if self.size == 1 or not any(isinstance(part, BATCH_NORMS) for part in model.modules()):
            return model
        if self.device.type == "cpu":
            raise UsageError(
                "batch norm over several processes needs GPUs; on a CPU run without torchrun"
            )
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return,no-untyped-call]

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Return what trains ``model`` on all processes; alone, the model itself."""
        if self.size == 1:
            return model
        places = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=places)

    def masks(self, mine: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Return the leader's boolean tensors on this process's device; others pass None."""
        shapes = self.broadcast({k: list(v.shape) for k, v in mine.items()} if mine else None)
        found = {}
        for name, shape in shapes.items():
            bits = torch.zeros(shape, dtype=torch.uint8, device=self.device)
            if mine:
                bits.copy_(mine[name])
            distributed.broadcast(bits, 0)
            found[name] = bits.bool()
        return found

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Give ``tensors`` the leader's values, in place; every process has as many, all alike."""
        for tensor in tensors:
            distributed.broadcast(tensor.detach(), 0)

    def broadcast(self, value: Any) -> Any:
        """Return the leader's ``value``, any JSON."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.leads else b""
        size = torch.tensor([len(text)], device=self.device)
        distributed.broadcast(size, 0)
        body = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.leads:
            body.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        distributed.broadcast(body, 0)
        return json.loads(bytes(body.cpu().numpy()))

    def all_reduce(self, value: Tensor) -> Tensor:
        """Return the sum of all processes' ``value``."""
        if self.size == 1:
            return value
        whole = value.clone()
        distributed.all_reduce(whole)
        return whole

    def barrier(self) -> None:
        """Return when all processes have come here."""
        self.broadcast(None)


@cache
def join(kind: str) -> Team:
    """Meet the other processes, once; ``kind`` is ``cuda`` or ``cpu``."""
    launch = launched()
    if launch.alone:
        return Team()
    device = torch.device("cpu")
    if kind == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    atexit.register(distributed.destroy_process_group)  # its threads end before the process does
    return Team(launch.rank, launch.size, device)
