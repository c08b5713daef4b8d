"""A way to a database's server that is cut at one message, and all processes at this end of it are killed."""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


class Wire:
    """Passes on the messages of clients and a server, up to one message.

    Then a process and all that it has started get SIGKILL, and the server finds its clients gone.

    Args:
        url: A database on the server.
    """

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self._server = (parsed.host or "127.0.0.1", parsed.port or PORTS[parsed.get_backend_name()])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.was_cut = False

    def by(self, url: str) -> str:
        """Return the URL by which a database on the server is reached on this wire."""
        port = self._listener.getsockname()[1]
        return sa.make_url(url).set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    def close(self) -> None:
        """Take no more calls."""
        self._listener.close()

    def carry(self, pid: int, is_last: Callable[[int, bytes], bool], *, delivered: bool) -> int:
        """Carry messages until a process has ended and the server has executed them; return the wait status.

        Args:
            pid: The process, a child of ours.
            is_last: Whether a message of a client, by its number and its bytes, is the last one.
            delivered: Whether the server gets the last message; its answer is lost.
        """
        status, count, self.was_cut = None, 0, False
        with selectors.DefaultSelector() as ready:
            ready.register(self._listener, selectors.EVENT_READ)
            while status is None or len(ready.get_map()) > 1:
                for key, _ in ready.select(0.01):
                    if key.data is None:
                        self._connect(ready)
                    if key.data is None or key.fd not in ready.get_map():  # the other side has hung up just now
                        continue
                    is_client, other = key.data
                    piece = _received(key.fileobj)
                    passes = True
                    if piece and is_client:
                        count += 1
                        if not self.was_cut and is_last(count, piece):
                            self.was_cut, passes = True, delivered
                            kill_all(pid)
                    _pass_on(ready, key.fileobj, other, piece if passes else b"", is_client=is_client)
                if status is None and (ended := os.waitpid(pid, os.WNOHANG))[0]:
                    status = ended[1]
        return status

    def _connect(self, ready: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._server)
        ready.register(client, selectors.EVENT_READ, (True, server))
        ready.register(server, selectors.EVENT_READ, (False, client))


def kill_all(pid: int) -> None:
    """Kill a process and what it has started, as a container that is stopped does."""
    children: list[str] = []
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _received(side: socket.socket) -> bytes:
    with suppress(OSError):
        return side.recv(1 << 16)
    return b""


def _pass_on(
    ready: selectors.BaseSelector, side: socket.socket, other: socket.socket, piece: bytes, *, is_client: bool
) -> None:
    """Pass a message on; after its last one a side is forgotten, and the server is told that the client is gone."""
    with suppress(OSError):
        if piece:
            other.sendall(piece)
            return
    if piece and not is_client:
        return  # the client is gone, and the server goes on
    ready.unregister(side)
    if is_client:
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)
        return
    with suppress(KeyError):  # the client has hung up before
        ready.unregister(other)
    side.close()
    other.close()
