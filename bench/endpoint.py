"""An endpoint for benchmarks on a cluster: a program of which pods run the text, as `python3 -c`.

It upgrades each handshake on the spot, says in its answer which pod it is, and sends messages back as they came. A
handshake with the chat's server takes four times as long of a processor that also carries what is measured.
"""

import asyncio
import base64
import hashlib
import os
import re
import sys

PORT = 8080
POD = os.environ.get("POD_NAME", "")

_KEY = re.compile(rb"\r\nSec-WebSocket-Key: *([^\r\n]+)", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE, _PING, _PONG = 8, 9, 10


class Endpoint(asyncio.Protocol):
    """One connection. RFC 6455, but only messages that came whole and have up to 125 bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with the request's head."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""
        self._upgraded = False

    def data_received(self, data: bytes) -> None:
        """Answer what came whole."""
        self._received += data
        if not self._upgraded:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            self._upgraded, self._received = True, rest
            self._transport.write(_answer(head))
        while len(self._received) >= 6:
            size = self._received[1] & 127
            if size > 125:
                self._transport.close()
                return
            if len(self._received) < 6 + size:
                return
            frame, self._received = self._received[: 6 + size], self._received[6 + size :]
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        kind = frame[0] & 15
        mask = frame[2:6]
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(frame[6:]))
        sent = _PONG if kind == _PING else kind
        self._transport.write(bytes([128 | sent, len(payload)]) + payload)
        if kind == _CLOSE:
            self._transport.close()


def _answer(head: bytes) -> bytes:
    found = _KEY.search(head)
    if found is None:  # the kubelet asks whether we are ready
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    accept = base64.b64encode(hashlib.sha1(found[1].strip() + _GUID).digest()).decode()  # noqa: S324 (RFC 6455)
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nX-Chat-Pod: {POD}\r\n\r\n"
    ).encode()


async def main(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(Endpoint, "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else PORT))
