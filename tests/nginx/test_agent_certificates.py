"""The agent brings certificates to a real nginx, whatever comes first, and takes them away late."""

import asyncio
import base64
import stat
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.nginx.test_render_tls import AUTHORITY, der, listening, secure, shown, tls_of
from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod
from tests.support.certificates import Authority
from tests.support.configurations import HOST
from tests.support.handshake import echo
from tests.support.ports import free_ports
from tests.support.published import NAMESPACE, Published, running_agent
from tests.support.waiting import until
from wsroute.agent import certificates as agent_certificates
from wsroute.agent.runtime import Agent
from wsroute.cluster.certificates import Certificate
from wsroute.dataplane import names
from wsroute.kube.port import CONFIG_MAPS, SECRETS

pytestmark = pytest.mark.nginx


class Rotating(Published):
    """A balancer whose listener ends TLS with one certificate after the other."""

    def __init__(self, pod: BalancerPod, port: int, backend: Backend) -> None:
        super().__init__(pod, port)
        self.folder = Path(pod.paths.certificates)
        self.pod = pod
        self._echo = backend

    def offer(self, *certificates: Certificate, **files: bytes) -> None:
        """Write the Secrets, with these certificates and no others. ``files`` are what should not be there."""
        data: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for certificate in certificates:
            encoded = base64.b64encode(certificate.pem).decode()
            data[names.tls_number(certificate.file)][f"{certificate.file}.pem"] = encoded
        for file, content in files.items():
            data[0][file] = base64.b64encode(content).decode()
        for number in range(names.TLS_SECRETS):
            self.put(SECRETS, names.tls_name("shared", number), namespace=NAMESPACE, data=data[number])

    def put_in_force(self, *certificates: Certificate) -> str:
        """Write a version that serves the certificates."""
        found = self.pod.render(listening(self._echo, {self.port: tls_of(*certificates)}))
        files = " ".join(sorted(certificate.file for certificate in certificates))
        self.publish(names.ROLE_NGINX, found.version, found.text, certificates=files)
        return found.version

    def there(self) -> set[str]:
        """The files beside nginx."""
        return {path.name.removesuffix(".pem") for path in self.folder.iterdir()}


@pytest.fixture
def cluster(certified_pod: BalancerPod, backend: Backend) -> Rotating:
    [port] = free_ports(1)
    return Rotating(certified_pod, port, backend)


@asynccontextmanager
async def serving(cluster: Rotating, certificate: Certificate) -> AsyncIterator[Agent]:
    """An agent, with nginx serving a certificate."""
    async with running_agent(cluster.pod, cluster) as agent:
        cluster.offer(certificate)
        await cluster.until_acknowledged(cluster.put_in_force(certificate))
        yield agent


async def test_a_version_waits_for_its_certificates_whichever_comes_first(cluster: Rotating) -> None:
    first, second, third = (AUTHORITY.issue(HOST).certificate() for _ in range(3))
    async with running_agent(cluster.pod, cluster) as agent:
        version = cluster.put_in_force(first)
        await until(lambda: bool(agent._certificates.waiting))
        assert cluster.acknowledged() is None or cluster.acknowledged().version == ""  # type: ignore[union-attr]
        cluster.offer(first)
        await cluster.until_acknowledged(version)
        assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(first)
        cluster.offer(first, second)
        await cluster.until_acknowledged(cluster.put_in_force(second))
        assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(second)
        [path] = cluster.folder.glob(f"{second.file}.pem")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        # One that never comes: what runs goes on, and the next one overtakes it.
        cluster.put_in_force(third)
        await until(lambda: bool(agent._certificates.waiting))
        assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(second)
        await cluster.until_acknowledged(cluster.put_in_force(first))
        assert not agent._certificates.waiting


async def test_a_file_that_is_not_what_its_name_says_is_not_used(
    cluster: Rotating, caplog: pytest.LogCaptureFixture
) -> None:
    good, other = (AUTHORITY.issue(HOST).certificate() for _ in range(2))
    async with serving(cluster, good):
        names_of_files = {f"{other.file}.pem": good.pem, "..pem": good.pem, "passwd": b"x", f"{'0' * 64}.pem": b"x"}
        cluster.offer(good, **names_of_files)
        cluster.put_in_force(other)
        await until(lambda: "is not what its name says" in caplog.text)
        assert cluster.there() == {good.file}
        assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(good)
        assert good.pem.decode().splitlines()[-2] not in caplog.text


