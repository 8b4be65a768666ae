"""What can go wrong, in one place, and how text from outside is made safe to show.

Every error that a user can cause or mend is a :class:`DsdError`: the command line prints its
message without a traceback (unless ``--debug``) and ends with its ``exit_code``.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class DsdError(Exception):
    """An error with a message for the user: what was wrong, where, and what to do."""

    exit_code = 1


class UsageError(DsdError):
    """Something that could be known before a run started: a name, a value, a missing file."""

    exit_code = 2


class DataError(UsageError):
    """Data that are missing, damaged or not what they claim to be."""


class UnreadableImage(DataError):
    """An image file that cannot be decoded."""


class RunError(DsdError):
    """A run that failed while it was running."""


class Diverged(RunError):
    """A training whose loss stopped being a number."""


class OutOfMemory(RunError):
    """A run for which memory was not enough; beside fewer others it may be."""


class Unwritable(RunError):
    """A file that could not be written: the disk is full, or the folder may not be written."""


class DamagedFile(RunError):
    """A file of a run whose checksum or shape is wrong."""


class Locked(RunError):
    """A run that another living process holds."""


class Quit(RunError):
    """What code of others raised to end the whole process; it ends no more than its own part."""


class Interrupted(DsdError):
    """A run that was asked to stop; its folder is ready to be resumed."""

    exit_code = 130


class Superseded(Interrupted):
    """A process that slept past its lease of a run, which another one holds now."""


def collect(problems: list[str]) -> None:
    """Raise one :class:`UsageError` that lists every problem, if there is any."""
    if len(problems) == 1:
        raise UsageError(problems[0])
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise UsageError(f"{len(problems)} problems:\n{lines}")


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'? (choices: a, b, x)"`` for a message about a wrong ``word``."""
    names = sorted(choices)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    listed = (f"'{name}'" if "," in name else name for name in names)
    return f"{hint} choose from: {', '.join(listed) or '(none)'}"


_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that steer a terminal or hide: control, format, surrogate, separators."""
_JOINERS = "\u200c\u200d"
"""Format characters that words of some scripts, and emoji, cannot do without."""


def plain(text: object, lines: bool = False) -> str:
    r"""Return ``text`` with every character escaped that could steer a terminal or a log.

    Escaped as in a Python string (``\x1b``, ``\u202e``, ``\ud800``) are control characters (C0,
    DEL, C1), directional and other invisible format characters, line separators and lone
    surrogates. So what a file, a plugin or a data set says stays on its line, keeps its order and
    can be written in UTF-8. To escape twice changes nothing more.

    Args:
        text: anything; its ``str`` is taken.
        lines: keeps line feeds, for texts of our own that have several lines.
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(_escaped(character, lines) for character in whole)


def _escaped(character: str, lines: bool) -> str:
    if unicodedata.category(character) not in _UNSAFE or character in _JOINERS:
        return character
    if lines and character == "\n":
        return character
    return character.encode("unicode_escape").decode("ascii")


LONGEST = 500
"""Characters of a foreign exception's message that are told."""


def message(error: BaseException) -> str:
    """Return the message of an exception of anybody's code, as a terminal may show it."""
    try:
        return plain(str(error), lines=True)
    except Exception:
        return "(its message cannot be shown)"


def describe(error: BaseException) -> str:
    """Return an exception of anybody's code as one line: its type's name and its message."""
    if isinstance(error, Quit) and error.__cause__ is not None:
        error = error.__cause__
    text = message(error)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return plain(f"{type(error).__name__}: {text}")
