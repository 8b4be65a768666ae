"""Rows that strangers might send: real ones, spoiled in every way that a row can be wrong.

``python -m tests.hostile_rows --rows 1000`` makes so many, puts each on a board, and prints how
many of each kind there were. Each must be refused with its file's name and a reason, soon, and
leave every generated board as it was.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsd_bench.boards.check import write
from dsd_bench.boards.files import parse
from dsd_bench.boards.methods import method_of, reseeded, teacher_ids, track_of, whole
from dsd_bench.boards.places import row_path
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError

ROOT = Path(__file__).parent.parent
BOARDS = ROOT / "leaderboards"
SECONDS = 5.0
"""Longest that one row may take; a busy computer needs a good part of one second for it."""

Row = dict[str, Any]
Spoil = Callable[[Row, random.Random], "Row | str | bytes | None"]
"""Spoils a row: returns it, or a text; None where the row has nothing of that kind."""
KINDS: dict[str, Spoil] = {}
STEERING = (
    "\u202e",
    "\u2066",
    "\x1b[2J",
    "\x00",
    "\x07",
    "\u200b",
    "\u2028",
    "\x7f",
    "\x9b",
    "\ufeff",
)
MARKUP = (
    "<script>alert(1)</script>",
    "</table>",
    "a | b",
    "`x`",
    "[x](javascript:alert(1))",
    "\n\n# big",
)
PATHS = ("../../x", "/etc/passwd", "..", "a/b", "a\\b", "Con", "~root", "%2e%2e", "x" * 300, "-rf")


def kind(act: Spoil) -> Spoil:
    """Add a kind; the function's name with dashes is its name."""
    KINDS[act.__name__.strip("_").replace("_", "-")] = act
    return act


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield each leaf of nested objects and lists with the keys that lead to it."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*at, key))
    else:
        yield at, value


def put(row: Row, at: tuple[Any, ...], value: Any) -> Row:
    inner: Any = row
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return row


def some(row: Row, draw: random.Random, of: type | tuple[type, ...] = object) -> tuple[Any, Any]:
    """Return a leaf of the given type; places deep in long curves are not preferred."""
    found: dict[Any, list[tuple[Any, Any]]] = {}
    for at, value in leaves(row):
        if isinstance(value, of) and not (isinstance(value, bool) and of is not object):
            found.setdefault(tuple(k for k in at if not isinstance(k, int)), []).append((at, value))
    return draw.choice(found[draw.choice(sorted(found, key=str))])


def a_seed(row: Row, draw: random.Random) -> Row:
    return draw.choice(row["seeds"])


def consistent(row: Row) -> Row:
    """Make track, method and all ids those of the row's configuration, as a forger would."""
    config = RunConfig.model_validate(row["config"])
    row["config"] = whole(config)
    row["track"] = json.loads(track_of(config).model_dump_json())
    row["method"] = json.loads(method_of(config).model_dump_json())
    for entry in row["seeds"]:
        other = reseeded(config, entry["seed"])
        entry["run_id"], entry["teachers"] = other.run_id, teacher_ids(other)
    return row


# -- what any file can be


@kind
def types(row: Row, draw: random.Random) -> Row:
    at, value = some(row, draw)
    alike = (int, float) if type(value) in (int, float) else type(value)
    others = [
        i for i in (True, "1", 1.5, [], {}, [value], {"a": value}) if type(i) is not type(value)
    ]
    return put(row, at, draw.choice([item for item in others if not isinstance(item, alike)]))


@kind
def ranges(row: Row, draw: random.Random) -> Row:
    at, value = some(row, draw, (int, float))
    bad = [-1 - abs(value), 2**53 + 1, 2**63, 10**400, -1e300, 1e39, 1e308]
    return put(row, at, draw.choice(bad))


@kind
def not_finite(row: Row, draw: random.Random) -> str:
    at, _ = some(row, draw, (int, float))
    return json.dumps(put(row, at, draw.choice([math.nan, math.inf, -math.inf])), indent=1)


