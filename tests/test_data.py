from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import urllib.error
from pathlib import Path

import numpy
import pytest
import torchvision
from fakes import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsd_bench.data import DatasetParams, RawData, Samples
from dsd_bench.data.builtin import register_datasets
from dsd_bench.data.prepare import prepare, stratified
from dsd_bench.data.sets import digits as digits_module
from dsd_bench.data.sets.cifar import CIFAR10
from dsd_bench.data.sets.downloads import downloading
from dsd_bench.data.statistics import channel_statistics
from dsd_bench.errors import DataError, UsageError
from dsd_bench.noise import LabelNoise
from dsd_bench.noise.builtin import SymmetricParams
from dsd_bench.noise.labels import NoNoise, Symmetric
from dsd_bench.params import Params, validate

COMPONENTS = {component.name: component for component in register_datasets()}
NOWHERE = Path("/nonexistent")


def make(kind, **values):
    component = COMPONENTS[kind]
    return component.create(validate(component.params, values, kind))


def symmetric(rate=0.4, **values):
    return Symmetric(SymmetricParams(rate=rate, **values))


def samples(labels, clean=None, first=0) -> Samples:
    """Samples whose images hold their own number, so that a part says where it came from."""
    labels = numpy.asarray(labels, dtype=numpy.int64)
    number = numpy.arange(first, first + len(labels), dtype="<u4")
    images = number.view(numpy.uint8).reshape(-1, 1, 2, 2)
    return Samples(images, labels, None if clean is None else numpy.asarray(clean))


def numbers(part) -> list[int]:
    return numpy.ascontiguousarray(part.images).reshape(-1).view("<u4").tolist()


def raw(labels=None, classes=10, test=None, **values) -> RawData:
    labels = numpy.arange(400) % 10 if labels is None else labels
    test = samples([0, 1, 2], first=100_000) if test is None else test
    train = labels if isinstance(labels, Samples) else samples(labels)
    return RawData(train, test or None, classes, (0.5,), (0.25,), **values)


# --- stratified draws -----------------------------------------------------------------------


@given(data=st.data(), labels=st.lists(st.integers(0, 5), max_size=120), seed=st.integers(0, 99))
def test_a_stratified_draw_is_exact_and_proportional(data, labels, seed):
    size = data.draw(st.integers(0, len(labels)))
    labels = numpy.array(labels, dtype=numpy.int64)
    chosen = stratified(labels, size, numpy.random.default_rng(seed))
    assert len(chosen) == len(set(chosen.tolist())) == size
    assert (numpy.sort(chosen) == chosen).all()
    for label in set(labels.tolist()):
        share = size * (labels == label).sum() / len(labels)
        assert abs((labels[chosen] == label).sum() - share) < 1


def test_the_largest_remainders_get_the_last_samples():
    labels = numpy.repeat([0, 1, 2], [50, 31, 19])  # shares of 10: 5.0, 3.1, 1.9
    chosen = stratified(labels, 10, numpy.random.default_rng(0))
    assert numpy.bincount(labels[chosen]).tolist() == [5, 3, 2]


def test_equal_remainders_are_drawn_not_given_to_the_first_classes():
    labels = numpy.arange(40) % 4
    last = {
        int(labels[stratified(labels, 1, numpy.random.default_rng(seed))][0]) for seed in range(40)
    }
    assert last == {0, 1, 2, 3}


def test_every_sample_of_a_class_may_be_drawn():
    labels = numpy.zeros(10, dtype=int)
    seen = {int(stratified(labels, 1, numpy.random.default_rng(seed))[0]) for seed in range(200)}
    assert seen == set(range(10))


# --- splits ---------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    seed=st.integers(0, 99),
    official=st.booleans(),
    val_size=st.one_of(st.integers(0, 30).map(float), st.floats(0.05, 0.4)),
    train_size=st.one_of(st.none(), st.integers(1, 20)),
)
def test_parts_are_disjoint_and_of_exact_sizes(seed, official, val_size, train_size):
    data = raw(numpy.arange(100) % 7, 7, None if official else (), test_size=20)
    split = prepare(data, DatasetParams(val_size=val_size, train_size=train_size), None, seed)
    parts = [part for part in (split.train, split.val, split.test) if part]
    everything = [number for part in parts for number in numbers(part)]
    assert len(set(everything)) == len(everything)
    left = 100 if official else 80
    held = int(val_size) if val_size >= 1 else round(val_size * left)
    assert (len(split.val) if split.val else 0) == held
    assert len(split.train) == (left - held if train_size is None else train_size)
    assert len(split.test) == (3 if official else 20)


