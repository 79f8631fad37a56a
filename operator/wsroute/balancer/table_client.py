"""Reads and changes the table that nginx looks up at each handshake, over the admin socket.

What nginx's side answers is data: bounded, and believed only where it has the right form.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp

from wsroute.balancer.admin import open_session
from wsroute.dataplane.dictionary import Operation

TIMEOUT: Final = 2.0
"""Seconds for a whole request; one takes about a millisecond."""

Generation = Literal["a", "b"]
"""The letter before a table's keys. Two tables stand in the dictionary while one takes the other's place."""

MAX_KEY: Final = 2560
"""Characters of a key that nginx's side takes; no route has one so long."""

MAX_VALUE: Final = 256 * 1024
"""The same of a value."""

_ANSWER_LIMIT: Final = 4096
_MARK: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_NUMBER: Final = 2**53


@dataclass(frozen=True, slots=True)
class Stand:
    """What nginx says of its table. ``format`` is the one that it looks up, 0 where its configuration knows no table.

    ``live`` is the generation that serves and ``mark`` names its content; both are empty while no table is complete.
    ``free`` and ``capacity`` are bytes of the dictionary, ``entries`` counts those of all generations.
    """

    format: int
    live: Generation | Literal[""] = ""
    mark: str = ""
    free: int = 0
    capacity: int = 0
    entries: int = 0


NO_TABLE: Final = Stand(format=0)


class TableError(Exception):
    """A request about the table failed. The text says why."""


class TableRefusedError(TableError):
    """nginx's side does not take the request for what it holds."""


class TableMovedError(TableRefusedError):
    """The table that serves is not the one that was to be changed: ask which one it is."""


class TableFullError(TableRefusedError):
    """The dictionary has no room for this; nothing was written."""


class TableUnavailableError(TableError):
    """No answer, or none that makes sense: whether something was written is not known. Ask, then try again."""


class TableClient:
    """One connection that stays open. ``run`` is the folder of nginx's side."""

    def __init__(self, run: Path, *, timeout: float = TIMEOUT) -> None:
        self._run = run
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def stand(self) -> Stand:
        """What nginx has. Raises TableUnavailableError."""
        status, body = await self._request("GET", "/table")
        if status == 404:
            return NO_TABLE
        if status != 200:
            raise TableUnavailableError(f"nginx answers {status} when asked for its table.")
        return _stand(body)

    async def change(self, generation: Generation, operations: Sequence[Operation], *, old: str, new: str) -> None:
        """Change the table that serves, whose mark must be ``old`` and becomes ``new``. Raises TableError."""
        await self._post("changes", {"generation": generation, "mark": new, "from": old}, operations)

    async def clear(self, generation: Generation) -> None:
        """Take out all entries of a generation that does not serve. Raises TableError."""
        # nginx takes out a part at each call, so that no handshake waits long.
        while _left(await self._post("clear", {"generation": generation})):
            pass

    async def add(self, generation: Generation, operations: Sequence[Operation]) -> None:
        """Put entries into a generation that does not serve yet. Raises TableError."""
        await self._post("entries", {"generation": generation}, operations)

    async def flip(self, generation: Generation, mark: str) -> None:
        """Let this generation serve, whose content has this mark. Raises TableError."""
        await self._post("flip", {"generation": generation, "mark": mark})

    async def close(self) -> None:
        """Close the connection; the next request opens another one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, what: str, query: dict[str, str], operations: Sequence[Operation] = ()) -> bytes:
        text = json.dumps(operations, separators=(",", ":"))
        status, body = await self._request("POST", f"/table/{what}", query=query, data=text.encode())
        if 200 <= status < 300:
            return body
        words = "".join(char if char.isprintable() else " " for char in body.decode(errors="replace")).strip()
        message = f"nginx answers {status} to {what} of its table: {words or 'without a word'}"
        match status:
            case 409:
                raise TableMovedError(message)
            case 507:
                raise TableFullError(message)
            case 400 | 413:
                raise TableRefusedError(message)
        raise TableUnavailableError(message)

    async def _request(
        self, method: str, path: str, *, query: dict[str, str] | None = None, data: bytes | None = None
    ) -> tuple[int, bytes]:
        # nginx closes connections that are idle, and all of them when a worker goes: then there is another try. It can
        # do no harm. What it would do again is the same; changes that were made already are answered with 409.
        reused = self._session is not None
        try:
            return await self._once(method, path, query, data)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not reused:
                raise TableUnavailableError(f"nginx's admin socket does not answer: {_words(error)}.") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            await self.close()
            raise TableUnavailableError(f"nginx's admin socket gives no answer: {_words(error)}.") from error
        await self.close()
        return await self._request(method, path, query=query, data=data)

    async def _once(
        self, method: str, path: str, query: dict[str, str] | None, data: bytes | None
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = open_session(self._run, timeout=self._timeout, buffer=_ANSWER_LIMIT)
        async with self._session.request(method, path, params=query, data=data, allow_redirects=False) as response:
            body = b""
            while len(body) < _ANSWER_LIMIT and (more := await response.content.read(_ANSWER_LIMIT - len(body))):
                body += more
            return response.status, body


def _stand(body: bytes) -> Stand:
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raw = None
    match raw:
        case {
            "format": int(form),
            "live": "a" | "b" | "" as live,
            "mark": str(mark),
            "free": int(free),
            "capacity": int(capacity),
            "entries": int(entries),
        } if all(_is_count(number) for number in (form, free, capacity, entries)) and form > 0:
            if live and _MARK.fullmatch(mark):
                return Stand(form, live, mark, free, capacity, entries)
            # A mark without a form is damage, and damage is no complete table.
            return Stand(form, live, "", free, capacity, entries)
    raise TableUnavailableError("What nginx says of its table makes no sense.")


def _left(body: bytes) -> bool:
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(raw, dict) and isinstance(raw.get("left"), int) and raw["left"] > 0


def _is_count(number: Any) -> bool:
    return not isinstance(number, bool) and 0 <= number < _MAX_NUMBER


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
