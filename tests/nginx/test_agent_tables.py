"""The agent and a real nginx of the Dynamic data plane: whatever dies or is damaged, nginx comes to have the table that
is published, handshakes are answered from a whole one, and no open socket notices."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from tests.support import tables
from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod, balancer_pod, connected, opened
from tests.support.configurations import HOST, configuration
from tests.support.dynamic import shell_of
from tests.support.fake_table import pushes
from tests.support.handshake import GOES_ON, echo, handshake
from tests.support.ports import free_ports
from tests.support.published import NAMESPACE, Published, running_agent
from tests.support.table_parts import part, publish, split
from tests.support.waiting import until, until_async
from wsroute.agent.runtime import Agent
from wsroute.dataplane import names
from wsroute.dataplane.dictionary import entries, mark
from wsroute.dataplane.table import Address, Table
from wsroute.kube.port import CONFIG_MAPS, KubeError, Resource, UnavailableError
from wsroute.nginx.script import SCRIPT

pytestmark = pytest.mark.nginx


class Dynamic(Published):
    """The operator's side of a Dynamic balancer."""

    def shell(self, number: int = 0) -> str:
        """Put one of many shells in force."""
        wanted = shell_of(configuration(port=self.port, servers=(), upstreams=(), worker_connections=1000 + number))
        found = self._pod.render(wanted)
        self.publish(names.ROLE_NGINX, found.version, found.text, scripts={SCRIPT.name: SCRIPT.text})
        return found.version

    def table(self, table: Table, **how: int) -> None:
        """Publish a table."""
        publish(self, NAMESPACE, table, **how)

    async def until_pushed(self, table: Table) -> None:
        """Wait until nginx has the table that is published, and its pod says so."""
        parts = [item for (_, _, name), item in self.objects.items() if "-table-" in name]
        newest = max(int(item["metadata"]["resourceVersion"]) for item in parts)
        wanted = mark(entries(table))

        async def pushed() -> bool:
            return await live(self._pod) == wanted

        await until_async(pushed, what="for nginx to have the table", pause=0.01)
        await until(lambda: (said := self.acknowledged()) is not None and said.table >= newest, what=f"for {newest}")


async def live(pod: BalancerPod) -> str:
    """The mark of the table that nginx serves; empty while it has none or gives no answer."""
    try:
        async with admin(pod) as session, session.get("/table") as answer:
            return str((await answer.json())["mark"])
    except aiohttp.ClientError:
        return ""


async def ready(pod: BalancerPod) -> int:
    """What nginx says to the kubelet."""
    async with admin(pod) as session, session.get("/readyz") as answer:
        return answer.status


@asynccontextmanager
async def admin(pod: BalancerPod) -> AsyncIterator[aiohttp.ClientSession]:
    """Questions on the admin socket."""
    connector = aiohttp.UnixConnector(str(pod.run / "admin.sock"))
    async with aiohttp.ClientSession("http://nginx", connector=connector) as session:
        yield session


def to(*backends: Backend, hosts: tuple[str, ...] = (HOST,)) -> Table:
    """A table in which /ws leads to these backends."""
    group = tables.group(*(Address("127.0.0.1", backend.port) for backend in backends))
    return tables.table(*(tables.host(name=name) for name in hosts), groups=[group])


async def status(port: int, host: str = HOST) -> int:
    """What a handshake is answered with."""
    return (await handshake(connected(port), host=host, path="/ws", within=GOES_ON)).status


@asynccontextmanager
async def probing(port: int) -> AsyncIterator[list[int]]:
    """Handshakes one after the other; what they were answered with."""
    answers: list[int] = []

    async def probe() -> None:
        while True:
            try:
                answers.append(await status(port))
            except (OSError, asyncio.IncompleteReadError):
                answers.append(0)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(probe())
    try:
        yield answers
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def pod() -> Iterator[BalancerPod]:
    with balancer_pod() as started:
        # The agent brings it.
        (started.conf / SCRIPT.name).unlink()
        yield started


@pytest.fixture
def cluster(pod: BalancerPod) -> Dynamic:
    [port] = free_ports(1)
    return Dynamic(pod, port)


async def kill_master(pod: BalancerPod, port: int) -> None:
    """kill -9, and wait until another master serves."""
    master = pod.master()
    os.kill(master, signal.SIGKILL)
    await until(lambda: pod.serves(after=master), what="for the next master")


