"""Energy from real counters: Linux's powercap (RAPL) and NVIDIA's NVML; never an estimate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
NOT_MEASURED = "not measured: no counter of this machine can be read"


class Rapl:
    """The joules of all processor packages since some time, from ``intel-rapl:N/energy_uj``."""

    source = "RAPL, whole processor packages"

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._packages = sorted(folder.glob("intel-rapl:[0-9]"))
        self._last = [self._read(package) for package in self._packages]
        self._turns = [self._read(package, "max_energy_range_uj") for package in self._packages]
        self._total = 0
        if not self._packages or None in self._last or None in self._turns:
            raise OSError("no readable RAPL counter")

    def joules(self) -> float:
        """Return the joules since this was made; a counter that began anew is continued."""
        for place, package in enumerate(self._packages):
            now, last, turn = self._read(package), self._last[place], self._turns[place]
            if now is None or last is None or turn is None:
                raise OSError(f"{package}: cannot be read any more")
            self._total += now - last if now >= last else now - last + turn
            self._last[place] = now
        return self._total / 1e6

    @staticmethod
    def _read(package: Path, name: str = "energy_uj") -> int | None:
        try:
            return int((package / name).read_text())
        except (OSError, ValueError):
            return None


def identity(index: int) -> str:
    """Return what NVML calls torch's GPU ``index``: it numbers them otherwise, hidden ones too."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(index).uuid}"


class Nvml:
    """The joules of one NVIDIA GPU since its driver was loaded.

    Args:
        index: torch's number of it.
        library: ``pynvml`` by default.
        named: returns NVML's name of a GPU by torch's number.
    """

    source = "NVML, the whole GPU"

    def __init__(
        self, index: int, library: Any = None, named: Callable[[int], str] = identity
    ) -> None:
        if library is None:
            try:
                import pynvml as library  # type: ignore[no-redef]
            except ImportError:
                raise OSError("pynvml is not installed") from None
        self._library = library
        try:
            library.nvmlInit()
            self._gpu = library.nvmlDeviceGetHandleByUUID(named(index))
            self.joules()
        except Exception as error:  # the library's own kinds, which differ by version
            raise OSError(str(error)) from None

    def joules(self) -> float:
        """Return the counter."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1000


class Meter:
    """Adds up what each name takes; without a counter it knows nothing."""

    def __init__(self, counter: Rapl | Nvml | None) -> None:
        self._counter = counter
        self._begin = 0.0
        self.source = counter.source if counter else NOT_MEASURED
        self.joules: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def before(self, name: str) -> None:
        """Something begins."""
        if self._counter:
            self._begin = self._counter.joules()

    def after(self, name: str, times: int) -> None:
        """It ended, having been called so often."""
        if self._counter:
            taken = self._counter.joules() - self._begin
            self.joules[name] = self.joules.get(name, 0.0) + taken
            self.calls[name] = self.calls.get(name, 0) + times

    def per_call(self, name: str) -> float | None:
        """Return the joules of one call; None without a counter."""
        calls = self.calls.get(name)
        return self.joules[name] / calls if calls else None


def counter_of(
    device: str, rapl: Callable[[], Rapl] = Rapl, nvml: Callable[[int], Nvml] = Nvml
) -> Rapl | Nvml | None:
    """Return the counter of a device such as ``cpu`` or ``cuda:1``; None if none can be read."""
    kind, _, index = device.partition(":")
    try:
        return rapl() if kind == "cpu" else nvml(int(index or 0)) if kind == "cuda" else None
    except OSError:
        return None
