"""nginx's admin socket: sessions over it, and the question which version answers."""

import asyncio
import re
from pathlib import Path
from typing import Final

import aiohttp

TIMEOUT: Final = 1.0
"""Seconds for a whole question."""

_VERSION = re.compile(r"[0-9a-f]{12}", re.ASCII)
_LIMIT = 4096


def is_version(text: str) -> bool:
    """Whether a text has the form of a configuration's version."""
    return _VERSION.fullmatch(text) is not None


def open_session(run: Path, *, timeout: float, buffer: int = 64 * 1024) -> aiohttp.ClientSession:
    """One connection for HTTP requests. ``run`` is the folder of nginx's side, ``timeout`` the seconds of a whole
    request, ``buffer`` the bytes of an answer that are read ahead."""
    return aiohttp.ClientSession(
        "http://nginx",
        connector=aiohttp.UnixConnector(str(run / "admin.sock"), limit=1, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=buffer,
    )


async def running_version(run: Path) -> str | None:
    """The version that an accepting worker runs: empty for the bootstrap, None when nobody answers."""
    try:
        async with asyncio.timeout(TIMEOUT):
            # HTTP/1.0: the answer ends with the connection (RFC 9112, section 6.3).
            reader, writer = await asyncio.open_unix_connection(run / "admin.sock", limit=_LIMIT)
            try:
                writer.write(b"GET /version HTTP/1.0\r\n\r\n")
                answer = await reader.read(_LIMIT)
                while len(answer) < _LIMIT and (more := await reader.read(_LIMIT - len(answer))):
                    answer += more
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    if head.split(" ", 2)[1:2] != ["200"]:
        return None
    return body if is_version(body) else ""
