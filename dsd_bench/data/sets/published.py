"""Data sets that are files with published checksums below ``--data-dir``."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from dsd_bench.data import Dataset, RawData
from dsd_bench.data.sets.downloads import downloading
from dsd_bench.errors import DataError


class Published(Dataset):
    """Base of the sets that torchvision knows how to download.

    Attributes:
        reader: the name of torchvision's class.
        archive: where the files come from, for people.
        download_size: what a download costs, for people.
        folder: where they lie, below ``data_dir``.
        files: the published MD5 of every file in it that is read.
        archives: the published MD5s of archives that the fingerprint covers too, because what
            they hold has no checksums of its own.
    """

    reader: ClassVar[str]
    archive: ClassVar[str]
    download_size: ClassVar[str]
    folder: ClassVar[str]
    files: ClassVar[Mapping[str, str]]
    archives: ClassVar[Mapping[str, str]] = {}

    def fingerprint(self, data_dir: Path) -> str:
        """Return a digest of the published checksums; the files need not be there."""
        return fingerprint({**self.files, **self.archives})

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if a file is missing and may not be downloaded."""
        folder = data_dir / self.folder
        missing = [name for name in self.needed() if not (folder / name).exists()]
        if not missing or download:
            return
        names = "" if len(missing) == len(self.needed()) else f" lacks {', '.join(missing)}"
        found = f"{folder}{names or ' is missing'}"
        raise DataError(f"{self.reader}: {found}; {self._remedy(data_dir)}")

    def needed(self) -> tuple[str, ...]:
        """Return what ``folder`` must hold."""
        return tuple(self.files)

    def load(self, data_dir: Path, download: bool) -> RawData:
        """Return all images of verified files.

        Raises:
            DataError: naming the files that are missing or damaged.
        """
        self.check(data_dir, download)
        if download and (self.damaged(data_dir) or self._incomplete(data_dir)):
            with downloading(data_dir, self.reader):
                self.download(data_dir)
        try:
            return self.read(data_dir)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            names = ", ".join(self.damaged(data_dir)) or str(error)
            where = data_dir / self.folder
            raise DataError(
                f"{self.reader}: damaged in {where}: {names}; {self._remedy(data_dir)}"
            ) from error

    def read(self, data_dir: Path) -> RawData:
        """Read everything.

        Raises:
            RuntimeError, OSError, EOFError, pickle.UnpicklingError: if a file is damaged; most
                readers of torchvision's verify the MD5s, the others call :meth:`verify` first.
        """
        raise NotImplementedError

    def download(self, data_dir: Path) -> None:
        """Let torchvision fetch what is missing."""
        raise NotImplementedError

    def damaged(self, data_dir: Path) -> list[str]:
        """Return the names of the files that are missing or have another MD5."""
        return [n for n, sum in self.files.items() if md5(data_dir / self.folder / n) != sum]

    def verify(self, data_dir: Path) -> None:
        """Raise RuntimeError if a file has another MD5."""
        if names := self.damaged(data_dir):
            raise RuntimeError(f"wrong MD5: {', '.join(names)}")

    def _incomplete(self, data_dir: Path) -> bool:
        return not all((data_dir / self.folder / name).exists() for name in self.needed())

    def _remedy(self, data_dir: Path) -> str:
        return (
            f"add --download to have torchvision fetch it ({self.download_size}), or unpack "
            f"{self.archive} so that {data_dir / self.folder} holds {', '.join(self.needed())}"
        )


def fingerprint(sums: Mapping[str, str]) -> str:
    """Return a digest of checksums by name."""
    lines = "".join(f"{sum}  {name}\n" for name, sum in sorted(sums.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def md5(file: Path) -> str:
    """Return the MD5 of ``file``, empty if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(
                stream, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
    except OSError:
        return ""
