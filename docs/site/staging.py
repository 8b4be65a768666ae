"""All pages of the site, written ones and generated ones, in one folder for Sphinx."""

from __future__ import annotations

import shutil
from pathlib import Path

from docs.site import api, choosers, commands, components, curves, hooks
from docs.site.links import moved
from docs.site.markdown import toctree
from docs.site.shipped import catalogue
from dsd_bench.plugins import Catalogue

ROOT = Path(__file__).parent.parent.parent

NAVIGATION = {
    "Start": ("tour", "recipes", "Compress <compress>", "concepts/index"),
    "Use": (
        "components/index",
        "commands/index",
        "Python API <api/index>",
        "Export <export>",
        "Latency <latency>",
        "formats",
        "data",
        "Models <models>",
        "Suites <suites>",
        "Clusters <clusters>",
        "Reliability <reliability>",
    ),
    "Results": (
        "leaderboards/index",
        "The paper's claims <paper>",
        "Open questions <questions>",
        "analysis",
        "Replay <replay>",
        "Ledger <ledger>",
        "Seeds <seeds>",
    ),
    "Extend": ("Write a plugin <plugins>", "hooks", "contributing"),
    "Inside": ("architecture", "performance", "boards", "testing", "changelog"),
}
"""The site's pages in the order of its sidebar, as ``page`` or ``title <page>``; the pages of
folders hang below their index."""

ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "leaderboards/README.md": "leaderboards/index.md",
}
"""Pages that lie outside ``docs/``, and where they are on the site; README's is docs/index.md."""


def places() -> dict[str, str]:
    """Return every written page: its path in the repository -> its path on the site."""
    docs = {
        page.relative_to(ROOT).as_posix(): page.relative_to(ROOT / "docs").as_posix()
        for page in sorted((ROOT / "docs").rglob("*.md"))
    }
    boards = {
        page.relative_to(ROOT).as_posix(): f"leaderboards/{page.parent.name}.md"
        for page in sorted((ROOT / "leaderboards").glob("*/README.md"))
    }
    boards |= {
        page.relative_to(ROOT).as_posix(): f"leaderboards/{page.parent.name}-rules.md"
        for page in sorted((ROOT / "leaderboards").glob("*/rules.md"))
    }
    plugins = {
        page.relative_to(ROOT).as_posix(): f"plugins/{page.parent.name}.md"
        for page in sorted((ROOT / "plugins").glob("*/README.md"))
    }
    return docs | boards | plugins | ELSEWHERE


def generated(known: Catalogue, shown: dict[tuple[str, str], str]) -> dict[str, str]:
    """Return the pages that the code itself writes: path on the site -> text."""
    made = components.pages(known, shown) | commands.pages() | api.pages()
    return made | {"hooks.md": hooks.page()}


def stage(folder: Path) -> None:
    """Write every page of the site, with its figures, into ``folder``, which is new."""
    shutil.copytree(ROOT / "docs" / "images", folder / "images")
    shown = curves.draw_all(_boards(), folder / "images" / "curves")
    shown |= choosers.draw_all(folder / "images" / "curves")
    texts, files = generated(catalogue(ROOT / "plugins"), shown), set()
    written = places()
    where = written | {f"docs/{place}": place for place in texts}
    for page, place in written.items():
        if page != "README.md":
            texts[place], linked = moved((ROOT / page).read_text("utf-8"), page, where)
            files |= linked
    for place in texts:
        if below := _below(place, texts):
            texts[place] += "\n" + toctree(below)
    texts["index.md"] += "\n" + _navigation(texts)
    for place, text in texts.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, "utf-8")
    for name in files:
        (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "files" / name)


def _boards() -> list[Path]:
    """Return the boards of the embedded data, that of the default recipe first."""
    found = sorted((ROOT / "leaderboards").glob("digits-*"))
    return sorted(found, key=lambda board: -len([*board.glob("rows/*.json")]))


def _navigation(texts: dict[str, str]) -> str:
    trees = []
    for caption, names in NAVIGATION.items():
        there = [name for name in names if f"{name.split('<')[-1].rstrip('>')}.md" in texts]
        trees.append(toctree(there, caption))
    return "\n".join(trees)


def _below(place: str, texts: dict[str, str]) -> list[str]:
    """Return the written pages that hang below a page, as its table of contents names them."""
    if place == ("plugins.md" if "plugins.md" in texts else "contributing.md"):
        return [one.removesuffix(".md") for one in texts if one.startswith("plugins/")]
    folder = place.removesuffix("index.md")
    if place in ("leaderboards/index.md", "concepts/index.md"):
        others = [one for one in texts if one.startswith(folder) and one != place]
        return [one.removeprefix(folder).removesuffix(".md") for one in others]
    return []
