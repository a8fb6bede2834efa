import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.standardize import Standardizer
from common.errors import UserError


def random_images(seed: int, batches: int) -> list[torch.Tensor]:
    random = np.random.default_rng(seed)
    offset, spread = random.uniform(-300, 300, (4, 1, 1)), 10 ** random.uniform(-1, 2, (4, 1, 1))
    sizes = random.integers(1, 6, (batches, 3))
    return [
        torch.from_numpy((offset + spread * random.normal(size=(n, 4, h, w))).astype(np.float32)) for n, h, w in sizes
    ]


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), batches=st.integers(1, 6), cut=st.integers(0, 6))
def test_two_merged_streams_equal_one_pass_of_numpy(seed: int, batches: int, cut: int) -> None:
    images = random_images(seed, batches)
    first, second = Standardizer(4), Standardizer(4)
    for index, batch in enumerate(images):
        (first if index < cut else second).partial_fit(batch)
    first.merge(second)
    values = np.concatenate([batch.movedim(1, 0).flatten(1).double().numpy() for batch in images], axis=1)
    assert first.count.item() == values.shape[1]
    # Statistics are kept as float32, so a rounding is of the size of the mean.
    tolerance = 1e-5 * np.abs(values).max()
    np.testing.assert_allclose(first.mean.numpy(), values.mean(axis=1), rtol=1e-5, atol=tolerance)
    np.testing.assert_allclose(first.std.numpy(), values.std(axis=1), rtol=1e-4, atol=tolerance)


@given(seed=st.integers(0, 10_000), channel_dim=st.sampled_from([0, 1, -1]))
def test_inverse_gives_the_images_back(seed: int, channel_dim: int) -> None:
    images = random_images(seed, 1)[0].movedim(1, channel_dim)
    standardizer = Standardizer(4)
    standardizer.partial_fit(images, channel_dim)
    standardised = standardizer(images, channel_dim)
    assert torch.allclose(standardizer.inverse(standardised, channel_dim), images, rtol=1e-5, atol=1e-3)


def test_standardised_bytes_have_mean_0_and_deviation_1() -> None:
    images = torch.randint(0, 256, (5, 2, 3, 16, 16), dtype=torch.uint8)
    standardizer = Standardizer()
    standardizer.partial_fit(images)
    standardised = standardizer(images).movedim(2, 0).flatten(1)
    assert standardised.dtype == torch.float32
    assert torch.allclose(standardised.mean(dim=1), torch.zeros(3), atol=1e-5)
    assert torch.allclose(standardised.std(dim=1, correction=0), torch.ones(3), atol=1e-5)


def test_unfitted_it_is_the_identity_and_empty_images_change_nothing() -> None:
    images = torch.rand(2, 3, 4, 5)
    standardizer = Standardizer()
    standardizer.partial_fit(images[:0])
    standardizer.merge(Standardizer())
    assert torch.equal(standardizer(images), images)


def test_a_constant_channel_becomes_0() -> None:
    images = torch.full((2, 3, 4, 4), 7.0)
    standardizer = Standardizer()
    standardizer.partial_fit(images)
    assert not standardizer(images).any()
    assert torch.equal(standardizer.inverse(standardizer(images)), images)


def test_known_statistics_live_in_the_checkpoint() -> None:
    given_statistics = Standardizer.from_statistics([1.0, 2.0], [3.0, 4.0])
    loaded = Standardizer(2)
    loaded.load_state_dict(copy.deepcopy(given_statistics.state_dict()))
    images = torch.tensor([4.0, 6.0]).view(1, 2, 1, 1)
    assert torch.equal(loaded(images), torch.ones(1, 2, 1, 1))
    loaded.partial_fit(torch.arange(8.0).view(1, 2, 2, 2))
    assert loaded.mean.tolist() == [1.5, 5.5]


def test_another_number_of_channels_is_named() -> None:
    with pytest.raises(UserError, match="4 channels, standardizer for 3"):
        Standardizer().partial_fit(torch.zeros(2, 4, 5, 5))