async def stop(pod: BalancerPod) -> None:
    """Have nginx and the script end."""
    pod.process.send_signal(signal.SIGTERM)
    assert await pod.ended() == 0


async def until_saved(pod: BalancerPod, table: Table) -> None:
    """Wait until nginx's state file holds a table."""
    text = mark(entries(table))
    file = pod.run / "table.json"
    await until(lambda: file.exists() and text in file.read_text(), what="for the state file")


async def test_a_pod_is_ready_once_it_has_the_whole_table(pod: BalancerPod, cluster: Dynamic, backend: Backend) -> None:
    version = cluster.shell()
    wanted = to(backend)
    texts = split(wanted, hosts=2)
    [late] = [place for place, text in texts.items() if place[0] == "r" and text]
    for (family, index), text in texts.items():
        if (family, index) != late:
            content = part(family, index, 2 if family == "r" else 1, text)
            cluster.put(CONFIG_MAPS, names.table_name("shared", family, index), namespace=NAMESPACE, **content)
    async with running_agent(pod, cluster):
        said = await cluster.until_acknowledged(version)
        assert (said.table, said.formats) == (0, (1,))
        await until(lambda: "not all there" in (cluster.acknowledged() or said).trouble)
        assert await ready(pod) == 503
        assert await status(cluster.port) == 503
        content = part(late[0], late[1], 2, texts[late])
        cluster.put(CONFIG_MAPS, names.table_name("shared", *late), namespace=NAMESPACE, **content)
        await cluster.until_pushed(wanted)
        assert await ready(pod) == 200
        assert await status(cluster.port) == 101
        await until(lambda: not (cluster.acknowledged() or said).trouble)


async def test_routes_and_endpoints_change_without_a_reload(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend
) -> None:
    version = cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster):
        await cluster.until_pushed(to(backend))
        workers = pod.accepting()
        async with opened(cluster.port) as client, probing(cluster.port) as answers:
            for number in range(3):
                cluster.table(to(other, hosts=(HOST, f"h{number}.example.com")))
                await cluster.until_pushed(to(other, hosts=(HOST, f"h{number}.example.com")))
                before = len(other.requests)
                assert await status(cluster.port, f"h{number}.example.com") == 101
                assert len(other.requests) > before
                cluster.table(to(backend))
                await cluster.until_pushed(to(backend))
                assert await status(cluster.port, f"h{number}.example.com") == 404
                await echo(client, f"message {number}")
        assert set(answers) == {101}
        assert pod.accepting() == workers
        assert await pod.applier.running() == version


async def test_a_reload_keeps_the_table(pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend) -> None:
    cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster) as agent:
        await cluster.until_pushed(to(backend))
        async with opened(cluster.port) as client, probing(cluster.port) as answers:
            for number in range(1, 4):
                await cluster.until_acknowledged(cluster.shell(number))
                wanted = to(other if number % 2 else backend)
                cluster.table(wanted)
                await cluster.until_pushed(wanted)
            await echo(client, "from before three reloads")
        assert set(answers) == {101}
        assert pushes(agent.metrics, "whole") == 1


async def test_a_killed_nginx_has_its_table_again_without_the_agent(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend
) -> None:
    cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster):
        await cluster.until_pushed(to(backend))
        await until_saved(pod, to(backend))
    async with opened(cluster.port) as client:
        await kill_master(pod, cluster.port)
        assert await status(cluster.port) == 101
        assert await ready(pod) == 200
        # What it has forgotten since is told by the next agent, as is all else.
        cluster.table(to(other))
        async with running_agent(pod, cluster):
            await cluster.until_pushed(to(other))
            await kill_master(pod, cluster.port)
            await cluster.until_pushed(to(other))
            before = len(other.requests)
            await until_answered(cluster.port)
            assert len(other.requests) > before
        await echo(client, "from before two masters")


async def until_answered(port: int) -> None:
    """Handshakes until one succeeds."""

    async def answered() -> bool:
        with suppress(OSError, asyncio.IncompleteReadError):
            return await status(port) == 101
        return False

    await until_async(answered, what="for a handshake that succeeds", pause=0)


@pytest.mark.parametrize("damage", ["truncated", "of another table", "none is left"])
async def test_after_a_restart_with_a_bad_state_the_agent_tells_all(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, damage: str
) -> None:
    cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster):
        await cluster.until_pushed(to(backend))
        await until_saved(pod, to(backend))
        await stop(pod)
        file = pod.run / "table.json"
        match damage:
            case "truncated":
                file.write_bytes(file.read_bytes()[:-10])
            case "of another table":
                file.write_text(file.read_text().replace("127.0.0.1:", "127.0.0.2:"))
            case _:
                file.unlink()
        pod.start()
        await until_answered(cluster.port)
        await cluster.until_pushed(to(backend))


