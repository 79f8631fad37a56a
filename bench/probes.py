"""Handshakes for benchmarks: plain sockets in threads, for a client that computes much takes the cores from what it
measures."""

from typing import Final

from localcluster import api
from tests.support.stack import PORT

_REQUEST: Final = (
    "GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: d3Nyb3V0ZWRlbW9rZXkhIQ==\r\n\r\n"
)


def handshake(cluster: api.CurrentCluster, address: str, host: str) -> bytes:
    """The head of a balancer pod's answer to a handshake on ``/echo``; the socket is closed."""
    with cluster.open_connection(address, PORT) as connection:
        connection.sendall(_REQUEST.format(host=host).encode())
        return connection.recv(4096)
