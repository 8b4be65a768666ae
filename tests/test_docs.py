"""The documentation: complete, its links and commands are real, and the site builds."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest

from docs.site import api, commands, components, hooks, staging
from docs.site.links import anchors, broken, moved, relative_links
from docs.site.shipped import catalogue
from dsd_bench import hookspecs
from dsd_bench.api import run
from dsd_bench.boards.schema import BoardRow
from dsd_bench.cli.main import cli
from dsd_bench.config.resolve import configure
from dsd_bench.config.run import ProtocolConfig, RunConfig
from dsd_bench.plugins import Catalogue
from dsd_bench.suites.schema import Suite

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "leaderboards").rglob("*.md")),
    *sorted((ROOT / "plugins").rglob("README.md")),
]
FRONT = ROOT / "docs" / "index.md"
"""The site's first page, which alone links to pages that are written when the site is built."""
FORMATS = (ROOT / "docs" / "formats.md").read_text("utf-8")


@pytest.fixture(scope="module")
def known() -> Catalogue:
    return catalogue(ROOT / "plugins")


# -- nothing is left out


def test_every_hook_is_on_the_page_of_hooks_and_described() -> None:
    page = hooks.page()
    specified = [name for name, one in vars(hookspecs).items() if hasattr(one, "dsd_bench_spec")]
    assert len(specified) > 15
    for name in specified:
        assert f"`{name}()`" in page or f".. autofunction:: dsd_bench.hookspecs.{name}\n" in page
        assert getattr(hookspecs, name).__doc__, name


