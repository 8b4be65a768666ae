"""Pages of the public API: what plugins and scripts may import, from its docstrings."""

from __future__ import annotations

import dsd_bench
from docs.site.markdown import table, toctree
from dsd_bench.components import TABLE

FURTHER = {
    "dsd_bench.masks": "what is pruned: values of masks, and pruning by scores",
    "dsd_bench.errors": "the errors that users see",
    "dsd_bench.stateful": "what components remember between steps and rounds",
    "dsd_bench.analysis": "what curves say: depth, phases, evidence, memorisation",
    "dsd_bench.replay": "stop rules and choosers on finished curves",
}
"""Public modules that are no kind of component, with what they hold."""


def modules() -> dict[str, str]:
    """Return every public module but ``dsd_bench`` itself, with what it holds."""
    kinds = {f"dsd_bench.{kind.base.partition('.')[0]}": kind.plural for kind in TABLE}
    return kinds | FURTHER


def pages() -> dict[str, str]:
    """Return each page's text by its path on the site."""
    made = {f"api/{name}.md": _module(name) for name in modules()}
    made["api/index.md"] = _index()
    return made


def _module(name: str) -> str:
    options = [":members:", ":exclude-members: model_config", ":show-inheritance:"]
    directive = "\n".join([f".. automodule:: {name}", *(f"   {one}" for one in options)])
    return f"# {name}\n\n```{{eval-rst}}\n{directive}\n```\n"


def _index() -> str:
    names = [name for name in dsd_bench.__all__ if name != "__version__"]
    rows = [(f"[`{name}`]({name}.md)", text) for name, text in modules().items()]
    directives = "\n\n".join(
        f".. auto{'class' if name[0].isupper() else 'function'}:: dsd_bench.{name}\n   :members:"
        if name == "Component"
        else f".. auto{'class' if name[0].isupper() else 'function'}:: dsd_bench.{name}"
        for name in names
    )
    return "\n\n".join(
        [
            "# Python",
            "Everything on these pages is public: scripts and plugins may import it, and what it"
            " does stays. What is not here is not public.",
            "## dsd_bench",
            f"```{{eval-rst}}\n{directives}\n```",
            "## Packages",
            table(["module", "what it holds"], rows),
            toctree(modules()),
        ]
    )
