"""Replacement policies to compare with, written to be obviously right, and the best any policy can do.

Each takes the reads in order (record numbers), the records' sizes and the capacity in the unit of the sizes, and gives
for each read how much of the record was there: 0 or its size; for `belady_min` anything between. With every size 1
these are hits, and the capacity is a number of records.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush

NEVER = 1 << 62

Policy = Callable[[Sequence[int], Sequence[int], int], list[int]]


def lru(reads: Sequence[int], sizes: Sequence[int], capacity: int) -> list[int]:
    """Least recently used goes first."""
    held, free, found = OrderedDict[int, None](), capacity, list[int]()
    for record in reads:
        size = sizes[record]
        found.append(size if record in held else 0)
        if record in held:
            held.move_to_end(record)
        elif size <= capacity:
            while free < size:
                victim, _ = held.popitem(last=False)
                free += sizes[victim]
            held[record] = None
            free -= size
    return found


def fifo(reads: Sequence[int], sizes: Sequence[int], capacity: int) -> list[int]:
    """What was put in first goes first, hit or not."""
    queue, held, free, found = deque[int](), set[int](), capacity, list[int]()
    for record in reads:
        size = sizes[record]
        found.append(size if record in held else 0)
        if record not in held and size <= capacity:
            while free < size:
                victim = queue.popleft()
                held.remove(victim)
                free += sizes[victim]
            queue.append(record)
            held.add(record)
            free -= size
    return found


def second_chance(reads: Sequence[int], sizes: Sequence[int], capacity: int) -> list[int]:
    """The textbook's clock: a bit per record, set when it is loaded and when it is hit.

    The hand takes the first record without the bit and clears the bits it passes. The front of the queue is the record
    at the hand, its end the one the hand passed last.
    """
    clock, referenced, free, found = deque[int](), dict[int, bool](), capacity, list[int]()
    for record in reads:
        size = sizes[record]
        found.append(size if record in referenced else 0)
        if record in referenced:
            referenced[record] = True
        elif size <= capacity:
            while free < size:
                victim = clock.popleft()
                if referenced[victim]:
                    referenced[victim] = False
                    clock.append(victim)
                else:
                    del referenced[victim]
                    free += sizes[victim]
            clock.append(record)
            referenced[record] = True
            free -= size
    return found


def never_evict(reads: Sequence[int], sizes: Sequence[int], capacity: int) -> list[int]:
    """Fills up and stays as it is (MinIO; Mohan et al., Analyzing and Mitigating Data Stalls, VLDB 2021)."""
    held, free, found = set[int](), capacity, list[int]()
    for record in reads:
        size = sizes[record]
        found.append(size if record in held else 0)
        if record not in held and size <= free:
            held.add(record)
            free -= size
    return found


def belady_min(reads: Sequence[int], sizes: Sequence[int], capacity: int) -> list[int]:
    """Belady's MIN with bypass, the whole future known: what is read again last makes room, or is not put in.

    A record may be held in part. That is MIN on pages of size 1 (a record's pages are read one after the other), which
    no policy on pages beats; holding whole records only is a special case of it. So the sum is the most that any
    policy can find, also where sizes vary, for which the best policy on whole records is NP-hard to compute (Berger et
    al., Practical Bounds on Optimal Caching with Variable Object Sizes, SIGMETRICS 2018). With equal sizes and a
    capacity of whole records it holds whole records.
    """
    held, due, free, found = [0] * len(sizes), [NEVER] * len(sizes), capacity, list[int]()
    farthest: list[tuple[int, int]] = []  # (-next use, record); an entry whose next use has passed is out of date
    for record, following in zip(reads, next_uses(reads), strict=True):
        found.append(held[record])
        due[record] = following
        if following == NEVER:
            free += held[record]
            held[record] = 0
            continue
        missing = sizes[record] - held[record]
        while missing > free and farthest and -farthest[0][0] > following:
            use, victim = heappop(farthest)
            if held[victim] and due[victim] == -use:
                taken = min(held[victim], missing - free)
                held[victim] -= taken
                free += taken
                if held[victim]:
                    heappush(farthest, (use, victim))
        added = min(missing, free)
        held[record] += added
        free -= added
        if held[record]:
            heappush(farthest, (-following, record))
    return found


def next_uses(reads: Sequence[int]) -> list[int]:
    """For each read, the place in `reads` of the same record's next one; NEVER if there is none."""
    following, last = [NEVER] * len(reads), dict[int, int]()
    for place in range(len(reads) - 1, -1, -1):
        following[place] = last.get(reads[place], NEVER)
        last[reads[place]] = place
    return following


def best_from_any_start(reads: Sequence[int], sizes: Sequence[int], capacity: int) -> list[int]:
    """`belady_min` of a cache that held the best records already: no policy finds more in `reads`, warm or cold.

    Every record is read once before, which finds nothing, so that MIN is free to choose what it starts with.
    """
    return belady_min([*range(len(sizes)), *reads], sizes, capacity)[len(sizes) :]


PEERS: Mapping[str, Policy] = {"LRU": lru, "second_chance": second_chance, "never_evict": never_evict}
"""What a cache can do that is told nothing of the future."""
