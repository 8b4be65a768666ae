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

from dsd_bench.boards.built_in import built_in
from dsd_bench.boards.check import write
from dsd_bench.boards.files import parse
from dsd_bench.boards.methods import method_of, reseeded, teacher_ids, track_of, whole
from dsd_bench.boards.places import row_path
from dsd_bench.config.layers import SINGLE
from dsd_bench.config.run import LATER, RunConfig
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
    "a" + "\u0301" * 9,
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


# -- what newer rows tell


def told(row: Row) -> Row:
    """Let every seed tell all that newer releases do, as it can be."""
    row["tried"] = {"configurations": 7}
    parts = [(kind, row["config"].get(kind)) for kind in (*SINGLE, *LATER)]
    parts += [("regularizer", part) for part in row["config"]["regularizers"]]
    for entry in row["seeds"]:
        rounds = len(entry["rounds"]["sparsity"])
        entry["ece"] = {"metric": "ece+bins-9", "test": [0.25] * rounds}
        for code in entry["code"]:
            code["core"] = {"version": "0.1.0", "sha256": "5e" * 32, "state": "release"}
            for plugin in code["plugins"].values():
                plugin["state"] = "dirty"
            if code["plugins"]:
                (holder,) = code["plugins"]
                ours = [(k, p["name"]) for k, p in parts if p and not built_in(k, p["name"])]
                code["components"] = {kind: {name: holder} for kind, name in ours}
    return row


def a_code(row: Row, draw: random.Random) -> Row:
    return draw.choice(a_seed(row, draw)["code"])


@kind
def tried(row: Row, draw: random.Random) -> Row:
    """No count of configurations."""
    told(row)
    bad = [0, -1, 10**6 + 1, 2**63, 1.0, 1.5, True, "3", None, [], {}, [3], math.nan, "\u202e3"]
    act = draw.randrange(4)
    if act < 2:
        row["tried"]["configurations"] = draw.choice(bad)
    elif act == 2:
        row["tried"] = draw.choice([3, None, [], {}, "7", [{"configurations": 7}]])
    else:
        row["tried"][draw.choice(["extra", "configurations ", "__class__", "\u200b"])] = 7
    return row


BAD_DIGESTS = (
    *("", "5e", "5E" * 32, "5e" * 32 + "5", "5e" * 31 + "5", "xy" * 32, " " + "5e" * 31 + "5"),
    *("sha256:" + "5e" * 32, "5e" * 32 + "\n", "5e" * 31 + "5\u0435", 5, 5.5, True, [], {}),
)
BAD_STATES = ("", "released", "Release", "clean", "dirty ", "dirty\u202e", 1, True, [], {}, None)
BAD_TEXTS = (5, None, True, [], {}, "<b>", "a | b", "x" * 501, "1\u202e", "1\x1b[2J", "\ud800")


@kind
def codes(row: Row, draw: random.Random) -> Row:
    """Digests that are none, states that nothing has, versions that are no texts."""
    code = a_code(told(row), draw)
    plugins = list(code["plugins"].values())
    one = draw.choice([code["core"], *plugins])
    act = draw.randrange(6)
    if act < 3:
        name, bad = (("sha256", BAD_DIGESTS), ("state", BAD_STATES), ("version", BAD_TEXTS))[act]
        one[name] = draw.choice(bad)
    elif act == 3:
        del one[draw.choice(["sha256", "version"])]
    elif act == 4:
        one[draw.choice(["extra", "Version", "__proto__", "state "])] = "release"
    else:
        key = draw.choice(["core", "plugins", "versions", "components"])
        code[key] = draw.choice(["5e" * 32, 5, True, [], [{}], None, {"a": 1}, {"\u202e": {}}])
    return row


