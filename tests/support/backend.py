"""A WebSocket backend for tests: echoes, remembers what it was asked, and answers plain HTTP with a page."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from wsroute.dataplane.ir import Endpoint


class Backend:
    """``requests`` are all that arrived. ``answer`` may answer one itself, instead of the handshake or the page."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.sockets: set[ServerConnection] = set()
        self.answer: Callable[[Request], Response | None] = lambda _request: None
        self.port = 0

    @property
    def last(self) -> Request:
        """The last request that arrived."""
        return self.requests[-1]

    def endpoint(self, *, weight: int = 1) -> Endpoint:
        """Where it listens."""
        return Endpoint(address="127.0.0.1", port=self.port, weight=weight)

    def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        answer = self.answer(request)
        if answer is None and request.headers.get("Upgrade") != "websocket":
            return connection.respond(HTTPStatus.OK, "a page\n")
        return answer

    async def _echo(self, connection: ServerConnection) -> None:
        self.sockets.add(connection)
        try:
            with suppress(ConnectionClosed):  # probers hang up without a Close frame
                async for message in connection:
                    await connection.send(message)
        finally:
            self.sockets.discard(connection)


def response(status: int, **headers: str) -> Response:
    """An answer for ``Backend.answer``; underscores in header names stand for hyphens."""
    lines = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    lines["Content-Length"] = "0"
    return Response(status, HTTPStatus(status).phrase, lines)


@asynccontextmanager
async def running_backend(*, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Backend]:
    """A backend on a port of its own, or on this one."""
    backend = Backend()
    async with serve(
        backend._echo,
        host,
        port,
        process_request=backend._process,
        ping_interval=None,
        compression=None,
        open_timeout=60,
        close_timeout=1,
    ) as server:
        backend.port = next(iter(server.sockets)).getsockname()[1]
        yield backend


@asynccontextmanager
async def silent_backend() -> AsyncIterator[Endpoint]:
    """An endpoint that takes connections and never answers."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        yield Endpoint(address="127.0.0.1", port=server.sockets[0].getsockname()[1], weight=1)
