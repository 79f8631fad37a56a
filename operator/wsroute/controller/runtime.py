"""The operator, put together: who feeds whom, in which order it starts and ends.

All tasks of ours live in one TaskGroup: if one of them dies the process ends, and Kubernetes starts it again. kopf runs
beside them in a thread (:mod:`wsroute.controller.watching`).
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import signal
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.cluster.state import ClusterState
from wsroute.controller.coalescer import PassLoop
from wsroute.controller.feed import Feed
from wsroute.controller.following import FOLLOWED, follow_all
from wsroute.controller.guard import RouteGuard
from wsroute.controller.passes import Passes
from wsroute.controller.resync import Resync
from wsroute.controller.scope import follow_namespaces, scope_of
from wsroute.controller.secrets import Secrets
from wsroute.controller.status_writer import StatusWriter
from wsroute.controller.watching import Watching
from wsroute.controller.writer import Writer
from wsroute.graph.model import GraphSettings
from wsroute.kube.client import KubeClient
from wsroute.kube.elector import Elector
from wsroute.kube.events import EventRecorder
from wsroute.kube.leader import Timing
from wsroute.observability.http import make_app, serving
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

TIMING: Final = Timing()
"""Of the Lease."""

REQUEST_SECONDS: Final = 4.0
"""How long a request may take: less than the Lease's slack, so that what a leader has begun has ended before the next
one begins."""


SETTLED: Final = 20.0
"""Seconds after the first pass by which kopf's and our first lists are dealt with and dropped."""


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """What the operator is told.

    ``namespaces`` are those in which balancers may live, with their Deployments and pods. Routes are looked for there
    and in ``watched``, or in all namespaces when that is empty. ``default_balancer`` takes the routes that name none.
    ``identity`` belongs to one run of one process. Without ``kubeconfig`` it is a pod. ``http_host`` None means all
    addresses.
    """

    namespaces: tuple[str, ...]
    default_balancer: Key | None
    lease_namespace: str
    lease_name: str
    identity: str
    watched: tuple[str, ...] = ()
    http_host: str | None = None
    http_port: int = 8080
    kubeconfig: Path | None = None


class Operator:
    """One replica."""

    def __init__(self, config: OperatorConfig, client: KubeClient) -> None:
        self.config = config
        self.metrics = Metrics()
        self._client = client
        self._loop = PassLoop(self._pass)
        self._scope = scope_of(config.watched, config.namespaces)
        split = {**dict.fromkeys(FOLLOWED, config.namespaces), **self._scope.split}
        self._feed = Feed(ClusterState(), changed=self._loop.trigger, split=split)
        self._guard = RouteGuard(
            client,
            observe=self._feed.observe,
            changed=self._loop.trigger,
            complete=lambda: self._resync.request(Kind.ROUTE),
        )
        self._resync = Resync(
            client,
            self._feed,
            self.metrics,
            kinds=self._scope.kinds,
            namespaces=self._scope.namespaces,
            vouches=self._guard.vouches,
        )
        self._watching = Watching(
            client, self._guard.observe, self._resync, self.metrics, scope=self._scope, kubeconfig=config.kubeconfig
        )
        self._elector = Elector(
            client,
            namespace=config.lease_namespace,
            name=config.lease_name,
            identity=config.identity,
            timing=TIMING,
        )
        self._events = EventRecorder(client, instance=config.identity)
        guard = self._elector.assert_leading
        writer = Writer(client, self._feed, self.metrics, assert_leading=guard)
        self._statuses = StatusWriter(client, self._feed, self.metrics, self._events, assert_leading=guard)
        self._secrets = Secrets(client, self.metrics, changed=self._loop.trigger, assert_leading=guard)
        self._passes = Passes(
            self._feed,
            writer,
            self._secrets,
            self._statuses,
            self._elector,
            self.metrics,
            self._events,
            settings=GraphSettings(default_balancer=config.default_balancer),
            again=self._loop.trigger_after,
            trust=lambda: self._guard.trust,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop. Then: stop watching and writing, give the Lease back, end."""
        app = make_app(metrics=self.metrics, unhealthy=self.unhealthy, unready=self.unready)
        async with (
            serving(app, host=self.config.http_host, port=self.config.http_port),
            asyncio.TaskGroup() as group,
        ):
            working = [
                group.create_task(work, name=name)
                for name, work in (
                    ("passes", self._loop.run()),
                    ("statuses", self._statuses.run()),
                    ("events", self._events.run()),
                    ("leadership", self._follow_leadership()),
                    ("follow", self._follow()),
                    ("secrets", self._secrets.run()),
                    ("namespaces", self._follow_namespaces()),
                    ("guard", self._guard.run()),
                    ("resync", self._resync.run()),
                    ("watch", self._watching.run()),
                )
            ]
            electing = group.create_task(self._elector.run(), name="election")
            await stop.wait()
            logger.info("Told to stop.")
            for task in working:
                task.cancel()
            await asyncio.wait(working)
            self._elector.stop()
            await electing
        logger.info("Stopped.")

    async def _pass(self) -> None:
        if not self._feed.synced.is_set() or not self._guard.trust.known:
            return
        first = not self._passes.done
        await self._passes.make()
        if first:
            # What is known by now stays for long: the collector need not look at it again and again, for up to 50 ms.
            gc.collect()
            gc.freeze()
            asyncio.get_running_loop().call_later(SETTLED, _return_memory)

    def _follow(self) -> Coroutine[Any, Any, None]:
        return follow_all(self._client, self._feed, self.metrics, namespaces=self.config.namespaces)

    def _follow_namespaces(self) -> Coroutine[Any, Any, None]:
        return follow_namespaces(self._client, self._feed, self.metrics, self._scope)

    async def _follow_leadership(self) -> None:
        """Make a pass on winning: everything is known, nothing has been written by us."""
        try:
            while True:
                await self._elector.until(leading=True)
                self.metrics.leader.set(1)
                self._loop.trigger()
                await self._elector.until(leading=False)
                self.metrics.leader.set(0)
        finally:
            self.metrics.leader.set(0)

    def unhealthy(self) -> str:
        """Why the process should be started anew; empty when it should not."""
        return "A pass does not come to its end." if self._loop.stuck else ""

    def unready(self) -> str:
        """What is still to come before this replica could lead; empty when nothing is."""
        awaited = sorted(self._feed.state.awaited)
        if awaited:
            return f"Not listed yet: {', '.join(awaited)}."
        return "" if self._passes.done else "The first pass is still to come."


async def run(config: OperatorConfig, *, stop: asyncio.Event | None = None) -> None:
    """Run one replica until SIGTERM, SIGINT or ``stop``. Raises KubeError when there is no way to log in."""
    stop = stop or asyncio.Event()
    client = (
        KubeClient.in_cluster(timeout=REQUEST_SECONDS)
        if config.kubeconfig is None
        else await KubeClient.from_kubeconfig(config.kubeconfig, timeout=REQUEST_SECONDS)
    )
    try:
        async with _signals(stop):
            await Operator(config, client).run(stop)
    finally:
        await client.close()


def _return_memory() -> None:
    """Give back what the first lists left free in pieces, a tenth of the whole, where the C library can (glibc's)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.asynccontextmanager
async def _signals(stop: asyncio.Event) -> AsyncIterator[None]:
    """Have the signals of a container's end set the event."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
