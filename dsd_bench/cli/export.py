"""``dsd-bench export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_json
from dsd_bench.errors import UsageError
from dsd_bench.store.files import write_atomic

if TYPE_CHECKING:
    from dsd_bench.export import Exported


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="What to write: .safetensors, .pt2 or .onnx; a model card is written beside it.",
)  # fmt: skip
@click.option(
    "--round", "which", default="best", show_default=True, metavar="N|best|one-se",
    help="Which round's weights: a number, the one that the run returns, or the sparsest within "
    "one standard error of the best.",
)  # fmt: skip
@click.option("--sparse", is_flag=True, help="The masked network as bits and values instead.")
@click.option("--fold-bn", is_flag=True, help="Make batch norms a part of the layer before them.")
@click.option(
    "--assume-data", is_flag=True,
    help="Replace ReLUs that no training image switches: measured, not exact for other images.",
)  # fmt: skip
@click.option("--licence", default="", metavar="TEXT", help="Of the weights, for the model card.")
@click.option(
    "--latency", "timed", type=click.Path(path_type=Path), metavar="FILE",
    help="Also put into the model card what `dsd-bench latency RUN -o FILE` measured.",
)  # fmt: skip
@click.option("--download", is_flag=True, help="Allow downloading the data.")
@click.option(
    "--data-dir", default="data", type=click.Path(path_type=Path),
    help="Where data sets lie; test images check the file.",
)  # fmt: skip
@reading.runs_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON: counts, bytes, differences.")
def export(
    run: str, output: Path, which: str, sparse: bool, fold_bn: bool, assume_data: bool,
    licence: str, timed: Path | None, download: bool, data_dir: Path, runs_dir: Path, as_json: bool,
) -> None:  # fmt: skip
    """Write a round of RUN as a really smaller network: what is dead in it is removed, exactly.

    RUN is an id, a prefix of one, or a path. The file's logits are compared with the masked
    network's on real test images; if they differ by more than rounding, it is not written.
    `dsd_bench.load_exported` loads .safetensors files, also those of strangers.
    """
    if sparse and (fold_bn or assume_data):
        raise UsageError("--sparse keeps the masked network as it is: leave out --fold-bn and "
                         "--assume-data")  # fmt: skip
    from dsd_bench.export import export_run

    speed = "" if timed is None else _speed(timed)
    told = export_run(
        run, output, round_of(which), runs_dir=runs_dir, data_dir=data_dir, download=download,
        sparse=sparse, fold_bn=fold_bn, assume_data=assume_data, licence=licence,
    )  # fmt: skip
    if speed:
        write_atomic(told.card, (told.card.read_text("utf-8").rstrip() + speed).encode())
    if as_json:
        say_json(told.to_json())
        return
    for line in lines(told):
        say(line)


def _speed(path: Path) -> str:
    """Return a section of a model card on what was measured."""
    from dsd_bench.boards.words import escape
    from dsd_bench.latency import read_latency
    from dsd_bench.latency.shown import NAMES, cells, conditions

    found = read_latency(path)
    lines = [NAMES, ("---", "---:", "---", "---:", "---:", "---:"), *cells(found)]
    rows = [f"| {' | '.join(cell if cell[:3] == '---' else escape(cell) for cell in line)} |"
            for line in lines]  # fmt: skip
    return "\n".join(["", "", "## Speed", "", *rows, "", escape(conditions(found)), ""])


def round_of(word: str) -> Any:
    """Return what ``--round`` means.

    Raises:
        UsageError: if it is neither a number nor one of the words.
    """
    if word in ("best", "one-se"):
        return word
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise UsageError(f"--round '{word}': give a number, best or one-se")
    return int(word)


def lines(told: Exported) -> list[str]:
    """Return what is printed: both truths side by side, the check, what is left."""
    stored, checked = told.stored_bytes, told.check
    masked = _times(told.prunable, told.nonzero)
    found = [
        f"run {told.run_id}, round {told.round} ({told.how})",
        "",
        f"{'':21}{'dense':>14}{'masked':>14}{'shrunk':>14}",
        _row("prunable weights left", told.prunable, told.nonzero, None, f"{masked} fewer"),
        _row("parameters", told.parameters_dense, told.parameters_dense, told.parameters_shrunk,
             f"{_times(told.parameters_dense, told.parameters_shrunk)} smaller"),
        _row("multiply-accumulates", told.macs_dense, told.macs_dense, told.macs_shrunk,
             f"{_times(told.macs_dense, told.macs_shrunk)} fewer"),
        _row("  were zeros free", None, told.macs_masked, None, ""),
        _row("bytes of the tensors", stored["dense"], stored["masked"], stored["shrunk"], ""),
        _row("  as bits and values", None, stored["sparse"], None, ""),
        "",
        f"logits differ by {checked.max_abs_logit_difference:.3g} at most on {checked.images} "
        "test images",
        f"({checked.tolerance:.3g} allowed; largest logit {checked.largest_logit:.3g})",
    ]  # fmt: skip
    if told.assumed:
        units = sum(one.off for one in told.assumed)
        gone = sum(one.linear for one in told.assumed)
        found.append(
            f"assumed of the training data, not exact: {units} units always off, {gone} ReLUs "
            f"always on; {checked.agree:.2%} of the test images keep their class"
        )
    found += [f"left: {one.where}: {one.why}" for one in told.left[:MOST_LEFT]]
    if len(told.left) > MOST_LEFT:
        found.append(f"left: {len(told.left) - MOST_LEFT} more; the model card lists them")
    return [*found, f"{told.path} ({told.bytes:,} bytes)", str(told.card)]


MOST_LEFT = 5
"""Things that were left and are named one by one."""


def _row(name: str, *values: Any) -> str:
    *counts, note = values
    cells = "".join(f"{_number(value):>14}" for value in counts)
    return f"{name:21}{cells}  {note}".rstrip()


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _times(before: int, after: int) -> str:
    return f"{before / after:.1f}x" if after else "infinitely"
