"""Both ends of a benchmark of nginx: endpoints that upgrade every request, and a client that opens many sockets.

Plain sockets and as little Python as will do: what these take of the processor they take from nginx.
"""

import asyncio
import multiprocessing
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from tests.support.ports import free_ports

ADDRESSES: Final = tuple(f"127.0.1.{number}" for number in range(1, 13))
"""Where the endpoints listen, all on one port: each pair of addresses has ports of its own for connections."""

AT_ONCE: Final = 32
"""Handshakes that are under way at a time."""

_ANSWER: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n\r\n"
)
_DEADLINE: Final = 30.0


class _Endpoint(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._upgraded = False

    def data_received(self, data: bytes) -> None:
        if not self._upgraded and data.endswith(b"\r\n\r\n"):
            self._upgraded = True
            self._transport.write(_ANSWER)


async def _serve(port: int, ready: "multiprocessing.synchronize.Event") -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Endpoint, address, port, backlog=4096) for address in ADDRESSES]
    ready.set()
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _run(port: int, ready: "multiprocessing.synchronize.Event") -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, ready))


@contextmanager
def endpoints() -> Iterator[int]:
    """Endpoints in a process of their own; the port on which all of ``ADDRESSES`` are served."""
    [port] = free_ports(1)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_run, args=(port, ready), daemon=True)
    process.start()
    try:
        assert ready.wait(_DEADLINE), "the endpoints did not start"
        yield port
    finally:
        process.terminate()
        process.join()


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a browser sends whose page is of the same host."""

    host: str
    path: str

    @property
    def text(self) -> bytes:
        """The request."""
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Origin: https://{self.host}\r\nUser-Agent: Mozilla/5.0 (X11; Linux)\r\nAccept-Encoding: gzip, br\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()


def open_sockets(port: int, asked: Sequence[Handshake], exits: ExitStack, *, tls: ssl.SSLContext | None = None) -> None:
    """Open a WebSocket for each handshake, over TLS with a context; no TLS session is resumed. They are closed with the
    stack. AssertionError for another answer than 101."""
    for start in range(0, len(asked), AT_ONCE):
        batch = asked[start : start + AT_ONCE]
        opened = [exits.enter_context(_connected(port, each.host, tls)) for each in batch]
        for connection, each in zip(opened, batch, strict=True):
            connection.sendall(each.text)
        for connection in opened:
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 101 "), answer


def _connected(port: int, host: str, tls: ssl.SSLContext | None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), _DEADLINE)
    return connection if tls is None else tls.wrap_socket(connection, server_hostname=host)


def handshakes(port: int, asked: Sequence[Handshake], *, tls: ssl.SSLContext | None = None) -> None:
    """Open a WebSocket for each handshake, and close it again."""
    for start in range(0, len(asked), AT_ONCE):
        with ExitStack() as exits:
            open_sockets(port, asked[start : start + AT_ONCE], exits, tls=tls)
