"""What of the plugin API is on its way out, and how whoever uses it hears of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Deprecated(DeprecationWarning):
    """A plugin uses what will go.

    Args:
        what: what it uses, such as ``Component(sets_back=...)``.
        instead: what to write instead.
        gone: the version of the plugin API that will no longer have it.

    A hook warns by ``hookspec(warn_on_impl=Deprecated(...))`` in :mod:`dsd_bench.hookspecs`,
    anything else by :func:`deprecated`.
    """

    def __init__(self, what: str, instead: str, gone: int) -> None:
        super().__init__(f"{what} goes with plugin API {gone}: write {instead} instead")


def deprecated(what: str, instead: str, gone: int) -> None:
    """Warn the plugin that calls; see :class:`Deprecated`."""
    warnings.warn(Deprecated(what, instead, gone), stacklevel=3)


@contextmanager
def noting(note: Callable[[str], None]) -> Iterator[None]:
    """Give ``note`` what in the block is deprecated; other warnings go where they would."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Deprecated)
        show = warnings.showwarning

        def noted(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, Deprecated):
                note(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = noted
        yield
