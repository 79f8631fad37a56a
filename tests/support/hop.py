"""What a worker of a Dynamic balancer asks its own nginx of a request, sent by a test in its place."""

import asyncio
import os
import signal
import socket

from tests.support.configurations import HOST
from tests.support.nginx_runner import Nginx

HEAD = "{method} /ws HTTP/1.1\r\nHost: wsroute\r\nSec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def question(
    worker: int, *, method: str = "GET", version: str = "13", key: str = KEY, failed: str = "", form: str = "short"
) -> bytes:
    """What this worker asks of a handshake with /ws over its connection 1. ``failed`` is what it tells of an endpoint
    that gave no answer."""
    lines = f"X-WSRoute-Asked: {form} {worker} 1 127.0.0.1 http websocket {HOST} ws 5000 3600000\r\n"
    lines += f"X-WSRoute-Failed: {failed}\r\n" if failed else ""
    return f"{HEAD.format(method=method, version=version, key=key)}{lines}\r\n".encode()


async def answer_to(nginx: Nginx, asked: bytes) -> str:
    """The head of what is answered. It was heard, so it stays counted."""
    reader, writer = await asyncio.open_unix_connection(nginx.paths.decide_socket)
    writer.write(asked)
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return answer.decode()


def ask_and_leave(nginx: Nginx, asked: bytes) -> None:
    """Nobody is there any more when it is answered. The only worker gets it after the call."""
    [worker] = nginx.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(nginx.paths.decide_socket)
            gone.sendall(asked)
    finally:
        os.kill(worker, signal.SIGCONT)
