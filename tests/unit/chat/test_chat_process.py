"""The chat as a process: its flags and its end."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

CHAT = Path(__file__).parents[3] / "examples" / "chat"
WITHIN = 60.0


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), WITHIN)).decode().strip()


@asynccontextmanager
async def chat(*arguments: str, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """A chat process and the address that it says it listens on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *arguments),
        cwd=CHAT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        started = re.search(r"http://(\S+)/", await line(process))
        assert started is not None
        yield process, started.group(1)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def close_code(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(socket.recv(), WITHIN)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


async def echoes(socket: ClientConnection, text: str) -> bool:
    await socket.send(text)
    return await asyncio.wait_for(socket.recv(), WITHIN) == text


async def test_sigterm_drains_then_closes_with_1001() -> None:
    """After SIGTERM old and new sockets are served; a second SIGTERM ends the drain: 1001 for all, exit code 0."""
    async with chat("--port", "0", "--drain", "600") as (process, address), connect(f"ws://{address}/echo") as old:
        process.terminate()
        assert await line(process) == "goes on serving for 600 s, then closes"
        assert await echoes(old, "1")
        async with connect(f"ws://{address}/echo") as new:
            assert await echoes(new, "2")
            process.terminate()
            assert await close_code(old) == 1001
            assert await close_code(new) == 1001
        assert await line(process) == "closed"
        assert await asyncio.wait_for(process.wait(), WITHIN) == 0


async def test_the_drain_ends_by_itself() -> None:
    async with chat("--port", "0", "--drain", "0.05") as (process, address), connect(f"ws://{address}/ws") as socket:
        await socket.recv()
        process.terminate()
        assert await close_code(socket) == 1001
        assert await asyncio.wait_for(process.wait(), WITHIN) == 0


async def test_ctrl_c_closes_at_once() -> None:
    async with chat("--port", "0", "--drain", "600") as (process, address), connect(f"ws://{address}/ws") as socket:
        await socket.recv()
        process.send_signal(signal.SIGINT)
        assert await close_code(socket) == 1001
        assert await line(process) == "closed"


async def test_port_and_pod_come_from_the_environment() -> None:
    async with chat(PORT="0", POD_NAME="chat-abc") as (_, address), connect(f"ws://{address}/echo") as socket:
        assert socket.response is not None
        assert socket.response.headers["X-Chat-Pod"] == "chat-abc"


async def test_a_port_that_is_taken_is_said_in_a_sentence() -> None:
    async with chat("--port", "0") as (_, address):
        port = address.rpartition(":")[2]
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "--port", port, cwd=CHAT, stdout=PIPE, stderr=PIPE
        )
        _, said = await asyncio.wait_for(second.communicate(), WITHIN)
        assert second.returncode == 1
        assert said.decode().startswith(f"Can't listen on port {port}: ")
        assert "Traceback" not in said.decode()
