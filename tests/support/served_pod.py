"""A balancer's pod of the Dynamic data plane, its agent a process of its own, and a real API server that it follows."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tests.support import tables
from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod, connected
from tests.support.configurations import HOST, configuration
from tests.support.dynamic import shell_of
from tests.support.fake_cluster import FakeCluster
from tests.support.handshake import GOES_ON, handshake
from tests.support.published import POD, Published
from tests.support.table_parts import publish
from tests.support.waiting import until_async
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Acknowledgement, parse_acknowledgement
from wsroute.dataplane.dictionary import entries, mark
from wsroute.dataplane.ir import Listener
from wsroute.dataplane.table import Address, Table
from wsroute.kube.client import KubeClient
from wsroute.kube.port import CONFIG_MAPS, NotFoundError
from wsroute.nginx.script import SCRIPT

MANAGER: Final = "operator"


def to(*backends: Backend, hosts: tuple[str, ...] = (HOST,)) -> Table:
    """A table in which /ws leads to these backends."""
    group = tables.group(*sorted(Address("127.0.0.1", backend.port) for backend in backends))
    return tables.table(*(tables.host(name=name) for name in hosts), groups=[group])


@dataclass
class ServedPod:
    """The operator's side of one pod's balancer. ``namespace`` is there for nothing else."""

    client: KubeClient
    namespace: str
    pod: BalancerPod
    port: int
    workers: int = 1
    newest: int = 0
    """The resourceVersion of what was written last."""
    _wanted: FakeCluster = field(init=False)
    _written: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._wanted = Published(self.pod, self.port)

    async def shell(self, number: int = 0) -> str:
        """Put one of many shells in force."""
        assert isinstance(self._wanted, Published)
        shape = configuration(
            listeners=self.listeners(),
            servers=(),
            upstreams=(),
            worker_connections=1000 + number,
            worker_processes=self.workers,
        )
        found = self.pod.render(shell_of(shape))
        self._wanted.publish(names.ROLE_NGINX, found.version, found.text, scripts={SCRIPT.name: SCRIPT.text})
        await self._write()
        return found.version

    def listeners(self) -> tuple[Listener, ...]:
        """Those of each shell."""
        return (Listener("ws", self.port, "ws", 80),)

    async def table(self, table: Table) -> None:
        """Publish a table."""
        publish(self._wanted, "wsroute-system", table)
        await self._write()

    async def _write(self) -> None:
        for (_, _, name), item in self._wanted.objects.items():
            meta = item["metadata"]
            content = {key: item[key] for key in ("data", "binaryData") if item.get(key)}
            kept = {key: meta[key] for key in ("labels", "annotations")}
            if self._written.get(name) != (kept, content):
                body = {"metadata": {"namespace": self.namespace, "name": name, **kept}, **content}
                made = await self.client.apply(CONFIG_MAPS, body, manager=MANAGER)
                self.newest = int(made["metadata"]["resourceVersion"])
                self._written[name] = kept, content

    async def mark(self) -> str:
        """That of the table that nginx serves; empty while it has none or gives no answer."""
        connector = aiohttp.UnixConnector(str(self.pod.run / "admin.sock"))
        try:
            async with (
                aiohttp.ClientSession("http://nginx", connector=connector) as session,
                session.get("/table") as answer,
            ):
                return str((await answer.json())["mark"])
        except aiohttp.ClientError:
            return ""

    async def until_live(self, table: Table, *, within: float) -> float:
        """Wait until nginx serves a table; gives the seconds that it took."""
        wanted = mark(entries(table))

        async def live() -> bool:
            return await self.mark() == wanted

        return await until_async(live, seconds=within, what="for nginx to have the table")

    async def until_told(self, *, within: float) -> None:
        """Wait until the pod says that nginx has all that was written, and that nothing hinders it."""
        await until_async(self._has_told, seconds=within, what="for the pod to say so", pause=0.05)

    async def _has_told(self) -> bool:
        said = await self.said()
        return said is not None and said.table >= self.newest and not said.trouble

    async def said(self) -> Acknowledgement | None:
        """What the pod has said last."""
        try:
            found = await self.client.get(CONFIG_MAPS, namespace=self.namespace, name=names.agents_name("shared"))
        except NotFoundError:
            return None
        text = (found.get("data") or {}).get(POD)
        return parse_acknowledgement(text) if text else None

    async def status(self) -> int:
        """What a handshake is answered with; 0 without an answer."""
        try:
            return (await handshake(connected(self.port), host=HOST, path="/ws", within=GOES_ON)).status
        except (OSError, EOFError):
            return 0

    @contextlib.asynccontextmanager
    async def probing(self, *, pause: float = 0.05) -> AsyncIterator[list[int]]:
        """Handshakes one after the other; what they were answered with."""
        answers: list[int] = []

        async def probe() -> None:
            while True:
                answers.append(await self.status())
                await asyncio.sleep(pause)

        task = asyncio.create_task(probe())
        try:
            yield answers
        finally:
            task.cancel()
            await asyncio.wait([task])

    @contextlib.asynccontextmanager
    async def agent(self, kubeconfig: Path) -> AsyncIterator["AgentProcess"]:
        """The agent, killed in the end."""
        agent = AgentProcess(self, kubeconfig)
        await agent.start()
        try:
            yield agent
        finally:
            await agent.kill()


class AgentProcess:
    """An agent that can be killed and started anew."""

    def __init__(self, served: ServedPod, kubeconfig: Path) -> None:
        self._served = served
        self._kubeconfig = kubeconfig
        self._process: asyncio.subprocess.Process | None = None
        self.log = Path(served.pod.paths.conf).parent / "agent.log"

    async def start(self) -> None:
        """Start it, as the kubelet starts its container."""
        pod = self._served.pod
        with self.log.open("ab") as words:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.agent_process"),
                *(str(self._kubeconfig), self._served.namespace, str(pod.conf), str(pod.run), pod.paths.certificates),
                stdout=words,
                stderr=words,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """As the kernel does when there is no memory left."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
