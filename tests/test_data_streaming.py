"""Images that stay files: decoding, random boxes, prefetching, and whole runs on them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import fakes
import numpy
import pytest
import scipy.stats
import torch
import torchvision
from fakes import InMemoryStore
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsd_bench import RunConfig, configure, run
from dsd_bench.data import RawData, Samples, images
from dsd_bench.data.files import ImageFiles
from dsd_bench.data.images import decode, decode_box, each, random_box, read_images, settle
from dsd_bench.data.on_device import DeviceData
from dsd_bench.data.prepare import DatasetParams, prepare
from dsd_bench.data.statistics import channel_statistics
from dsd_bench.data.streamed import StreamedPart
from dsd_bench.errors import DataError, Interrupted
from dsd_bench.experiment import assemble
from dsd_bench.experiment.protocol import Run
from dsd_bench.training import device

transforms = torchvision.transforms


def stream(seed=0):
    return numpy.random.default_rng(seed)


@pytest.fixture
def files(tmp_path) -> ImageFiles:
    """Twelve images of different sizes."""
    for number in range(12):
        fakes.picture(tmp_path / f"{number}.png", (40 + 3 * number, 60 - 2 * number), seed=number)
    return ImageFiles.of(tmp_path, [f"{number}.png" for number in range(12)], (16, 16), (20, 20))


def streamed(files, workers=2, crop=True) -> StreamedPart:
    labels = torch.arange(len(files))
    return StreamedPart(files, labels, labels, crop=crop, workers=workers)


# --- one image ------------------------------------------------------------------------------


def test_files_measure_and_index_like_their_array(files):
    array = read_images(files)
    chosen = numpy.array([7, 2, 2])
    for ours, theirs in (
        (files, array),
        (files[chosen], array[chosen]),
        (files[3:5], array[3:5]),
        (files[chosen][numpy.array([0, 2])], array[[7, 2]]),
    ):
        assert (ours.shape, ours.dtype, ours.ndim) == (theirs.shape, theirs.dtype, theirs.ndim)
        assert (len(ours), ours.nbytes) == (len(theirs), theirs.nbytes)
        assert (read_images(ours) == theirs).all()
        assert (numpy.stack(list(each(ours))) == theirs).all()


def test_images_are_measured_as_torchvisions_models_are(files):
    whole = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(16)])
    for place in range(len(files)):
        expected = numpy.asarray(whole(Image.open(files.path(place))))
        assert (decode(files, place).transpose(1, 2, 0) == expected).all()


@pytest.mark.parametrize("seed", range(12))
def test_a_box_is_cut_resized_and_mirrored_as_torchvision_does(files, seed):
    found = decode_box(files, seed, stream(seed))
    image, draw = Image.open(files.path(seed)), stream(seed)
    box = random_box((image.height, image.width), draw)
    expected = transforms.functional.resized_crop(image, *box, [16, 16])
    if draw.random() < 0.5:
        expected = transforms.functional.hflip(expected)
    assert (found.transpose(1, 2, 0) == numpy.asarray(expected)).all()


def test_half_of_the_boxes_are_mirrored(tmp_path):
    ramp = numpy.tile(numpy.arange(64, dtype=numpy.uint8) * 4, (64, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    files = ImageFiles.of(tmp_path, ["ramp.png"], (8, 8))
    boxes = [decode_box(files, 0, stream(seed)).astype(int) for seed in range(300)]
    mirrored = sum(box[0, 0, 0] > box[0, 0, -1] for box in boxes)
    assert 120 < mirrored < 180


@given(high=st.integers(1, 300), wide=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_boxes_lie_within_the_image(high, wide, seed):
    top, left, height, width = random_box((high, wide), stream(seed))
    assert 0 <= top <= top + height <= high
    assert 0 <= left <= left + width <= wide
    assert height >= 1
    assert width >= 1


def test_boxes_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    image, count = torch.empty(3, 90, 140), 4000
    get = transforms.RandomResizedCrop.get_params
    theirs = numpy.array([get(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)])
    draw = stream()
    ours = numpy.array([random_box((90, 140), draw) for _ in range(count)])
    for mine, other in zip(ours.T, theirs.T):
        assert scipy.stats.ks_2samp(mine, other).pvalue > 0.001
    areas, their_areas = (boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs))
    assert scipy.stats.ks_2samp(areas, their_areas).pvalue > 0.001


@pytest.mark.parametrize("size", [(4, 400), (400, 4)])
def test_where_no_box_fits_it_is_torchvisions_central_one(size):
    get = transforms.RandomResizedCrop.get_params
    expected = get(torch.empty(3, *size), [0.08, 1.0], [3 / 4, 4 / 3])
    assert random_box(size, stream()) == tuple(expected)


# --- batches --------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [True, False])
def test_batches_do_not_depend_on_the_number_of_threads(files, crop):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    one, many = (
        list(streamed(files, workers, crop).batches(order, 5, 0, 77)) for workers in (1, 7)
    )
    assert [len(batch) for batch in one] == [5, 5, 2]
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_an_epoch_can_be_taken_up_at_any_batch(files):
    order, part = torch.arange(11, -1, -1), streamed(files)
    whole = list(part.batches(order, 5, 0, 1))
    for first in (1, 2, 3):
        rest = list(part.batches(order, 5, first, 1))
        assert len(rest) == 3 - first
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[first:], strict=True))


def test_what_an_image_becomes_depends_on_key_and_place_alone(files):
    part = streamed(files)
    (first,), (other_key,) = (list(part.batches(torch.arange(12), 12, 0, key)) for key in (1, 2))
    assert (first != other_key).any()
    twice = torch.zeros(2, dtype=torch.int64)
    (same_image,) = part.batches(twice, 2, 0, 1)
    assert (same_image[0] != same_image[1]).any()
    assert torch.equal(same_image[0], first[0])
    large = next(part.batches(twice, 2, 0, 2**63 - 1))
    assert large.shape == (2, 3, 16, 16)


def test_without_boxes_and_for_measuring_images_come_as_they_are(files):
    everything = torch.from_numpy(read_images(files))
    order = torch.tensor([3, 3, 0, 11])
    plain = streamed(files, crop=False)
    assert torch.equal(torch.cat(list(plain.batches(order, 3, 0, 5))), everything[order])
    for part in (plain, streamed(files)):
        assert torch.equal(part.gather(order), everything[order])
        chunks = list(part.chunks(5))
        assert [len(chunk) for chunk in chunks] == [5, 5, 2]
        assert torch.equal(torch.cat(chunks), everything)
    assert plain.streamed
    assert plain.shape == (3, 16, 16)


def test_few_batches_are_decoded_ahead_and_threads_end(files, monkeypatch):
    many = files[numpy.zeros(400, dtype=numpy.int64)]
    count, real, before = [], images.decode, set(threading.enumerate())

    def counting(*words):
        count.append(words)
        return real(*words)

    monkeypatch.setattr(images, "decode", counting)
    batches = streamed(many, workers=2, crop=False).chunks(10)
    next(batches)
    until = time.monotonic() + 60
    while len(count) <= 20 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.2)
    assert 20 < len(count) <= 30
    batches.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before
    assert len(count) <= 30


def test_a_damaged_image_ends_the_epoch_with_its_name(files):
    files.path(8).write_bytes(b"no image")
    part = streamed(files)
    batches = part.batches(torch.arange(12), 4, 0, 0)
    assert len(next(batches)) == len(next(batches)) == 4
    with pytest.raises(DataError, match=r"8\.png is no readable image"):
        next(batches)


# --- sets -----------------------------------------------------------------------------------


def test_a_set_stays_files_above_the_limit_of_all_its_parts(files, monkeypatch):
    parts = {"train": files, "test": files[:6]}
    monkeypatch.setattr(images, "LIMIT", 18 * 3 * 16 * 16)
    assert all(isinstance(found, numpy.ndarray) for found in settle(parts).values())
    monkeypatch.setattr(images, "LIMIT", 18 * 3 * 16 * 16 - 1)
    assert settle(parts) == parts


def test_statistics_of_files_are_those_of_their_pixels(files):
    assert channel_statistics(files) == channel_statistics(read_images(files))


def test_split_and_place_leave_files_unread(files, monkeypatch):
    monkeypatch.setattr(images, "_read", None)
    labels = numpy.arange(12) % 2
    raw = RawData(Samples(files, labels), Samples(files[:4], labels[:4]), 2, (0,) * 3, (1,) * 3,
                  crop=True)  # fmt: skip
    for transform, crop in (("standard", True), ("none", False)):
        split = prepare(raw, DatasetParams(val_size=2, transform=transform), None, 0)
        data = DeviceData.from_prepared(split, torch.device("cpu"), torch.contiguous_format)
        assert (len(data.train), len(data.val), len(data.test)) == (10, 2, 4)
        assert (data.train.crop, data.test.crop, data.transforms) == (crop, False, crop)  # type: ignore[attr-defined]
        assert data.shape == (3, 16, 16)


def test_boxes_need_files():
    pixels = Samples(numpy.zeros((4, 3, 2, 2), numpy.uint8), numpy.arange(4) % 2)
    with pytest.raises(DataError, match="crop=True is for image files"):
        prepare(RawData(pixels, pixels, 2, (0,) * 3, (1,) * 3, crop=True), DatasetParams(), None, 0)


def configuration(dataset: str, data_dir: Path) -> RunConfig:
    options = {"model": "mlp:hidden=4", "rounds": 1, "epochs": 2, "batch_size": 4}
    return configure(dataset=dataset, data_dir=str(data_dir), **options)


def rows(dataset: str, runs: Path):
    return run(configuration(dataset, runs.parent), runs_dir=runs, data_dir=runs.parent).rows


def test_a_streamed_run_has_the_rows_of_a_resident_one(folder, monkeypatch):
    word = f"imagefolder:{folder}"
    resident = rows(word, folder / "resident")
    monkeypatch.setattr(images, "LIMIT", 0)
    assemble._raw.cache_clear()
    assert rows(word, folder / "streamed") == resident
    assemble._raw.cache_clear()


class Impatient:
    """A watcher that asks to stop after some questions."""

    def __init__(self, patience):
        self.left = patience

    def stopping(self):
        self.left -= 1
        return self.left < 0

    def __getattr__(self, name):
        return lambda *words: None


@pytest.mark.parametrize("patience", [2, 6, 12])
def test_a_run_on_boxes_goes_on_within_an_epoch(tmp_path, monkeypatch, patience):
    fakes.imagenet(tmp_path, monkeypatch)
    expected = rows("imagenet:val_size=3", tmp_path / "whole")
    config = configuration("imagenet:val_size=3", tmp_path)
    memory = InMemoryStore()

    def follow(workers, patience):
        monkeypatch.setattr(images, "workers", lambda: workers)
        place = device.make_context("cpu", 1, False, "fp32")
        experiment, _ = assemble.assemble(config, place, assemble.Sources(tmp_path, tmp_path))
        found = Run(experiment, memory, Impatient(patience))
        found.follow()
        return found.rows

    with pytest.raises(Interrupted, match="epoch"):
        follow(3, patience)
    found = [{k: v for k, v in row.items() if k != "correct"} for row in follow(1, 10**9)]
    assert tuple(found) == expected


def test_a_run_on_boxes_repeats_whatever_the_number_of_threads(tmp_path, monkeypatch):
    fakes.imagenet(tmp_path, monkeypatch)
    found = []
    for workers in (1, 5):
        monkeypatch.setattr(images, "workers", lambda count=workers: count)
        found.append(rows("imagenet:val_size=3", tmp_path / f"runs{workers}"))
    assert found[0] == found[1]
    plain = rows("imagenet:val_size=3,transform=none", tmp_path / "plain")
    assert plain[0]["train_loss"] != found[0][0]["train_loss"]
