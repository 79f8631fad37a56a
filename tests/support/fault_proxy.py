"""A reverse proxy before a real API server, which does to chosen requests what networks and API servers do.

It also holds requests and lets them go later, and notes each request as the API server's authorizer sees it. Watches
are passed on piece by piece; a fault takes hold of those that stand already too.

    async with FaultProxy(upstream=server, ...) as proxy:
        with proxy.fault(Status(503), Where(resources=frozenset({"pods"}))): ...
        with proxy.hold(Where(verbs=frozenset({"patch"}))) as held: ...
"""

import asyncio
import gzip
import json
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.support.api_requests import ApiRequest, parse_request, user_of

_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade"}


_CLOSING = 0.25
"""Seconds that TLS connections get to close; aiohttp has no way to wait for that."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which requests; what is left out is any."""

    users: frozenset[str] | None = None
    verbs: frozenset[str] | None = None
    resources: frozenset[str] | None = None
    namespace: str | None = None
    name: str | None = None

    def matches(self, request: ApiRequest) -> bool:
        """Whether a request is one of them. ``resources`` are names as in rules, with their subresource."""
        return (
            (self.users is None or request.user in self.users)
            and (self.verbs is None or request.verb in self.verbs)
            and (self.resources is None or request.full_resource in self.resources)
            and (self.namespace is None or request.namespace == self.namespace)
            and (self.name is None or request.name == self.name)
        )


EVERYTHING = Where()


@dataclass(frozen=True, slots=True)
class Status:
    """Each request is answered with this status at once; watches that stand are cut. ``retry_after`` is seconds."""

    code: int
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Connections are reset, those of watches too."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Requests are taken and never answered, and watches that stand fall silent. At the end connections are reset."""


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """Watches stand, the new ones too, and nothing comes any more. At the end their connections are reset.

    With ``old_only`` new watches are passed on, as when a router has forgotten the connections that it had.
    """

    old_only: bool = False


@dataclass(frozen=True, slots=True)
class Truncated:
    """Each answer is cut in its middle; a watch in the middle of its next event."""


@dataclass(frozen=True, slots=True)
class InStream:
    """Watches get an ERROR event with this code, and end."""

    code: int


@dataclass(frozen=True, slots=True)
class Emptied:
    """Lists come back with nothing in them, as from a server whose storage is another one. ``times`` is how many."""

    times: int


Fault = Emptied | Status | Reset | Stall | HalfOpen | Truncated | InStream


@dataclass(slots=True)
class Held:
    """A request that is held back. ``arrived`` is set once there is one."""

    where: Where
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    answer: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _go: asyncio.Event = field(default_factory=asyncio.Event)

    async def let_go(self) -> int:
        """Pass it on now; gives the status that the API server answers with."""
        self._go.set()
        return await asyncio.wait_for(self.answer, 30)