async def test_a_killed_worker_keeps_the_table(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend
) -> None:
    cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster):
        await cluster.until_pushed(to(backend))
        [worker] = pod.accepting()
        os.kill(worker, signal.SIGKILL)
        cluster.table(to(other))
        await cluster.until_pushed(to(other))
        await until_answered(cluster.port)
        assert other.requests


async def test_an_agent_that_is_killed_or_has_no_api_server_changes_nothing(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend
) -> None:
    version = cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster):
        await cluster.until_pushed(to(backend))
    cluster.table(to(other))
    failures: list[str] = []

    def fail(verb: str, _resource: Resource, _name: str) -> KubeError:
        failures.append(verb)
        return UnavailableError("down")

    cluster.fail = fail
    async with opened(cluster.port) as client, probing(cluster.port) as answers:
        workers = pod.accepting()
        async with running_agent(pod, cluster):
            await until(lambda: len(failures) >= 6, what="for it to ask")
            assert not other.requests
            cluster.fail = lambda _verb, _resource, _name: None
            await cluster.until_pushed(to(other))
        async with running_agent(pod, cluster) as agent:
            cluster.applied.clear()
            await cluster.until_pushed(to(other))
            assert pushes(agent.metrics, "whole") == 0
        await echo(client, "still here")
    assert set(answers) == {101}
    assert pod.accepting() == workers
    assert await pod.applier.running() == version


async def test_parts_that_are_deleted_damaged_or_from_a_late_leader_take_nothing_away(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend
) -> None:
    cluster.shell()
    cluster.table(to(backend), hosts=2, epoch=5)
    name = names.table_name("shared", "e", 0)
    late = part("e", 0, 1, split(to(other))["e", 0], epoch=4)
    damaged = part("e", 0, 1, split(to(other))["e", 0], digest="0" * 64, epoch=5)
    async with running_agent(pod, cluster) as agent:
        await cluster.until_pushed(to(backend))
        async with opened(cluster.port) as client, probing(cluster.port) as answers:
            cluster.put(CONFIG_MAPS, name, namespace=NAMESPACE, **late)
            await until(lambda: "lower epoch" in agent._pusher.trouble)
            cluster.put(CONFIG_MAPS, name, namespace=NAMESPACE, **damaged)
            await until(lambda: "digest" in agent._pusher.trouble)
            for _, namespace, found in list(cluster.objects):
                if "-table-" in found:
                    cluster.remove(CONFIG_MAPS, found, namespace=namespace)
            await until(lambda: agent._pusher.trouble == "", what="for the loss to be heard of")
            asked = len(answers)
            await until(lambda: len(answers) > asked + 20)
            assert not other.requests
            cluster.table(to(other), hosts=2, epoch=6)
            await cluster.until_pushed(to(other))
            assert await status(cluster.port) == 101
            await echo(client, "still here")
        assert set(answers) == {101}
        assert other.requests
        assert pushes(agent.metrics, "whole") == 1


async def test_what_was_left_in_nginx_s_memory_makes_way(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsroute.agent.tables.REST", 1.0)
    cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster) as agent:
        await cluster.until_pushed(to(backend))
        async with admin(pod) as session, opened(cluster.port) as client:
            for number in (9000, 300, 10, 1):
                await fill(session, number)
            cluster.table(to(other))
            await cluster.until_pushed(to(other))
            assert outcomes(agent, "full")
            await until_answered(cluster.port)
            assert other.requests
            await echo(client, "still here")


async def fill(session: aiohttp.ClientSession, number: int) -> None:
    """Put groups with so many endpoints into the generation that does not serve, until there is no room for another."""
    crowd = f"{number} 0 29\n{'0123456710.255.255.255:8080'.ljust(29) * number}"
    for count in range(1000):
        body = json.dumps([["s", f"eteam-x/{number}-{count}:80", crowd]])
        async with session.post("/table/entries?generation=b", data=body) as answer:
            if answer.status == 507:
                return
    raise AssertionError("the dictionary has no end")


def outcomes(agent: Agent, outcome: str) -> bool:
    """Whether a change came to this outcome."""
    return f'kind="change",outcome="{outcome}"' in agent.metrics.render().decode()
