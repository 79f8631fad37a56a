"""The agent of a Dynamic balancer brings certificates to a real nginx: files first, then the table that names them."""

import base64
from collections import defaultdict
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.nginx.test_agent_tables import Dynamic, kill_master, ready
from tests.nginx.test_render_tls import AUTHORITY, der, listening, secure, shown, tls_of
from tests.support import tables
from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod
from tests.support.configurations import HOST
from tests.support.dynamic import shell_of
from tests.support.handshake import echo
from tests.support.ports import free_ports
from tests.support.published import NAMESPACE, running_agent
from tests.support.waiting import until, until_async
from wsroute.agent import certificates as agent_certificates
from wsroute.cluster.certificates import Certificate
from wsroute.dataplane import names
from wsroute.dataplane.certificate_table import certificate_records
from wsroute.dataplane.table import Address, Table
from wsroute.kube.port import SECRETS
from wsroute.nginx.script import SCRIPT

pytestmark = pytest.mark.nginx

OTHER = "other.example.com"


class Rotating(Dynamic):
    """A Dynamic balancer whose listener ends TLS."""

    def __init__(self, pod: BalancerPod, port: int, backend: Backend) -> None:
        super().__init__(pod, port)
        self.folder = Path(pod.paths.certificates)
        self.pod = pod
        self._echo = backend

    def shell(self, number: int = 0) -> str:
        found = self.pod.render(shell_of(listening(self._echo, {self.port: tls_of(FIRST)})))
        self.publish(names.ROLE_NGINX, found.version, found.text, scripts={SCRIPT.name: SCRIPT.text})
        return found.version

    def of(self, *certificates: Certificate) -> Table:
        """A table in which the listener has these certificates."""
        listener = f"l{self.port}"
        hosts = (tables.host(name=name, listeners=(listener,)) for name in (HOST, OTHER))
        group = tables.group(Address("127.0.0.1", self._echo.port))
        records = certificate_records({listener: tls_of(*certificates)})
        return replace(tables.table(*hosts, groups=[group]), certificates=records)

    def offer(self, *certificates: Certificate) -> None:
        """Write the Secrets, with these certificates and no others."""
        data: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for certificate in certificates:
            encoded = base64.b64encode(certificate.pem).decode()
            data[names.tls_number(certificate.file)][f"{certificate.file}.pem"] = encoded
        for number in range(names.TLS_SECRETS):
            self.put(SECRETS, names.tls_name("shared", number), namespace=NAMESPACE, data=data[number])

    async def rotate(self, *certificates: Certificate) -> None:
        """Offer and name these certificates; wait until nginx has them all."""
        self.offer(*certificates)
        self.table(self.of(*certificates))
        await self.until_pushed(self.of(*certificates))

    def there(self) -> set[str]:
        """The files beside nginx."""
        return {path.name.removesuffix(".pem") for path in self.folder.iterdir()}


FIRST = AUTHORITY.issue(HOST).certificate()


@pytest.fixture
def cluster(certified_pod: BalancerPod, backend: Backend) -> Rotating:
    [port] = free_ports(1)
    return Rotating(certified_pod, port, backend)


async def test_rotations_need_no_reload_and_lose_no_socket(cluster: Rotating) -> None:
    version = cluster.shell()
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(running_agent(cluster.pod, cluster))
        await cluster.rotate(FIRST)
        workers = cluster.pod.accepting()
        sockets = [await exits.enter_async_context(secure(cluster.port, HOST, AUTHORITY.trusting())) for _ in range(10)]
        before = FIRST
        for number in range(10):
            current = AUTHORITY.issue(HOST).certificate()
            cluster.offer(before, current)
            cluster.table(cluster.of(current))
            await cluster.until_pushed(cluster.of(current))
            assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(current)
            await echo(sockets[number], f"still here after rotation {number}")
            before = current
        assert cluster.pod.accepting() == workers
        assert await cluster.pod.applier.running() == version