def test_validation_is_held_out_first_whatever_train_size_is():
    every, some = (prepare(raw(), DatasetParams(train_size=size), None, 5) for size in (None, 30))
    assert numbers(every.val) == numbers(some.val)
    assert set(numbers(some.train)) < set(numbers(every.train))


def test_parts_are_stratified_by_the_true_classes():
    clean = numpy.arange(200) % 2
    split = prepare(
        raw(samples(numpy.zeros(200), clean), test=(), test_size=40),
        DatasetParams(val_size=20, train_size=50),
        None,
        0,
    )
    counts = [numpy.bincount(part.clean).tolist() for part in (split.train, split.val, split.test)]
    assert counts == [[25, 25], [10, 10], [20, 20]]


def test_the_data_seed_decides_the_split():
    first, same, other = (numbers(prepare(raw(), DatasetParams(), None, s).val) for s in (0, 0, 1))
    assert first == same != other


def test_an_official_validation_part_is_taken_whole():
    data = raw(val=samples([3, 4], first=900))
    for size in (0.0, 0.1, 50.0):
        split = prepare(data, DatasetParams(val_size=size), None, 0)
        assert numbers(split.val) == [900, 901]
        assert len(split.train) == 400


def test_without_validation_all_is_trained_on():
    split = prepare(raw(), DatasetParams(val_size=0), None, 0)
    assert split.val is None
    assert numbers(split.train) == list(range(400))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_size": 361}, "train_size=361: 360 samples are left after .* of 400"),
        ({"val_size": 400}, "val_size=400: 400 samples are available"),
        ({"val_size": 0.001}, "val_size=0.001: rounds to no sample of 400"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_numbers(values, message):
    with pytest.raises(UsageError, match=message):
        prepare(raw(), DatasetParams(**values), None, 0)


@pytest.mark.parametrize("size", [1.5, 200.25])
def test_half_a_sample_is_refused(size):
    with pytest.raises(UsageError, match="whole number of samples"):
        make("digits", val_size=size)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Samples(numpy.zeros((2, 1, 2, 2)), numpy.zeros(2, int)), "float64 .* expected uint8"),
        (Samples(numpy.zeros((2, 4), "u1"), numpy.zeros(2, int)), r"\(2, 4\), expected"),
        (Samples(numpy.zeros((2, 1, 2, 2), "u1"), numpy.zeros(3, int)), "2 images, but labels"),
        (samples([0, 10]), "labels are 0 to 10, expected 0 to 9"),
        (samples([0, 1], clean=[-1, 0]), "labels are -1 to 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(part, message):
    with pytest.raises(DataError, match=f"train.*{message}"):
        prepare(raw(part), DatasetParams(), None, 0)


def test_the_transform_can_be_switched_off():
    data = raw(flip=True, shift=4)
    standard, none = (
        prepare(data, DatasetParams(transform=name), None, 0) for name in ("standard", "none")
    )
    assert (standard.flip, standard.shift) == (True, 4)
    assert (none.flip, none.shift) == (False, 0)


# --- labels ---------------------------------------------------------------------------------


def test_noise_falls_on_the_train_part_alone():
    data = raw()
    split = prepare(data, DatasetParams(train_size=100), symmetric(0.35), 0)
    assert (split.train.labels != split.train.clean).sum() == 35
    assert (split.val.labels == split.val.clean).all()
    assert (split.test.labels == split.test.clean).all()
    assert (data.train.labels == numpy.arange(400) % 10).all()


def test_validation_labels_are_noisy_if_asked_for():
    split = prepare(raw(), DatasetParams(), symmetric(0.5, validation=True), 0)
    assert (split.val.labels != split.val.clean).sum() == 20


def test_the_noise_has_a_stream_of_its_own():
    plain, noisy, both = (
        prepare(raw(), DatasetParams(), noise, 3)
        for noise in (None, symmetric(), symmetric(validation=True))
    )
    assert numbers(plain.train) == numbers(noisy.train)
    assert (noisy.train.labels == both.train.labels).all()


def test_the_noise_of_train_and_validation_differs():
    data = raw(numpy.zeros(100), val=samples(numpy.zeros(100), first=500))
    split = prepare(data, DatasetParams(), symmetric(0.5, validation=True), 0)
    assert (split.train.labels != split.val.labels).any()


def test_the_data_seed_decides_the_noise():
    first, same, other = (
        prepare(raw(), DatasetParams(val_size=0), symmetric(), seed).train.labels
        for seed in (0, 0, 1)
    )
    assert (first == same).all()
    assert (first != other).any()


def test_human_labels_stay_and_other_parts_get_the_true_ones():
    clean = numpy.arange(400) % 10
    given = numpy.where(numpy.arange(400) < 200, (clean + 1) % 10, clean)
    data = raw(samples(given, clean), test=(), test_size=80)
    for noise in (None, NoNoise(Params())):
        split = prepare(data, DatasetParams(), noise, 0)
        assert (split.train.labels == given[numbers(split.train)]).all()
        assert (split.val.labels == clean[numbers(split.val)]).all()
        assert (split.test.labels == clean[numbers(split.test)]).all()


def test_noise_comes_on_top_of_human_labels():
    clean = numpy.arange(400) % 10
    data = raw(samples((clean + 1) % 10, clean))
    train = prepare(data, DatasetParams(val_size=0), symmetric(0.25), 0).train
    assert (train.labels != train.clean).all()
    assert (train.labels != (train.clean + 1) % 10).sum() <= 100
    assert (train.labels != (train.clean + 1) % 10).sum() > 70


def test_noise_is_given_the_true_classes():
    seen = []

    class Watch(LabelNoise):
        def corrupt(self, labels, classes, draw):
            seen.append((labels.copy(), classes))
            return labels

    clean = numpy.arange(40) % 10
    prepare(raw(samples((clean + 1) % 10, clean)), DatasetParams(val_size=0), Watch(Params()), 0)
    assert [(labels.tolist(), classes) for labels, classes in seen] == [(clean.tolist(), 10)]


def test_noise_may_be_told_which_classes_are_confused():
    seen = []

    class Watch(LabelNoise):
        def corrupt_knowing(self, labels, confused, draw):
            seen.append(confused.tolist())
            return labels

    for confused in (None, (0, 0, 1, 2)):
        data = raw(numpy.arange(40) % 4, 4, confused=confused)
        prepare(data, DatasetParams(val_size=0), Watch(Params()), 0)
    assert seen == [[1, 2, 3, 0], [0, 0, 1, 2]]


@pytest.mark.parametrize("confused", [(0, 1, 2), (0, 1, 2, 4), (-1, 0, 0, 0)])
def test_confused_classes_must_be_classes(confused):
    with pytest.raises(DataError, match="confused must name one of 4 classes for each"):
        prepare(raw(numpy.arange(40) % 4, 4, confused=confused), DatasetParams(), None, 0)


def test_what_noise_did_is_told():
    class Shift(LabelNoise):
        def corrupt(self, labels, classes, draw):
            return numpy.where(numpy.arange(len(labels)) % 2, labels, (labels + 1) % classes)

    labels = [0, 0, 0, 0, 2, 2, 2, 2]
    split = prepare(raw(labels, 4), DatasetParams(val_size=0), Shift(Params()), 0)
    assert split.label_noise == {
        "rate": 0.5,
        "matrix": [[0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 0]],
    }


# --- digits ---------------------------------------------------------------------------------


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    reference, data = load_digits(), make("digits").load(NOWHERE, False)
    assert data.train.images.dtype == numpy.uint8
    assert data.train.images.shape == (1797, 1, 8, 8)
    assert (numpy.rint(data.train.images[:, 0] / 255 * 16) == reference.images).all()
    assert data.train.images.max() == 255
    assert (data.train.labels == reference.target).all()


def test_digits_are_normalised_to_plus_minus_one():
    data = make("digits").load(NOWHERE, False)
    normalised = (data.train.images / 255 - data.mean[0]) / data.std[0]
    assert (normalised.min(), normalised.max()) == (-1, 1)


def test_digits_are_split_1000_200_597_anew_for_each_seed():
    component = make("digits")
    first, other = (
        prepare(component.load(NOWHERE, False), component.params, symmetric(), s) for s in (0, 1)
    )
    assert [len(part) for part in (first.train, first.val, first.test)] == [1000, 200, 597]
    assert (first.train.labels != first.train.clean).sum() == 400
    assert (first.test.images != other.test.images).any()


def test_the_split_and_noise_of_seed_0_are_pinned():
    # If this changes, runs with the same id would give other numbers: raise the versions of the
    # data set and noise components with it.
    component = make("digits")
    split = prepare(component.load(NOWHERE, False), component.params, symmetric(), 0)
    digest = hashlib.sha256()
    for part in (split.train, split.val, split.test):
        digest.update(part.images.tobytes() + part.labels.astype("<i8").tobytes())
    assert digest.hexdigest() == "0b9a4d6376cf4509cc03a552da86dccda1b7aa9c0859982c3c4e1e3281fd2c6d"


def test_digits_need_neither_torch_nor_scikit_learn_to_be_imported():
    code = (
        "import sys, pathlib\n"
        "from dsd_bench.data.builtin import register_datasets\n"
        "register_datasets()[0].create().load(pathlib.Path('.'), False)\n"
        "assert not {'torch', 'sklearn', 'pandas', 'scipy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digits_fall_back_to_scikit_learns_loader(monkeypatch):
    expected = make("digits").load(NOWHERE, False)

    class Elsewhere:
        submodule_search_locations = (str(NOWHERE),)

    monkeypatch.setattr(digits_module.importlib.util, "find_spec", lambda name: Elsewhere)
    found = make("digits").load(NOWHERE, False)
    assert (found.train.images == expected.train.images).all()


@pytest.mark.parametrize("damage", ["other", "truncated", "garbage"])
def test_damaged_digits_are_refused(monkeypatch, tmp_path, damage):
    import gzip

    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    whole = gzip.compress(b"\n".join([b",".join([b"1"] * 65)] * 200))
    contents = {"other": whole, "truncated": whole[:40], "garbage": b"no gzip"}
    (folder / "digits.csv.gz").write_bytes(contents[damage])

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(digits_module.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(DataError, match=r"digits\.csv\.gz"):
        make("digits").load(NOWHERE, False)


def test_the_recipe_of_digits_is_the_embedded_experiment():
    recipe = make("digits").recipe(None)
    assert recipe["model"] == "mlp:hidden=64x64"
    assert recipe["noise"] == "symmetric:rate=0.4"
    assert (recipe["momentum"], recipe["weight_decay"], recipe["batch_size"]) == (0.9, 1e-3, 100)
    assert (recipe["dense_epochs"], recipe["retrain_epochs"], recipe["rounds"]) == (200, 50, 20)
    assert recipe["seeds"] == "0-5"


# --- CIFAR ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_checksums_are_torchvisions(name):
    ours, theirs = make(name), getattr(torchvision.datasets, name.upper())
    published = dict(theirs.train_list + theirs.test_list)
    assert ours.files == published | {theirs.meta["filename"]: theirs.meta["md5"]}
    assert (ours.folder, ours.archive) == (theirs.base_folder, theirs.url)


def test_the_fingerprint_of_cifar_needs_no_files():
    first, second = (make(name).fingerprint(NOWHERE) for name in ("cifar10", "cifar100"))
    assert first.startswith("sha256:")
    assert first != second


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_cifar_says_what_to_do(name, tmp_path):
    data = make(name)
    with pytest.raises(DataError, match=r"is missing; add --download .*https://.*holds") as caught:
        data.check(tmp_path, False)
    assert str(tmp_path / data.folder) in str(caught.value)
    data.check(tmp_path, True)


def test_one_missing_file_of_cifar_is_named(cifar):
    (cifar / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="lacks data_batch_3;"):
        make("cifar10").check(cifar, False)


def test_cifar_images_lie_channel_first(cifar):
    data = make("cifar10").load(cifar, False)
    assert data.train.images.shape == (20, 3, 32, 32)
    assert data.train.labels[::4].tolist() == [0, 1, 2, 3, 4]
    first = numpy.random.default_rng(0).integers(0, 256, (4, 3072), dtype=numpy.uint8)
    assert (data.train.images[:4].reshape(4, 3072) == first).all()
    assert data.test.labels.tolist() == [5, 1, 2, 3]
    assert (data.flip, data.shift, data.classes) == (True, 4, 10)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_truncated_file_of_cifar_is_named(cifar, name):
    os.truncate(cifar / CIFAR10.folder / name, 50)
    make("cifar10").check(cifar, False)
    with pytest.raises(DataError, match=f"damaged in .*: {name}; add --download"):
        make("cifar10").load(cifar, False)


def test_cifar_is_downloaded_once_and_only_if_allowed(cifar, monkeypatch, capsys):
    folder, elsewhere, calls = cifar / CIFAR10.folder, cifar / "elsewhere", []
    folder.rename(elsewhere)

    def download(self):
        if not folder.exists():
            print("downloading")
            calls.append(self.root)
            elsewhere.rename(folder)

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", download)
    with pytest.raises(DataError, match="is missing"):
        make("cifar10").load(cifar, False)
    for _ in range(2):
        assert len(make("cifar10").load(cifar, True).train.labels) == 20
    assert len(calls) == 1
    assert capsys.readouterr().out == ""


def test_whole_cifar_is_read_from_a_folder_that_cannot_be_written(cifar):
    before = sorted(cifar.rglob("*"))
    make("cifar10").load(cifar, True)
    assert sorted(cifar.rglob("*")) == before


def test_a_failed_download_of_cifar_is_a_clear_error(tmp_path, monkeypatch):
    def download(self):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", download)
    with pytest.raises(DataError, match=r"downloading CIFAR10 to .*no route to host"):
        make("cifar10").load(tmp_path / "new", True)


def test_two_downloads_into_one_folder_wait_for_each_other(tmp_path):
    pytest.importorskip("fcntl")
    inside = threading.Event()

    def second():
        with downloading(tmp_path, "the second"):
            inside.set()

    with downloading(tmp_path, "the first"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not inside.wait(0.3)
    assert inside.wait(60)
    thread.join()


@pytest.mark.parametrize(
    ("model", "lr"), [(None, 0.1), ("resnet18", 0.1), ("vgg-like", 0.001), ("mlp", 0.001)]
)
def test_the_recipe_of_cifar_is_table_4(model, lr):
    recipe = make("cifar100").recipe(model)
    assert recipe["model"] == (model or "resnet18")
    assert recipe["lr"] == lr
    assert (recipe["dense_epochs"], recipe["retrain_epochs"], recipe["batch_size"]) == (
        160,
        160,
        128,
    )
    assert recipe["milestones"] == [80 / 160, 120 / 160]
    assert (recipe["weight_decay"], recipe["momentum"], recipe["noise"]) == (1e-4, 0.9, "none")
    assert recipe["target_sparsity"] == 0.998


# --- image folders --------------------------------------------------------------------------


def load(folder, **values):
    return make("imagefolder", path=str(folder), **values).load(NOWHERE, False)


def fingerprint(folder):
    return make("imagefolder", path=str(folder)).fingerprint(NOWHERE)


def test_images_come_as_they_are_class_by_class(folder):
    data = load(folder)
    assert data.train.images.shape == (20, 3, 6, 5)
    assert data.train.labels.tolist() == [0] * 10 + [1] * 10
    assert data.test.labels.tolist() == [0] * 3 + [1] * 3
    pixels = numpy.asarray(Image.open(folder / "train" / "dog" / "0.png"))
    assert (data.train.images[10].transpose(1, 2, 0) == pixels).all()


def test_a_folder_is_looked_for_below_the_data_folder_too(folder):
    data = make("imagefolder", path=folder.name)
    data.check(folder.parent, False)
    with pytest.raises(DataError, match=f"no folder {folder.name}, nor"):
        data.check(NOWHERE, False)


def test_statistics_are_of_the_train_images(folder):
    data = load(folder)
    scaled = data.train.images / 255
    assert data.mean == pytest.approx(scaled.mean(axis=(0, 2, 3)))
    assert data.std == pytest.approx(scaled.std(axis=(0, 2, 3)))


def test_a_channel_without_variation_can_still_be_divided_by():
    assert channel_statistics(numpy.full((2, 1, 3, 3), 51, numpy.uint8)) == ((0.2,), (1.0,))


def test_without_test_folder_a_fifth_is_drawn(folder):
    (folder / "test").rename(folder / "unused")
    data = make("imagefolder", path=str(folder))
    split = prepare(data.load(NOWHERE, False), data.params, None, 0)
    assert numpy.bincount(split.test.labels).tolist() == [2, 2]
    assert len(split.train) + len(split.val) == 16


def test_a_val_folder_is_the_validation_part(folder):
    (folder / "test").rename(folder / "val")
    data = make("imagefolder", path=str(folder))
    split = prepare(data.load(NOWHERE, False), data.params, None, 0)
    assert len(split.val) == 6


def test_images_of_different_sizes_become_224(folder):
    picture(folder / "train" / "cat" / "wide.jpg", (8, 20))
    assert load(folder).train.images.shape == (21, 3, 224, 224)


@pytest.mark.parametrize("size", [(10, 40), (41, 10), (5, 5), (3, 2), (7, 9)])
def test_images_are_resized_and_cropped_as_torchvision_does(folder, size):
    file = picture(folder / "train" / "cat" / "0.png", size)
    transforms = torchvision.transforms
    resize = transforms.Compose([transforms.Resize(5), transforms.CenterCrop(5)])
    expected = numpy.asarray(resize(Image.open(file)))
    image = load(folder, size=5).train.images[0]
    assert (image.transpose(1, 2, 0) == expected).all()


def test_other_modes_become_rgb(folder):
    picture(folder / "train" / "cat" / "0.png", mode="L", seed=3)
    picture(folder / "train" / "cat" / "1.png", mode="RGBA", seed=4)
    gray = load(folder).train.images[0]
    assert (gray == numpy.asarray(Image.open(folder / "train" / "cat" / "0.png"))).all()


def test_other_files_are_ignored_and_nested_ones_found(folder):
    before = fingerprint(folder)
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "list.csv").write_text("no class")
    assert fingerprint(folder) == before
    picture(folder / "train" / "cat" / "more" / "x.PNG")
    assert len(load(folder).train.labels) == 21
    assert fingerprint(folder) != before


def test_classes_and_images_may_be_links(folder):
    (folder / "train" / "cat").rename(folder / "cats")
    (folder / "train" / "cat").symlink_to(folder / "cats")
    (folder / "cats" / "0.png").rename(folder / "elsewhere.png")
    (folder / "cats" / "0.png").symlink_to(folder / "elsewhere.png")
    assert len(load(folder).train.labels) == 20


def test_the_fingerprint_is_of_paths_contents_and_classes(folder, tmp_path_factory):
    before = fingerprint(folder)
    moved = folder.rename(tmp_path_factory.mktemp("moved") / "here")
    assert fingerprint(moved) == before
    image = moved / "train" / "cat" / "0.png"
    content = image.read_bytes()
    image.write_bytes(content + b"x")
    longer = fingerprint(moved)
    image.write_bytes(content)
    renamed = image.rename(moved / "train" / "cat" / "new.png")
    other_name = fingerprint(moved)
    renamed.rename(moved / "train" / "dog" / "new.png")
    assert len({before, longer, other_name, fingerprint(moved)}) == 4


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "16 bit"])
def test_an_unreadable_image_is_named(folder, damage):
    file = folder / "test" / "dog" / "2.png"
    if damage == "16 bit":
        Image.fromarray(numpy.full((6, 5), 40_000, dtype=numpy.uint16)).save(file)
    else:
        content = {"garbage": b"no image", "empty": b"", "truncated": file.read_bytes()[:80]}
        file.write_bytes(content[damage])
    with pytest.raises(DataError, match=r"test/dog/2\.png is no readable image: .") as caught:
        load(folder)
    assert str(caught.value).count("2.png") == 1
    assert "unreadable=skip" in str(caught.value)


def test_a_broken_link_is_named(folder):
    (folder / "train" / "cat" / "lost.png").symlink_to(folder / "nowhere.png")
    for call in (load, fingerprint):
        with pytest.raises(DataError, match=r"lost\.png"):
            call(folder)


def test_a_folder_without_train_says_what_is_expected(folder):
    (folder / "train").rename(folder / "training")
    with pytest.raises(DataError, match=r"no folder train/ \(expected train/CLASS/IMAGE\)"):
        fingerprint(folder)


def test_one_class_is_too_few(folder):
    (folder / "train" / "dog").rename(folder / "dog")
    with pytest.raises(DataError, match="1 class folders in"):
        fingerprint(folder)


def test_parts_must_have_the_same_classes(folder):
    picture(folder / "test" / "bird" / "0.png")
    with pytest.raises(DataError, match="only one of train/ and test/ has: bird"):
        make("imagefolder", path=str(folder)).check(NOWHERE, False)


def test_a_class_without_images_is_named(folder):
    for file in (folder / "test" / "dog").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="test/dog holds no image"):
        fingerprint(folder)


def test_images_beyond_memory_are_a_clear_error(folder, monkeypatch):
    from dsd_bench.data import images

    def refuse(shape, dtype):
        raise MemoryError

    monkeypatch.setattr(images.numpy, "empty", refuse)
    with pytest.raises(DataError, match=r"do not fit into memory .*\(20, 3, 6, 5\).*give size="):
        load(folder)
