"""``dsd-bench plugins new``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from dsd_bench import scaffold
from dsd_bench.cli.saying import say, say_json
from dsd_bench.components import KINDS
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue


@click.command()
@click.argument("name")
@click.option("--kind", required=True, metavar="KIND", help=f"One of: {', '.join(KINDS)}.")
@click.option(
    "--dir", "place", type=click.Path(path_type=Path), default=Path(), metavar="DIR",
    help="Where the folder dsd-bench-NAME is made (default: here).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(name: str, kind: str, place: Path, as_json: bool) -> None:
    """Make a new plugin: a distribution dsd-bench-NAME with one component of KIND.

    It works as it is and passes `dsd-bench plugins test NAME`: pyproject, entry point, an
    implementation to replace, a test, a CI file and a README. For example
    `dsd-bench plugins new my-pruner --kind pruner`.
    """
    texts = scaffold.files(name, kind)
    said = scaffold.names(name, kind)
    taken = catalogue().find(kind, said["name"])
    if taken is not None:
        owner = catalogue().get(kind, said["name"]).distribution
        raise UsageError(
            f"NAME: {owner} has a {kind} '{said['name']}' already; choose another name"
        )
    folder = place / said["distribution"]
    written = scaffold.write(folder, texts)
    here = shlex.quote(str(folder))
    steps = [
        f"pip install -e {here}",
        f"dsd-bench plugins test {said['name']}",
        texts[scaffold.USAGE].strip(),
    ]
    if as_json:
        told = {key: said[key] for key in ("kind", "name", "distribution", "package")}
        files = [str(file.relative_to(folder)) for file in written]
        say_json({**told, "path": str(folder), "files": files, "next": steps})
        return
    say(f"{folder}: the {kind} '{said['name']}', ready to be installed and changed")
    for file in written:
        say(f"  {file.relative_to(folder)}")
    say("next:")
    for step in steps:
        say(f"  {step}")
