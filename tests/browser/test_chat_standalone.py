"""`wsroute standalone examples/chat`, as a person uses it: a browser, an editor, and a mistake."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect

from tests.browser.chat_page import find_chromium, two_tabs_chat
from tests.support.chat_app import CHAT, chat_app
from tests.support.handshake import DEADLINE
from tests.support.ports import free_ports
from tests.support.waiting import Stopwatch

pytestmark = [
    pytest.mark.nginx,
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]


class Standalone:
    """A running `wsroute standalone` and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self, pattern: str) -> str:
        """Read on until a line matches."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            while line := (await self.process.stderr.readline()).decode():
                if re.search(pattern, line):
                    return line
        raise AssertionError(f"it ended without saying {pattern!r}")


@asynccontextmanager
async def standalone(folder: Path) -> AsyncIterator[Standalone]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "wsroute", "standalone", str(folder)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Standalone(process)
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


def manifests(folder: Path, *, chat_port: int, port: int) -> Path:
    """A copy of the example's folder with ports that are free here; returns the file with the route."""
    shutil.copytree(CHAT / "standalone", folder)
    balancer, chat = folder / "balancer.yaml", folder / "chat.yaml"
    replace(balancer, "port: 8880", f"port: {port}")
    replace(chat, "port: 8080", f"port: {chat_port}")
    return chat


def replace(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


async def test_a_chat_an_edit_and_a_mistake(tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with chat_app() as url:
        folder = tmp_path / "chat"
        chat_port = urlsplit(url).port
        assert chat_port is not None
        route = manifests(folder, chat_port=chat_port, port=port)
        async with standalone(folder) as balancer:
            await balancer.says(r"version [0-9a-f]{12} is live")
            seen = await two_tabs_chat(f"http://chat.localhost:{port}/")
            assert seen.socket_url == f"ws://chat.localhost:{port}/ws"

            async with connect(f"ws://chat.localhost:{port}/echo", host="127.0.0.1", port=port) as held:
                # An edit is live within a second; the socket from before stays.
                watch = Stopwatch()
                replace(route, "path: /\n", "path: /team\n")
                await balancer.says(r"version [0-9a-f]{12} is live.*/team")
                assert not watch.is_over(1.0), f"only after {watch.elapsed:.1f} s"
                await held.send("still here")
                assert await held.recv() == "still here"
                async with connect(f"ws://chat.localhost:{port}/team/echo", host="127.0.0.1", port=port) as moved:
                    await moved.send("here too")
                    assert await moved.recv() == "here too"

                # A mistake is told, and changes nothing.
                replace(route, "path: /team\n", "path: team\n")
                said = await balancer.says(r"spec\.paths\[0\]\.path")
                assert "must start with a slash" in said
                assert "served before is served on" in said
                async with connect(f"ws://chat.localhost:{port}/team/echo", host="127.0.0.1", port=port):
                    pass
