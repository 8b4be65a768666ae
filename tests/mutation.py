"""Break the code in one place at a time and see whether its tests notice.

    python tests/mutation.py --sample 240 --jobs 2 --out mutants.jsonl  # goes on where it stopped
    python tests/mutation.py --only training/step --sample 60 --out step.jsonl
    python tests/mutation.py --only rounds --only boards/ties --each 3  # of small ones as many

A mutant is one edit of one line: a statement left out, a comparison moved by its boundary or turned
round, a condition negated, ``and`` for ``or``, an operator or a number changed. Annotations,
docstrings, messages and constants of logs are left alone. A mutant is killed when the tests of its
module fail or hang. See docs/testing.md.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parent.parent
TESTS = {
    "experiment/protocol": [
        "pace",
        "protocol_edges",
        "protocol",
        "store_edges",
        "training",
        "correct",
    ],
    "experiment/ending": ["protocol_edges", "protocol"],
    "training/setup": ["hooks", "protocol", "state"],
    "training/loop": ["training", "store_edges", "protocol_edges", "protocol", "data_streaming"],
    "training/step": ["stepping", "training", "two_passes", "hooks", "state"],
    "training/mixing": ["hooks"],
    "experiment/pruning": ["pruning", "at_initialisation", "protocol_edges", "protocol"],
    "experiment/chain": ["hooks", "state"],
    "stateful": ["state"],
    "training/schedule": ["training"],
    "optimizers/sgd": ["optimizers", "training"],
    "optimizers/wrapping": ["optimizers", "training", "two_passes"],
    "schedules/__init__": ["schedules", "protocol"],
    "schedules/annealed": ["schedules"],
    "schedules/early_bird": ["early_bird"],
    "schedules/step": ["schedules", "training"],
    "config/metrics": ["metric_words"],
    "experiment/given": ["weights"],
    "store/given": ["weights"],
    "masks": ["masks", "pruners"],
    "store/folder": ["store_edges", "store", "kept", "finished", "correct"],
    "store/locks": ["store_edges", "locks", "store"],
    "store/files": ["store_edges", "store", "finished"],
    "store/tensors": ["store", "kept", "finished"],
    "stopping/rules": ["stopping"],
    "rounds": ["rounds", "stopping", "choosing"],
    "choosers/__init__": ["choosing", "replay_choosers"],
    "choosers/builtin": ["choosing", "replay_choosers"],
    "choosers/rules": ["choosing", "replay_choosers"],
    "experiment/choosing": ["choosing"],
    "replay/choices": ["replay_choosers"],
    "replay/rules": ["replay", "replay_choosers"],
    "boards/chosen": ["board_rules"],
    "boards/replayed": ["rules_by_hand", "board_rules"],
    "boards/rules": ["rules_by_hand", "board_rules", "hostile_rows"],
    "boards/agreement": ["board_calibration", "verify"],
    "boards/calibration": ["board_calibration"],
    "boards/verified": ["verify", "board_tried", "board_checks"],
    "boards/reruns": ["verify", "weights"],
    "boards/pareto": ["pareto"],
    "boards/figure": ["pareto"],
    "reports/comparing": ["comparing"],
    "regularizers/distillation": ["regularizers"],
    "noise/labels": ["store_edges", "noise"],
    "boards/ahead": ["board_ahead"],
    "boards/built_in": ["board_built_in", "hostile_rows"],
    "boards/holders": ["board_built_in", "board_tried", "hostile_rows"],
    "boards/known": ["board_scale", "board_ahead"],
    "boards/check": ["boards", "board_checks", "board_edges"],
    "boards/conditions": ["boards", "board_checks", "board_edges"],
    "boards/files": ["boards", "board_checks", "board_edges"],
    "boards/marks": ["boards", "board_checks", "board_edges"],
    "boards/methods": ["boards", "board_checks", "board_edges"],
    "boards/places": ["boards", "board_checks", "board_edges"],
    "boards/ranking": ["ties", "boards", "board_edges"],
    "boards/details": ["boards", "board_checks", "board_tried"],
    "boards/tried": ["board_tried"],
    "plugins/release": ["board_tried"],
    "boards/render": ["boards", "board_checks", "board_edges"],
    "boards/rows": ["boards", "board_checks", "board_edges"],
    "boards/schema": ["boards", "board_checks", "board_edges"],
    "boards/summary": ["boards", "board_checks", "board_edges"],
    "boards/ties": ["ties", "board_scale"],
    "boards/verify": ["boards", "board_checks", "board_edges"],
}
"""The tests that shall notice, by module; files that do not exist (yet) are passed over."""
SECONDS = 240
COMPARE = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC = {
    ast.Add: ("-",),
    ast.Sub: ("+",),
    ast.Mult: ("/",),
    ast.Div: ("*",),
    ast.FloorDiv: ("*",),
    ast.Mod: ("*",),
    ast.BitAnd: ("|",),
    ast.BitOr: ("&",),
}
SILENT = ("log", "warning", "debug", "info")


@dataclass(frozen=True)
class Mutant:
    """One edit: ``source[start:end]`` of a module's bytes becomes ``text``."""

    module: str
    line: int
    start: int
    end: int
    text: str
    kind: str


