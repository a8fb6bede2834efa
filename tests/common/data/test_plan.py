import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.data.plan import EpochSampler, epoch_order, sample_seeds


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(100, seed=3, epoch=5)
    assert sorted(first.tolist()) == list(range(100))
    np.testing.assert_array_equal(first, epoch_order(100, seed=3, epoch=5))
    assert (first != epoch_order(100, seed=3, epoch=6)).any()
    assert (first != epoch_order(100, seed=4, epoch=5)).any()


@given(length=st.integers(0, 60), world=st.integers(1, 5), shuffle=st.booleans())
def test_exact_shards_hold_each_sample_once(length: int, world: int, shuffle: bool) -> None:
    shards = [list(EpochSampler(length, shuffle=shuffle, rank=rank, world=world)) for rank in range(world)]
    assert sorted(index for shard in shards for _, index in shard) == list(range(length))
    assert [len(shard) for shard in shards] == [
        len(EpochSampler(length, shuffle=shuffle, rank=rank, world=world)) for rank in range(world)
    ]


@given(length=st.integers(0, 60), world=st.integers(1, 5))
def test_equal_shards_have_one_length_and_no_sample_twice(length: int, world: int) -> None:
    shards = [list(EpochSampler(length, shuffle=True, rank=rank, world=world, equal=True)) for rank in range(world)]
    indices = [index for shard in shards for _, index in shard]
    assert {len(shard) for shard in shards} == {length // world}
    assert len(set(indices)) == len(indices)


def test_sampler_follows_the_epoch() -> None:
    sampler = EpochSampler(20, shuffle=True)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    assert [index for _, index in first] != [index for _, index in second]


def test_sample_seeds_differ_in_every_argument() -> None:
    indices = np.arange(50)
    seeds = np.concatenate([sample_seeds(indices, seed=s, epoch=e) for s in range(4) for e in range(4)])
    assert len(np.unique(seeds)) == 4 * 4 * 50
    assert seeds.min() >= 0
    np.testing.assert_array_equal(
        sample_seeds(indices[::-1], seed=1, epoch=2), sample_seeds(indices, seed=1, epoch=2)[::-1]
    )
