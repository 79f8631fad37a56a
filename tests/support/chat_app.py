"""The chat of the examples as a process of its own."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CHAT = Path(__file__).parents[2] / "examples" / "chat"


@asynccontextmanager
async def chat_app(*, port: int = 0, pod: str = "chat-0") -> AsyncIterator[str]:
    """The chat as its own process; yields the page's URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "--port", str(port), "--pod", pod, "--drain", "0"),
        cwd=CHAT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        found = re.search(r"http://\S+", line)
        assert found is not None, f"the chat did not start: {line!r}"
        yield found.group()
    finally:
        process.terminate()
        await process.communicate()
