"""The components that the site shows: the built-in ones, and those of the plugins shipped here."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

from dsd_bench.hookspecs import PROJECT
from dsd_bench.plugins import Catalogue, build


def catalogue(plugins: Path) -> Catalogue:
    """Return the built-in components and those of the distributions in a folder.

    They need not be installed; what is installed beside them is left out, so that the site is
    the same everywhere.

    Raises:
        SystemExit: if one of them cannot be loaded.
    """
    known = build(third_party=False)
    for project in sorted(plugins.glob("*/pyproject.toml")):
        told = tomllib.loads(project.read_text("utf-8"))["project"]
        sys.path.insert(0, str(project.parent))
        for module in told["entry-points"][PROJECT].values():
            known.add(importlib.import_module(module), told["name"])
    if known.failed:
        raise SystemExit("\n".join(f"{one.distribution}: {one.error}" for one in known.failed))
    return known
