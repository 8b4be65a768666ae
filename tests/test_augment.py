"""Augmentation: drawn for each image, from the run's own stream, on small and grey images too."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsd_bench.data.transforms import cutout, random_flip, random_shift
from dsd_bench.errors import RunError, UsageError
from dsd_bench.params import validate
from dsd_bench.regularizers import TrainingView
from dsd_bench.regularizers.augment import Augment
from dsd_bench.regularizers.builtin import TORCHVISION_POLICIES, AugmentParams

TIMM = ("rand-m9-mstd0.5-inc1", "rand", "augmix-m3-w3", "original", "v0", "3a", "rand-tweights-n3")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=5):
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator(seed))


def augment(policy, seed=0, **values):
    made = Augment(validate(AugmentParams, {"policy": policy, **values}, "augment"))
    made.begin(TrainingView(torch.nn.Identity(), 0, torch.device("cpu"), generator(seed)))
    return made


# --- batched --------------------------------------------------------------------------------

shapes = st.tuples(*(st.integers(1, 6), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


@given(shapes, st.integers(0, 5), st.integers(0, 99))
def test_each_shifted_image_is_a_crop_of_the_padded_one(shape, pixels, seed):
    images = noise(*shape)
    shifted = random_shift(images, pixels, generator(seed))
    down, across = torch.randint(2 * pixels + 1, (2, len(images)), generator=generator(seed))
    height, width = shape[2:]
    for index, image in enumerate(images):
        padded = numpy.pad(image.numpy(), [(0, 0), (pixels, pixels), (pixels, pixels)])
        y, x = int(down[index]), int(across[index])
        assert numpy.array_equal(shifted[index], padded[:, y : y + height, x : x + width])
    assert shifted.dtype == torch.uint8


def test_shifts_are_uniform_and_drawn_for_each_image():
    images = torch.zeros(9000, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 1
    counts = random_shift(images, 1, generator()).sum(0)[0]
    assert counts.sum() == 9000
    assert counts[1:4, 1:4].sub(1000).abs().max() < 150


def test_flip_mirrors_half_of_the_images_and_leaves_the_others():
    images = noise(1000, 2, 3, 4)
    flipped = random_flip(images, generator())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert 430 < int(same.sum()) < 570


@given(shapes, st.integers(1, 9), st.integers(0, 99))
def test_cutout_is_one_clipped_square_around_a_pixel(shape, size, seed):
    images = torch.zeros(shape, dtype=torch.uint8)
    rows = torch.randint(shape[2], (len(images), 1), generator=(draw := generator(seed)))
    columns = torch.randint(shape[3], (len(images), 1), generator=draw)
    expected = images.clone()
    for image, row, column in zip(expected, rows.flatten(), columns.flatten()):
        top, left = int(row) - size // 2, int(column) - size // 2
        image[:, max(top, 0) : top + size, max(left, 0) : left + size] = 128
    assert torch.equal(cutout(images, size, generator(seed)), expected)


def test_cutouts_centre_is_uniform():
    greyed = cutout(torch.zeros(6400, 1, 8, 8, dtype=torch.uint8), 1, generator()) == 128
    assert greyed.sum((0, 1)).sub(100).abs().max() < 50


def test_batched_augmentations_leave_their_input_alone():
    images = noise(4, 3, 8, 8)
    before = images.clone()
    augment("flip+shift+cutout").batch(images)
    assert torch.equal(images, before)


# --- the chain ------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "pixels"), [(8, 4), (32, 16)])
def test_cutout_is_relative_to_the_image(side, pixels):
    images = torch.zeros(300, 1, side, side, dtype=torch.uint8)
    areas = augment("cutout").batch(images).eq(128).sum((1, 2, 3))
    assert areas.max() == pixels**2


def test_the_chain_runs_in_order():
    images = noise(8, 1, 8, 8)
    draw = generator(3)
    expected = cutout(random_flip(images, draw), 4, draw)
    assert torch.equal(augment("flip+cutout", seed=3).batch(images), expected)


@pytest.mark.parametrize("policy", [*TORCHVISION_POLICIES, *TIMM])
@pytest.mark.parametrize("shape", [(16, 1, 8, 8), (8, 3, 32, 32)])
def test_every_policy_keeps_shape_and_type_and_draws_for_each_image(policy, shape):
    image = noise(1, *shape[1:])
    images = image.expand(shape)
    results = augment(policy).batch(images)
    assert results.shape == shape
    assert results.dtype == torch.uint8
    assert len({tuple(result.flatten().tolist()) for result in results}) > 2


@pytest.mark.parametrize("policy", ["autoaugment+cutout", "augmix", "rand-m9-mstd0.5-inc1"])
def test_draws_come_from_the_runs_stream_alone(policy):
    images = noise(8, 3, 8, 8)
    first, second, other = augment(policy), augment(policy), augment(policy, seed=1)
    expected = [first.batch(images) for _ in range(2)]
    torch.manual_seed(99)
    random.seed(99)
    numpy.random.seed(99)
    again = [second.batch(images) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(expected, again))
    assert not torch.equal(*expected)
    assert not torch.equal(other.batch(images), expected[0])


@pytest.mark.parametrize("policy", ["randaugment", "rand-m9-mstd0.5-inc1", "augmix-m3-w3"])
def test_global_generators_stay_as_they_were(policy):
    made, images = augment(policy), noise(8, 3, 8, 8)
    torch.manual_seed(1)
    random.seed(1)
    numpy.random.seed(1)
    expected = torch.rand(1).item(), random.random(), numpy.random.rand()
    torch.manual_seed(1)
    random.seed(1)
    numpy.random.seed(1)
    made.batch(images)
    assert (torch.rand(1).item(), random.random(), numpy.random.rand()) == expected


def test_grey_images_fare_as_grey_images_in_rgb():
    grey = noise(16, 1, 8, 8)
    results = augment("rand-m9-mstd0.5-inc1").batch(grey)
    in_rgb = augment("rand-m9-mstd0.5-inc1").batch(grey.expand(-1, 3, -1, -1))
    assert torch.equal(results.expand(-1, 3, -1, -1), in_rgb)


def test_posterizing_to_no_bits_is_black():
    strongest = augment("rand-m10-inc1-p1-n9")  # newer Pillows refuse what timm asks for here
    results = strongest.batch(noise(64, 3, 8, 8))
    assert results.shape == (64, 3, 8, 8)


def test_policies_of_the_libraries_need_one_or_three_channels():
    with pytest.raises(RunError, match="1 or 3 channels, images have 4"):
        augment("augmix").batch(noise(2, 4, 8, 8))


def test_default_is_the_papers():
    assert AugmentParams().policy == "autoaugment+cutout"
    assert AugmentParams().cutout_size == 0.5
    assert Augment.augments


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("autoagument", "unknown policy 'autoagument'; did you mean 'autoaugment'"),
        ("cutout+", "unknown policy ''"),
        ("rand-x3", "unknown policy 'rand-x3'"),
        ("flip+original-m3", "unknown policy 'original-m3'"),
    ],
)
def test_unknown_policies_are_named(policy, words):
    with pytest.raises(UsageError, match=words) as caught:
        augment(policy)
    assert "randaugment" in str(caught.value)


def test_batched_policies_import_neither_torchvision_nor_timm():
    code = (
        "import sys; from dsd_bench.regularizers.builtin import AugmentParams;"
        "assert 'torch' not in sys.modules;"
        "from dsd_bench.regularizers.augment import Augment;"
        "Augment(AugmentParams(policy='flip+shift+cutout'));"
        "assert not {'torchvision', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
