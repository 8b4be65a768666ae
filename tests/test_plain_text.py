"""No text of a file or a plugin can steer a terminal, a log or the JSON that programs read."""

from __future__ import annotations

import ast
import io
import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import dsd_bench
from dsd_bench.cli.main import call
from dsd_bench.cli.saying import complain, say, say_csv, say_json
from dsd_bench.errors import UsageError, plain
from dsd_bench.reports.live import PlainView
from dsd_bench.reports.words import open_console

HOSTILE = {
    "\x00": r"\x00",
    "\x07": r"\x07",
    "\b": r"\x08",
    "\t": r"\t",
    "\n": r"\n",
    "\r": r"\r",
    "\x1b[2J": r"\x1b[2J",
    "\x7f": r"\x7f",
    "\x9b31m": r"\x9b31m",
    "\u061c": r"\u061c",
    "\u200e\u200f": r"\u200e\u200f",
    "\u2028\u2029": r"\u2028\u2029",
    "\u202a\u202e": r"\u202a\u202e",
    "\u2066\u2069": r"\u2066\u2069",
    "\ufeff": r"\ufeff",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
}
GOOD = (
    "",
    "plain",
    "Käse ± ★ 猫 \u00a0x",
    "می\u200cخواهم",
    "👩\u200d🔬",
    r"C:\new",
    "[red]a[/red]",
)
ALL = "".join(HOSTILE)


def safe(text: str) -> bool:
    """Judge by the list in UAX #9 and the C0 and C1 sets, not by the code's categories."""
    bidi = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    bad = bidi | {*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)}
    return not bad & {ord(character) for character in text.replace("\n", "")}


@pytest.mark.parametrize(("text", "told"), HOSTILE.items())
def test_what_steers_is_escaped(text: str, told: str) -> None:
    assert plain(f"a{text}b") == f"a{told}b"


@pytest.mark.parametrize("text", GOOD)
def test_what_does_not_is_left(text: str) -> None:
    assert plain(text) == text


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_becomes_safe_and_stays_so(text: str) -> None:
    made = plain(text)
    assert safe(made)
    assert "\n" not in made
    assert plain(made) == made
    made.encode()
    assert plain(text, lines=True).split("\n") == [plain(line) for line in text.split("\n")]


def test_an_error_keeps_its_lines_but_gives_no_file_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    complain(f"a{ALL}\nerror: all is well\n  - known")
    err = capsys.readouterr().err
    assert safe(err)
    assert err.startswith("error: ")
    assert all(line.startswith(" ") for line in err.splitlines()[1:])
    assert "\n  - known\n" in err

    def fail(*_: Any, **__: Any) -> None:
        raise UsageError(f"x\x1b]0;owned\x07{ALL}")

    monkeypatch.setattr(sys.modules["dsd_bench.cli.main"], "cli", fail)
    for words in (["x"], ["--debug", "x"]):
        assert call(words) == 2
        err = capsys.readouterr().err
        assert safe(err)
        assert r"x\x1b]0;owned\x07" in err


def test_a_word_of_the_command_line_is_printed_escaped(
    command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([f"run\x1b[31m{ALL[3:]}"], ["show", "--no\x1bsuch"], ["show", "a\u202eb"]):
        code, _, err = command(*words)
        assert code == 2
        assert safe(err)


def test_json_is_read_back_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"error": ALL})
    out = capsys.readouterr().out
    assert out.isascii()
    assert safe(out)
    assert json.loads(out) == {"error": ALL}


def test_csv_has_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    say_csv(("name", "value"), [{"name": f"a{ALL}", "value": 0.5}])
    head, row = capsys.readouterr().out.splitlines()
    assert head == "name,value"
    assert safe(row)
    assert row.endswith(",0.5")


def test_styles_are_ours(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a{ALL}", bold=True)
    assert safe(click.unstyle(capsys.readouterr().out))


@pytest.mark.parametrize("text", [ALL, "[red]x[/red]", "[/]", "[link=file:///etc]x[/link]", ":x:"])
def test_a_console_shows_hostile_text_and_markup_as_text(text: str) -> None:
    stream = io.StringIO()
    console = open_console(stream)
    table = Table(title=f"t{text}")
    table.add_column(f"c{text}")
    table.add_row(f"r{text}")
    table.add_row(Text(f"q{text}", style="bold"))
    console.print(f"s{text}", style="bold")
    console.print(Text.assemble((f"a{text}", "dim"), table.title or ""))
    console.print(table)
    assert safe(stream.getvalue())
    if text.isprintable():
        assert stream.getvalue().count(text) >= 5


def test_the_plain_view_writes_one_line_a_note() -> None:
    stream = io.StringIO()
    PlainView(stream, [], {}).handle({"event": "note", "text": f"a\nerror: b{ALL}"})
    assert safe(stream.getvalue())
    assert stream.getvalue().count("\n") == 1


def test_a_log_line_is_one_line(tmp_path: Path) -> None:
    from dsd_bench.store.folder import RunFolder

    RunFolder(tmp_path).log(f"a{ALL}\n2026-01-01 fake")
    text = (tmp_path / "log.txt").read_text("utf-8")
    assert safe(text)
    assert text.count("\n") == 1


def test_commands_print_through_the_safe_functions_only() -> None:
    root = Path(dsd_bench.__file__).parent
    allowed = {"cli/saying.py": {"echo", "secho"}, "reports/words.py": set()}
    for file in root.rglob("*.py"):
        name = file.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            word = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            raw = word in ("echo", "secho", "Console") or called_print(called)
            assert not raw or word in allowed.get(name, ()), f"{name}:{node.lineno}: {word}"


def called_print(called: ast.expr) -> bool:
    return isinstance(called, ast.Name) and called.id == "print"


@pytest.mark.parametrize("text", [ALL, r"$\frac$", "$$", "a$b", r"$\mathrm{x}$"])
@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
@pytest.mark.filterwarnings("ignore:constrained_layout")
def test_a_figures_words_are_text(text: str, kind: str, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    from dsd_bench.figures.style import figure, save

    path = tmp_path / f"a.{kind}"
    with figure(60, 60) as (fig, axes):
        axes[0][0].plot([0, 1], [0, 1], label=f"x{text}")
        axes[0][0].set_title(text)
        axes[0][0].legend()
        save(fig, path)
    if kind == "svg":
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
