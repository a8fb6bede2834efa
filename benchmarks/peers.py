"""Caches that others use in front of a decoder, each as a dataset for torch's DataLoader."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from common.data.plan import EpochSampler

Read = Callable[[int], np.ndarray]

warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # torch copies it at once


class Room(NamedTuple):
    """What a peer may use.

    Attributes:
        count: number of records.
        record_bytes: of each.
        budget: bytes of all processes together.
        processes: that hold a cache of their own, if caches are not shared.
        folder: in memory, for caches of files.
        warm: everything fits and is put in before the workers are forked, so that they share it.
    """

    count: int
    record_bytes: int
    budget: int
    processes: int
    folder: Path
    warm: bool


class DictCache(Dataset[np.ndarray]):
    """A dict in each process; takes what comes until it is full."""

    def __init__(self, read: Read, room: Room) -> None:
        self.read, self.count, self.held = read, room.count, dict[int, np.ndarray]()
        self.most = room.count if room.warm else room.budget // room.processes // room.record_bytes
        if room.warm:
            self.held = {number: read(number) for number in range(room.count)}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> np.ndarray:
        record = self.held.get(number)
        if record is None:
            record = self.read(number)
            if len(self.held) < self.most:
                self.held[number] = record
        return record


class LruCache(Dataset[np.ndarray]):
    """cachetools.LRUCache in each process, bounded in bytes."""

    def __init__(self, read: Read, room: Room) -> None:
        self.read, self.count = read, room.count
        most = room.budget if room.warm else room.budget // room.processes
        self.held = import_module("cachetools").LRUCache(maxsize=most, getsizeof=lambda record: record.nbytes)
        if room.warm:
            self.held.update({number: read(number) for number in range(room.count)})

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> np.ndarray:
        record = self.held.get(number)
        if record is None:
            record = self.held[number] = self.read(number)
        return record


class DiskCache(Dataset[np.ndarray]):
    """diskcache.Cache in shared memory, one for all processes, bounded in bytes.

    Records are put in as bytes: pickled arrays would be copied once more. Its default policy writes nothing at a hit
    and, where an epoch reads each record once, finds no less than its others.
    """

    def __init__(self, read: Read, room: Room) -> None:
        self.read, self.count = read, room.count
        self.shape = read(0).shape
        slack = 64 << 20 if room.warm else 0  # of its data base
        folder = str(room.folder / "diskcache")
        self.held = import_module("diskcache").Cache(folder, size_limit=room.budget + slack)
        if room.warm:
            for number in range(room.count):
                self.held.set(number, read(number).tobytes())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> np.ndarray:
        found = self.held.get(number)
        if found is not None:
            return np.frombuffer(found, dtype=np.uint8).reshape(self.shape)
        record = self.read(number)
        self.held.set(number, record.tobytes())
        return record


class Memmap(Dataset[np.ndarray]):
    """np.memmap of all decoded records; `read` is `frames.Decoded`."""

    def __init__(self, read: Any, room: Room) -> None:
        self.read, self.count = read, room.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> np.ndarray:
        record: np.ndarray = self.read.frames[number]
        return record


class Windows(Dataset[np.ndarray]):
    """Neighbouring records of another dataset."""

    def __init__(self, records: Dataset[np.ndarray], span: int) -> None:
        self.records, self.span = records, span

    def __len__(self) -> int:
        return len(self.records) - self.span + 1  # type: ignore[arg-type]

    def __getitem__(self, number: int) -> np.ndarray:
        return np.stack([self.records[number + step] for step in range(self.span)])


def monai_cache(read: Read, room: Room) -> Dataset[np.ndarray]:
    """MONAI's CacheDataset: the first records, decoded before the workers are forked, which share them."""
    transform = import_module("monai.transforms")

    class Decode(transform.Transform):  # type: ignore[name-defined,misc]
        def __call__(self, number: int) -> np.ndarray:
            return read(number)

    dataset: Dataset[np.ndarray] = import_module("monai.data").CacheDataset(
        range(room.count),
        transform.Compose([Decode()]),
        cache_num=min(room.count, room.budget // room.record_bytes),
        num_workers=2,
        progress=False,
        copy_cache=False,  # its own advice where nothing changes what is cached
    )
    return dataset


class Peer(NamedTuple):
    """How to make one.

    Attributes:
        module: it needs.
        partial: makes sense where not everything fits.
        slow: to import.
    """

    make: Callable[[Any, Room], Dataset[np.ndarray]]
    module: str
    partial: bool = True
    slow: bool = False


PEERS: Mapping[str, Peer] = {
    "dict": Peer(DictCache, "torch"),
    "cachetools": Peer(LruCache, "cachetools"),
    "MONAI CacheDataset": Peer(monai_cache, "monai.data", slow=True),
    "diskcache": Peer(DiskCache, "diskcache"),
    "np.memmap": Peer(Memmap, "numpy", partial=False),
}


def installed(*, quick: bool) -> list[str]:
    """The peers to measure, imported; those that are left out are named."""
    names = list[str]()
    for name, peer in PEERS.items():
        package = peer.module.partition(".")[0]
        if find_spec(package) is None:
            print(f"not measured: {name}: {package} is not installed; `pip install -e '.[bench]'` brings all peers")
        elif quick and peer.slow:
            print(f"not measured: {name}: --quick does not wait for its import")
        else:
            import_module(peer.module)
            names.append(name)
    return names


def loader(dataset: Dataset[np.ndarray], sampler: EpochSampler, *, batch: int, workers: int) -> DataLoader[Any]:
    """Torch's loader in its best configuration: workers are forked once and stay."""
    context = "fork" if workers else None
    return DataLoader(
        dataset,
        batch_size=batch,
        sampler=_Numbers(sampler),
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=context,
    )


class _Numbers:
    """The order without the epoch, which these datasets have no use for."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> Any:
        return iter(self.sampler.indices().tolist())

    def __len__(self) -> int:
        return len(self.sampler)
