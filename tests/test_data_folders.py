"""Folders of images: read as torchvision reads them, known by their contents."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import image_folder, install, picture
from torchvision.datasets import ImageFolder

from dsd_bench import configure
from dsd_bench.data import digests as module
from dsd_bench.data.digests import digests, watched
from dsd_bench.data.sets.folders import EXTENSIONS, Listing, scan
from dsd_bench.data.sets.imagefolder import PARTS
from dsd_bench.errors import DataError
from dsd_bench.plugins import catalogue

NOWHERE = Path("/nowhere")


def make(folder: Path) -> Any:
    component = catalogue().get("dataset", "imagefolder").component
    return component.create(component.params(path=str(folder)))  # type: ignore[call-arg]


def fingerprint(folder: Path) -> str:
    return str(make(folder).fingerprint(NOWHERE))


def listed(folder: Path) -> Listing:
    return scan(folder, PARTS, "imagefolder")


# --- as torchvision does ----------------------------------------------------------------------


def nothing(root: Path) -> None:
    """Leave the folder as it is."""


def linked_class(root: Path) -> None:
    shutil.move(root / "train" / "cat", root / "cats")
    (root / "train" / "cat").symlink_to(root / "cats")


def linked_folder_in_a_class(root: Path) -> None:
    picture(root / "elsewhere" / "deep" / "a.png")
    (root / "train" / "cat" / "more").symlink_to(root / "elsewhere")


def linked_twice(root: Path) -> None:
    picture(root / "elsewhere" / "a.png")
    for name in ("one", "two"):
        (root / "train" / "cat" / name).symlink_to(root / "elsewhere")
    (root / "train" / "cat2").symlink_to(root / "train" / "cat")
    (root / "test" / "cat2").symlink_to(root / "test" / "cat")


def nested(root: Path) -> None:
    for name in ("b/z.png", "b-x/a.png", "b/c/a.png", "a.png", "Z.png", "b.png"):
        picture(root / "train" / "cat" / name)


def hidden(root: Path) -> None:
    for name in (".a.png", ".b/c.png"):
        picture(root / "train" / "cat" / name)


def hidden_class(root: Path) -> None:
    for part in ("train", "test"):
        picture(root / part / ".bird" / "a.png")


def suffixes(root: Path) -> None:
    source = picture(root / "x.png")
    for number, kind in enumerate((*EXTENSIONS, ".gif", ".JPG", ".PnG", ".jpg.txt", "png", "")):
        shutil.copy(source, root / "train" / "cat" / f"f{number}{kind}")


def odd_names(root: Path) -> None:
    for name in ("a b.png", "ä.png", "\u202ex.png", "new\nline.png", "猫/é.png"):
        picture(root / "train" / "cat" / name)
    picture(root / "x.png").rename(root / "train" / "dog" / "\udcff.png")  # no UTF-8


def loose_files(root: Path) -> None:
    picture(root / "train" / "loose.png")
    (root / "train" / "notes.csv").write_text("x")


def classes_by_case(root: Path) -> None:
    for part in ("train", "test"):
        for name in ("Zebra", "ant", "10", "9"):
            picture(root / part / name / "a.png")


TREES: tuple[Callable[[Path], None], ...] = (
    *(nothing, linked_class, linked_folder_in_a_class, linked_twice, nested, hidden),
    *(hidden_class, suffixes, odd_names, loose_files, classes_by_case),
)


@pytest.mark.parametrize("tree", TREES)
def test_samples_and_classes_are_torchvisions(tree: Callable[[Path], None], folder: Path) -> None:
    tree(folder)
    found = listed(folder)
    for part in ("train", "test"):
        theirs = ImageFolder(folder / part)
        assert list(found.classes) == theirs.classes
        names = [name for names in found.parts[part].values() for name in names]
        ours = [str(folder / name) for name in names]
        assert list(zip(ours, found.labels(part).tolist())) == theirs.samples


def empty_class(root: Path) -> None:
    (root / "train" / "bird").mkdir()
    picture(root / "test" / "bird" / "a.png")


def empty_hidden_class(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / ".ipynb_checkpoints").mkdir()


def class_of_other_files(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "bird").mkdir()
        (root / part / "bird" / "a.gif").write_bytes(b"GIF89a")


@pytest.mark.parametrize("tree", [empty_class, empty_hidden_class, class_of_other_files])
def test_what_torchvision_refuses_is_refused(tree: Callable[[Path], None], folder: Path) -> None:
    tree(folder)
    with pytest.raises(FileNotFoundError, match="no valid file"):
        ImageFolder(folder / "train")
    with pytest.raises(DataError, match=r"train/\S+ holds no image"):
        listed(folder)


def test_extensions_are_torchvisions() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(EXTENSIONS) == set(IMG_EXTENSIONS)


@pytest.mark.parametrize("target", [".", "..", "../..", "sub"])
def test_a_circle_of_links_is_named(target: str, folder: Path) -> None:
    (folder / "train" / "cat" / "sub").mkdir()
    (folder / "train" / "cat" / "sub" / "back").symlink_to(Path("..") / target)
    with pytest.raises(DataError, match="is a link to a folder that it lies in"):
        make(folder).check(NOWHERE, False)


def test_two_links_into_each_other_are_a_circle(folder: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (folder / "out" / one).mkdir(parents=True)
        (folder / "out" / one / "next").symlink_to(folder / "out" / other)
    (folder / "train" / "cat" / "in").symlink_to(folder / "out" / "a")
    with pytest.raises(DataError, match="is a link to a folder that it lies in"):
        make(folder).check(NOWHERE, False)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_has_three_names(name: str, folder: Path) -> None:
    shutil.copytree(folder / "test", folder / name)
    raw = make(folder).load(NOWHERE, False)
    assert len(raw.val.labels) == 6
    assert not any("not read" in text for text in make(folder).notes(NOWHERE))


def test_the_name_of_validation_is_no_part_of_the_data(folder: Path) -> None:
    shutil.copytree(folder / "test", folder / "val")
    before = fingerprint(folder)
    (folder / "val").rename(folder / "valid")
    assert fingerprint(folder) == before
    (folder / "valid").rename(folder / "other")
    assert fingerprint(folder) != before


@pytest.mark.parametrize("names", list(itertools.combinations(("val", "valid", "validation"), 2)))
def test_two_folders_of_one_part_are_an_error(names: tuple[str, str], folder: Path) -> None:
    for name in names:
        shutil.copytree(folder / "test", folder / name)
    with pytest.raises(DataError, match=f"has {names[0]}/ and {names[1]}/, which are one part"):
        make(folder).check(NOWHERE, False)
    shutil.rmtree(folder / names[1])
    (folder / names[1]).symlink_to(names[0])
    make(folder).check(NOWHERE, False)  # two names of one folder


def test_what_is_not_read_is_named(folder: Path) -> None:
    for number, name in enumerate(("extra", "unlabeled", "Test", ".git")):
        picture(folder / name / "a.png", seed=100 + number)
    picture(folder / "train" / "loose.PNG", seed=99)
    for name in ("a.gif", "b.gif", "c.heic", "README", ".DS_Store"):
        (folder / "train" / "cat" / name).write_text("x")
    (folder / "train" / "labels.csv").write_text("x")
    assert make(folder).notes(NOWHERE) == [
        f"{folder}: not read: Test/, extra/, unlabeled/ (read: train/, test/)",
        f"{folder / 'train'}: not read: 1 image in no class's folder",
        "not read: files in classes' folders that end in no image's extension: "
        "2 .gif, 1 without extension, 1 .heic",
    ]


def test_images_that_are_there_twice_are_named(folder: Path) -> None:
    assert make(folder).notes(NOWHERE) == []
    shutil.copy(folder / "train" / "cat" / "3.png", folder / "test" / "cat" / "x.png")
    shutil.copy(folder / "train" / "cat" / "4.png", folder / "train" / "dog" / "x.png")
    shared, several = make(folder).notes(NOWHERE)
    assert "1 image of test also in train: test/cat/x.png is train/cat/3.png" in shared
    assert "1 image in more than one class, such as cat and dog" in several


def test_notes_are_printed_before_a_run(folder: Path, command: Any) -> None:
    picture(folder / "unlabeled" / "a.png")
    options = ("--model", "mlp:hidden=4", "--rounds", "0", "--epochs", "1", "--seeds", "0")
    words = ("run", "--dataset", f"imagefolder:{folder}", *options, "--executor", "inline")
    code, out, err = command(*words)
    assert code == 0, err
    assert "note         " in out
    assert "not read: unlabeled/ (read: train/, test/)" in out


# --- known by contents ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bmp", "ppm"])
def test_other_pictures_of_the_same_names_and_sizes_are_other_data(
    kind: str, tmp_path: Path
) -> None:
    for seed, (part, label) in enumerate(itertools.product(("train", "test"), ("cat", "dog"))):
        picture(tmp_path / part / label / f"a.{kind}", seed=seed)
    file = tmp_path / "train" / "cat" / f"a.{kind}"
    before, content, size = fingerprint(tmp_path), file.read_bytes(), file.stat().st_size
    picture(file, seed=9)
    assert file.stat().st_size == size
    assert fingerprint(tmp_path) != before
    file.write_bytes(content)
    assert fingerprint(tmp_path) == before


def test_corrected_labels_are_other_data(tmp_path: Path) -> None:
    image_folder(tmp_path)
    one, other = (tmp_path / "train" / label / "0.png" for label in ("cat", "dog"))
    other.write_bytes(one.read_bytes()[:-1] + b"x")  # as long as the first
    before = fingerprint(tmp_path)
    one.rename(tmp_path / "x")
    other.rename(one)
    (tmp_path / "x").rename(other)
    assert fingerprint(tmp_path) != before


def test_a_finished_run_of_other_pictures_is_not_reused(folder: Path, command: Any) -> None:
    options = ("--model", "mlp:hidden=4", "--rounds", "0", "--epochs", "1", "--seeds", "0")
    words = ("run", "--dataset", f"imagefolder:{folder}", *options, "--executor", "inline")
    assert command(*words)[0] == 0
    assert "finished: reused" in command(*words)[1]
    file = folder / "test" / "dog" / "0.png"
    file.write_bytes(file.read_bytes() + b"x")
    assert "finished: reused" not in command(*words)[1]


def test_a_place_is_no_part_of_the_data_and_the_version_is(folder: Path, tmp_path: Path) -> None:
    options = {"model": "mlp:hidden=4", "rounds": 0, "epochs": 1}
    first = configure(dataset=f"imagefolder:{folder}", **options)
    assert first.dataset.version == 2
    moved = folder.rename(folder.parent / f"{folder.name}-moved")
    try:
        assert configure(dataset=f"imagefolder:{moved}", **options).run_id == first.run_id
    finally:
        moved.rename(folder)


@pytest.mark.parametrize("name", ["imagenet", "tiny-imagenet"])
def test_swapped_images_of_imagenet_are_noticed_by_their_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(name, tmp_path, monkeypatch)
    component = catalogue().get("dataset", name).component
    data: Any = component.create(component.params())
    data.load(tmp_path, False)
    one, other, *_ = sorted(tmp_path.rglob("train/*/**/*_0.JPEG"))
    one.rename(other.with_name(one.name))
    other.rename(one.with_name(other.name))
    with pytest.raises(DataError, match=r"_0\.JPEG is of another class, by its name"):
        data.load(tmp_path, False)


# --- remembered digests -----------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of the files that get hashed."""
    seen: list[Path] = []
    real = module._hash

    def counting(path: Path, key: bytes) -> tuple[bytes, bool]:
        seen.append(path)
        return real(path, key)

    monkeypatch.setattr(module, "_hash", counting)
    return seen