@kind
def sizes(row: Row, draw: random.Random) -> Row | str:
    entry, many = a_seed(row, draw), draw.randrange(5)
    if many == 0:
        entry["rounds"] = {name: 3000 * column[:1] for name, column in entry["rounds"].items()}
    elif many == 1:
        row["seeds"] = [copy.deepcopy(entry) for _ in range(400)]
    elif many == 2:
        at, _ = some(row, draw, str)
        return put(row, at, draw.choice("ab<|") * draw.choice([5_000, 1_000_000]))
    elif many == 3:
        entry["hardware"] = {f"key{n}": n for n in range(20_000)}
    else:
        return encode_any(row)[:-2] + " " * 70_000_000 + "}"
    return row


@kind
def nesting(row: Row, draw: random.Random) -> str:
    depth = draw.choice([61, 200, 5_000, 100_000])
    opening, closing = draw.choice([("[", "]"), ('{"a": ', "}")])
    text = encode_any(put(row, ("config", "metrics"), "HERE"))
    return text.replace('"HERE"', opening * depth + "1" + closing * depth)


@kind
def twice(row: Row, draw: random.Random) -> str:
    lines = encode_any(row).splitlines(keepends=True)
    places = [
        n for n, line in enumerate(lines) if line.lstrip()[:1] == '"' and line.endswith(",\n")
    ]
    place = draw.choice([n for n in places if lines[n].rstrip()[-2:-1] not in "[{"])
    return "".join([*lines[: place + 1], lines[place], *lines[place + 1 :]])


@kind
def spelling(row: Row, draw: random.Random) -> Any:
    text = encode_any(row)
    return draw.choice(
        [
            *(
                "",
                " ",
                text[: draw.randrange(len(text))],
                text + "{}",
                text + "\n",
                "\ufeff" + text,
            ),
            *(text.replace("\n", "\r\n"), json.dumps(row), json.dumps(row, indent=2) + "\n"),
            *(text.encode("utf-16"), text.encode() + b"\xff", b"\x00" * 100, b"\x80PK\x03\x04"),
            text.replace('"schema": 2', '"schema": 2.0'),
            text.replace('"seed": ', '"seed":  ', 1),
        ]
    )


@kind
def keys(row: Row, draw: random.Random) -> Row:
    holders = [row, row["track"], row["method"], row["config"], a_seed(row, draw)]
    holder = draw.choice([*holders, a_seed(row, draw)["rounds"], a_seed(row, draw)["samples"]])
    name = draw.choice(sorted(holder))
    act = draw.randrange(3)
    if act < 2:
        value = holder.pop(name)
        if act:
            holder[draw.choice([name.upper(), f"{name} ", f"{name}\u200b", "__proto__"])] = value
    else:
        holder[draw.choice(["extra", "__class__", "", "$ref"])] = draw.choice([1, "x", None, {}])
    return row


@kind
def steering(row: Row, draw: random.Random) -> Row:
    """Control, direction and invisible characters, with ids that fit where they can."""
    free = draw.choice(["hardware", "versions"])
    if draw.random() < 0.5:
        entry = a_seed(row, draw)
        name = draw.choice(sorted(entry[free]))
        entry[free][name] = f"{entry[free][name]}{draw.choice(STEERING)}x"
        if draw.random() < 0.3:
            entry[free][f"a{draw.choice(STEERING)}b"] = 1
        return row
    at, value = some(row, draw, str)
    return put(row, at, f"{value}{draw.choice(STEERING)}")


@kind
def markup(row: Row, draw: random.Random) -> Row:
    at, value = some(row, draw, str)
    return put(row, at, draw.choice(MARKUP) + value)


# -- what a row cannot say of itself


@kind
def ids(row: Row, draw: random.Random) -> Row:
    entry, other = a_seed(row, draw), f"{draw.getrandbits(64):016x}"
    bad = [other, entry["run_id"].upper() + "A", entry["run_id"][:-1], "", "../" + other]
    entry["run_id"] = draw.choice([*bad, *[e["run_id"] for e in row["seeds"] if e is not entry]])
    return row


