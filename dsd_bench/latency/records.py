"""What a measurement of latency says, as a file that reports and model cards can show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dsd_bench.errors import UsageError, plain
from dsd_bench.latency.ratios import Ratio
from dsd_bench.latency.variants import AGAIN
from dsd_bench.store.reading import parse_object, read_text

MOST_BYTES = 2**20
STEADY = 0.05
"""Two equal networks that come out further apart than this say that the machine is unsteady."""
Text = Annotated[str, Field(max_length=500)]
Seconds = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(gt=0, le=1e6)]
Count = Annotated[int, Field(ge=0, le=10**9)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Timing(_Part):
    """How long one network takes for a batch.

    Attributes:
        name: of the network.
        median: seconds, over the blocks.
        faster, low, high: how many times faster than the reference: median of the blocks' ratios
            and its 95 % interval.
        layout: ``nchw`` or ``nhwc``, whichever was faster.
        joules: of one batch; None if not measured.
        apart: largest difference of a logit from the reference's.
    """

    name: Text
    median: Seconds
    faster: Share
    low: Share
    high: Share
    layout: Literal["nchw", "nhwc"]
    joules: Annotated[float, Field(ge=0, le=1e9)] | None = None
    apart: Annotated[float, Field(ge=0, le=1e38)] | None = None

    @classmethod
    def of(
        cls, name: str, median: float, ratio: Ratio, layout: str, joules: float | None, apart: float
    ) -> Timing:
        """Return what was measured of a network."""
        known = apart if math.isfinite(apart) and apart <= 1e38 else None
        return cls.model_validate(
            {
                "name": name, "median": median, "faster": ratio.median, "low": ratio.low,
                "high": ratio.high, "layout": layout, "joules": joules, "apart": known,
            }
        )  # fmt: skip


class Setting(_Part):
    """A backend and a batch size: what was timed side by side.

    Attributes:
        backend: ``eager``, ``compile``, ``onnxruntime`` or ``openvino``.
        batch: images at once.
        blocks: how often everything was timed.
        timings: of each network, the reference first and its copy among them.
        skipped: why something was not timed, by its name; ``all``: the whole setting.
        energy: what was read, or that nothing was.
    """

    backend: Text
    batch: Annotated[int, Field(ge=1, le=10**6)]
    blocks: Count
    timings: list[Timing] = Field(max_length=50)
    skipped: dict[Text, Text] = Field(default={}, max_length=50)
    energy: Text = ""

    @property
    def unsteady(self) -> float | None:
        """How far the reference's copy came out from it, a share; None if nothing was timed."""
        again = next((one for one in self.timings if one.name == AGAIN), None)
        return None if again is None else max(abs(again.low - 1), abs(again.high - 1))


class Machine(_Part):
    """Where it was measured: latencies of other machines are other numbers."""

    device: Text
    chip: Text
    cores: Count
    threads: Count
    torch: Text
    load_before: Annotated[float, Field(ge=0, le=1e6)]


class Latency(_Part):
    """A measurement: what was compared, where, and how it came out."""

    latency_schema: Literal[1] = 1
    title: Text
    notes: list[Text] = Field(max_length=50)
    machine: Machine
    settings: list[Setting] = Field(max_length=100)

    @field_validator("notes", mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return [str(one)[:500] for one in value] if isinstance(value, list) else value

    def warnings(self) -> list[str]:
        """Return sentences on what must not be quoted."""
        found = []
        if self.machine.load_before > max(0.5, 0.25 * self.machine.cores):
            found.append(
                f"the machine was busy before it began (load {self.machine.load_before:g}): "
                "measure again with nothing else running"
            )
        for one in self.settings:
            apart = one.unsteady
            if apart is not None and apart > STEADY:
                found.append(
                    f"{one.backend}, batch {one.batch}: two equal networks came out up to "
                    f"{100 * apart:.0f} % apart: smaller differences mean nothing here"
                )
        return found


def read_latency(path: Path) -> Latency:
    """Read a file that ``dsd-bench latency -o`` wrote; it may come from anybody.

    Raises:
        UsageError: naming the file and what is wrong in it.
    """
    try:
        body = parse_object(read_text(path, MOST_BYTES))
        found = Latency.model_validate(body)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(plain(str(part)) for part in first["loc"])
        raise UsageError(f"{path}: {place}: {first['msg']}") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    for text in _texts(found):
        if plain(text) != text:
            raise UsageError(f"{path}: holds control, direction or invisible characters")
    return found


def _texts(found: Latency) -> list[str]:
    texts = [found.title, *found.notes, found.machine.device, found.machine.chip]
    for one in found.settings:
        texts += [one.backend, one.energy, *one.skipped, *one.skipped.values()]
        texts += [timing.name for timing in one.timings]
    return [*texts, found.machine.torch]
