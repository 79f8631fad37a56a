"""The agent: follows its balancer's ConfigMaps, brings versions in, acknowledges, measures.

Nothing here is needed for serving. Without the API server the agent waits, and when it dies, nginx does not notice.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aiohttp import web

from wsroute.agent.acknowledge import Acknowledger
from wsroute.agent.certificates import Certificates
from wsroute.agent.decide import (
    Apply,
    PublicationError,
    Published,
    View,
    Wait,
    decide,
    parse_publication,
)
from wsroute.agent.doubt import Doubts
from wsroute.agent.drainer import Drainer
from wsroute.agent.metrics import CONTENT_TYPE, AgentMetrics
from wsroute.agent.pusher import TablePusher
from wsroute.agent.sockets import established, ipv6_available
from wsroute.agent.tables import FORMATS
from wsroute.balancer.applier import Applied, Applier
from wsroute.balancer.control import ControlUnavailableError
from wsroute.balancer.table_client import TableClient
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure
from wsroute.dataplane.bundle import BundleError, unpack, unpack_scripts
from wsroute.dataplane.names import BALANCER_LABEL, ROLE_LABEL, ROLE_NEXT, ROLE_NGINX, next_name, nginx_name
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import CONFIG_MAPS, ClusterClient, Json
from wsroute.kube.reflector import Deleted, Replaced, reflect

logger = logging.getLogger(__name__)

PORT: Final = 8082
"""Where ``/healthz`` and ``/metrics`` are."""

STATE: Final = "table.json"
"""Where nginx keeps its table, in the folder of its side."""

LOOK: Final = 1.0
"""Seconds between two questions to nginx which version it runs; its container may have been restarted."""

LOOK_SOON: Final = 0.05
"""The same while it gives no answer."""

SILENCE: Final = 2.0
"""Seconds without an answer after which nginx counts as running nothing."""

COUNT: Final = 5.0
"""Seconds between two counts of the sockets."""

TOLD: Final = 2.0
"""Seconds after our SIGTERM within which nginx's script must have got its own for it to be the end of the pod."""

FAREWELL: Final = 3.0
"""Seconds for the last acknowledgement: the script leaves five between nginx's end and that of the grace period."""

STUCK: Final = 120.0
"""Seconds after which a single step counts as stuck; testing and loading give up after 20 each."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Who we are and where things are. ``port`` 0 lets the system choose."""

    pod: str
    namespace: str
    balancer: str
    conf: Path = Path("/etc/wsroute")
    run: Path = Path("/run/wsroute")
    tls: Path = Path("/etc/wsroute-tls")
    port: int = PORT


class ConfigError(ValueError):
    """The environment does not say who we are. The text says which variable is missing."""


def config_from_environment(environment: Mapping[str, str]) -> AgentConfig:
    """Read POD_NAME, POD_NAMESPACE, WSROUTE_BALANCER. Raises ConfigError."""
    found = {name: environment.get(name, "") for name in ("POD_NAME", "POD_NAMESPACE", "WSROUTE_BALANCER")}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise ConfigError(f"The agent runs in a balancer's pod; set {', '.join(missing)} there.")
    return AgentConfig(pod=found["POD_NAME"], namespace=found["POD_NAMESPACE"], balancer=found["WSROUTE_BALANCER"])