@kind
def holders(row: Row, draw: random.Random) -> Row:
    """Components that the run does not have, or that nobody or somebody else brought."""
    code = a_code(told(row), draw)
    holder = draw.choice([*code["plugins"], "dsd-bench", "nobody", ""])
    names = code.setdefault("components", {})
    used = row["config"]["pruner"]["name"]
    act = draw.randrange(7)
    if act == 0:
        no_kind = draw.choice(["pruners", "", "params", "config", "x" * 200, "\u202e"])
        names[no_kind] = {used: holder}
    elif act == 1:
        unused = draw.choice(["mine", "", "../x", "a b", "A", "x" * 200, "<b>", "\u200b"])
        names[draw.choice(["pruner", "stop", "model"])] = {unused: holder}
    elif act == 2:
        names.setdefault("dataset", {})[row["config"]["dataset"]["name"]] = holder  # built in
    elif act == 3:
        names["perturber" if names.get("pruner") else "updater"] = {used: holder}  # another kind
    elif act == 4:
        names["metric"] = draw.choice([{"mine": "nobody"}, {}, {"mine": None}, {"a b": holder}, []])
    elif act == 5 and code["plugins"]:
        del code["components"]
    else:
        code["plugins"]["another"] = {"version": "1", "sha256": None}
        row["mixed"] = sorted({*row["mixed"], "plugins"})
    return row


@kind
def calibrations(row: Row, draw: random.Random) -> Row:
    """Calibration errors of other rounds, beyond 0 to 1, or of metrics that have no such name."""
    ece = a_seed(told(row), draw)["ece"]
    act = draw.randrange(5)
    if act == 0:
        bad = ["", "ECE", "ece+", "ece++", "ece+bins", "ece+..-..", "ece+../x", "ece+\u0430-1"]
        bad += ["ece+bins-9\n", "ece+bins-\u200d", "ece" + "+b-1" * 40, "brier", "ece bins"]
        bad += ["ece+5e5e5e5", "ece+bins-" + "9" * 41]
        ece["metric"] = draw.choice([*bad, None, 1, ["ece"]])
    elif act == 1:
        ece["test"] = draw.choice([ece["test"][:-1], [*ece["test"], 0.25], [], [0.25], 0.25, None])
    elif act == 2:
        values = [-0.01, 1.01, math.nan, math.inf, -math.inf, None, True, "0.25", [0.25], 1e38, 0]
        ece["test"][draw.randrange(len(ece["test"]))] = draw.choice(values)
    elif act == 3:
        del ece[draw.choice(["metric", "test"])]
    else:
        name = draw.choice(["val", "metric ", "__class__", "\u202e"])
        ece[name] = draw.choice([[0.25], "ece", 1])
    return row


# -- configurations that no run has, with ids that fit them


