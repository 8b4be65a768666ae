"""Tables for LaTeX: no special character of TeX is left; an engine agrees, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dsd_bench.reports.latex import latex, latex_table

SPECIAL = {
    "\\": "escape",
    "{": "begin group",
    "}": "end group",
    "$": "math shift",
    "&": "alignment tab",
    "#": "parameter",
    "^": "superscript",
    "_": "subscript",
    "~": "active",
    "%": "comment",
}
"""Category codes 0 to 8, 13 and 14 of plain TeX (Knuth 1984, The TeXbook, chapter 7)."""

LIGATURES = ("--", "---", "``", "''", "<<", ">>", "?`", "!`")
"""What fonts of encoding T1 join (Berry, Fontname; the Cork encoding)."""

ENGINES = ("tectonic", "pdflatex", "xelatex", "lualatex")
ENGINE = next(filter(None, map(shutil.which, ENGINES)), None)
COMMAND = re.compile(r"\\[a-zA-Z]+\{\}|\\[&%$#_{}]|\$\\[a-z]+\$|-\{\}")
"""What escaping writes: a command with its braces, a character by its command, a sign of maths."""


@pytest.mark.parametrize("character", SPECIAL, ids=list(SPECIAL.values()))
def test_no_special_character_is_left(character: str) -> None:
    made = latex(f"a{character}b{character}{character}c")
    assert COMMAND.findall(made) != []
    assert not set(COMMAND.sub("", made)) & set(SPECIAL)


@pytest.mark.parametrize("text", LIGATURES)
def test_no_ligature_is_left(text: str) -> None:
    assert text not in latex(text)


def test_no_line_ends_early_or_begins_a_new_one() -> None:
    made = latex_table(["a\n\\\\ b"], "l", [["x\r\n\n\\input{/etc/passwd} & % y"]])
    rows = [line for line in made.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2
    assert not re.search(r"(?<!\\)&", "".join(rows))
    assert r"\input" not in made


@pytest.mark.skipif(ENGINE is None, reason="no LaTeX engine is installed")
def test_a_table_of_every_character_compiles(tmp_path: Path) -> None:
    every = [chr(code) for code in range(32, 127)] + list("±×–—…∞≤≥→αρéßłŁ中😀")
    table = latex_table(["sign", "n %"], "lr", [[f"{sign}{sign}x", sign] for sign in every])
    text = [
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,textcomp,longtable}",
        r"\begin{document}\tiny",
        table,
        r"\end{document}",
    ]
    (tmp_path / "t.tex").write_text("\n".join(text))
    options = [] if "tectonic" in str(ENGINE) else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [str(ENGINE), *options, "t.tex"], cwd=tmp_path, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000