@kind
def seeds(row: Row, draw: random.Random) -> Row:
    act, entry = draw.randrange(4), a_seed(row, draw)
    if act == 0:
        row["seeds"].insert(0, copy.deepcopy(entry))
    elif act == 1:
        row["seeds"].append(copy.deepcopy(entry))
    elif act == 2:
        row["seeds"].reverse()
    else:
        entry[draw.choice(["seed", "data_seed"])] += draw.choice([1, 7, 2**31])
    return row


@kind
def counts(row: Row, draw: random.Random) -> Row:
    """Accuracies that are no k of n images."""
    entry = a_seed(row, draw)
    column = draw.choice([name for name in entry["rounds"] if "accuracy" in name])
    values = entry["rounds"][column]
    place = draw.randrange(len(values))
    off = [math.nextafter(values[place], 2), values[place] * 0.9997 + 1e-4, 0.12345]
    values[place] = draw.choice(off)
    return row


@kind
def accuracies(row: Row, draw: random.Random) -> Row:
    """One more image right in the dense or the selected round, without its bit."""
    entry = a_seed(row, draw)
    place = draw.choice([0, entry["best_round"]])
    values, images = entry["rounds"]["test_accuracy"], entry["samples"]["test"]
    values[place] = (round(values[place] * images) + draw.choice([1, 9])) / images
    return row


@kind
def bits(row: Row, draw: random.Random) -> Row:
    entry = a_seed(row, draw)
    which, part = draw.choice(["dense", "selected"]), draw.choice(["val", "test"])
    text = entry["correct"][which][part]
    packed = bytearray(base64.b64decode(text))
    packed[draw.randrange(len(packed) - 1)] ^= 1 << draw.randrange(8)
    longer = base64.b64encode(base64.b64decode(text) + b"\x00").decode()
    flipped, bad = base64.b64encode(packed).decode(), [longer, text[:-4], f" {text}", "", None]
    entry["correct"][which][part] = draw.choice([flipped, flipped, *bad])
    return row


@kind
def sparsities(row: Row, draw: random.Random) -> Row | None:
    """Counts that the pruner does not give, with sparsities that fit them."""
    pruner = row["method"]["pruner"]
    if pruner["name"] not in ("magnitude", "random", "gradient"):
        return None
    if pruner["params"]["scope"] != "global":  # by layer no more is known than the layers' number
        return None
    rounds = a_seed(row, draw)["rounds"]
    places = range(1, len(rounds["nonzero"]))
    place = draw.choice(places)
    off = draw.choice([1, -1, 5, -40])
    for n in range(place, len(rounds["nonzero"])) if draw.random() < 0.5 else [place]:
        rounds["nonzero"][n] = max(0, rounds["nonzero"][n] + off)
        rounds["sparsity"][n] = 1 - rounds["nonzero"][n] / rounds["nonzero"][0]
    return row


@kind
def curves(row: Row, draw: random.Random) -> Row:
    """Weights that come back, sparsities of other counts, more MACs than dense."""
    rounds, act = a_seed(row, draw)["rounds"], draw.randrange(4)
    place = draw.randrange(1, len(rounds["nonzero"]))
    if act == 0:
        rounds["nonzero"][place] = rounds["nonzero"][place - 1] + draw.choice([0, 1, 1000])
        rounds["sparsity"][place] = 1 - rounds["nonzero"][place] / rounds["nonzero"][0]
    elif act == 1:
        rounds["sparsity"][place] = min(1.0, rounds["sparsity"][place] + 1e-6)
    elif act == 2:
        rounds["macs_effective"][place] = rounds["macs_dense"][0] + 1
    else:
        rounds["macs_dense"][place] += 1
    return row


@kind
def stops(row: Row, draw: random.Random) -> Row:
    """Curves that go on after their end, or end before."""
    entry, act = a_seed(row, draw), draw.randrange(3)
    rounds = entry["rounds"]
    if act == 0 and len(rounds["nonzero"]) - 1 > entry["best_round"] + 1:
        for column in rounds.values():
            column.pop()
    elif act == 1:
        for column in rounds.values():
            column.append(column[-1])
        rounds["nonzero"][-1] -= max(1, round(0.2 * rounds["nonzero"][-1]))
        rounds["sparsity"][-1] = 1 - rounds["nonzero"][-1] / rounds["nonzero"][0]
    else:
        said = ["rounds", "target-sparsity", "nothing-left", "patience", "never", "", None]
        entry["stopped_by"] = draw.choice([word for word in said if word != entry["stopped_by"]])
    return row