def select(entry: Row, place: int) -> None:
    """Say that another round was selected, with bits of as many images as it gets right."""
    entry["best_round"] = place
    for part in ("val", "test"):
        images = entry["samples"][part]
        right = round(entry["rounds"][f"{part}_accuracy"][place] * images)
        size = -(-images // 8)
        packed = (((1 << right) - 1) << (8 * size - right)).to_bytes(size, "big")
        entry["correct"]["selected"][part] = base64.b64encode(packed).decode()


def max_drop(**params: Any) -> Row:
    return {"name": "max-drop", "version": 1, "params": params}


NO_CHOOSERS: tuple[Row, ...] = (
    *({"name": "best", "version": version, "params": {}} for version in (1, 2)),
    *(max_drop(drop=drop) for drop in (-0.01, 1.01, 7, 0, 1e38, "0.01", None, True, [0.01])),
    *(max_drop(drip=0.01), max_drop(drop=0.01, more=1)),
    {"name": "one-se", "version": 1, "params": {"drop": 0.01}},
    *({**max_drop(drop=0.01), "version": version} for version in (0, -1)),
    *({**max_drop(), "name": name} for name in ("", "Max-Drop", "../x", "a b", "x" * 200, "<b>")),
    {"name": "mine\u202e", "version": 1, "params": {}},
)
"""What no configuration says of a chooser, whatever it would choose."""


@kind
def choosers(row: Row, draw: random.Random) -> Row:
    """Choosers that nobody has, or that choose another round; or of which the ids do not tell."""
    act, entry = draw.randrange(4), a_seed(row, draw)
    if act == 0:  # one that may be, but the ids are without
        names = [draw.choice(["config", "method"])] if draw.random() < 0.5 else ["config", "method"]
        chooser = draw.choice([max_drop(drop=0.5), {**max_drop(), "name": "mine"}])
        for name in names:
            row[name]["chooser"] = chooser
        return row
    row["config"]["chooser"] = draw.choice(NO_CHOOSERS)
    if act == 1:  # one that there is, and another round than it chooses
        row["config"]["chooser"] = max_drop(drop=draw.choice([0.0, 0.01, 0.05]))
    row = consistent(row)
    scores = entry["rounds"][f"{row['track']['selection']}_accuracy"]
    chosen = 0
    if act == 1:
        limit = max(scores) - row["config"]["chooser"]["params"]["drop"]
        within = [place for place, score in enumerate(scores) if score >= limit - 1e-9]
        chosen = draw.choice([n for n in range(len(scores)) if n != within[-1]])
    select(entry, chosen)
    return row


@kind
def built_ins(row: Row, draw: random.Random) -> Row:
    """Built-in components with parameters that they cannot have."""
    config = row["config"]
    act = draw.randrange(5)
    if act == 0:
        kind_, name = draw.choice([(kind, name) for kind in LATER for name in LATER[kind]])
        config[kind_] = {"name": name, "version": draw.choice([1, 2]), "params": {}}
    elif act == 1:
        config[draw.choice(["noise", "model", "dataset", "pruner", "stop"])]["version"] = 0
    elif act == 2:
        part = draw.choice([config[name] for name in ("noise", "model", "dataset", "perturber")])
        part["params"][draw.choice(["extra", "Rate", "__class__"])] = draw.choice([1, "x", None])
    elif act == 3:
        config["stop"] = draw.choice(
            [
                {"name": "patience", "version": 2, "params": {"patience": 0}},
                {"name": "patience", "version": 2, "params": {"tolerance": -0.1}},
                {"name": "target", "version": 2, "params": {"sparsity": 2.0}},
                {"name": "never", "version": 1, "params": {"x": 1}},
                {"name": "entropy-gate", "version": 2, "params": {"drop": "0.5"}},
            ]
        )
        for entry in row["seeds"]:
            entry["stopped_by"] = config["stop"]["name"]
    else:
        config["noise"] = {"name": "symmetric", "version": 1, "params": {"rate": 7.0}}
    return consistent(row)


@kind
def foreign_teachers(row: Row, draw: random.Random) -> Row | None:
    """Teachers that have seen other data than their students, as no run's have."""
    teachers = [part["teacher"] for part in row["config"]["regularizers"] if part.get("teacher")]
    if not teachers:
        return None
    teacher, act = draw.choice(teachers), draw.randrange(4)
    if act == 0:
        teacher["config"]["data_seed"] += draw.choice([1, 7, 2**31])
    elif act == 1:
        teacher["config"]["fingerprint"] = draw.choice(["sha256:00", "", "x"])
    elif act == 2:
        teacher["config"]["dataset"]["params"]["val_size"] = draw.choice([100.0, 0.5])
    else:
        teacher["config"]["seed"] = draw.choice([-1, -(2**40), 2**31, 2**60])
    teacher["run_id"] = RunConfig.model_validate(teacher["config"]).run_id
    return consistent(row)


@kind
def unknown_versions(row: Row, draw: random.Random) -> Row:
    """Built-in components of versions that are not yet, of which nothing could be checked."""
    config = row["config"]
    parts = [("regularizer", one) for one in config["regularizers"]]
    parts += [(name, config[name]) for name in (*SINGLE, *LATER) if config.get(name)]
    chosen = draw.choice([part for name, part in parts if built_in(name, part["name"])])
    chosen["version"] = draw.choice([3, 7, 10**9])
    if chosen is config["pruner"]:
        for entry in row["seeds"]:
            rounds = entry["rounds"]
            most = rounds["nonzero"][0]
            rounds["nonzero"] = [most - 5 * n for n in range(len(rounds["nonzero"]))]
            rounds["sparsity"] = [1 - count / most for count in rounds["nonzero"]]
            rounds["macs_effective"] = rounds["macs_dense"]
    return consistent(row)


@kind
def local_places(row: Row, draw: random.Random) -> Row:
    """A data set with where its files lie: on whose machine?"""
    params = {"path": draw.choice(["/etc", "/", "../../x", "//host/share", "~"])}
    version = draw.choice([1, 2])
    row["config"]["dataset"] = {"name": "imagefolder", "version": version, "params": params}
    return consistent(row)


@kind
def long_configurations(row: Row, draw: random.Random) -> Row:
    """Parameters of a plugin's component as long as a book, with ids that fit them."""
    part, act = row["config"]["pruner"], draw.randrange(4)
    part["name"] = "mine"
    if act == 0:
        part["params"]["note"] = draw.choice("a1\u00e9") * draw.choice([501, 40_000])
    elif act == 1:
        part["params"] |= {f"key{n}": n for n in range(20_000)}
    elif act == 2:
        part["params"]["k" * draw.choice([101, 3000])] = 1
    else:
        other = {"name": "other", "version": 1, "params": {"weight": 0.5}}
        row["config"]["regularizers"] = [other] * 3000
    return consistent(row)


# -- numbers that contradict others


@kind
def losses(row: Row, draw: random.Random) -> Row:
    """Losses below what the wrong images alone give; columns that not all rounds have."""
    rounds, act = a_seed(row, draw)["rounds"], draw.randrange(4)
    part = draw.choice(["train", "val", "test"])
    values, accuracies = rounds[f"{part}_loss"], rounds[f"{part}_accuracy"]
    wrong = [n for n, accuracy in enumerate(accuracies) if accuracy < 0.99]
    if act < 2 and wrong:
        place = draw.choice(wrong)
        values[place] = draw.choice([0.0, 0.5]) * (1 - accuracies[place])
    elif act == 2:
        rounds["entropy"] = [0.5] * len(values)
        rounds["entropy"][draw.randrange(len(values))] = None
    else:
        values[draw.randrange(len(values))] = None
    return row


@kind
def costs(row: Row, draw: random.Random) -> Row | None:
    """Costs that grow while weights only go, or that some rounds lack."""
    if not built_in("pruner", row["method"]["pruner"]["name"]) or row["method"].get("updater"):
        return None
    rounds = a_seed(row, draw)["rounds"]
    effective, dense = rounds["macs_effective"], rounds["macs_dense"]
    act, place = draw.randrange(3), draw.randrange(1, len(effective))
    if act == 0:
        effective[0] = draw.choice([0, 1, dense[0] - 1])
    elif act == 1:
        effective[place] = draw.choice([effective[place - 1] + 1, dense[0]])
        if place == 1:
            effective[place - 1] = effective[place] - 1
    else:
        effective[place] = None
    return row


@kind
def floods(row: Row, draw: random.Random) -> Row | str:
    """Texts at which a look that is not linear, or a message for each mistake, takes minutes."""
    entry, act = a_seed(row, draw), draw.randrange(5)
    if act == 0:
        entry["hardware"]["cpu"] = draw.choice("18") * 400_000 + "x"
    elif act == 1:
        text = encode_any(row)
        many = "".join(f'"{n}": 1, ' for n in range(100_000))
        return text.replace('"schema": 2', f'{many}"7": 1, "schema": 2')
    elif act == 2:
        entry["rounds"][draw.choice(sorted(entry["rounds"]))] = ["x"] * 1_000_000
    elif act == 3:
        row["mixed"] = ["x"] * 500_000
    else:
        key = draw.choice(["plan", "code", "teachers"])
        entry[key] = (entry[key] or [entry["run_id"]]) * 20_000
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
        os.environ["XDG_CACHE_HOME"] = folder  # no row is known beforehand, or remembered
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
