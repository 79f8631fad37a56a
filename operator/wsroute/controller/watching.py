"""Runs kopf, and starts it again when it ends.

kopf gets a thread and an event loop of its own. When kopf ends it cancels every task of its loop that is younger than
itself, and it ends on some watch errors: in a shared loop that would take our writes and our HTTP answers along. What
its handlers see is handed over to our loop; the state lives there and survives.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import kopf

from wsroute.cluster.kinds import Kind
from wsroute.controller.feed import Change
from wsroute.controller.handlers import register
from wsroute.controller.resync import Resync
from wsroute.controller.scope import Scope
from wsroute.controller.settings import kopf_settings, register_login
from wsroute.kube.backoff import OUTAGE, Backoff
from wsroute.kube.port import ROUTES, ClusterClient, KubeError, NotFoundError
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

GOOD_RUN: Final = 60.0
"""Seconds after which an end of kopf counts as the first one again."""

SETTLE: Final = 5.0
"""Seconds after a start of kopf by which its watches stand; then one list heals what the gap before that hid."""

CLOSING: Final = 0.25
"""Seconds that kopf's connections get to close; its HTTP library has no way to wait for that."""

INSIST: Final = 2.0
"""Seconds that kopf's tasks get to end when it fails, before they are told again."""

IDENTITY: Any = "wsroute"
"""kopf's name for itself. It would ask for the user's, which a container's user does not have."""

RunKopf = Callable[[], Awaitable[None]]


class Watching:
    """kopf under supervision. ``observe`` is told of each change."""

    def __init__(
        self,
        client: ClusterClient,
        observe: Callable[[Change], None],
        resync: Resync,
        metrics: Metrics,
        *,
        scope: Scope,
        kubeconfig: Path | None,
    ) -> None:
        self._client = client
        self._scope = scope
        self._observe = observe
        self._resync = resync
        self._metrics = metrics
        self._kubeconfig = kubeconfig

    async def run(self) -> None:
        """Watch until cancelled."""
        await supervise(self._run_once, self._resync, self._metrics)

    async def _run_once(self) -> None:
        if self._scope.listed:
            await self._find_routes()
        loop = asyncio.get_running_loop()

        def sink(kind: Kind, change: Change | None, listed_anew: bool) -> None:
            loop.call_soon_threadsafe(self._take, kind, change, listed_anew)

        # kopf warns that it gets no signals in a thread, which is as it should be.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        registry = kopf.OperatorRegistry()
        register(registry, sink, self._scope.kinds)
        register_login(registry, self._kubeconfig)

        async def operate(stop: asyncio.Event) -> None:
            register_insistence(registry, stop)
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(discover=not self._scope.listed),
                clusterwide=not self._scope.listed,
                namespaces=self._scope.namespaces,
                stop_flag=stop,
                identity=IDENTITY,
            )
            # The client closes TLS connections a moment after it was told to, while the loop still runs.
            await asyncio.sleep(CLOSING)

        await OwnLoop(operate).run()

    async def _find_routes(self) -> None:
        """Raise NotFoundError while the custom resources aren't there. With a list of namespaces kopf does not watch
        their definitions and looks for them only when it starts, so it must not start too early."""
        try:
            await self._client.list(ROUTES, namespace=self._scope.namespaces[0])
        except NotFoundError:
            raise
        except KubeError:
            return  # kopf has its own patience with everything else

    def _take(self, kind: Kind, change: Change | None, listed_anew: bool) -> None:
        self._metrics.events.labels(kind).inc()
        if change is not None:
            self._observe(change)
        if listed_anew:
            self._resync.request(kind)


async def supervise(
    run: RunKopf, resync: Resync, metrics: Metrics, *, backoff: Backoff = OUTAGE, settle: float = SETTLE
) -> None:
    """Start ``run`` again and again, with a back-off that a good run resets.

    At each end everything is listed too: while watches don't stand, lists take their place as well as they can.
    """
    delays = iter(backoff)
    loop = asyncio.get_running_loop()
    while True:
        started = time.monotonic()
        healing = loop.call_later(settle, resync.request_all)
        try:
            await run()
            logger.warning("The watching half ended without being told to; it is started again.")
        except Exception:
            logger.exception("The watching half failed; it is started again.")
        finally:
            healing.cancel()
        metrics.watch_restarts.inc()
        resync.request_all()
        if time.monotonic() - started > GOOD_RUN:
            delays = iter(backoff)
        await asyncio.sleep(next(delays))


def register_insistence(registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """Have :func:`insist` run beside kopf. It has to be younger than kopf to see its end."""
    tasks: list[asyncio.Task[None]] = []

    async def start(**_: Any) -> None:
        tasks.append(asyncio.create_task(insist(stop), name="insist"))

    kopf.on.startup(id="insist", registry=registry)(start)


async def insist(stop: asyncio.Event, pause: float = INSIST) -> None:
    """See to it that a kopf that fails comes to its end; one that is told to stop does so by itself.

    When it fails it cancels every younger task of its loop, this one too. A watch that waits for the API server's
    answer or for a new login at that moment takes it for a pause, and goes on for ever
    (``kopf._cogs.clients.api.stream``): half a minute later kopf kills the process. Told again, such a watch ends.
    """
    beginning = asyncio.all_tasks()
    try:
        await stop.wait()
    except asyncio.CancelledError:
        while left := asyncio.all_tasks() - beginning:
            await asyncio.sleep(pause)
            for task in left:
                task.cancel()
        raise


class OwnLoop:
    """Runs a coroutine function in a thread with an event loop of its own."""

    def __init__(self, main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        self._main = main
        self._outer = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._outer.create_future()
        self._inner: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._cancelled = threading.Event()

    async def run(self) -> None:
        """Run ``main`` until it ends, and raise what it raises. Being cancelled sets the event that ``main`` was given,
        and waits until the thread has ended."""
        threading.Thread(target=self._thread, name="kopf", daemon=True).start()
        try:
            await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self._cancelled.set()
            if self._inner is not None:
                loop, stop = self._inner
                with contextlib.suppress(RuntimeError):  # it has just ended by itself
                    loop.call_soon_threadsafe(stop.set)
            await asyncio.wait([self._ended])
            if not self._ended.cancelled():
                self._ended.exception()  # it was told to end: how it did is of no interest
            raise

    def _thread(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._body())
        except BaseException as raised:  # noqa: BLE001 - a thread has nobody above it: our loop raises it again
            error = raised
        self._outer.call_soon_threadsafe(self._settle, error)

    async def _body(self) -> None:
        stop = asyncio.Event()
        self._inner = (asyncio.get_running_loop(), stop)
        if not self._cancelled.is_set():
            await self._main(stop)

    def _settle(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        elif isinstance(error, Exception):
            self._ended.set_exception(error)
        else:
            self._ended.set_exception(RuntimeError(f"The thread ended with {type(error).__name__}."))