async def test_a_restarted_agent_serves_on_without_the_api_server(cluster: Rotating) -> None:
    certificate = AUTHORITY.issue(HOST).certificate()
    async with serving(cluster, certificate):
        pass
    for number in range(names.TLS_SECRETS):
        cluster.remove(SECRETS, names.tls_name("shared", number), namespace=NAMESPACE)
    async with running_agent(cluster.pod, cluster) as agent:
        await until(lambda: agent._view.running != "" and agent._view.main is not None)
        assert not agent._certificates.waiting
        assert await shown(cluster.port, HOST, AUTHORITY.trusting()) == der(certificate)


async def test_without_certificates_no_secret_is_asked_for(cluster: Rotating) -> None:
    async with running_agent(cluster.pod, cluster):
        await cluster.until_acknowledged(cluster.main(0))
    assert "secrets" not in cluster.lists


async def test_files_go_late_and_never_while_something_may_need_them(cluster: Rotating) -> None:
    old, offered, new, lost = (AUTHORITY.issue(HOST).certificate() for _ in range(4))
    grace = agent_certificates.GRACE
    async with serving(cluster, old) as agent:
        cluster.offer(old, offered, new, lost)
        await cluster.until_acknowledged(cluster.put_in_force(new))
        cluster.offer(offered, new)
        kept = {f"{each.file}.pem" for each in (offered, new)}
        await until(lambda: set().union(*agent._certificates._offered.values()) == kept)
        await until(lambda: cluster.there() == {each.file for each in (old, offered, new, lost)})
        agent._certificates.prune(now=0.0)
        agent._certificates.prune(now=grace - 1)
        assert len(cluster.there()) == 4
        agent._certificates.prune(now=grace)
        # The file of the version before is still there, and nginx may be started with it.
        assert cluster.there() == {each.file for each in (old, offered, new)}
        for path in cluster.pod.conf.glob("*.conf"):
            if old.file in path.read_text():
                path.unlink()
        agent._certificates.prune(now=grace)
        assert cluster.there() == {offered.file, new.file}


async def test_fifty_rotations_lose_no_socket(cluster: Rotating) -> None:
    authority = Authority()
    held = 50
    async with AsyncExitStack() as stack:
        current = authority.issue(HOST).certificate()
        await stack.enter_async_context(serving(cluster, current))
        sockets = [
            await stack.enter_async_context(secure(cluster.port, HOST, authority.trusting())) for _ in range(held)
        ]
        for number in range(50):
            before, current = current, authority.issue(HOST).certificate()
            cluster.offer(before, current)
            await cluster.until_acknowledged(cluster.put_in_force(current))
            assert await shown(cluster.port, HOST, authority.trusting()) == der(current)
            await echo(sockets[number % held], f"still here after rotation {number}")
        await asyncio.gather(*(echo(socket, "still here") for socket in sockets))


async def test_no_key_is_in_what_nginx_and_the_agent_say_or_in_the_files_of_versions(
    cluster: Rotating, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    certificate = AUTHORITY.issue(HOST).certificate()
    async with serving(cluster, certificate) as agent:
        broken = AUTHORITY.issue(HOST).certificate()
        damaged = broken.pem.replace(b"-----END PRIVATE KEY-----", b"-----END PRIVATE-----")
        (cluster.folder / f"{broken.file}.pem").write_bytes(damaged)
        refused = cluster.put_in_force(broken)
        await cluster.until_refused(refused)
        said = f"{caplog.text}{cluster.pod.words()}{agent.metrics.render().decode()}{cluster.applied}"
        said += str(cluster.find(CONFIG_MAPS, "shared-nginx", namespace=NAMESPACE))
        files = [path for path in cluster.pod.files("*") if path.is_file() and path.parent != cluster.folder]
        for path in files:
            with suppress(FileNotFoundError):  # the script keeps the last few answers only
                said += path.read_text(errors="replace")
    assert refused in said
    for pem in (certificate.pem, broken.pem):
        key = pem.decode().partition("-----BEGIN PRIVATE KEY-----")[2].splitlines()
        assert not [line for line in key if len(line) > 30 and line[:5] != "-----" and line in said]
