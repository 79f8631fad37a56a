"""Reads what nginx serves at the moment, over the admin socket: for people, and for the agent's metrics.

What nginx's side answers is data: bounded, and believed only where it has the right form.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp

from wsroute.balancer.admin import open_session
from wsroute.balancer.table_client import TableUnavailableError

TIMEOUT: Final = 5.0
"""Seconds for one question."""

PORTION: Final = 500
"""Keys or endpoints of one question: nginx's worker does nothing else meanwhile, for less than a millisecond."""

_ANSWER_LIMIT: Final = 32 * 1024 * 1024
_MAX_NUMBER: Final = 2**53
_MAX_PARTS: Final = 1024
_SOCKET: Final = re.compile(
    r"([0-9]{1,10}) ([0-9]{1,20}) ([0-9]{1,12}) ([0-9a-f.:]{2,45}) (\S{3,80}) (\S{3,320})", re.ASCII
)


class OpenSocket(NamedTuple):
    """A socket that a client holds. ``worker`` is the pid of nginx's worker, ``connection`` nginx's number of the
    client's connection, ``since`` seconds since 1970 by the pod's clock. ``endpoint`` is address and port."""

    worker: int
    connection: int
    since: int
    client: str
    endpoint: str
    route: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What nginx's side has counted since it started. ``requests`` are by reason and route; a route is named
    ``namespace/name``, nothing where no route takes the request, and ``other`` where there are too many of them.
    ``open`` are the sockets that are open by route, ``ejected`` the endpoints that get none for a while."""

    requests: Mapping[tuple[str, str], int]
    open: Mapping[str, int]
    ejected: int


class TableReader:
    """A connection of its own for each use, as a context manager. ``run`` is the folder of nginx's side."""

    def __init__(self, run: Path, *, timeout: float = TIMEOUT) -> None:
        self._run = run
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = open_session(self._run, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def entries(self) -> dict[str, str]:
        """The entries that are served, without the letter of their generation; those that went while they were read are
        left out. Raises TableUnavailableError."""
        keys = (await self._ask("GET", "/table/keys"))[0].decode(errors="replace").splitlines()
        found: dict[str, str] = {}
        for start in range(0, len(keys), PORTION):
            portion = keys[start : start + PORTION]
            values = await self._json("POST", "/table/values", portion)
            if not isinstance(values, list) or len(values) != len(portion):
                raise TableUnavailableError("What nginx says of its table's entries makes no sense.")
            found |= {key: value for key, value in zip(portion, values, strict=True) if isinstance(value, str)}
        return found

    async def endpoint_sockets(self, endpoints: Sequence[str] | None = None) -> dict[str, int]:
        """How many sockets endpoints have; all that have any when none are named. Raises TableUnavailableError."""
        if endpoints is None:
            return _numbers(await self._json("GET", "/table/sockets"))
        found: dict[str, int] = {}
        for start in range(0, len(endpoints), PORTION):
            portion = endpoints[start : start + PORTION]
            numbers = await self._json("POST", "/table/sockets", portion)
            if not isinstance(numbers, list) or len(numbers) != len(portion) or not all(map(_is_count, numbers)):
                raise TableUnavailableError("What nginx says of its endpoints' sockets makes no sense.")
            found |= zip(portion, numbers, strict=True)
        return found

    async def open_sockets(self) -> AsyncIterator[OpenSocket]:
        """Every open socket that is listed, a portion of them at a time. Raises TableUnavailableError."""
        part, parts = 0, 1
        while part < parts:
            body, headers = await self._ask("GET", f"/table/open?part={part}")
            told = headers.get("X-Parts", "")
            if not (told.isascii() and told.isdigit() and int(told) <= _MAX_PARTS):
                raise TableUnavailableError("What nginx says of its open sockets makes no sense.")
            part, parts = part + 1, int(told)
            for line in body.decode(errors="replace").splitlines():
                match = _SOCKET.fullmatch(line)
                if match is not None:
                    worker, connection, since, *names = match.groups()
                    yield OpenSocket(int(worker), int(connection), int(since), *names)

    async def counts(self) -> Counts:
        """What nginx's side has counted. Raises TableUnavailableError."""
        raw = await self._json("GET", "/table/counts")
        match raw:
            case {"requests": requests, "open": held, "ejected": int(ejected)} if _is_count(ejected):
                by_key = {
                    (reason, route): number
                    for key, number in _numbers(requests).items()
                    for reason, blank, route in [key.partition(" ")]
                    if blank
                }
                return Counts(by_key, _numbers(held), ejected)
        raise TableUnavailableError("What nginx says of its counts makes no sense.")

    async def _json(self, method: str, path: str, question: Sequence[str] | None = None) -> Any:
        body, _ = await self._ask(method, path, question)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise TableUnavailableError(f"nginx's answer to {path} is no JSON.") from None

    async def _ask(
        self, method: str, path: str, question: Sequence[str] | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        assert self._session is not None, "use it as a context manager"
        data = None if question is None else json.dumps(question).encode()
        try:
            async with self._session.request(method, path, data=data, allow_redirects=False) as response:
                body = b""
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > _ANSWER_LIMIT:
                        raise TableUnavailableError(f"nginx's answer to {path} has no end.")
                if response.status != 200:
                    raise TableUnavailableError(f"nginx answers {response.status} to {path}.")
                return body, response.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            words = str(error) or type(error).__name__
            raise TableUnavailableError(f"nginx's admin socket gives no answer: {words}.") from error


def _numbers(raw: Any) -> dict[str, int]:
    if not isinstance(raw, dict) or not all(map(_is_count, raw.values())):
        raise TableUnavailableError("nginx counts what are no numbers.")
    return raw


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _MAX_NUMBER
