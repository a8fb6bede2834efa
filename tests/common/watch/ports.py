"""Ports of this machine that nobody else takes: neither the system, by chance, nor another test that asks here."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_asked = itertools.count()


@contextmanager
def own_ports(count: int) -> Iterator[list[int]]:
    """Free ports below those that the system gives to connections, others at each call.

    A socket with the port's name is taken along and held: it goes with this process, however that ends.
    """
    lowest = int(EPHEMERAL.read_text().split()[0])
    candidates = range(lowest - 1, 1024, -1) or range(32767, 1024, -1)  # where the system gives away all
    with ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            port = candidates[next(_asked) % len(candidates)]
            if _take(port, held):
                found.append(port)
        yield found


def _take(port: int, held: ExitStack) -> bool:
    name = held.enter_context(socket.socket(socket.AF_UNIX))
    try:
        name.bind(f"\0tests of ranks {port}")
        socket.create_server(("", port)).close()
    except OSError:
        return False
    return True
