"""The model card beside an exported file: where it comes from, how good it is, how to load it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsd_bench.config.naming import component_word, label
from dsd_bench.errors import plain
from dsd_bench.export.opening import Opened
from dsd_bench.plugins import catalogue
from dsd_bench.store.files import write_atomic
from dsd_bench.training import device

if TYPE_CHECKING:
    from dsd_bench.export.running import Exported

Z = 1.959963984540054
"""Of a 95 % interval."""
NO_LICENCE = "not stated; the terms of the data and of pretrained weights, if any, apply"


def card_path(path: Path) -> Path:
    """Return where the card of an exported file lies."""
    return path.with_name(f"{path.name}.md")


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was seen in ``count`` images (Wilson 1927)."""
    if count < 1:
        return 0.0, 1.0
    middle = share + Z * Z / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    whole = 1 + Z * Z / count
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def accuracy(opened: Opened) -> tuple[float, float, float, int]:
    """Return the round's accuracy on the test images, its 95 % interval, and their number."""
    count = len(opened.data.test)
    share = float(opened.row["test_accuracy"])
    return share, *wilson(share, count), count


def write_card(told: Exported, opened: Opened, licence: str = "") -> None:
    """Write the card of what was exported.

    Raises:
        RunError: if it cannot be written.
    """
    write_atomic(told.card, card(told, opened, licence).encode("utf-8", "backslashreplace"))


def card(told: Exported, opened: Opened, licence: str = "") -> str:
    """Return the card as Markdown."""
    config, lookup = opened.run.config, catalogue().find
    share, low, high, count = accuracy(opened)
    kind = "the masked network, stored as bits and values" if told.sparse else "shrunk"
    lines = [
        f"# {_text(told.path.name)}",
        "",
        f"Round {told.round} ({_text(told.how)}) of run `{told.run_id}` of dsd-bench: {kind}.",
        "",
        "| | |",
        "| --- | --- |",
        *_rows(
            ("method", label(config, lookup)),
            ("model", component_word("model", config["model"], lookup)),
            ("data", component_word("dataset", config["dataset"], lookup)),
            ("label noise of the training data", component_word("noise", config["noise"], lookup)),
            ("seed", config["seed"]),
            (
                "test accuracy",
                f"{share:.2%}, 95 % interval {low:.2%} to {high:.2%} ({count:,} images, Wilson)",
            ),
            ("input", f"float32 (N, {', '.join(map(str, opened.data.shape))}), normalised"),
            ("mean, std of images in 0..1", f"{_mean(opened)}, {_std(opened)}"),
            ("licence", licence or NO_LICENCE),
            ("versions", ", ".join(f"{k} {v}" for k, v in device.versions().items())),
        ),
        "",
        "## Size",
        "",
        *size_table(told),
        "",
        f"On {told.check.images} test images the logits of this file differ from those of the "
        f"masked network by at most {told.check.max_abs_logit_difference:.3g} "
        f"({told.check.tolerance:.3g} allowed; the largest logit is "
        f"{told.check.largest_logit:.3g}).",
        "",
    ]
    if told.assumed:
        lines += [
            "**Not exact**: ReLUs that no training image switches were replaced, so that other "
            "images may be classified otherwise. Assumed:",
            "",
            *(
                f"- {_text(one.where)}: {one.off} of {one.channels} units always off"
                + (", the others always on" if one.linear else "")
                for one in told.assumed
            ),
            "",
        ]
    if told.left:
        lines += ["What is left though it is dead, or could not be followed:", ""]
        lines += [f"- {_text(one.where)}: {_text(one.why)}" for one in told.left]
        lines.append("")
    if opened.classes:
        lines += ["## Classes", "", "The logits are, in this order, those of:", ""]
        lines += [f"- {at}: {_text(name)}" for at, name in enumerate(opened.classes)]
        lines.append("")
    return "\n".join([*lines, "## Loading", "", *_loading(told), ""])


def size_table(told: Exported) -> list[str]:
    """Return the table of both truths as Markdown."""
    stored = told.stored_bytes
    weights = f"{told.prunable:,}", f"{told.nonzero:,}"
    return [
        "| | dense | masked | shrunk |",
        "| --- | --- | --- | --- |",
        f"| prunable weights that are not zero | {weights[0]} | {weights[1]}"
        f"{_times(told.prunable, told.nonzero, 'fewer')} | |",
        f"| parameters | {told.parameters_dense:,} | {told.parameters_dense:,} | "
        f"{told.parameters_shrunk:,}{_times(told.parameters_dense, told.parameters_shrunk)} |",
        f"| multiply-accumulates | {told.macs_dense:,} | {told.macs_dense:,} run, "
        f"{told.macs_masked:,} with weights that are left | {told.macs_shrunk:,}"
        f"{_times(told.macs_dense, told.macs_shrunk, 'fewer')} |",
        f"| bytes of the tensors | {_count(stored['dense'])} | {_count(stored['masked'])} "
        f"({_count(stored['sparse'])} as bits and values) | {_count(stored['shrunk'])} |",
    ]


def _times(before: int, after: int, word: str = "smaller") -> str:
    return f" ({before / after:.1f}x {word})" if after else ""


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _rows(*pairs: tuple[str, Any]) -> list[str]:
    return [f"| {name} | {_text(value)} |" for name, value in pairs]


def _mean(opened: Opened) -> list[float]:
    return [round(float(-s / (255 * c)), 6) for s, c in zip(*_affine(opened))]


def _std(opened: Opened) -> list[float]:
    return [round(float(1 / (255 * c)), 6) for _, c in zip(*_affine(opened))]


def _affine(opened: Opened) -> tuple[Any, Any]:
    return opened.data.shift_by.reshape(-1), opened.data.scale.reshape(-1)


def _text(value: Any) -> str:
    r"""Return text that is neither markup nor more than its cell: ``a|b`` becomes ``a\|b``."""
    found = plain(value)
    for sign in "\\`*_[]<>|#&":
        found = found.replace(sign, f"\\{sign}")
    return found


def _loading(told: Exported) -> list[str]:
    name = told.path.name
    if told.path.suffix == ".onnx":
        code = [
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({name!r})",
            'logits = session.run(None, {"images": images})[0]  # float32 numpy array',
        ]
    elif told.path.suffix == ".pt2":
        code = [
            "import torch  # a .pt2 may hold pickles: load only what you trust",
            f"logits = torch.export.load({name!r}).module()(images)",
        ]
    else:
        code = ["import dsd_bench", f"logits = dsd_bench.load_exported({name!r})(images)"]
    return ["```python", *code, "```"]
