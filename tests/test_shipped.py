"""The conformance kit over the distributions under ``plugins/``, and the tables of it in the docs.

``python tests/test_shipped.py`` writes the tables anew.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from test_third_party import SHIPPED, installed

from dsd_bench.cli.checks import demands_markdown, report_markdown
from dsd_bench.conformance import runs
from dsd_bench.conformance.running import Report, report
from dsd_bench.conformance.subjects import select
from dsd_bench.plugins import catalogue

ROOT = Path(__file__).parent.parent
TABLES = {
    ROOT / "docs/plugins.md": ("--list", "--markdown"),
    ROOT / "docs/testing.md": ("--markdown",),
}
"""Pages with a table, and the options of ``dsd-bench plugins test`` that write it."""


def between(page: Path) -> tuple[str, str, str]:
    """Return a page's text before its table, the table, and what comes after."""
    mark = f"<!-- dsd-bench plugins test {' '.join(TABLES[page])} -->\n"
    head, _, rest = page.read_text("utf-8").partition(mark)
    table, end, tail = rest.partition("<!-- end -->")
    assert end, f"{page} has no table between {mark} and <!-- end -->"
    return head + mark, table, end + tail


@pytest.fixture
def check(
    use: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], list[Report]]:
    """Check one distribution as it is installed; runs are stopped less often than for an author."""
    monkeypatch.setattr(runs, "PATIENCE", 0.0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path, ROOT))))  # for workers

    def checked(name: str) -> list[Report]:
        installed(name, tmp_path)
        use(tmp_path)
        return [report(each) for each in select(catalogue(), name)]

    return checked


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_conformant_and_the_docs_say_how(
    name: str, check: Callable[[str], list[Report]]
) -> None:
    project = tomllib.loads((ROOT / "plugins" / name / "pyproject.toml").read_text())["project"]
    for needed in (re.split("[<>=]", word)[0] for word in project["dependencies"]):
        if importlib.util.find_spec(needed.replace("-", "_")) is None:
            pytest.skip(f"{needed} is not installed")
    reports = check(name)
    assert reports
    bad = [each for one in reports for each in one.results if not one.passed]
    assert bad == []
    told = between(ROOT / "docs" / "testing.md")[1].splitlines()
    assert [line for line in told if line.startswith(f"| {name} |")] == list(
        map(report_markdown, reports)
    )


def test_the_docs_tell_what_each_check_demands() -> None:
    assert between(ROOT / "docs" / "plugins.md")[1].split("\n") == [*demands_markdown(), ""]


def main() -> None:
    """Write the tables anew."""
    with tempfile.TemporaryDirectory() as site:
        for name in SHIPPED:
            installed(name, Path(site))
        path = os.pathsep.join([site, str(ROOT)])
        for page, options in TABLES.items():
            head, _, tail = between(page)
            words = [sys.executable, "-m", "dsd_bench", "plugins", "test", *options]
            env = {**os.environ, "PYTHONPATH": path}
            done = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=False)
            page.write_text(head + done.stdout + tail, "utf-8")


if __name__ == "__main__":
    main()
