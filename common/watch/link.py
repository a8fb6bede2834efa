"""Messages between processes: lines of JSON over a socket, which run no code whoever sends them."""

import json
import socket
import threading
from typing import Any

BEAT_S = 1.0
"""Seconds from one sign of life to the next."""

_LONGEST = 1 << 20  # bytes of a message; far above any traceback


class Link:
    """One end of a connection. Several threads may send; one receives.

    Args:
        connection: a connected socket, which the link owns from now on.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sending = threading.Lock()
        self._rest = b""

    def fileno(self) -> int:
        """The descriptor, to wait for messages with."""
        return self.connection.fileno()

    def send(self, **message: Any) -> None:
        """Sends a message; nothing where the other end is gone, which `receive` tells."""
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._sending:
                self.connection.sendall(line)
        except OSError:
            return

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived whole, after waiting for bytes; None where the other end is gone or raves."""
        try:
            found = self.connection.recv(1 << 16)
            *lines, self._rest = (self._rest + found).split(b"\n")
            messages = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return None
        sane = all(isinstance(message, dict) for message in messages) and len(self._rest) < _LONGEST
        return messages if found and sane else None

    def close(self) -> None:
        """Ends the connection."""
        self.connection.close()


def listen(address: str) -> socket.socket:
    """A socket on a free port, reachable by whoever can reach `address`, a name or address of this machine."""
    if socket.gethostbyname(address).startswith("127.0.0.1"):
        return socket.create_server(("127.0.0.1", 0), backlog=1024)
    return socket.create_server(("", 0), backlog=1024)  # a machine's own name may resolve to another interface


def connect(address: str, port: int, timeout_s: float) -> Link:
    """A link to a listening socket.

    Args:
        address: name or address of its machine.
        port: of the socket.
        timeout_s: to connect, and for the other machine to confirm what is sent: afterwards it counts as gone.
    """
    connection = socket.create_connection((address, port), timeout=timeout_s)
    connection.settimeout(None)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # else a machine without power is noticed after 15 minutes
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
    return Link(connection)
