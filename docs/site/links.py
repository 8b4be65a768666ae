"""Links between pages: where they lead in the repository, and where on the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_LINK = re.compile(r"(?P<head>!?\[[^\]\[]*\]\()(?P<target>[^()\s]+)(?P<tail>\))")
_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*$", re.MULTILINE)


def relative_links(text: str) -> Iterator[tuple[str, str]]:
    """Yield (path, fragment) of the relative links of a page; either may be empty."""
    for found in _LINK.finditer(_FENCE.sub("", text)):
        target = found["target"]
        if not re.match(r"[a-z]+:", target):
            path, _, fragment = target.partition("#")
            yield path, fragment


def anchors(text: str) -> set[str]:
    """Return the fragments that a page's headings have, as GitHub and the site make them."""
    made: set[str] = set()
    for found in _HEADING.finditer(_FENCE.sub("", text)):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found[1]).lower())
        name, count = plain.replace(" ", "-"), 0
        while (numbered := f"{name}-{count}" if count else name) in made:
            count += 1
        made.add(numbered)
    return made


def broken(page: Path) -> list[str]:
    """Return what is wrong with the relative links of a page, one sentence each."""
    wrong = []
    text = page.read_text("utf-8")
    for path, fragment in relative_links(text):
        target = page.parent / path if path else page
        if not target.exists():
            wrong.append(f"{page}: there is no {path}")
        elif fragment and target.suffix == ".md":
            there = text if not path else target.read_text("utf-8")
            if fragment not in anchors(there):
                wrong.append(f"{page}: {path or 'this page'} has no heading #{fragment}")
    return wrong


def moved(text: str, page: str, places: Mapping[str, str]) -> tuple[str, set[str]]:
    """Return a page's text with its relative links as they are on the site.

    Args:
        text: the page as it is in the repository.
        page: its path there, ``docs/boards.md``.
        places: every page of the site: its path in the repository -> its path on the site. A
            folder stands for its README.md.

    Returns:
        The text, and the files that it links to which are no pages. They are to lie in the folder
        ``files`` of the site, from where they can be downloaded.
    """
    here = Path(places[page]).parent
    files = set()

    def link(found: re.Match[str]) -> str:
        target = found["target"]
        path, sign, fragment = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return found[0]
        there = os.path.normpath(Path(page).parent / path)
        there = next((one for one in (there, f"{there}/README.md") if one in places), there)
        if there in places:
            path = os.path.relpath(places[there], here)
        elif not there.startswith("docs/images/"):
            files.add(there)
            path = os.path.relpath(f"files/{there}", here)
        return f"{found['head']}{path}{sign}{fragment}{found['tail']}"

    parts, last = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(link, text[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, _LINK.sub(link, text[last:])]), files
