"""Build the site: ``python -m docs.site [FOLDER]``, by default into ``build/site``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from docs.site.staging import ROOT, stage


def build(folder: Path) -> Path:
    """Stage the sources in ``folder/source`` and build ``folder/html``; warnings are errors.

    Returns:
        The site's first page.

    Raises:
        SystemExit: with Sphinx's code if the build fails; it has said why.
        ImportError: if Sphinx is not installed.
    """
    from sphinx.cmd.build import build_main

    os.environ["DSD_BENCH_NO_PLUGINS"] = "1"  # the same site, whatever is installed beside
    source, html = folder / "source", folder / "html"
    for stale in (source, html):
        shutil.rmtree(stale, ignore_errors=True)
    stage(source)
    here = Path(__file__).parent
    words = ["-q", "-W", "--keep-going", "-b", "html", "-c", here, "-d", folder / "doctrees"]
    code = build_main([*map(str, words), str(source), str(html)])
    if code:
        raise SystemExit(code)
    return html / "index.html"


def main(words: list[str]) -> None:
    """Build into the folder that was given and say where the first page is."""
    if words[:1] and words[0].startswith("-"):
        raise SystemExit(__doc__)
    first = build(Path(words[0]) if words else ROOT / "build" / "site")
    print(f"open {first}")


if __name__ == "__main__":
    main(sys.argv[1:])
