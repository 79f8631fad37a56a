"""The agent of a balancer that ends TLS, while it can't follow the Secrets that certificates come by: what was served
is served on, and a rotation that was made meanwhile is served afterwards.
"""

import asyncio
import base64
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.apiserver.test_agent_faults import BEGIN, served
from tests.apiserver.test_faults import HOLD, SOON
from tests.nginx.test_render_tls import AUTHORITY, der, secure, shown, tls_of
from tests.support.apiserver import ApiServer
from tests.support.backend import Backend
from tests.support.balancer_pod import opened
from tests.support.configurations import HOST
from tests.support.fault_proxy import Fault, Reset, Stall, Status, Where
from tests.support.handshake import echo
from tests.support.ports import free_ports
from tests.support.served_pod import MANAGER, ServedPod, to
from tests.support.waiting import until
from wsroute.cluster.certificates import Certificate
from wsroute.dataplane import names
from wsroute.dataplane.certificate_table import certificate_records
from wsroute.dataplane.certificates import NO_CERTIFICATES
from wsroute.dataplane.ir import Listener
from wsroute.dataplane.table import Table
from wsroute.kube.client import KubeClient
from wsroute.kube.port import SECRETS

pytestmark = pytest.mark.nginx

FAULTS: Final[tuple[Fault, ...]] = (Status(401), Status(403), Status(410), Stall(), Reset())
OF_SECRETS: Final = Where(resources=frozenset({"secrets"}))


@dataclass
class SecuredPod(ServedPod):
    """Beside the plain listener there is one, on the port ``secured``, that ends TLS."""

    secured: int = 0

    def listeners(self) -> tuple[Listener, ...]:
        return (*super().listeners(), Listener("wss", self.secured, "wss", 443, NO_CERTIFICATES))

    async def offer(self, *certificates: Certificate) -> None:
        """Write the Secrets, with these certificates and no others."""
        data: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        for each in certificates:
            data[names.tls_number(each.file)][f"{each.file}.pem"] = base64.b64encode(each.pem).decode()
        for number in range(names.TLS_SECRETS):
            metadata = {"namespace": self.namespace, "name": names.tls_name("shared", number)}
            await self.client.apply(SECRETS, {"metadata": metadata, "data": data[number]}, manager=MANAGER)

    async def shows(self, certificate: Certificate) -> bool:
        """Whether who connects now is shown this certificate."""
        return await shown(self.secured, HOST, AUTHORITY.trusting()) == der(certificate)


def with_certificate(table: Table, certificate: Certificate) -> Table:
    """A table whose host is on both listeners, with this certificate."""
    hosts = tuple(replace(host, listeners=("ws", "wss")) for host in table.hosts)
    return replace(table, hosts=hosts, certificates=certificate_records({"wss": tls_of(certificate)}))


@asynccontextmanager
async def secured(client: KubeClient, namespace: str) -> AsyncIterator[SecuredPod]:
    """A pod in a namespace of its own; nothing is published yet."""
    async with served(client, namespace) as plain:
        [port] = free_ports(1)
        await asyncio.to_thread(Path(plain.pod.paths.certificates).mkdir)
        yield SecuredPod(plain.client, plain.namespace, plain.pod, plain.port, secured=port)


async def test_a_rotation_during_a_fault_is_served_after_it(
    apiserver: ApiServer, client: KubeClient, namespace: str, backend: Backend, other: Backend
) -> None:
    # Each has an agent, a nginx, a proxy and a namespace of its own; they wait beside one another.
    async with asyncio.TaskGroup() as tasks:
        for number, fault in enumerate(FAULTS):
            name = f"{namespace}-secrets-{number}"
            tasks.create_task(_rotate(apiserver, client, fault, name, backend, other), name=repr(fault))


async def _rotate(
    apiserver: ApiServer, client: KubeClient, fault: Fault, namespace: str, backend: Backend, other: Backend
) -> None:
    first, second = (AUTHORITY.issue(HOST).certificate() for _ in range(2))
    async with AsyncExitStack() as exits:
        own = await exits.enter_async_context(secured(client, namespace))
        proxy = await exits.enter_async_context(apiserver.proxy())
        await own.offer(first)
        await own.shell()
        before, after = with_certificate(to(backend), first), with_certificate(to(other), second)
        await own.table(before)
        agent = await exits.enter_async_context(own.agent(apiserver.kubeconfig(through=proxy)))
        await own.until_live(before, within=BEGIN)
        assert await own.shows(first)
        held = [
            await exits.enter_async_context(secure(own.secured, HOST, AUTHORITY.trusting())),
            await exits.enter_async_context(opened(own.port)),
        ]
        async with own.probing() as answers:
            with proxy.fault(fault, OF_SECRETS):
                await own.offer(first, second)
                asked = len(other.requests)
                await own.table(after)
                # The table comes, without what it says of the certificate.
                await until(lambda: len(other.requests) > asked, seconds=SOON, what="for the table")
                begun = asyncio.get_running_loop().time()
                while asyncio.get_running_loop().time() < begun + HOLD:
                    assert await own.shows(first), fault
                    await asyncio.sleep(HOLD / 20)
                for number, connection in enumerate(held):
                    await echo(connection, f"socket {number} during {fault}")
            seconds = await own.until_live(after, within=SOON)
            print(f"{fault}: live after {seconds:.1f} s")
            assert await own.shows(second)
            await own.until_told(within=2 * SOON)
            for number, connection in enumerate(held):
                await echo(connection, f"socket {number} after {fault}")
        assert set(answers) == {101}, fault
        assert agent.running, agent.log.read_text()
