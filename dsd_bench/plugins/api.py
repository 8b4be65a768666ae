"""The version of the plugin API: what a plugin was made for, and whether it fits."""

from __future__ import annotations

from dsd_bench import __version__
from dsd_bench.errors import UsageError, plain

API = 1
"""The version of the plugin API that this dsd-bench has. A change that a plugin must follow (a hook
or a method that goes, other arguments) raises it, and is announced one version before
(:mod:`dsd_bench.deprecation`); what is added does not."""

OLDEST = 1
"""The oldest version whose plugins still work."""

ATTRIBUTE = "dsd_bench_api"
"""Where a plugin says what it was made for: ``dsd_bench_api = "1"`` in the module (or object)
behind its entry point."""


def made_for(plugin: object, distribution: str) -> int | None:
    """Return the version of the API that ``plugin`` was made for; None if it does not say.

    Raises:
        UsageError: if this dsd-bench has not that version, or what it says is no version.
    """
    told = getattr(plugin, ATTRIBUTE, None)
    if told is None:
        return None
    if type(told) is not str or not told.isascii() or not told.isdecimal() or len(told) > 4:
        raise UsageError(
            f"{ATTRIBUTE} is {plain(repr(told)[:40])}; expected the version of the plugin API "
            f'that it was made for, such as "{API}"'
        )
    version = int(told)
    if version > API:
        raise UsageError(
            f"made for plugin API {version}, dsd-bench {__version__} has API {API}; "
            f"pip install --upgrade dsd-bench, or take an older {distribution}"
        )
    if version < OLDEST:
        raise UsageError(
            f"made for plugin API {version}, dsd-bench {__version__} needs {OLDEST} to {API}; "
            f"pip install --upgrade {distribution}, or take an older dsd-bench"
        )
    return version