class Finder(ast.NodeVisitor):
    """Finds the mutants of one module."""

    def __init__(self, module: str, source: bytes) -> None:
        self.module, self.source, self.found = module, source, list[Mutant]()
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.visit(ast.parse(source))

    def at(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def add(self, node: ast.expr | ast.stmt, start: int, end: int, text: str, kind: str) -> None:
        self.found.append(Mutant(self.module, node.lineno, start, end, text, kind))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        self.block(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.block(node.body)

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.visit(statement)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in SILENT:
            return
        if not isinstance(node.value, ast.Yield | ast.YieldFrom):
            self.add(node, *self.span(node), "pass", "left out")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, *self.span(node), "pass", "left out")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self.add(node, *self.span(node), "pass", "left out")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.add(node, *self.span(node), "pass", "left out")

    def condition(self, node: ast.expr) -> None:
        start, end = self.span(node)
        code = self.source[start:end].decode()
        self.add(node, start, end, f"(not ({code}))", "negated")

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self.condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.condition(node.test)
        self.generic_visit(node)

    def between(self, left: ast.expr, right: ast.expr) -> tuple[int, int]:
        return self.span(left)[1], self.span(right)[0]

    def operator(self, node: ast.expr, left: ast.expr, right: ast.expr, new: str) -> None:
        """Replace what stands between two operands, their brackets kept."""
        start, end = self.between(left, right)
        gap = self.source[start:end].decode()
        if "#" in gap:
            return
        closing = gap[: len(gap) - len(gap.lstrip(") \n"))].rstrip(" ")
        opening = gap[len(gap.rstrip("( \n")) :].lstrip(" ")
        self.add(node, start, end, f"{closing} {new} {opening}", "operator")

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, right, operator in zip(operands, operands[1:], node.ops):
            for new in COMPARE[type(operator)]:
                self.operator(node, left, right, new)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        new = "or" if isinstance(node.op, ast.And) else "and"
        self.operator(node, node.values[0], node.values[1], new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        words = isinstance(node.left, ast.Constant | ast.JoinedStr) and not isinstance(
            getattr(node.left, "value", ""), int | float
        )
        if not words:
            for new in ARITHMETIC.get(type(node.op), ()):
                self.operator(node, node.left, node.right, new)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add(node, *self.span(node), str(not node.value), "constant")
        elif isinstance(node.value, int | float):
            self.add(node, *self.span(node), f"({node.value} + 1)", "constant")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave words alone."""


def mutants(module: str) -> list[Mutant]:
    """Return every mutant of a module, in its order."""
    return Finder(module, (ROOT / "dsd_bench" / f"{module}.py").read_bytes()).found


def sample(modules: list[str], count: int, seed: int, each: bool = False) -> list[Mutant]:
    """Draw mutants from all modules together, each equally likely, or as many from ``each``."""
    if each:
        return [mutant for module in modules for mutant in sample([module], count, seed)]
    everything = [mutant for module in modules for mutant in mutants(module)]
    draw = random.Random(seed)
    return draw.sample(everything, min(count, len(everything)))


def tests_of(module: str) -> list[str]:
    paths = [f"tests/test_{name}.py" for name in TESTS[module]]
    return [path for path in paths if (ROOT / path).exists()]


def passes(tree: Path, tests: list[str]) -> bool:
    """Whether the tests pass in a copy of the project."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "HYPOTHESIS_MAX_EXAMPLES": "20"}
    try:
        done = subprocess.run(
            words, cwd=tree, env=environment, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def copies(count: int, folder: Path) -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for number in range(count):
        tree = folder / str(number)
        for name in listed.stdout.splitlines():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        yield tree


def judge(mutant: Mutant, tree: Path) -> bool:
    """Return whether the tests notice ``mutant``; the tree is put back."""
    path = tree / "dsd_bench" / f"{mutant.module}.py"
    whole = path.read_bytes()
    broken = whole[: mutant.start] + mutant.text.encode() + whole[mutant.end :]
    compile(broken, str(path), "exec")
    try:
        path.write_bytes(broken)
        return not passes(tree, tests_of(mutant.module))
    finally:
        path.write_bytes(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=240, help="how many, of all together")
    parser.add_argument("--each", type=int, help="how many of each module, in place of --sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", action="append", choices=sorted(TESTS))
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"))
    given = parser.parse_args()
    modules = given.only or list(TESTS)
    chosen = sample(modules, given.each or given.sample, given.seed, each=bool(given.each))
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    known = {json.dumps(record["mutant"]): record["killed"] for record in map(json.loads, lines)}
    with tempfile.TemporaryDirectory() as folder, given.out.open("a") as out:
        trees: Queue[Path] = Queue()
        for tree in copies(given.jobs, Path(folder)):
            trees.put(tree)
        unknown = {one.module for one in chosen if json.dumps(asdict(one)) not in known}
        for path in sorted({path for module in unknown for path in tests_of(module)}):
            tree = trees.get()
            assert passes(tree, [path]), f"{path}: fails unbroken"
            trees.put(tree)

        def one(mutant: Mutant) -> tuple[Mutant, bool]:
            tree = trees.get()
            try:
                key = json.dumps(asdict(mutant))
                killed = known[key] if key in known else judge(mutant, tree)
            finally:
                trees.put(tree)
            if key not in known:
                out.write(json.dumps({"mutant": asdict(mutant), "killed": killed}) + "\n")
                out.flush()
            return mutant, killed

        with ThreadPoolExecutor(given.jobs) as pool:
            judged = list(pool.map(one, chosen))
    report(judged)


def report(judged: list[tuple[Mutant, bool]]) -> None:
    """Print the survivors, then how many were killed in each module."""
    for mutant, killed in sorted(judged, key=lambda pair: (pair[0].module, pair[0].line)):
        if not killed:
            source = (ROOT / "dsd_bench" / f"{mutant.module}.py").read_bytes()
            was = source[mutant.start : mutant.end].decode()
            print(f"survived {mutant.module}.py:{mutant.line}: {was!r} -> {mutant.text!r}")
    made = Counter(mutant.module for mutant, _ in judged)
    dead = Counter(mutant.module for mutant, killed in judged if killed)
    for module in sorted(made):
        print(f"{module:28} {dead[module]:4} of {made[module]:4}")
    print(f"{'all':28} {sum(dead.values()):4} of {sum(made.values()):4}")


if __name__ == "__main__":
    main()
