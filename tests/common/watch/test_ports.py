import itertools
import socket

import pytest

from tests.common.watch import ports
from tests.common.watch.ports import EPHEMERAL, own_ports


def test_ports_are_free_and_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_asked", itertools.count())
    with own_ports(1) as (used,):
        listener = socket.create_server(("", used))
    with listener, own_ports(3) as first, own_ports(2) as second:
        monkeypatch.setattr(ports, "_asked", itertools.count())  # as another process would ask
        with own_ports(50) as others:
            given = [used, *first, *second, *others]
    assert len(given) == len(set(given)) == 56
    lowest = int(EPHEMERAL.read_text().split()[0])
    assert max(given) < (lowest if lowest > 1025 else 32768)
