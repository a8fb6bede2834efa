import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common.watch.link import Link, connect, listen
from common.watch.sentry import Sentry, Settings

TOKEN = "secret"


@contextmanager
def sentry(world_size: int) -> Iterator[int]:
    """A sentry in a thread; yields its port, and waits for its end."""
    listener = listen("127.0.0.1")
    port = listener.getsockname()[1]
    watching = Sentry(Settings(listener.detach(), TOKEN, world_size, 10.0, 100.0))
    thread = threading.Thread(target=watching.run, daemon=True)
    thread.start()
    yield port
    thread.join(30)
    assert not thread.is_alive()


def joined(port: int, rank: int) -> Link:
    link = connect("127.0.0.1", port, 10.0)
    link.send(token=TOKEN, rank=rank, join={"host": "elsewhere", "pid": os.getpid()})
    return link


def test_it_ends_with_the_last_rank(capfd: pytest.CaptureFixture[str]) -> None:
    with sentry(2) as port:
        links = [joined(port, rank) for rank in range(2)]
        for link in links:
            link.send(left=0)
        for link in links:
            assert link.receive() == [{"go": True}]
            link.close()
    assert capfd.readouterr().err == ""


def test_strangers_are_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    with sentry(1) as port:
        rank = joined(port, 0)
        for nonsense in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"[1]\n",
            b"{}\n",
            b'{"token": "x", "rank": 0, "left": 0}\n',
            b"1" * (2 << 20),
        ):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.settimeout(20)
                with pytest.raises((ConnectionError, AssertionError)):
                    stranger.sendall(nonsense)
                    assert stranger.recv(1) != b"", "hung up"
        rank.send(left=0)
        assert rank.receive() == [{"go": True}]
        rank.close()
    assert capfd.readouterr().err == ""


def test_the_last_word_waits_until_all_are_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with sentry(2) as port:
        failing, other = joined(port, 0), joined(port, 1)
        failing.send(failed={"rank": 0, "lines": ["why", "who"], "status": 2, "weak": False})
        for link in (failing, other):
            message = (link.receive() or [])[0]
            assert message["verdict"]["lines"] == ["why", "who"]
        assert capfd.readouterr().err == ""
        for link in (failing, other):
            link.send(quiet=True)
        assert failing.receive() == [{"go": True}]
        assert capfd.readouterr().err == "why\nwho\n"
        failing.close()
        other.close()


def test_who_comes_after_the_verdict_hears_it() -> None:
    with sentry(2) as port:
        failing = joined(port, 0)
        failing.send(failed={"rank": 0, "lines": ["who"]})
        assert failing.receive() is not None
        late = joined(port, 1)
        assert [list(message) for message in late.receive() or []] == [["verdict"]]
        late.close()
        failing.close()


def test_messages_arrive_whole_however_they_are_cut() -> None:
    ours, theirs = socket.socketpair()
    link, line = Link(ours), json.dumps({"a": [1, 2]}).encode() + b"\n"
    theirs.sendall(line + line[:5])
    assert link.receive() == [{"a": [1, 2]}]
    theirs.sendall(line[5:])
    assert link.receive() == [{"a": [1, 2]}]
    theirs.close()
    assert link.receive() is None
    link.send(b=1)  # nobody there: `receive` has told
    link.close()
