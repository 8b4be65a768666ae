"""Finished runs whose files are not what they were when the run ended: repaired, or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dsd_bench.config.metrics import metric_key, word_of
from dsd_bench.config.naming import command
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DamagedFile, UsageError
from dsd_bench.store import hashes
from dsd_bench.store.files import json_bytes, write_json
from dsd_bench.store.locks import LOCK, locked
from dsd_bench.store.reading import read_json

CONFIG = "config.json"


def mend(path: Path, config: RunConfig, tell: Callable[[str], None]) -> None:
    """Bring the texts of a finished run back to what it wrote, from its newest good checkpoint.

    A run that is as it was needs no write, so its folder may be read-only. The configuration's
    contents are held to the run id, so those of the plan are as good as those of the file.

    Args:
        path: the folder of a finished run.
        config: the run's configuration.
        tell: is called with a sentence about each file that was repaired.

    Raises:
        UsageError: if what changed cannot be repaired; nothing was written then.
        RunError: if the folder cannot be written.
        Locked: if another process is working on it.
    """
    result = read_json(path / "result.json")
    if not _damaged(path, result):
        return
    from dsd_bench.store.folder import RunFolder  # imports torch, which most commands need not

    with locked(path / LOCK):
        changed = _damaged(path, result)
        if rows := [name for name in changed if name != CONFIG]:
            _rewrite_rows(path, config, result, rows)
        if CONFIG in changed:
            _rewrite_config(path, config, result)
        if changed:
            text = f"{', '.join(changed)}: changed since the run ended; repaired"
            RunFolder(path).log(text)
            tell(f"run {path.name}: {text}")


def _rewrite_rows(path: Path, config: RunConfig, result: dict[str, Any], names: list[str]) -> None:
    """Write the rows' files anew if a checkpoint holds the very rows that the run ended with."""
    from dsd_bench.store.folder import RunFolder

    known = hashes.recorded(result)
    folder, why = RunFolder(path, config.curve_id), "no checkpoint is left"
    for checkpoint in folder.checkpoints():
        try:
            texts = folder.texts(folder.read(checkpoint).rows)
        except DamagedFile as error:
            why = str(error)
            continue
        if all(hashes.digest(texts.get(name, b"")) == known[name] for name in names):
            folder.write_texts({name: texts[name] for name in names}, sync=True)
            return
        why = f"the rows in {checkpoint} are not those of its end"
    again = command("run", "--config", path / CONFIG, "--force", runs_dir=path.parent)
    raise UsageError(
        f"{path / names[0]}: is not what the run wrote, and no checkpoint can repair it ({why}); "
        f"put the file back, or begin anew with: {again}"
    )


def _rewrite_config(path: Path, config: RunConfig, result: dict[str, Any]) -> None:
    """Write the configuration, with the further metrics that were measured; note its new hash."""
    known = hashes.recorded(result)
    files = [Path(name) for name in known if name.startswith("metrics/")]
    measured = config.model_copy(update={"metrics": _words(config, files)})
    value = (measured if known else config).to_json()
    write_json(path / CONFIG, value)
    if known and known[CONFIG] != (found := hashes.digest(json_bytes(value))):
        result[hashes.KEY][CONFIG] = found
        write_json(path / "result.json", result)


def _words(config: RunConfig, files: Sequence[Path]) -> tuple[str, ...]:
    """Return the words of the metrics that were measured."""
    known = {metric_key(word): word for word in config.metrics}
    return tuple(known.get(key) or word_of(key) for key in (file.stem for file in files))


def _damaged(path: Path, result: dict[str, Any]) -> list[str]:
    """Return the names of the texts that are not as they were, or cannot be read."""
    changed = hashes.changed_texts(path, result)
    if CONFIG not in changed and not readable(path / CONFIG):
        changed.append(CONFIG)
    return changed


def readable(path: Path) -> bool:
    """Whether ``path`` is a whole ``config.json``."""
    try:
        RunConfig.from_json(read_json(path))
    except UsageError:
        return False
    return True
