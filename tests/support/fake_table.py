"""nginx's side of the table in memory, on a Unix socket, with the faults that a test wants of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from wsroute.agent.metrics import AgentMetrics

Fault = Callable[[web.Request], Awaitable[web.Response | None]]
"""Answers a request in nginx's place; None lets it through."""


class FakeTable:
    """The dictionary. ``entries`` have the letter of their generation before their keys, as in nginx."""

    def __init__(self) -> None:
        self.live = ""
        self.mark = ""
        self.entries: dict[str, str] = {}
        self.format = 1
        self.room = 1_000_000
        self.requests: list[str] = []
        """What was asked, as ``POST /table/flip``, but for the questions what there is."""
        self.asked = 0
        self.fault: Fault | None = None

    @property
    def served(self) -> dict[str, str]:
        """The entries that handshakes see."""
        return {key[1:]: value for key, value in self.entries.items() if self.live and key[0] == self.live}

    def start_anew(self) -> None:
        """Forget everything, as a nginx without its state."""
        self.live, self.mark, self.entries = "", "", {}

    @contextlib.asynccontextmanager
    async def serving(self, run: Path) -> AsyncIterator[None]:
        """Listen where nginx does."""
        app = web.Application(client_max_size=8 * 1024 * 1024, middlewares=[self._middleware])
        app.router.add_get("/table", self._describe)
        app.router.add_post("/table/changes", self._change)
        app.router.add_post("/table/clear", self._clear)
        app.router.add_post("/table/entries", self._fill)
        app.router.add_post("/table/flip", self._flip)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(run / "admin.sock")).start()
            yield
        finally:
            await runner.cleanup()
            (run / "admin.sock").unlink(missing_ok=True)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/table":
            self.asked += 1
        else:
            self.requests.append(f"{request.method} {request.path}")
        if self.fault is not None and (answer := await self.fault(request)) is not None:
            return answer
        answered: web.StreamResponse = await handler(request)
        return answered

    async def _describe(self, _: web.Request) -> web.Response:
        if not self.format:
            return web.Response(status=404)
        used = sum(len(key) + len(value) for key, value in self.entries.items())
        return web.json_response(
            {
                "format": self.format,
                "live": self.live,
                "mark": self.mark,
                "free": self.room - used,
                "capacity": self.room,
                "entries": len(self.entries),
            }
        )

    async def _change(self, request: web.Request) -> web.Response:
        query = request.query
        if (self.live, self.mark) != (query["generation"], query["from"]):
            return web.Response(status=409, text="another table is live\n")
        return await self._write(request, mark=query["mark"])

    async def _fill(self, request: web.Request) -> web.Response:
        assert request.query["generation"] != self.live
        return await self._write(request)

    async def _write(self, request: web.Request, *, mark: str | None = None) -> web.Response:
        operations = await request.json()
        letter = request.query["generation"]
        if len(operations) > 2000:
            return web.Response(status=400, text="too many operations\n")
        used = sum(len(key) + len(value) for key, value in self.entries.items())
        if used + sum(len(op[1]) + len(op[2]) for op in operations if op[0] == "s") > self.room:
            return web.Response(status=507, text="the dictionary is full\n")
        for verb, key, *value in operations:
            if verb == "s":
                self.entries[letter + key] = value[0]
            else:
                self.entries.pop(letter + key, None)
        if mark is not None:
            self.mark = mark
        return web.Response(status=204)

    async def _clear(self, request: web.Request) -> web.Response:
        letter = request.query["generation"]
        if letter == self.live:
            return web.Response(status=409, text="this generation is live\n")
        keys = [key for key in self.entries if key[0] == letter]
        for key in keys[:150]:
            del self.entries[key]
        return web.json_response({"cleared": min(150, len(keys)), "left": max(0, len(keys) - 150)})

    async def _flip(self, request: web.Request) -> web.Response:
        assert request.query["generation"] != self.live
        self.live, self.mark = request.query["generation"], request.query["mark"]
        return web.Response(status=204)


def pushes(metrics: AgentMetrics, kind: str, *, outcome: str = "pushed") -> int:
    """How often an agent told nginx a table, by what it counts."""
    prefix = f'wsroute_agent_table_pushes_total{{kind="{kind}",outcome="{outcome}"}} '
    lines = metrics.render().decode().splitlines()
    return sum(int(float(line.removeprefix(prefix))) for line in lines if line.startswith(prefix))


def answering(status: int, text: str = "", *, to: str) -> Fault:
    """Give this answer to one kind of request, such as ``flip``."""

    async def fault(request: web.Request) -> web.Response | None:
        return web.Response(status=status, text=text) if request.path.endswith(f"/{to}") else None

    return fault


def cutting(to: str, *, times: int = 1, after: bool = False) -> Fault:
    """Cut the connection at the next requests of a kind, without an answer; ``after`` they have worked."""
    left = [times]

    async def fault(request: web.Request) -> web.Response | None:
        if not left[0] or not request.path.endswith(f"/{to}"):
            return None
        left[0] -= 1
        if after:
            await request.read()
            await _handled(request)
        assert request.transport is not None
        request.transport.close()
        await asyncio.sleep(0)
        return web.Response(status=500)

    return fault


async def _handled(request: web.Request) -> None:
    await request.match_info.handler(request)
