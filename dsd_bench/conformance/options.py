"""The option that pytest gets where dsd-bench is installed (entry-point group ``pytest11``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--dsd-plugin``."""
    parser.getgroup("dsd-bench").addoption(
        "--dsd-plugin",
        metavar="NAME",
        help="for --pyargs dsd_bench.conformance: the distribution, or the module that registers "
        "components, whose components are checked (default: all installed plugins)",
    )