async def test_a_table_waits_for_files_which_harms_the_names_that_they_are_for_alone(cluster: Rotating) -> None:
    cluster.shell()
    new, other = AUTHORITY.issue(HOST).certificate(), AUTHORITY.issue(OTHER).certificate()
    async with running_agent(cluster.pod, cluster) as agent:
        cluster.table(cluster.of(FIRST))
        await until(lambda: bool(agent._pusher._tables.missing), what="for it to miss a file")
        assert await ready(cluster.pod) == 503, "a pod that starts waits for its certificates"
        cluster.offer(FIRST)
        await cluster.until_pushed(cluster.of(FIRST))
        # The table comes before one of its files.
        cluster.offer(FIRST, other)
        cluster.table(cluster.of(new, other))
        await until(lambda: bool(agent._pusher._tables.missing), what="for it to miss another file")
        await until(lambda: other.file in cluster.there(), what="for the file that is offered")

        async def both() -> list[bytes]:
            return [await shown(cluster.port, name, AUTHORITY.trusting(verify=False)) for name in (HOST, OTHER)]

        async def halfway() -> bool:
            return await both() == [der(FIRST), der(other)]

        await until_async(halfway, what="for the one whose file is there")
        said = cluster.acknowledged()
        assert said is not None
        assert said.table < cluster.version
        cluster.offer(FIRST, new, other)
        await cluster.until_pushed(cluster.of(new, other))
        assert await both() == [der(new), der(other)]


async def test_files_stay_while_nginx_may_be_told_of_them_or_started_with_them(cluster: Rotating) -> None:
    cluster.shell()
    new = AUTHORITY.issue(HOST).certificate()
    grace = agent_certificates.GRACE
    async with running_agent(cluster.pod, cluster) as agent:
        await cluster.rotate(FIRST)
        state = cluster.pod.run / "table.json"
        await until(lambda: state.exists() and FIRST.file in state.read_text(), what="for the state file")
        cluster.offer()
        await until(lambda: not set().union(*agent._certificates._offered.values()))
        agent._certificates.prune(now=0.0)
        agent._certificates.prune(now=grace)
        assert cluster.there() == {FIRST.file}, "the table names it"
        await cluster.rotate(new)
        agent._certificates.prune(now=2 * grace)
        await until(lambda: FIRST.file not in state.read_text(), what="for the state file")
        text = state.read_text()
        state.write_text(text.replace(new.file, FIRST.file))
        agent._certificates.prune(now=3 * grace)
        assert FIRST.file in cluster.there(), "nginx may be started with it"
        state.write_text(text)
        agent._certificates.prune(now=4 * grace)
        assert cluster.there() == {new.file}


async def test_nginx_and_agent_start_anew_without_the_api_server(cluster: Rotating) -> None:
    cluster.shell()
    async with running_agent(cluster.pod, cluster):
        await cluster.rotate(FIRST)
        state = cluster.pod.run / "table.json"
        await until(lambda: state.exists() and FIRST.file in state.read_text(), what="for the state file")
    for number in range(names.TLS_SECRETS):
        cluster.remove(SECRETS, names.tls_name("shared", number), namespace=NAMESPACE)
    await kill_master(cluster.pod, cluster.port)
    assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(FIRST)
    async with running_agent(cluster.pod, cluster) as agent:
        await until(lambda: agent._pusher._tables.pushed is not None, what="for the table")
        assert not agent._pusher.trouble
        assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(FIRST)


async def test_no_key_is_in_what_is_said_or_kept(cluster: Rotating, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    cluster.shell()
    async with running_agent(cluster.pod, cluster) as agent:
        await cluster.rotate(FIRST)
        state = cluster.pod.run / "table.json"
        await until(lambda: state.exists() and FIRST.file in state.read_text(), what="for the state file")
        said = f"{caplog.text}{cluster.pod.words()}{agent.metrics.render().decode()}{cluster.applied}"
        said += str([item for (resource, _, _), item in cluster.objects.items() if resource != SECRETS])
        for path in cluster.pod.files("*"):
            if path.is_file() and path.parent != cluster.folder:
                with suppress(FileNotFoundError):  # the script keeps the last few answers only
                    said += path.read_text(errors="replace")
    assert FIRST.file in said
    key = FIRST.pem.decode().partition("-----BEGIN PRIVATE KEY-----")[2].split()
    assert not [line for line in key if len(line) > 30 and line in said]
