import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.plan import NEVER, EpochSampler, ReadPlan, epoch_order, sample_seeds


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(100, seed=3, epoch=5)
    assert sorted(first.tolist()) == list(range(100))
    np.testing.assert_array_equal(first, epoch_order(100, seed=3, epoch=5))
    assert (first != epoch_order(100, seed=3, epoch=6)).any()
    assert (first != epoch_order(100, seed=4, epoch=5)).any()


@given(length=st.integers(0, 60), world=st.integers(1, 5), shuffle=st.booleans())
def test_padded_shards_have_one_length_and_each_sample_valid_once(length: int, world: int, shuffle: bool) -> None:
    samplers = [EpochSampler(length, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
    assert {len(sampler) for sampler in samplers} == {math.ceil(length / world)}
    valid = []
    for sampler in samplers:
        indices = sampler.indices()
        assert len(indices) == len(sampler.valid()) == len(sampler)
        assert [index for _, index in sampler] == indices.tolist()
        assert set(indices.tolist()) <= set(range(length))
        valid += indices[sampler.valid()].tolist()
    assert sorted(valid) == list(range(length))


def test_five_samples_on_three_ranks() -> None:
    samplers = [EpochSampler(5, shuffle=False, rank=rank, world=3) for rank in range(3)]
    assert [sampler.indices().tolist() for sampler in samplers] == [[0, 3], [1, 4], [2, 4]]
    assert [sampler.valid().tolist() for sampler in samplers] == [[True, True], [True, True], [True, False]]
    alone = [EpochSampler(1, shuffle=False, rank=rank, world=3) for rank in range(3)]
    assert [sampler.indices().tolist() for sampler in alone] == [[0], [0], [0]]
    assert [sampler.valid().tolist() for sampler in alone] == [[True], [False], [False]]


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


def reads_by_hand(plan: ReadPlan, records: int) -> list[list[int]]:
    """The times of each record's reads in three epochs, from the definition."""
    sampler, times = plan.sampler, [list[int]() for _ in range(records)]
    length = sampler.length
    for epoch in range(3):
        for place, index in enumerate(sampler.order(epoch).tolist()):
            dropped = sampler.equal and place >= length // sampler.world * sampler.world
            padding = not sampler.equal and place == length - 1 and max(plan.ranks) > place % sampler.world
            if not dropped and (place % sampler.world in plan.ranks or padding):
                for record in plan.reads[index].tolist():
                    times[record].append(epoch * length + place)
    return times


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("world", "ranks"), [(1, None), (4, None), (4, range(2, 4))])
def test_the_next_use_is_the_next_read(shuffle: bool, world: int, ranks: range | None, tmp_path: Path) -> None:
    length, records = 37, 20
    reads = np.random.default_rng(0).integers(0, records, (length, 3))
    plan = ReadPlan(reads, EpochSampler(length, seed=1, shuffle=shuffle, world=world, equal=shuffle), ranks=ranks)
    plan.share(tmp_path / "slab")
    expected = reads_by_hand(plan, records)
    for time in range(-1, 2 * length):
        horizon = (max(time, 0) // length + 2) * length
        found = plan.next_use(np.arange(records), np.full(records, time))
        for record in range(records):
            later = [read for read in expected[record] if time < read < horizon]
            assert found[record] == (later[0] if later else NEVER)


def test_the_time_of_a_read_is_its_place_in_its_epoch() -> None:
    plan = ReadPlan(np.arange(30)[:, None], EpochSampler(30, shuffle=True, seed=4))
    for epoch in range(3):
        order = plan.sampler.order(epoch)
        assert plan.times(epoch, order).tolist() == list(range(30 * epoch, 30 * epoch + 30))


def test_plans_are_left_for_the_node_and_then_removed(tmp_path: Path) -> None:
    plan = ReadPlan(np.arange(30)[:, None], EpochSampler(30, shuffle=True))
    plan.share(tmp_path / "slab")
    other = ReadPlan(plan.reads, plan.sampler)
    other.share(tmp_path / "slab")
    for epoch in range(4):
        plan.announce(epoch)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert [name.rpartition("-")[2] for name in names] == [f"{epoch}.npy", f"{epoch + 1}.npy", "marks"]
        assert all(name.startswith("slab.plan-") for name in names)
        times = np.full(30, 30 * epoch + 5)
        np.testing.assert_array_equal(other.next_use(np.arange(30), times), plan.next_use(np.arange(30), times))


def test_a_plan_without_room_for_it_is_made_by_each(tmp_path: Path) -> None:
    plan = ReadPlan(np.arange(30)[:, None], EpochSampler(30, shuffle=True))
    plan.share(tmp_path / "gone" / "slab")
    plan.announce(0)
    assert (plan.next_use(np.arange(30), np.full(30, -1)) == plan.times(0, np.arange(30))).all()


def test_a_rank_without_samples_plans_nothing_and_one_with_padding_plans_that() -> None:
    zero, ranks = np.array([0]), range(1, 2)
    training = EpochSampler(1, shuffle=True, world=2, equal=True)
    assert ReadPlan(zero[:, None], training, ranks=ranks).next_use(zero, zero).tolist() == [NEVER]
    padded = EpochSampler(1, shuffle=False, world=2)
    assert ReadPlan(zero[:, None], padded, ranks=ranks).next_use(zero, zero).tolist() == [1]


def test_a_read_that_was_marked_is_passed_over(tmp_path: Path) -> None:
    plan = ReadPlan(np.array([[0], [1], [0], [0], [1]]), EpochSampler(5, shuffle=False), in_flight=3)
    plan.share(tmp_path / "slab")
    other = ReadPlan(plan.reads, plan.sampler, in_flight=3)
    other.share(tmp_path / "slab")
    both = np.array([0, 1])
    assert plan.pending(both, 8).tolist() == [5, 6]  # not read yet, as far as anybody said
    other.mark(np.array([5, 7]))
    assert plan.pending(both, 8).tolist() == [8, 6]
    other.mark(np.array([6]))
    assert plan.pending(both, 8).tolist() == [8, 9]
    plan.mark(np.array([8]))
    assert plan.pending(both, 9).tolist() == [10, 9]
    plan.announce(1)  # the epoch begins again
    assert plan.pending(both, 8).tolist() == [5, 6]
