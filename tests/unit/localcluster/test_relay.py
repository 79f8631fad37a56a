"""The relay, on the loopback."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from localcluster import relay
from localcluster.errors import ClusterError
from tests.support.ports import free_ports


@contextlib.asynccontextmanager
async def relaying(port: int) -> AsyncIterator[int]:
    """A relay to a port of the loopback; yields its own port."""
    listening = relay.listen("127.0.0.1", 0)
    with listening:
        task = asyncio.create_task(relay.serve(listening, host="127.0.0.1", port=port))
        yield listening.getsockname()[1]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _echo_after_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers only once the client has finished sending."""
    writer.write(await reader.read())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_half_closed_connection_still_gets_its_answer() -> None:
    payload = bytes(range(256)) * 8192
    async with (
        asyncio.timeout(60),
        await asyncio.start_server(_echo_after_end, "127.0.0.1", 0) as server,
        relaying(server.sockets[0].getsockname()[1]) as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(payload)
        writer.write_eof()
        assert await reader.read() == payload
        writer.close()
        await writer.wait_closed()


async def test_a_server_that_ends_first_still_hears_the_client() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def speak_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        heard.set_result(await reader.read())
        writer.close()

    async with (
        asyncio.timeout(60),
        await asyncio.start_server(speak_first, "127.0.0.1", 0) as server,
        relaying(server.sockets[0].getsockname()[1]) as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"hello"
        writer.write(b"later")
        writer.write_eof()
        assert await heard == b"later"
        writer.close()
        await writer.wait_closed()


async def test_a_reset_goes_through() -> None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        try:
            await reader.read()
            ended.set_result(None)
        except OSError as error:
            ended.set_result(error)
        writer.close()

    async with (
        asyncio.timeout(60),
        await asyncio.start_server(read, "127.0.0.1", 0) as server,
        relaying(server.sockets[0].getsockname()[1]) as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read(1) == b"!"
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        assert isinstance(await ended, ConnectionResetError)


async def test_when_nobody_listens_the_client_is_reset_and_the_relay_lives_on() -> None:
    [closed] = free_ports(1)
    async with relaying(closed) as port, asyncio.timeout(60):
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.transport.abort()


async def test_stopping_the_relay_ends_its_connections() -> None:
    started = asyncio.Event()
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started.set()
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        ended.set_result(None)
        writer.close()

    async with await asyncio.start_server(read, "127.0.0.1", 0) as server, asyncio.timeout(60):
        async with relaying(server.sockets[0].getsockname()[1]) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            await writer.drain()
            await started.wait()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await ended
        writer.transport.abort()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("10.0.0.1:65535", ("10.0.0.1", 65535))],
)
def test_addresses_are_split(text: str, expected: tuple[str, int]) -> None:
    assert relay.parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "80", ":80", "a:", "a:b", "a:-1", "a:65536", "a:٣"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match="is not ADDRESS:PORT"):
        relay.parse_address(text)


def test_a_port_in_use_is_a_sentence() -> None:
    with relay.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ClusterError, match=f"Can't listen on 127.0.0.1:{port}"):
            relay.listen("127.0.0.1", port)