@kind
def best_rounds(row: Row, draw: random.Random) -> Row:
    entry = a_seed(row, draw)
    others = [n for n in range(len(entry["rounds"]["sparsity"])) if n != entry["best_round"]]
    entry["best_round"] = draw.choice([*others, 10**6])
    return row


@kind
def teachers(row: Row, draw: random.Random) -> Row:
    entry, act = a_seed(row, draw), draw.randrange(3)
    if act == 0 or not entry["teachers"]:
        entry["teachers"].append(draw.choice([f"{draw.getrandbits(64):016x}", entry["run_id"]]))
    elif act == 1:
        entry["teachers"] = []
    else:
        for one in (*row["config"]["regularizers"], *row["method"]["regularizers"]):
            if one.get("teacher"):
                one["teacher"]["weights"] = {"best": "dense", "dense": "best"}[
                    one["teacher"]["weights"]
                ]
    return row


@kind
def configurations(row: Row, draw: random.Random) -> Row:
    """Another value in configuration, track or method than in the others of them."""
    part = draw.choice(["config", "track", "method"])
    at, value = some(row[part], draw)
    other: Any = draw.choice(["x", 3, 0.7]) if value is None else f"{value}x"
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, int | float):
        other = value + draw.choice([1, 2])
    elif isinstance(value, dict | list):
        other = {"a": 1} if isinstance(value, dict) else [1]
    put(row[part], at, other)
    return row


@kind
def samples(row: Row, draw: random.Random) -> Row:
    entry = a_seed(row, draw)
    name = draw.choice(["train", "val", "test", "noisy"])
    entry["samples"][name] = draw.choice([0, entry["samples"][name] + 1, 10**6, 2**52])
    if name == "noisy":
        entry["samples"][name] = entry["samples"]["train"] + 1
    return row


@kind
def records(row: Row, draw: random.Random) -> Row:
    """Plans, code and what is mixed."""
    entry, act = a_seed(row, draw), draw.randrange(5)
    if act == 0:
        entry["plan"][0]["numerics"] = draw.choice([0, -1, "1", None, 1.0])
    elif act == 1:
        entry["plan"][0]["from_round"] = draw.choice([1, -1, 10**6, None])
    elif act == 2:
        entry["code"][0]["round"] = draw.choice([1, 10**6])
    elif act == 3:
        row["mixed"] = ["hardware"] if "hardware" not in row["mixed"] else []
    else:
        entry["plan"] = []
    return row


# -- where a row lies


@kind
def paths(row: Row, draw: random.Random) -> Row | None:
    """Names of components that would lead elsewhere, in rows whose ids fit them."""
    what = draw.choice(["dataset", "model", "noise", "pruner"])
    row["config"][what]["name"] = draw.choice(PATHS)
    try:
        return consistent(row)
    except ValueError:
        return row


def encode_any(row: Row) -> str:
    """Return the text that a row file would have."""
    return json.dumps(row, sort_keys=True, indent=1) + "\n"


PLACES = ("link to a file", "link to a device", "rows is a link", "pipe", "folder", "other name")
"""What may lie where a row should."""


@dataclass(frozen=True)
class Verdict:
    """What became of one hostile row."""

    kind: str
    problem: str | None
    seconds: float


