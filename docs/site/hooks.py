"""The page of hooks, from :mod:`dsd_bench.hookspecs`."""

from __future__ import annotations

from docs.site.markdown import code, table
from dsd_bench import hookspecs
from dsd_bench.components import TABLE


def registering() -> list[str]:
    """Return the names of the hooks that register components."""
    return [kind.hook for kind in TABLE]


def observing() -> list[str]:
    """Return the names of the hooks that observe runs."""
    marked = [name for name, one in vars(hookspecs).items() if hasattr(one, "dsd_bench_spec")]
    return [name for name in marked if name not in registering()]


def page() -> str:
    """Return the page."""
    rows = [
        (
            code(f"{kind.hook}()"),
            f"[{kind.name}](components/{kind.name}/index.md)",
            f"{{py:class}}`dsd_bench.{kind.base}`",
        )
        for kind in TABLE
    ]
    parts = [
        "# Hooks",
        "A plugin is a module behind an entry point of the group `dsd_bench`. It marks its"
        " functions with `@dsd_bench.hookimpl`; there are hooks that register components, and hooks"
        " that watch runs. [Write a plugin](plugins.md) shows a whole one.",
        "## Hooks that register components",
        "Each takes nothing and returns a list of {py:class}`dsd_bench.Component`. What can change"
        " a number is a component: it is hashed into the ids of the runs that use it.",
        table(["hook", "kind", "base class"], rows),
        "## Hooks that watch",
        "They get copies, are not hashed and cannot change a run. One that fails is noted in the"
        " run's log, and the run goes on.",
    ]
    parts += map(_observer, observing())
    parts += [
        "## Example",
        "```python\n"
        "from dsd_bench import Component, hookimpl\n"
        "from dsd_bench.pruners import PrunerParams\n\n\n"
        "@hookimpl\n"
        "def register_pruners():\n"
        '    summary = "prunes the weights that are smallest beside their layer\'s largest"\n'
        '    return [Component("mine", "dsd_bench_mine:Mine", summary, PrunerParams)]\n\n\n'
        "@hookimpl\n"
        "def round_finished(run_id, row):\n"
        "    print(run_id, row['round'], row['test_accuracy'])\n"
        "```",
    ]
    return "\n\n".join(parts) + "\n"


def _observer(name: str) -> str:
    return f"### `{name}`\n\n```{{eval-rst}}\n.. autofunction:: dsd_bench.hookspecs.{name}\n```"
