"""Where do the boards' dips have their bottoms, and until where does the network fit its labels?

    python benchmarks/bottoms.py        # writes the table between the marks of docs/paper.md

From the rows of the boards of real images, means over the seeds. Of methods with ``--stop never``
and ``--choose best``, without a regularizer: what each pruner does to the same dense networks.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.boards.files import read_row
from dsd_bench.boards.schema import BoardRow, CheckedRow
from dsd_bench.boards.words import method_labels

PAGE = Path("docs/paper.md")
BOARDS = {
    "CIFAR-10, 20 %": "cifar10-5000-symmetric-0.2-vgg-like-2-5-bf16-bec0e387",
    "CIFAR-10N, worse": "cifar10n-5000-none-vgg-like-2-5-bf16-70df5967",
}
BLOCK = re.compile(r"(<!-- bottoms -->\n).*?(<!-- end -->)", re.DOTALL)
FITS = 0.99
"""Share of its labels, wrong ones included, of which a network is said to fit them all."""


@dataclass(frozen=True)
class Curve:
    """A mean curve: sparsity, test accuracy and accuracy on the given train labels by round."""

    sparsity: list[float]
    test: list[float]
    train: list[float]

    @property
    def fits(self) -> int:
        """The last round before the network no longer fits all its labels, for the first time."""
        lost = (at for at, value in enumerate(self.train) if at and value < FITS)
        return next(lost, len(self.train)) - 1

    @property
    def peak(self) -> int:
        """The best round after :attr:`fits`."""
        return max(range(self.fits + 1, len(self.test)), key=self.test.__getitem__)

    @property
    def bottom(self) -> int:
        """The worst round before :attr:`peak`."""
        return min(range(self.peak), key=self.test.__getitem__)


def table() -> str:
    """Return the table in markdown."""
    names = ["data", "pruner", "n", "dense test %", "fits its labels until sparsity %"]
    names += ["bottom: test %", "at sparsity %", "peak after: test %", "at sparsity %", "last %"]
    lines = [f"| {' | '.join(names)} |", f"| --- | --- |{' ---: |' * (len(names) - 2)}"]
    for data, board in BOARDS.items():
        for pruner, row in _pruners(Path("leaderboards") / board / "rows"):
            curve = mean_curve(row)
            shown = [curve.sparsity[curve.fits], curve.test[curve.bottom]]
            shown += [curve.sparsity[curve.bottom], curve.test[curve.peak]]
            shown += [curve.sparsity[curve.peak], curve.test[-1]]
            words = [data, pruner, str(len(row.seeds))]
            words += [f"{100 * value:.1f}" for value in (curve.test[0], *shown)]
            lines.append(f"| {' | '.join(words)} |")
    return "".join(f"{line}\n" for line in lines)


def mean_curve(row: CheckedRow) -> Curve:
    """Return the mean over a row's seeds, as far as all of them went."""

    def mean(name: str) -> list[float]:
        of = [getattr(seed.rounds, name) for seed in row.seeds]
        return [statistics.fmean(values) for values in zip(*of, strict=False)]

    return Curve(mean("sparsity"), mean("test_accuracy"), mean("train_accuracy"))


def _pruners(folder: Path) -> list[tuple[str, CheckedRow]]:
    """Return the rows of pruners alone, by the names that tell them apart."""
    rows = [row for row in map(read_row, sorted(folder.glob("*.json"))) if _plain(row)]
    checked = [row for row in rows if isinstance(row, CheckedRow)]
    return list(zip(method_labels(checked), checked, strict=True))


def _plain(row: BoardRow) -> bool:
    method = row.method
    return method.stop.name == "never" and method.chooser is None and not method.regularizers


def main() -> None:
    """Write the page."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(BLOCK.sub(lambda found: f"{found[1]}{table()}{found[2]}", text), "utf-8")


if __name__ == "__main__":
    main()