def every_command(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


def test_every_option_of_every_command_is_described() -> None:
    pages = commands.pages()
    undescribed = []
    seen = 0
    for path, command in every_command():
        page = pages[f"commands/{'-'.join(path)}.md"]
        assert command.help, path
        for option in command.params:
            if isinstance(option, click.Option):
                seen += 1
                assert any(f"`{word}" in page or f" {word}" in page for word in option.opts), option
                if not option.help and not option.hidden:
                    undescribed.append((*path, option.opts[0]))
    assert undescribed == []
    assert seen > 100
    index = pages["commands/index.md"]
    assert all(option.opts[0] in index for option in cli.params)


def test_every_component_has_a_page_with_its_parameters_version_and_citation(
    known: Catalogue,
) -> None:
    pages = components.pages(known, {})
    assert len(known.entries()) > 40
    for entry in known.entries():
        component = entry.component
        page = pages[f"components/{entry.kind}/{component.name}.md"]
        assert (
            f"[`{component.name}`]({component.name}.md)"
            in pages[f"components/{entry.kind}/index.md"]
        )
        assert component.summary, component.name
        assert f"| version | {component.version} |" in page
        assert component.citation[:20].split("*")[0] in page
        for name, field in component.params.model_fields.items():
            line = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert field.description, (component.name, name)
            assert field.description.split("|")[0].split("*")[0].split("_")[0][:30] in line


def test_a_component_s_page_tells_default_range_and_unit(known: Catalogue) -> None:
    page = components.pages(known, {})["components/pruner/gradient.md"]
    line = next(line for line in page.splitlines() if line.startswith("| `fraction` |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:4] == ["`X`", "`0.2`", "`> 0, < 1`"]


def test_every_public_module_and_name_is_in_the_reference() -> None:
    import dsd_bench

    pages = api.pages()
    for name in dsd_bench.__all__:
        assert name == "__version__" or f":: dsd_bench.{name}\n" in pages["api/index.md"] + "\n"
    for module in api.modules():
        assert f".. automodule:: {module}" in pages[f"api/{module}.md"]
        assert importlib.util.find_spec(module) is not None


# -- file formats


def section(heading: str) -> str:
    start = FORMATS.index(f"{heading}\n")
    level = heading.split()[0]
    ends = [FORMATS.find(f"\n{'#' * n} ", start + 1) for n in range(2, len(level) + 1)]
    return FORMATS[start : min((end for end in ends if end >= 0), default=None)]


def words(text: str) -> set[str]:
    return set(re.findall(r"`([^`\s]+)`", text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run that has whatever a run may have."""
    config = configure(
        rounds=2, epochs=1, seed=0, perturber="rewind:step=3", stop="never",
        reg=["kd:teacher=dense"],
    )  # fmt: skip
    return run(config, runs_dir=tmp_path_factory.mktemp("runs"), executor="inline").path


def test_every_file_of_a_run_s_folder_is_described(folder: Path) -> None:
    told = section("## A run's folder")
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert "result.json" in files
    assert any("snapshot" in name for name in files)
    for name in files:
        general = re.sub(r"-\d+\.", "-N.", name)
        known = {re.sub(r"-\d+\.", "-N.", word) for word in words(told)}
        assert general in known, name


def test_every_key_of_a_run_s_files_is_described(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    result = json.loads((folder / "result.json").read_text("utf-8"))
    rows = (folder / "rounds.jsonl").read_text("utf-8").splitlines()
    assert set(config) - words(section("### config.json")) == set()
    assert set(config["regularizers"][0]["teacher"]) <= words(section("### config.json"))
    assert set(config["protocol"]) - words(section("### protocol")) == set()
    assert set(json.loads(rows[-1])) - words(section("### rounds.jsonl")) == set()
    assert set(result) - words(section("### result.json")) == set()
    assert set(result["plan"][0]) - words(section("### result.json")) - {"from_round"} == set()
    line = json.loads((folder / "provenance.jsonl").read_text("utf-8").splitlines()[0])
    assert set(line) - words(section("### provenance.jsonl")) == set()
    times = json.loads((folder / "timings.jsonl").read_text("utf-8").splitlines()[0])
    assert set(times) - {"round"} <= words(section("## A run's folder"))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("### config.json", RunConfig),
        ("### protocol", ProtocolConfig),
        ("## Suites", Suite),
        ("## Boards", BoardRow),
    ],
)
def test_every_key_that_a_file_may_have_is_described(heading: str, model: Any) -> None:
    told = words(section(heading))
    fields = {field.alias or name for name, field in model.model_fields.items()}
    assert fields - told - {"name", "folder", "path"} == set()


# -- links and commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path, known: Catalogue) -> None:
    wrong = broken(page)
    if page == FRONT:
        made = staging.generated(known, {})
        wrong = [text for text in wrong if text.rpartition(" ")[2] not in made]
    assert wrong == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n## Two words\n[a](#two-words) [b](#three) [c](none.md) ![d](page.md#one)\n"
        "```text\n[e](not-looked-at.md)\n```\n[f](https://example.org/x)\n"
    )
    assert [text.partition(": ")[2] for text in broken(page)] == [
        "this page has no heading #three",
        "there is no none.md",
    ]


def test_headings_of_one_name_have_numbers() -> None:
    assert anchors("# A b\n## A b\n# C, `d`\n") == {"a-b", "a-b-1", "c-d"}


def test_links_are_moved_with_their_pages() -> None:
    where = {"README.md": "index.md", "docs/a.md": "a.md", "plugins/x/README.md": "plugins/x.md"}
    text = "[r](../../README.md#top) [a](../../docs/a.md) [t](tests/t.py) [w](http://x.y)"
    given, files = moved(text, "plugins/x/README.md", where)
    assert (
        given
        == "[r](../index.md#top) [a](../a.md) [t](../files/plugins/x/tests/t.py) [w](http://x.y)"
    )
    assert files == {"plugins/x/tests/t.py"}
    assert moved("[x](../plugins/x)", "docs/a.md", where)[0] == "[x](plugins/x.md)"
    assert list(relative_links("[a](b.md#c) [d](mailto:e@f)")) == [("b.md", "c")]


_FENCE = re.compile(r"```(?:console|sh|bash)\n(.*?)```", re.DOTALL)


def commands_shown(page: Path) -> Iterator[list[str]]:
    """Yield the dsd-bench commands of a page's listings."""
    for block in _FENCE.findall(page.read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"[;&|]+ ", line.removeprefix("$ ").partition(" #")[0]):
                found = part.strip()
                if found.startswith("dsd-bench "):
                    yield shlex.split(found)[1:]


SHOWN = [
    pytest.param(one, id=f"{page.stem}: {' '.join(one)}"[:80])
    for page in PAGES
    if page.name != "CHANGELOG.md"
    for one in commands_shown(page)
]


def test_commands_are_found_in_the_pages() -> None:
    assert len(SHOWN) > 60


@pytest.mark.parametrize("words", SHOWN)
def test_commands_that_pages_show_can_be_given(words: list[str]) -> None:
    context = click.Context(cli, info_name="dsd-bench")
    command: click.Command = cli
    rest = words
    while isinstance(command, click.Group):
        rest = command.make_parser(context).parse_args(list(rest))[1]
        if not rest:
            return
        found = command.get_command(context, rest[0])
        if found is None and command is not cli:
            return  # a group that does something of its own
        assert found is not None, f"there is no command {rest[0]}"
        command, rest = found, rest[1:]
        context = click.Context(command, parent=context)
    command.make_parser(context).parse_args(list(rest))


# -- the site


class _Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.found.append(value)
            if name == "id" and value:
                self.ids.add(value)


def test_the_site_builds_without_warnings_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    words = [sys.executable, "-m", "docs.site", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    html = tmp_path / "html"
    pages = {path: _Links(path.read_text("utf-8")) for path in sorted(html.rglob("*.html"))}
    assert len(pages) > 100
    assert (html / "searchindex.js").stat().st_size > 100_000
    assert "worse, then better, then collapse" in (html / "index.html").read_text("utf-8")
    lost = []
    for page, links in pages.items():
        for link in links.found:
            if re.match(r"[a-z]+:", link):
                # what a page needs lies beside it: it can be read and searched offline
                assert not link.endswith((".js", ".css", ".svg", ".png", ".woff2")), link
                continue
            path, _, fragment = link.partition("#")
            there = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
            ids = pages[there].ids if there in pages else {fragment}
            if not there.exists() or (fragment and unquote(fragment) not in ids):
                lost.append((page.relative_to(html), link))
    assert lost == []
    for page in pages:
        text = page.read_text("utf-8")
        assert str(ROOT) not in text, f"{page}: tells where it was built"


def test_tables_of_real_images_are_those_of_the_recorded_runs(monkeypatch: Any) -> None:
    from benchmarks.paper_page import BLOCK, PAGE, fill

    monkeypatch.chdir(ROOT)
    blocks = [b for b in BLOCK.finditer(PAGE.read_text("utf-8")) if b[2] == "table" and b[4]]
    assert len(blocks) >= 3
    for block in blocks:
        assert fill(block, Path("runs"), "cpu") == block[0], (
            f"{block[3]}: run benchmarks/paper_page.py"
        )


def test_the_table_of_bottoms_is_that_of_the_boards_rows(monkeypatch: Any) -> None:
    from benchmarks.bottoms import BLOCK, PAGE, Curve, table

    monkeypatch.chdir(ROOT)
    (block,) = BLOCK.finditer(PAGE.read_text("utf-8"))
    assert block[0] == f"{block[1]}{table()}{block[2]}", "run benchmarks/bottoms.py"
    train = [0.98, 0.995, 0.99, 0.989, 0.999, 0.9]
    curve = Curve([], [0.5, 0.4, 0.3, 0.2, 0.6, 0.7], train)
    assert (curve.fits, curve.bottom, curve.peak) == (2, 3, 5)


def test_runs_are_recorded_once_and_never_overwritten(tiny_run: Any, tmp_path: Path) -> None:
    from benchmarks.record_runs import TEXTS, record
    from dsd_bench.store.runs import load_run

    (told,) = tiny_run()["runs"]
    run, place = tmp_path / "runs" / told["run_id"], tmp_path / "recorded"
    assert record(run, place)
    assert not record(run, place)
    texts = {*TEXTS, "result.json"}
    assert {path.name for path in (place / run.name).iterdir()} == texts
    assert load_run(place / run.name).rows == load_run(run).rows
    tiny_run("--metric", "ece", "--force")  # the same rounds, with more metrics: taken
    assert record(run, place)
    assert {path.name for path in (place / run.name).iterdir()} == {*texts, "metrics"}
    assert load_run(place / run.name).config["metrics"] == ["ece"]
    tiny_run("--force")  # with fewer: left
    assert not record(run, place)
    (place / run.name / "rounds.jsonl").write_text("")
    with pytest.raises(SystemExit, match="holds other rounds"):
        record(run, place)
    (run / "result.json").unlink()
    with pytest.raises(SystemExit, match="not finished"):
        record(run, place)


def test_peaks_behind_a_dip_by_hand() -> None:
    from benchmarks.peaks import told

    curves = [[0.5, 0.4, 0.6, 0.5], [0.5, 0.3, 0.7, 0.5]]  # t(0.975, 1) = 12.706, error 5 points
    assert told(curves) == (
        "dense 50.0 (0), bottom 35.0 (1), peak 65.0 (2), last 50.0 (3); "
        "peak - dense 15.0 (-48.5 to 78.5), last - peak -15.0 (-78.5 to 48.5)"
    )
    assert told([[0.5, 0.6], [0.5, 0.7]]) == "dense 50.0, no dip"
