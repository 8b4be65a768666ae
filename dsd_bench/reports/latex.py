"""Tables for LaTeX papers (booktabs), in which no text of a file is a command."""

from __future__ import annotations

from collections.abc import Sequence

from dsd_bench.errors import plain

_WRITTEN = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": r"-{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "∞": r"$\infty$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "α": r"$\alpha$",
    "ρ": r"$\rho$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
"""How characters are written that LaTeX would take for something else, or does not know."""


def latex(text: str) -> str:
    r"""Escape ``text``, so that it is shown as it is under pdfLaTeX, XeLaTeX and LuaLaTeX.

    Beyond ASCII, Latin letters and common signs stay; other characters are named by their code
    point (``U+4E2D``), because most LaTeX fonts lack them.
    """
    return "".join(map(_written, plain(text)))


def _written(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    latin = character.isascii() or (character <= "\u017f" and character.isalpha())
    return character if latin else f"U+{ord(character):04X}"


def latex_table(names: Sequence[str], align: str, body: Sequence[Sequence[str]]) -> str:
    """Return a ``tabular`` with booktabs' rules.

    Args:
        names: headings, not escaped.
        align: ``l`` or ``r`` for each column.
        body: the lines, not escaped.
    """
    lines = [f"    {' & '.join(map(latex, line))} \\\\" for line in [names, *body]]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc}",
            f"\\begin{{tabular}}{{@{{}}{align}@{{}}}}",
            r"    \toprule",
            lines[0],
            r"    \midrule",
            *lines[1:],
            r"    \bottomrule",
            r"\end{tabular}",
            "",
        ]
    )
