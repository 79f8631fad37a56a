"""The chat's server: the page, two kinds of socket and two small answers, all on one port.

====================  ===================================================================================
``…/``                the page
``…/ws``              WebSocket: the chat
``…/echo``            WebSocket: every message comes back as it was sent; tests prove with it that a socket survives
``…/whoami``          JSON: this pod's name and how many sockets of each kind it holds
``…/healthz``         200 for as long as the process serves, also while it drains
====================  ===================================================================================

Only the last segment of a path counts, so the app works at any prefix that a route gives it. Every answer, 101
included, names the pod in the header ``X-Chat-Pod``.
"""

import json
from contextlib import suppress
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from .page import load_page
from .room import Room

FRAME_BYTES = 64 * 1024
"""A longer message ends its socket (close code 1009). What the chat itself takes is shorter: messages.MESSAGE_BYTES."""

PING_SECONDS = 20
"""Pings keep idle sockets open through every proxy on the way; the route's ``pingInterval`` says the same figure."""


class ChatApp:
    """Answers requests and serves sockets for one pod."""

    def __init__(self, *, pod: str) -> None:
        self._pod = pod
        self._page = load_page()
        self._room = Room(pod=pod)
        self._echoing: set[ServerConnection] = set()

    def request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain HTTP; None lets the WebSocket handshake go on."""
        last = _last_segment(request.path)
        if last in {"ws", "echo"}:
            return None  # websockets answers 426 where the client asks for no upgrade
        if request.method not in {"GET", "HEAD"}:
            refused = connection.respond(HTTPStatus.METHOD_NOT_ALLOWED, "Use GET.\n")
            refused.headers["Allow"] = "GET, HEAD"
            return refused
        response = self._plain(connection, last)
        if request.method == "HEAD":
            response.body = b""
        return response

    def _plain(self, connection: ServerConnection, last: str) -> Response:
        if last == "healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if last == "whoami":
            counts = {"chat": len(self._room), "echo": len(self._echoing)}
            response = connection.respond(HTTPStatus.OK, json.dumps({"pod": self._pod, "connections": counts}) + "\n")
            return _typed(response, "application/json")
        if "." in last:  # favicon.ico and its like; the page brings everything it needs
            return connection.respond(HTTPStatus.NOT_FOUND, "There is nothing here.\n")
        response = connection.respond(HTTPStatus.OK, "")
        response.body = self._page.body
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(self._page.body))
        response.headers["Content-Security-Policy"] = self._page.policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return _typed(response, "text/html; charset=utf-8")

    def sign(self, _connection: ServerConnection, _request: Request, response: Response) -> None:
        """Name the pod in every answer; nothing may be cached, for the next one may come from another pod."""
        response.headers["X-Chat-Pod"] = self._pod
        response.headers["Cache-Control"] = "no-store"

    async def socket(self, connection: ServerConnection) -> None:
        """Serve one open socket until either side closes it."""
        assert connection.request is not None
        with suppress(ConnectionClosed):
            if _last_segment(connection.request.path) == "ws":
                balancer = connection.request.headers.get("X-WSRoute-Pod", "")
                async with self._room.joined(connection, balancer=balancer):
                    async for raw in connection:
                        self._room.take(raw, sender=connection)
                return
            self._echoing.add(connection)
            try:
                async for raw in connection:
                    await connection.send(raw)
            finally:
                self._echoing.discard(connection)


def chat_server(*, host: str | None, port: int, pod: str) -> Server:
    """The server, for ``async with``: serves inside, closes every socket with 1001 (going away) on the way out.

    ``host`` None listens on all addresses, IPv4 and IPv6; ``port`` 0 takes any free one.
    """
    app = ChatApp(pod=pod)
    return serve(
        app.socket,
        host,
        port,
        process_request=app.request,
        process_response=app.sign,
        max_size=FRAME_BYTES,
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        compression=None,  # chat messages are short, and a deflate window for each held socket is not
        server_header=None,
    )


def _last_segment(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2]


def _typed(response: Response, content_type: str) -> Response:
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = content_type
    return response
