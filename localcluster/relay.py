"""A TCP relay from the host's loopback into a cluster's network namespace.

A socket stays in the namespace in which it was made. So the listening socket is opened first, on the host; then the
process enters the cluster's namespace, where every outgoing connection starts.
"""

import argparse
import asyncio
import contextlib
import signal
import socket
import struct
from pathlib import Path

from localcluster import linux
from localcluster.errors import ClusterError

_CHUNK = 64 * 1024
_CONNECT_SECONDS = 5.0
_MAX_CONNECTIONS = 2048
_RETRY_SECONDS = 0.1


def parse_address(text: str) -> tuple[str, int]:
    """Splits "ADDRESS:PORT" ("[ADDRESS]:PORT" for IPv6)."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ClusterError(f"{text!r} is not ADDRESS:PORT.")
    return host, int(port)


def listen(address: str, port: int) -> socket.socket:
    """A listening socket in the namespace of the caller; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=512)
    except OSError as error:
        raise ClusterError(f"Can't listen on {address}:{port}: {error.strerror}.") from None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    # One side has finished sending: pass that on, and let the other direction go on.
    if writer.can_write_eof():
        writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _reset(writer: asyncio.StreamWriter) -> None:
    # With a linger time of zero the peer sees a reset, not an orderly end.
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _relay(accepted: socket.socket, *, host: str, port: int) -> None:
    """Carries one connection to its end; the accepted socket is closed in any case."""
    client_reader, client = await asyncio.open_connection(sock=accepted)
    finish = _reset
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            server_reader, server = await asyncio.open_connection(host, port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(client_reader, server))
                group.create_task(_pump(server_reader, client))
            finish = _close
        finally:
            await finish(server)
    except* OSError:
        pass  # the other side learns of it by a reset
    finally:
        await finish(client)


async def serve(listening: socket.socket, *, host: str, port: int) -> None:
    """Relays every connection of `listening` to host:port until it is cancelled.

    Either side may close its half first. A reset of one side resets the other. Beyond 2,048 connections further ones
    wait in the backlog of the listening socket.
    """
    slots = asyncio.Semaphore(_MAX_CONNECTIONS)
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def handle(accepted: socket.socket) -> None:
        try:
            await _relay(accepted, host=host, port=port)
        finally:
            slots.release()

    listening.setblocking(False)
    try:
        while True:
            await slots.acquire()
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError:
                # No file descriptor left, most likely: others will end.
                slots.release()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(handle(accepted))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_until_signalled(listening: socket.socket, *, host: str, port: int) -> None:
    """Like :func:`serve`, and ends quietly on SIGTERM and SIGINT."""
    task = asyncio.create_task(serve(listening, host=host, port=port))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """The background process: `python3 -m localcluster.relay --socket FD --namespace PATH --to ADDRESS:PORT`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--namespace", type=Path, required=True)
    parser.add_argument("--to", required=True)
    arguments = parser.parse_args()
    host, port = parse_address(arguments.to)
    listening = socket.socket(fileno=arguments.socket)
    linux.setns(arguments.namespace, linux.CLONE_NEWNET)
    asyncio.run(run_until_signalled(listening, host=host, port=port))


if __name__ == "__main__":
    main()