class Agent:
    """The state of a running agent, and the tasks that change it."""

    def __init__(self, config: AgentConfig, client: ClusterClient) -> None:
        self._config = config
        self._client = client
        self._applier = Applier(conf=config.conf, run=config.run)
        self.metrics = AgentMetrics()
        self._acknowledger = Acknowledger(
            client,
            namespace=config.namespace,
            balancer=config.balancer,
            pod=config.pod,
            counted=self.metrics.acknowledged,
        )
        self._drainer = Drainer(self._applier, self.metrics, pod=config.pod, changed=self._acknowledge)
        self._certificates = Certificates(
            client,
            namespace=config.namespace,
            balancer=config.balancer,
            folder=config.tls,
            conf=config.conf,
            state=config.run / STATE,
            changed=self._take_certificates,
        )
        self._pusher = TablePusher(
            client,
            self._applier,
            TableClient(config.run),
            self.metrics,
            namespace=config.namespace,
            balancer=config.balancer,
            changed=self._acknowledge,
            present=self._certificates.present,
        )
        self._view = View(pod=config.pod)
        self._published: dict[str, Published] = {}
        self._doubts = Doubts()
        self._sockets = 0
        self._closed = 0
        self._working: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._step_since: float | None = None
        self._steps = 0

    async def run(self) -> None:
        """Everything, until cancelled; an error of any part ends all of them."""
        async with asyncio.TaskGroup() as tasks:
            self._working = [
                tasks.create_task(self._follow(), name="follow"),
                tasks.create_task(self._reconsider(), name="reconsider"),
                tasks.create_task(self._act(), name="act"),
                tasks.create_task(self._look(), name="look"),
                tasks.create_task(self._drainer.run(), name="drain"),
            ]
            tasks.create_task(self._certificates.run(), name="certificates")
            tasks.create_task(self._pusher.run(), name="push tables")
            tasks.create_task(self._count(), name="count")
            tasks.create_task(self._acknowledger.run(), name="acknowledge")

    async def see_out(self) -> None:
        """We are told to end. When nginx is so as well, which is the end of the pod: change nothing any more, but tell
        how many clients there are until nginx has ended, and then what that closed."""
        try:
            async with asyncio.timeout(TOLD):
                while not self._applier.leaving():  # noqa: ASYNC110 (a file tells nobody of its birth)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return
        for task in self._working:
            task.cancel()
        while not self._applier.finished():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        self._closed = self._applier.closed()
        self.metrics.terminated(sockets=self._closed)
        self._acknowledge()
        await self._acknowledger.written(within=FAREWELL)

    def unhealthy(self) -> str:
        """Why a restart of the agent would help; empty when it would not."""
        since = self._step_since
        stuck = since is not None and time.monotonic() - since > STUCK
        return "A step of the agent does not come to its end." if stuck else ""

    # ── What is published ────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        selector = f"{BALANCER_LABEL}={self._config.balancer},{ROLE_LABEL} in ({ROLE_NGINX},{ROLE_NEXT})"
        async for event in reflect(
            self._client, CONFIG_MAPS, namespace=self._config.namespace, label_selector=selector
        ):
            match event:
                case Replaced(items):
                    known = {item["metadata"]["name"]: item for item in items}
                    for name in self._published.keys() - known.keys():
                        self._published.pop(name)
                        self._forget(name)
                    # The version in force first, so that a pod that starts serves as soon as it can.
                    for name in sorted(known):
                        await self._publish(known[name])
                    self._acknowledger.repeat()
                case Deleted(item):
                    self._published.pop(item["metadata"]["name"], None)
                    self._forget(item["metadata"]["name"])
                case _:
                    await self._publish(event.object)
            self._look_at_publications()

    def _forget(self, name: str) -> None:
        self._doubts.forget(name)
        self._certificates.forget(name)

    async def _take_certificates(self) -> None:
        """Follow the tables and the versions whose certificates have come."""
        self._pusher.look_for_files()
        for item in self._certificates.waiting:
            await self._publish(item)
        self._look_at_publications()

    def _look_at_publications(self) -> None:
        main = self._published.get(nginx_name(self._config.balancer))
        if main is not None:
            self._drainer.follow(main.terms)
        self._update(self._view.publish(main=main, next=self._published.get(next_name(self._config.balancer))))

    async def _reconsider(self) -> None:
        """Believe what was doubted once it has stood for long."""
        while True:
            await asyncio.sleep(LOOK)
            if doubted := self._doubts.items:
                for item in doubted:
                    await self._publish(item)
                self._look_at_publications()

    async def _publish(self, item: Json) -> None:
        """Believe a ConfigMap, if it is to be believed, and put its file where nginx reads it."""
        name = item["metadata"]["name"]
        known = self._published.get(name)
        try:
            new = parse_publication(item)
            if not self._doubts.believes(item, new, known) or not self._certificates.complete(item, new.certificates):
                return
            if new.version and (known is None or known.version != new.version):
                # A few milliseconds for 1,000 routes. A thread would cost more: memory, for an arena of its own.
                text = unpack(item.get("data") or {}, item.get("binaryData") or {}, expected_digest=new.digest)
                scripts = unpack_scripts(item.get("data") or {})
                keep = [published.version for published in self._published.values()]
                self._applier.stage(new.version, text, scripts=scripts, keep=keep)
        except (PublicationError, BundleError) as error:
            logger.error("The ConfigMap %s is not followed: %s", name, error)
        else:
            self._published[name] = new

    # ── What nginx does ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _act(self) -> None:
        delays = iter(backoff := Backoff(first=0.1, cap=2.0))
        while True:
            self._wake.clear()
            action = decide(self._view, now=time.monotonic())
            if isinstance(action, Wait):
                await self._sleep(action.seconds)
                continue
            self._step_since = time.monotonic()
            self._steps += 1
            try:
                await self._step(action)
            except ControlUnavailableError as error:
                self.metrics.applied("unavailable")
                delay = next(delays)
                logger.warning("Version %s has to wait %.1f s: %s", action.version, delay, error)
                await asyncio.sleep(delay)
            else:
                delays = iter(backoff)
            finally:
                self._step_since = None

    async def _step(self, action: Apply) -> None:
        version = action.version
        # Counted while nginx loads: what there is now will drain.
        result, self._sockets = await asyncio.gather(self._applier.apply(version), established(self._view.ports))
        match result:
            case Applied():
                self.metrics.applied("applied", seconds=result.seconds)
                logger.info("Version %s is live, in %.0f ms.", version, result.seconds * 1000)
                self._drainer.reloaded(sockets=self._sockets)
                self._pusher.look()
                self._update(self._view.load(version))
            case Failure():
                self.metrics.applied(f"refused-{result.phase}")
                logger.error("nginx refuses version %s at its %s: %s", version, result.phase, result.message)
                self._update(self._view.refuse(result, now=time.monotonic()))

    async def _look(self) -> None:
        """Ask nginx what it runs: after our own start, and because its container may be restarted."""
        silent_since: float | None = None
        while True:
            steps = self._steps
            running = await self._applier.running()
            now = time.monotonic()
            silent_since = None if running is not None else silent_since or now
            if silent_since is not None and now - silent_since >= SILENCE:
                running = ""
            # While a version is being loaded, one worker's answer does not speak for all of them.
            settled = self._step_since is None and self._steps == steps
            if settled and running is not None and running != self._view.running:
                self._update(replace(self._view, running=running))
            await asyncio.sleep(LOOK if silent_since is None else LOOK_SOON)

    async def _count(self) -> None:
        while True:
            self._sockets = await established(self._view.ports)
            self._acknowledge()
            await asyncio.sleep(COUNT)

    # ── What others hear ─────────────────────────────────────────────────────────────────────────────────────────────

    def _update(self, view: View) -> None:
        self._view = view
        self._wake.set()
        self._acknowledge()

    def _acknowledge(self) -> None:
        view = self._view
        self.metrics.state(version=view.running or "", sockets=self._sockets)
        draining = self._drainer.draining
        if view.running is None or draining is None:
            return
        self._acknowledger.update(
            Acknowledgement(
                version=view.running,
                epoch=view.epoch,
                sockets=self._sockets,
                nginx=self._applier.nginx_version(),
                ipv6=ipv6_available(),
                failure=view.failure,
                draining=draining,
                closed=self._closed,
                table=self._pusher.version,
                formats=FORMATS,
                trouble=self._pusher.trouble,
            )
        )

    async def _sleep(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def make_app(agent: Agent) -> web.Application:
    """``/healthz`` and ``/metrics``."""

    async def healthz(_: web.Request) -> web.Response:
        why_not = agent.unhealthy()
        return web.Response(status=503 if why_not else 200, text=f"{why_not or 'ok'}\n")

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=agent.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", show_metrics)
    return app


async def run(config: AgentConfig, client: ClusterClient) -> None:
    """Run the agent until SIGTERM or SIGINT. Raises an ExceptionGroup when a part of it fails: then start it anew."""
    loop = asyncio.get_running_loop()
    agent = Agent(config, client)
    runner = web.AppRunner(make_app(agent), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, config.port).start()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        logger.info("The agent of pod %s follows balancer %s.", config.pod, config.balancer)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(agent.run())
            await stop.wait()
            await agent.see_out()
            task.cancel()
    finally:
        await runner.cleanup()