def aged(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the digests go on, as times of change cannot be set back."""
    now = time.time_ns()
    monkeypatch.setattr(module.time, "time_ns", lambda: now + 10**10)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "files" / f"{number}" for number in range(5)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * number)
    return paths


def expected(paths: list[Path]) -> list[str]:
    import hashlib

    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_files_are_hashed_once(
    files: list[Path], reads: list[Path], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    changed = max(path.stat().st_ctime_ns for path in files)
    monkeypatch.setattr(module.time, "time_ns", lambda: changed + 10**9)
    assert digests(files) == expected(files)
    assert digests(files) == expected(files)
    assert len(reads) == 10  # too young to be remembered
    aged(files, monkeypatch)
    assert digests(files) == digests(files) == expected(files)
    assert len(reads) == 15
    assert (own_cache / "digests.sqlite").is_file()


def test_any_sign_of_a_change_is_a_change(
    files: list[Path], reads: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aged(files, monkeypatch)
    digests(files)
    reads.clear()

    def touched() -> None:  # same size, old time of contents put back: ctime tells
        before = files[2].stat()
        while files[2].stat().st_ctime_ns == before.st_ctime_ns:  # until the disk's clock moves on
            files[2].write_bytes(b"yy")
            os.utime(files[2], ns=(before.st_atime_ns, before.st_mtime_ns))

    def replaced() -> None:  # another inode
        copy = tmp_path / "copy"
        shutil.copy2(files[3], copy)
        copy.replace(files[3])

    def swapped() -> None:
        files[1].rename(tmp_path / "x")
        files[4].rename(files[1])
        (tmp_path / "x").rename(files[4])

    for change, count in ((touched, 1), (replaced, 1), (swapped, 2)):
        change()
        assert digests(files) == expected(files)
        assert len(reads) == count
        reads.clear()
        assert digests(files) == expected(files)
        assert not reads


def test_a_change_within_the_clocks_grain_is_not_missed(files: list[Path]) -> None:
    """The times of both versions are the same, and the digest is not."""
    for content in (b"one", b"two", b"six"):
        files[0].write_bytes(content)
        os.utime(files[0], ns=(10**18, 10**18))
        assert digests(files) == expected(files)


@pytest.mark.parametrize(
    "damage",
    ["garbage", "empty", "cut", "folder", "pipe", "flipped", "other table", "device", "link"],
)
def test_a_damaged_memory_is_none(
    damage: str,
    files: list[Path],
    reads: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    own_cache: Path,
) -> None:
    aged(files, monkeypatch)
    digests(files)
    memory = own_cache / "digests.sqlite"
    whole = memory.read_bytes()
    memory.unlink()
    if damage in ("garbage", "empty", "cut"):
        memory.write_bytes({"garbage": b"x" * 9999, "empty": b"", "cut": whole[:5000]}[damage])
    elif damage == "folder":
        memory.mkdir()
    elif damage == "pipe":
        os.mkfifo(memory)
    elif damage == "device":
        memory.symlink_to("/dev/zero")
    elif damage == "link":
        elsewhere = own_cache / "elsewhere"
        elsewhere.write_bytes(whole)
        memory.symlink_to(elsewhere)
    else:
        with contextlib.closing(sqlite3.connect(memory)) as connection:
            connection.execute("CREATE TABLE digests (key, digest, proof)")
            if damage == "other table":
                connection.execute("ALTER TABLE digests DROP COLUMN proof")
            else:
                memory.write_bytes(whole)
                connection.execute("UPDATE digests SET digest = zeroblob(32)")
                connection.commit()
    reads.clear()
    assert digests(files) == expected(files)
    assert len(reads) == 5
    assert digests(files) == expected(files)
    healed = damage in ("garbage", "empty", "cut", "flipped")
    assert len(reads) == (5 if healed else 10)


def test_without_a_place_for_a_memory_nothing_breaks(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aged(files, monkeypatch)
    for place in ("/proc/nothing", "/dev/null", str(files[0])):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert digests(files) == expected(files)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: no_home()))
    assert digests(files) == expected(files)


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_many_may_write_at_once(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    aged(files, monkeypatch)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(digests(files))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected(files)] * 8
    with contextlib.closing(sqlite3.connect(own_cache / "digests.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM digests").fetchone() == (5,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_writer_who_takes_long_is_not_waited_for(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    aged(files, monkeypatch)
    digests(files[:1])
    with contextlib.closing(sqlite3.connect(own_cache / "digests.sqlite")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert digests(files) == expected(files)
        assert time.monotonic() - began < 5


def test_the_memory_is_bounded(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    aged(files, monkeypatch)
    monkeypatch.setattr(module, "MOST", 3)
    for path in files:
        digests([path])
    with contextlib.closing(sqlite3.connect(own_cache / "digests.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM digests").fetchone() == (3,)


def test_what_cannot_be_hashed_is_named(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    files[1].unlink()
    os.mkfifo(files[1])
    with pytest.raises(DataError, match="1 is no regular file"):
        digests(files)
    files[1].unlink()
    with pytest.raises(DataError, match="1 cannot be read"):
        digests(files)
    files[1].write_bytes(b"")
    real = module._key
    monkeypatch.setattr(module, "_key", lambda path, found: os.urandom(16))
    with pytest.raises(DataError, match="changes while it is read"):
        digests(files)
    monkeypatch.setattr(module, "_key", real)
    assert digests(files) == expected(files)


def test_progress_is_told_after_a_while(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    with watched(lambda done, total: told.append((done, total))):
        digests(files)
    assert not told
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(module, "_TOGETHER", 1)
    with watched(lambda done, total: told.append((done, total))):
        digests(files)
    assert told[-1] == (10, 10)
    assert told == sorted(told)


def test_progress_of_hashing_goes_to_standard_error(
    folder: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    words = ("run", "--dataset", f"imagefolder:{folder}", "--model", "nothing")
    code, out, err = command(*words)
    assert code == 2
    assert "hashing the images, once, to know them again: 0 of 0 MiB" in err
    assert "hashing" not in out
