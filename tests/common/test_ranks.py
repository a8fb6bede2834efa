from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from common import ranks
from common.ranks import gather_from_ranks, sum_over_ranks


def test_a_single_process_gets_its_own_values() -> None:
    assert sum_over_ranks([3, -1]) == [3, -1]
    assert gather_from_ranks({"a": 1}) == [{"a": 1}]


def exchange(rank: int, folder: Path, beside_another_backend: bool) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}-{beside_another_backend}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    if beside_another_backend:
        ranks.distributed.get_backend = lambda: "nccl"  # whose collectives take no CPU tensor
    first = sum_over_ranks([rank, 2**40, -rank]), gather_from_ranks({"rank": rank}), sum_over_ranks([])
    groups = [id(group) for group in ranks._groups.values()]
    second = sum_over_ranks([1])
    assert first == ([1, 2**41, -1], [{"rank": 0}, {"rank": 1}], [])
    assert second == [2]
    assert len(groups) == int(beside_another_backend)
    assert [id(group) for group in ranks._groups.values()] == groups, "one group serves all calls"
    (folder / f"{rank}-{beside_another_backend}").touch()
    distributed.barrier()  # gloo may abort where the other process is gone already
    distributed.destroy_process_group()


def both(rank: int, folder: Path) -> None:
    exchange(rank, folder, False)
    exchange(rank, folder, True)


def test_two_processes_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.start_processes(both, (tmp_path,), nprocs=2, start_method="fork")  # spawned, each imports torch
    assert len(list(tmp_path.glob("[01]-*"))) == 4