@dataclass(eq=False, slots=True)
class _Standing:
    """A watch that stands."""

    asked: ApiRequest
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when faults have changed."""


@dataclass(eq=False, slots=True)
class _Rule:
    fault: Fault
    where: Where
    over: asyncio.Event = field(default_factory=asyncio.Event)
    used: int = 0


class FaultProxy:
    """``upstream`` is the API server's URL, ``authority`` the file of its CA, ``certificate`` and ``key`` are what the
    proxy shows, ``address`` is where it listens, on a socket that ``make_socket`` makes (anew after :meth:`away`);
    ``tokens`` are users by token."""

    def __init__(
        self,
        *,
        upstream: str,
        authority: Path,
        certificate: Path,
        key: Path,
        address: tuple[str, int],
        make_socket: Callable[[], socket.socket] = socket.socket,
        tokens: Mapping[str, str],
    ) -> None:
        self.requests: Counter[tuple[ApiRequest, int]] = Counter()
        """Requests that reached the API server, with the status of its answer."""
        self._upstream = upstream
        self._trust = ssl.create_default_context(cafile=str(authority))
        self._shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._shown.load_cert_chain(certificate, key)
        self._address = address
        self._make_socket = make_socket
        self._tokens = tokens
        self._rules: list[_Rule] = []
        self._holds: list[Held] = []
        self._standing: set[_Standing] = set()
        self._transports: set[asyncio.Transport] = set()
        self._handlers: set[asyncio.Task[Any]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._address[1]

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._trust),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=None),
            auto_decompress=False,
        )
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for rule in self._rules:
            rule.over.set()
        await self._close()
        # aiohttp wakes nobody who reads from a session that is closed, and forgets the tasks of connections that are.
        handlers = tuple(self._handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await self._session.close()
        await asyncio.sleep(_CLOSING)

    async def _open(self) -> None:
        # What a client no longer waits for is carried out all the same, as by a real network.
        self._runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        listening = self._make_socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(self._address)
        await web.SockSite(self._runner, listening, ssl_context=self._shown).start()

    async def _close(self) -> None:
        for transport in tuple(self._transports):
            transport.abort()
        await self._runner.cleanup()

    # --- what a test does ---

    @contextmanager
    def fault(self, fault: Fault, where: Where = EVERYTHING) -> Iterator[None]:
        """Have a fault for the length of a block; of several the newest counts."""
        rule = _Rule(fault, where)
        self._rules.insert(0, rule)
        self._tell()
        try:
            yield
        finally:
            self._rules.remove(rule)
            rule.over.set()
            self._tell()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Nobody listens for the length of a block, and connections are reset."""
        await self._close()
        try:
            yield
        finally:
            await self._open()

    @contextmanager
    def hold(self, where: Where) -> Iterator[Held]:
        """Hold back the next such request, and only that one."""
        held = Held(where)
        self._holds.append(held)
        try:
            yield held
        finally:
            if held in self._holds:
                self._holds.remove(held)
            held._go.set()

    # --- the inside ---

    def _tell(self) -> None:
        for standing in self._standing:
            standing.news.set()

    def _rule_for(self, asked: ApiRequest) -> _Rule | None:
        return next((rule for rule in self._rules if rule.where.matches(asked)), None)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        user = user_of(request.headers.get("Authorization", ""), self._tokens)
        asked = parse_request(user, request.method, request.path, request.query)
        handler = asyncio.current_task()
        assert handler is not None
        self._transports.add(transport)
        self._handlers.add(handler)
        try:
            return await self._answer(request, asked, transport)
        except (aiohttp.ClientError, ConnectionError):
            # The API server or the client has gone: what is left of the connection tells the other one.
            transport.abort()
            return web.Response()
        finally:
            self._transports.discard(transport)
            self._handlers.discard(handler)

    async def _answer(
        self, request: web.BaseRequest, asked: ApiRequest, transport: asyncio.Transport
    ) -> web.StreamResponse:
        body = await request.content.read()
        held = next((held for held in self._holds if held.where.matches(asked)), None)
        if held is not None:
            self._holds.remove(held)
            held.arrived.set()
            await held._go.wait()
        else:
            rule = self._rule_for(asked)
            spoiled = await self._spoil(request, asked, transport, rule) if rule is not None else None
            if spoiled is not None:
                return spoiled
        async with self._session.request(
            request.method,
            f"{self._upstream}{request.path_qs}",
            headers=_passed_on(request.headers),
            data=body or None,
            allow_redirects=False,
        ) as answer:
            self.requests[asked, answer.status] += 1
            if held is not None:
                held.answer.set_result(answer.status)
            if asked.verb == "watch" and answer.status == 200:
                return await self._stream(request, asked, transport, answer)
            content = await answer.read()
            rule = self._rule_for(asked)
            if rule is not None and isinstance(rule.fault, Emptied) and rule.used < rule.fault.times:
                rule.used += 1
                # The API server compresses long lists.
                compressed = answer.headers.get("Content-Encoding") == "gzip"
                text = gzip.decompress(content) if compressed else content
                return web.json_response({**json.loads(text), "items": []})
            if rule is not None and isinstance(rule.fault, Truncated):
                cut = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
                cut.content_length = len(content)
                await cut.prepare(request)
                await cut.write(content[: len(content) // 2])
                transport.abort()
                return cut
            return web.Response(status=answer.status, headers=_passed_on(answer.headers), body=content)

    async def _spoil(
        self, request: web.BaseRequest, asked: ApiRequest, transport: asyncio.Transport, rule: _Rule
    ) -> web.StreamResponse | None:
        """The answer to a new request under a fault, None when it is passed on."""
        match rule.fault:
            case Status(code, retry_after):
                headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
                return web.json_response(_status(code), status=code, headers=headers)
            case Reset():
                transport.abort()
                return web.Response()
            case Stall():
                await rule.over.wait()
                transport.abort()
                return web.Response()
            case HalfOpen(old_only=False) if asked.verb == "watch":
                silent = web.StreamResponse(headers={"Content-Type": "application/json"})
                await silent.prepare(request)
                await rule.over.wait()
                transport.abort()
                return silent
            case InStream(code) if asked.verb == "watch":
                failed = web.StreamResponse(headers={"Content-Type": "application/json"})
                await failed.prepare(request)
                await failed.write(_error_event(code))
                await failed.write_eof()
                return failed
        return None

    async def _stream(
        self,
        request: web.BaseRequest,
        asked: ApiRequest,
        transport: asyncio.Transport,
        answer: aiohttp.ClientResponse,
    ) -> web.StreamResponse:
        out = web.StreamResponse(headers=_passed_on(answer.headers))
        await out.prepare(request)
        standing = _Standing(asked)
        self._standing.add(standing)
        pieces = asyncio.ensure_future(answer.content.readany())
        news = asyncio.ensure_future(standing.news.wait())
        try:
            while True:
                await asyncio.wait([pieces, news], return_when=asyncio.FIRST_COMPLETED)
                rule = self._rule_for(asked)
                if news.done():
                    standing.news.clear()
                    news = asyncio.ensure_future(standing.news.wait())
                    if rule is not None and await self._spoil_standing(out, transport, rule):
                        return out
                    continue
                piece = pieces.result()
                if not piece:
                    await out.write_eof()
                    return out
                if rule is not None and isinstance(rule.fault, Truncated):
                    await out.write(piece[: len(piece) // 2])
                    transport.abort()
                    return out
                await out.write(piece)
                pieces = asyncio.ensure_future(answer.content.readany())
        finally:
            self._standing.discard(standing)
            for task in (pieces, news):
                task.cancel()
                with suppress(asyncio.CancelledError, aiohttp.ClientError, ConnectionError):
                    await task

    async def _spoil_standing(self, out: web.StreamResponse, transport: asyncio.Transport, rule: _Rule) -> bool:
        """Do to a watch that stands what a fault does; says whether it is at its end."""
        match rule.fault:
            case Stall() | HalfOpen():
                await rule.over.wait()
                transport.abort()
            case Status() | Reset():
                transport.abort()
            case InStream(code):
                await out.write(_error_event(code))
                await out.write_eof()
            case Truncated() | Emptied():
                return False  # a truncated one with its next event
        return True


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}


def _status(code: int) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "a fault of the test",
        "code": code,
    }


def _error_event(code: int) -> bytes:
    return json.dumps({"type": "ERROR", "object": _status(code)}).encode() + b"\n"
