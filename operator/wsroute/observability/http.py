"""The operator's own HTTP server: ``/healthz``, ``/readyz`` and ``/metrics``. Nothing in it needs the API server.

Health never depends on leadership or on the API server: a restart would cure neither. Readiness means that every kind
was listed once and a pass over all of it was made.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web

from wsroute.observability.metrics import CONTENT_TYPE, Metrics

CLOSE_SECONDS: Final = 2.0
"""How long an answer that is under way may go on once the server is told to end."""

Check = Callable[[], str]
"""Says in a sentence why the answer is no; empty when it is yes."""


def make_app(*, metrics: Metrics, unhealthy: Check, unready: Check) -> web.Application:
    """The three addresses. A check's sentence is the body of the 503."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(unhealthy())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(unready())

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)
    return app


def _answer(why_not: str) -> web.Response:
    return web.Response(status=503 if why_not else 200, text=f"{why_not or 'ok'}\n")


@contextlib.asynccontextmanager
async def serving(app: web.Application, *, host: str | None, port: int) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port, which the system chooses for 0. ``host`` None means all addresses."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await runner.cleanup()