class Court:
    """A folder of boards with one good row, on which each hostile row is put.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.rows = [json.loads(p.read_text()) for p in sorted(BOARDS.glob("*/rows/*.json"))]
        self.rows = [row for row in self.rows if row["schema"] == 2]
        self.folder = folder
        self.texts = [encode_any(row) for row in self.rows]
        self.places = [str(row_path(parse(text, "it"))) for text in self.texts]
        self.good = self.places[0]
        path = folder / self.good
        path.parent.mkdir(parents=True)
        path.write_text(self.texts[0])
        write(folder)
        self.before = self.boards()

    def boards(self) -> dict[str, bytes]:
        """Return all that was generated."""
        found = [*self.folder.rglob("*.md"), *self.folder.rglob("*.svg")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}

    def try_row(self, name: str, number: int) -> Verdict:
        """Spoil a row in a way of the kind ``name``; every number is another one."""
        draw = random.Random(f"{name} {number}")
        if name == "places":
            return self._judge(name, lambda: self._place(draw))
        while True:
            place = draw.randrange(1, len(self.rows))
            spoiled = KINDS[name](copy.deepcopy(self.rows[place]), draw)
            if spoiled is not None and spoiled != self.rows[place]:
                break
        return self._judge(name, lambda: self._put(spoiled, self.places[place]))

    def _put(self, spoiled: Row | str | bytes, place: str) -> Path:
        if isinstance(spoiled, dict):
            spoiled = encode_any(spoiled)
        if isinstance(spoiled, str):
            spoiled = spoiled.encode("utf-8", "surrogatepass")
        with contextlib.suppress(UsageError, ValueError):  # a forger knows where a row belongs
            place = str(row_path(parse(spoiled.decode(), "it")))
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(spoiled)
        return path

    def _place(self, draw: random.Random) -> Path:
        what, number = draw.choice(PLACES), draw.randrange(1, len(self.rows))
        path = self.folder / self.places[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        outside = self.folder.parent / "outside"
        outside.mkdir(exist_ok=True)
        (outside / path.name).write_text(self.texts[number])
        if what == "link to a file":
            path.symlink_to(outside / path.name)
        elif what == "link to a device":
            path.symlink_to(draw.choice(["/dev/zero", "/dev/stdin", "/proc/self/mem", "nowhere"]))
        elif what == "rows is a link":
            path = self.folder / f"track-{draw.getrandbits(32)}" / "rows"
            path.parent.mkdir()
            path.symlink_to(outside)
        elif what == "pipe":
            os.mkfifo(path)
        elif what == "folder":
            path.mkdir()
        else:
            odd = ["x.json", f"{path.stem}\u202e.json", "a b.json", "-x.json", f"{path.stem}..json"]
            path = path.with_name(draw.choice(odd))
            path.write_text(self.texts[number])
        return path

    def _judge(self, name: str, put: Callable[[], Path]) -> Verdict:
        """Put a row on the boards and have them written; then take it away again."""
        path = put()
        began, problem = time.perf_counter(), None
        try:
            write(self.folder)
            problem = "accepted"
        except UsageError as error:
            if not any(part in str(error) for part in {path.name, ascii(path.name)[1:-1]}):
                problem = f"refused, but its file is not named: {error}"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - began
        if problem is None and seconds > SECONDS:
            problem = f"took {seconds:.1f} s"
        if self.boards() != self.before:
            problem = f"{problem or 'refused'}, and a board has changed"
        for left in self.folder.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
        (self.folder / self.good).parent.mkdir(parents=True)
        (self.folder / self.good).write_text(self.texts[0])
        for at, text in self.before.items():
            (self.folder / at).write_bytes(text)
        return Verdict(name, problem, seconds)


def campaign(rows: int, folder: Path) -> list[Verdict]:
    """Try so many rows, as many of each kind."""
    court, names = Court(folder), [*KINDS, "places"]
    return [court.try_row(names[n % len(names)], n // len(names)) for n in range(rows)]


def main() -> int:
    """Print a table of kinds; return 1 if a row was not refused as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    with tempfile.TemporaryDirectory() as folder:
        verdicts = campaign(parser.parse_args().rows, Path(folder) / "boards")
    tried, wrong = Counter(one.kind for one in verdicts), [v for v in verdicts if v.problem]
    print("| kind | rows | refused |\n| --- | --- | --- |")
    bad = Counter(one.kind for one in wrong)
    for name in sorted(tried):
        print(f"| {name} | {tried[name]} | {tried[name] - bad[name]} |")
    slowest = max(one.seconds for one in verdicts)
    print(f"| all | {len(verdicts)} | {len(verdicts) - len(wrong)} |\n\nslowest: {slowest:.2f} s")
    for one in wrong:
        print(f"{one.kind}: {one.problem}"[:300], file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
