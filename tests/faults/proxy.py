"""A TCP proxy between a client and its server, which does what networks do."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["pass", "refuse", "hang", "cut", "lose", "slow", "terse"]

CONDITION = b"<Condition>If-None-Match</Condition>"

DELAY = 0.3
"""Seconds by which an answer is late."""


class Proxy:
    """Listens on a port of its own; what it does may be changed at any moment, for open connections as well.

    `pass` relays; `refuse` resets whoever connects; `hang` takes connections and requests, and never answers;
    `cut` resets connections in the middle of a request; `lose` passes requests on and resets instead of answering;
    `slow` answers late; `terse` leaves out which condition of a put did not hold, as MinIO does.

    Args:
        target: URL of the server.

    Attributes:
        mode: what it does now.
        lose_only: of the answers, in `lose`, the one that is lost, counted from 0; all if None.
        requests: the first line of every request that was passed on.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname, "a URL with a host"
        assert parts.port, "a URL with a port"
        self._target = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.mode: Mode = "pass"
        self.lose_only: int | None = None
        self.requests: list[str] = []
        self._answers = 0
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, number: int) -> None:
        """Loses one answer of those to come, counted from 0."""
        self._answers, self.lose_only, self.mode = 0, number, "lose"

    def close(self) -> None:
        self._closed = True
        self._listening.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.mode == "refuse":
                _reset(client)
            else:
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """Everything of one connection. One that has hung stays so: what it swallowed is gone."""
        hung = False
        with contextlib.suppress(OSError), client, socket.create_connection(self._target) as server:
            while not self._closed:
                ready, _, _ = select.select([client, server], [], [], 0.1)
                mode = self.mode
                hung = hung or mode == "hang"
                if mode in ("refuse", "cut") and (ready or mode == "refuse"):
                    _reset(client)
                    return
                for side in ready:
                    piece = side.recv(65536)
                    if not piece:
                        return
                    if hung:
                        continue
                    if side is client:
                        self._note(piece)
                        server.sendall(piece)
                    elif not self._answer(client, piece, mode):
                        return

    def _note(self, piece: bytes) -> None:
        first = piece.split(b"\r\n", 1)[0]
        if first.endswith(b"HTTP/1.1"):
            self.requests.append(first.decode(errors="replace"))

    def _answer(self, client: socket.socket, piece: bytes, mode: Mode) -> bool:
        begins = piece.startswith(b"HTTP/1.1") and not piece.startswith(b"HTTP/1.1 100")
        number = self._answers
        self._answers += begins
        if mode == "lose" and begins and self.lose_only in (None, number):
            _reset(client)
            return False
        if mode == "slow" and begins:
            time.sleep(DELAY)
        client.sendall(piece.replace(CONDITION, b" " * len(CONDITION)) if mode == "terse" else piece)
        return True


def _reset(client: socket.socket) -> None:
    """Closes a connection with RST: the other side hears of it at once, as an error."""
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    """A proxy for a while."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
