"""New plugins: a whole distribution from a template, for ``dsd-bench plugins new``.

A template is one text file, ``templates/KIND.txt``: sections that begin with ``=== PATH`` and hold
the file PATH; the section ``=== usage`` holds the command that uses the component. What all kinds
share is in ``templates/common.txt``. Both are :class:`string.Template` over :func:`names`.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template

from dsd_bench import __version__
from dsd_bench.components import KINDS
from dsd_bench.errors import UsageError, plain, suggest

PREFIX = "dsd-bench-"
"""What the name of every plugin's distribution begins with."""

USAGE = "usage"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_LONGEST = 40
_SECTION = re.compile(r"^=== (.+)\n", re.MULTILINE)


def names(name: str, kind: str) -> dict[str, str]:
    """Return what templates may say: ``$name``, ``$package``, ``$Name``, ``$distribution``, ...

    Args:
        name: of the component; ``dsd-bench-`` before it is taken off.
        kind: of the component.

    Raises:
        UsageError: if a distribution, a package and a class cannot be called so.
    """
    name = name.removeprefix(PREFIX)
    if not _NAME.match(name) or len(name) > _LONGEST:
        raise UsageError(
            f"NAME: '{plain(name[:80])}' cannot be the name of a component, a distribution and a "
            f"package: use lower-case letters and digits, words joined by '-', {_LONGEST} "
            "characters at most, such as my-pruner"
        )
    version = ".".join(__version__.split(".")[:2])
    return {
        "name": name,
        "kind": kind,
        "Name": "".join(word.capitalize() for word in name.split("-")),
        "package": f"dsd_bench_{name.replace('-', '_')}",
        "distribution": f"{PREFIX}{name}",
        "version": version,
    }


def files(name: str, kind: str) -> dict[str, str]:
    """Return the texts of a new distribution by path; ``usage`` is how its component is used.

    Raises:
        UsageError: for a wrong name or kind.
    """
    said = names(name, kind)
    if kind not in KINDS:
        raise UsageError(f"--kind: there is no kind '{plain(kind)}'{suggest(kind, KINDS)}")
    own = _sections(kind)
    said["usage"] = Template(own[USAGE]).substitute(said).strip()
    whole = {**_sections("common"), **own}
    made = {Template(path).substitute(said): text for path, text in whole.items()}
    return {path: Template(text).substitute(said) for path, text in made.items()}


def _sections(template: str) -> dict[str, str]:
    """Return the sections of a template by their headings."""
    file = resources.files("dsd_bench.scaffold") / "templates" / f"{template}.txt"
    parts = _SECTION.split(file.read_text("utf-8"))
    return {path: text.strip("\n") + "\n" for path, text in zip(parts[1::2], parts[2::2])}


def write(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write a new distribution into a folder that is made for it; return its files.

    Raises:
        UsageError: if there is such a folder, or it cannot be made.
    """
    written = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        for path, text in texts.items():
            if path == USAGE:
                continue
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            written.append(file)
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename} is there already; take it away, or give --dir"
        ) from None
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot be made: {error.strerror}") from None
    return written
