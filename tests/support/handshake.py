"""One WebSocket handshake (or plain request) over a socket that somebody opened, with the answer as it came.

For probers that make thousands of them and count every answer; for talking over a socket use ``held_socket``.
"""

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect

DEADLINE = 60.0
"""Seconds after which somebody is taken to be silent for ever; no promise."""

GOES_ON = 10.0
"""Seconds for a handshake of a prober. Faults are held for longer: an answer when all is over is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and the body of what was not an upgrade."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        """The balancer's own word for a refusal."""
        return self.headers.get("x-wsroute-reason", "")


def _request(host: str, path: str, headers: Mapping[str, str | None], method: str = "GET") -> bytes:
    given = (f"{name}: {value}" for name, value in headers.items() if value is not None)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *given]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ask(sock: socket.socket, *, host: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Send a plain GET over a connected socket and read the answer; the connection is closed."""
    return await _exchange(sock, _request(host, path, {**(headers or {}), "Connection": "close"}))


async def handshake(
    sock: socket.socket,
    *,
    host: str,
    path: str,
    headers: Mapping[str, str | None] | None = None,
    method: str = "GET",
    within: float = DEADLINE,
) -> Answer:
    """Ask for a WebSocket (RFC 6455, section 4.1) over a connected socket; the connection is closed afterwards. Headers
    that are None are left out. TimeoutError when there is no whole answer within so many seconds."""
    asked: dict[str, str | None] = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **(headers or {}),
    }
    return await _exchange(sock, _request(host, path, asked, method), has_body=method != "HEAD", within=within)


async def _exchange(sock: socket.socket, request: bytes, *, has_body: bool = True, within: float = DEADLINE) -> Answer:
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        async with asyncio.timeout(within):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            status = int(status_line.split(" ", 2)[1])
            length = "0" if status == 101 or not has_body else headers.get("content-length")
            # nginx keeps the connection open after it has refused a handshake.
            body = await (reader.read() if length is None else reader.readexactly(int(length)))
            return Answer(status=status, headers=headers, body=body)
    finally:
        writer.close()


async def held_socket(
    sock: socket.socket, *, host: str, path: str, tls: ssl.SSLContext | None = None
) -> ClientConnection:
    """Open a WebSocket over a connected socket, to be held and talked over; over TLS where a context says whom to
    trust."""
    scheme = "ws" if tls is None else "wss"
    return await connect(
        f"{scheme}://{host}{path}",
        sock=sock,
        ssl=tls,
        compression=None,
        proxy=None,
        ping_interval=None,
        open_timeout=DEADLINE,
    )


async def echo(connection: ClientConnection, message: str) -> None:
    """Send a message and see it come back."""
    await connection.send(message)
    async with asyncio.timeout(DEADLINE):
        answer = await connection.recv()
    assert answer == message, f"sent {message!r}, got {answer!r}"
