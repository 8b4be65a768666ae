"""Which cores a command may pin its workers to: those that no other command has pinned to."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on every system
    fcntl = None


class CoreClaim:
    """Cores that this command has for itself, as far as other commands of this user go.

    A claim is a locked file for each core. The system lets go of it with the process, however that
    ends; nothing but speed depends on it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        user = os.getuid() if hasattr(os, "getuid") else 0
        self.folder = folder or Path(tempfile.gettempdir()) / f"dsd-bench-cores-{user}"
        self._held: dict[int, int] = {}

    def take(self, cores: Iterable[int]) -> bool:
        """Claim all of ``cores``, or none and return False."""
        wanted = sorted(set(cores) - self._held.keys())
        for core in wanted:
            if not self._lock(core):
                self._let_go([one for one in wanted if one in self._held])
                return False
        return True

    def release(self) -> None:
        """Let go of all cores."""
        self._let_go(list(self._held))

    def _lock(self, core: int) -> bool:
        if fcntl is None:
            return False
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(self.folder / str(core), flags, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._held[core] = file
        return True

    def _let_go(self, cores: Iterable[int]) -> None:
        for core in cores:
            with contextlib.suppress(OSError):
                os.close(self._held.pop(core))
