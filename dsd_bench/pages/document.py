"""A page as one text: head, sections, and the style and script that it carries."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from dsd_bench.pages import drawings, sections
from dsd_bench.pages.curves import Drawing
from dsd_bench.pages.markup import Markup, data, el, join, raw
from dsd_bench.pages.replays import replayed, whole
from dsd_bench.pages.subject import Subject


def asset(name: str) -> str:
    """Return the text of a file that comes with the package."""
    return files("dsd_bench.pages").joinpath("assets", name).read_text("utf-8")


def policy(style: str, script: str) -> str:
    """Return the content security policy: nothing is loaded, only this style and script run."""
    return (
        f"default-src 'none'; style-src 'sha256-{_hash(style)}'; "
        f"script-src 'sha256-{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def page(subject: Subject, more: Sequence[Markup] = ()) -> str:
    """Return the whole page; the same subject gives the same text.

    Args:
        subject: what it is about.
        more: further sections, before the table of rounds.
    """
    drawn, curves = {}, drawings.figures(subject)
    parts: list[Markup | None] = [sections.summary(subject), curves[0]]
    drawn.update(curves[1])
    for made, figures in (drawings.teachers(subject), drawings.layers(subject)):
        parts.append(made)
        drawn.update(figures)
    cut = [one.method.label for one in subject.every if not whole(one)]
    parts.append(sections.rules(replayed(subject.every), cut))
    parts += [*more, sections.rounds(subject), sections.origin(subject)]
    return assemble(subject.title, _header(subject), parts, drawn)


def assemble(
    title: str, header: Markup, parts: Sequence[Markup | None], drawn: Mapping[str, Drawing]
) -> str:
    """Return a page that loads nothing.

    Args:
        title: of its window.
        header: what stands above all.
        parts: its sections, from :func:`dsd_bench.pages.sections.section`; None is left out.
        drawn: its figures by their identities.
    """
    style, script = asset("page.css"), asset("page.js")
    kept = {name: one.data for name, one in drawn.items()}
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy(style, script)),
        el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name_="color-scheme", content="light dark"),
        el("title", title),
        raw("style", style),
    )
    body = el(
        "body",
        header,
        _contents(parts),
        el("main", parts),
        el("footer", "Made by dsd-bench; this file loads nothing."),
        el("div", id="tip", role="status", hidden=True),
        data("data", kept),
        raw("script", script),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _header(subject: Subject) -> Markup:
    notes = [el("p", f"Note: {note}.", class_="but") for note in subject.notes]
    return el(
        "header",
        el("h1", subject.title),
        el("p", el("b", "Asked: "), subject.asked),
        el(
            "p",
            el("b", "Found: "),
            sections.headline(subject).replace(" %", "\u00a0%"),
            class_="found",
        ),
        notes,
    )


def _contents(parts: Sequence[Markup | None]) -> Markup:
    links = []
    for part in parts:
        if part is not None:
            identity = part.rpartition('<section id="')[2].partition('"')[0]
            links.append((identity, part.partition("<h2>")[2].partition("</h2>")[0]))
    items = [el("a", Markup(title), href=f"#{identity}") for identity, title in links]
    return el("nav", join(items), aria_label="sections")
