"""The whole agent beside a real nginx and the real start script; the API server is in memory."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.support.backend import running_backend
from tests.support.balancer_pod import BalancerPod, balancer_pod, connected, opened
from tests.support.handshake import ask, echo
from tests.support.ports import free_ports
from tests.support.published import NAMESPACE, POD, Published, config, running_agent
from tests.support.waiting import until, until_async
from wsroute.agent.runtime import Agent, ConfigError, config_from_environment, run
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import NOT_DRAINING, Acknowledgement
from wsroute.dataplane.bundle import pack
from wsroute.kube.port import CONFIG_MAPS, KubeError, Resource, UnavailableError

pytestmark = pytest.mark.nginx

BROKEN = "bad0bad0bad0"


@pytest.fixture
def pod() -> Iterator[BalancerPod]:
    with balancer_pod() as started:
        yield started


@pytest.fixture
def cluster(pod: BalancerPod) -> Published:
    [port] = free_ports(1)
    return Published(pod, port)


def count(agent: Agent, outcome: str) -> int:
    """How many steps came to this outcome."""
    prefix = f'wsroute_agent_applied_total{{outcome="{outcome}"}} '
    lines = agent.metrics.render().decode().splitlines()
    return sum(int(float(line.removeprefix(prefix))) for line in lines if line.startswith(prefix))


async def test_a_pod_that_starts_loads_the_version_in_force(pod: BalancerPod, cluster: Published) -> None:
    version = cluster.main(0, epoch=7, pods="")
    async with running_agent(pod, cluster):
        said = await cluster.until_acknowledged(version)
    assert said == Acknowledgement(
        version=version, epoch=7, sockets=0, nginx=pod.applier.nginx_version(), ipv6=said.ipv6, formats=(1,)
    )
    assert said.nginx.count(".") == 2
    assert await pod.applier.running() == version


async def test_a_canary_loads_what_is_tried_and_goes_back(pod: BalancerPod, cluster: Published) -> None:
    first = cluster.main(0)
    async with running_agent(pod, cluster):
        await cluster.until_acknowledged(first)
        second = cluster.trial(1, canary=POD)
        await cluster.until_acknowledged(second)
        cluster.publish(names.ROLE_NEXT, "", "", canary="")
        await cluster.until_acknowledged(first)


async def test_another_pod_loads_in_its_turn(pod: BalancerPod, cluster: Published) -> None:
    first = cluster.main(0)
    async with running_agent(pod, cluster) as agent:
        await cluster.until_acknowledged(first)
        second = cluster.trial(1, canary="shared-other")
        assert cluster.main(1, pods="shared-other") == second
        cluster.publish(names.ROLE_NEXT, "", "")
        await until(lambda: agent._view.main is not None and agent._view.main.version == second)
        assert await pod.applier.running() == first
        cluster.main(1, pods=f"shared-other {POD}")
        await cluster.until_acknowledged(second)
        assert count(agent, "applied") == 2


async def test_a_refused_canary_is_told_once_and_changes_nothing(pod: BalancerPod, cluster: Published) -> None:
    first = cluster.main(0)
    async with running_agent(pod, cluster) as agent:
        await cluster.until_acknowledged(first)
        workers = pod.accepting()
        cluster.publish(names.ROLE_NEXT, BROKEN, "events {}\nno_such_thing;\n", canary=POD)
        said = await cluster.until_refused(BROKEN)
        assert said.version == first
        assert said.failure is not None
        assert said.failure.phase == "test", "it was loaded untested, and then tested to tell what is at fault"
        assert 'unknown directive "no_such_thing"' in said.failure.message
        cluster.publish(names.ROLE_NEXT, BROKEN, "events {}\nno_such_thing;\n", canary=POD, epoch=2)
        second = cluster.main(1)
        await cluster.until_acknowledged(second)
        assert count(agent, "refused-test") == 1
        assert not set(workers) & set(pod.accepting())


async def test_a_restarted_agent_reloads_nothing(pod: BalancerPod, cluster: Published) -> None:
    version = cluster.main(0)
    async with running_agent(pod, cluster):
        await cluster.until_acknowledged(version)
    workers = pod.accepting()
    cluster.applied.clear()
    async with running_agent(pod, cluster) as agent:
        await cluster.until_acknowledged(version)
        assert pod.accepting() == workers
        assert count(agent, "applied") == 0
        await cluster.until_acknowledged(cluster.main(1))


async def test_a_late_leader_is_not_followed(pod: BalancerPod, cluster: Published) -> None:
    async with running_agent(pod, cluster):
        second = cluster.main(1, epoch=5)
        await cluster.until_acknowledged(second)
        cluster.main(2, epoch=4)
        third = cluster.main(3, epoch=5)
        await cluster.until_acknowledged(third)
        assert not (pod.conf / f"{cluster.rendered(2).version}.conf").exists()


async def test_a_lower_epoch_is_followed_once_it_has_stood_for_long(
    pod: BalancerPod, cluster: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a raised annotation, or a Lease that was deleted, does not stop a pod for ever."""
    monkeypatch.setattr("wsroute.agent.decide.DOUBT", 1.0)
    async with running_agent(pod, cluster):
        await cluster.until_acknowledged(cluster.main(0, epoch=99))
        began = asyncio.get_running_loop().time()
        cluster.main(1, epoch=1)
        last = cluster.main(2, epoch=1)
        await cluster.until_acknowledged(last)
        assert asyncio.get_running_loop().time() - began >= 1.0
        # From now on the lower epoch is what counts.
        monkeypatch.setattr("wsroute.agent.decide.DOUBT", 3_600.0)
        await cluster.until_acknowledged(cluster.main(3, epoch=2))


@pytest.mark.parametrize("damage", ["digest", "version"])
async def test_a_damaged_config_map_is_not_followed(pod: BalancerPod, cluster: Published, damage: str) -> None:
    async with running_agent(pod, cluster):
        first = cluster.main(0)
        await cluster.until_acknowledged(first)
        found = cluster.find(CONFIG_MAPS, "shared-nginx", namespace=NAMESPACE)
        other = cluster.rendered(1)
        annotations = {**found["metadata"]["annotations"], names.VERSION_ANNOTATION: other.version}
        if damage == "digest":
            annotations[names.DIGEST_ANNOTATION] = pack(other.text).digest
        else:
            annotations[names.VERSION_ANNOTATION] = "../bootstrap"
        cluster.put(
            CONFIG_MAPS,
            "shared-nginx",
            namespace=NAMESPACE,
            labels=found["metadata"]["labels"],
            annotations=annotations,
            data=found["data"],
        )
        await cluster.until_acknowledged(cluster.main(2))
        assert not (pod.conf / f"{other.version}.conf").exists()


async def test_without_the_api_server_it_serves_on_and_catches_up(pod: BalancerPod, cluster: Published) -> None:
    first = cluster.main(0)
    async with running_agent(pod, cluster):
        await cluster.until_acknowledged(first)
        workers = pod.accepting()
        failures: list[str] = []

        def fail(verb: str, _resource: Resource, _name: str) -> KubeError:
            failures.append(verb)
            return UnavailableError("down")

        cluster.fail = fail
        second = cluster.main(1)
        await until(lambda: len(failures) >= 4, what="for it to notice")
        assert pod.accepting() == workers
        cluster.fail = lambda _verb, _resource, _name: None
        await cluster.until_acknowledged(second, seconds=20)


async def test_a_deleted_config_map_changes_nothing(pod: BalancerPod, cluster: Published) -> None:
    first = cluster.main(0, epoch=9)
    async with running_agent(pod, cluster) as agent:
        await cluster.until_acknowledged(first)
        cluster.remove(CONFIG_MAPS, "shared-nginx", namespace=NAMESPACE)
        await until(lambda: agent._view.main is None)
        assert await pod.applier.running() == first
        second = cluster.main(1, epoch=1)
        await cluster.until_acknowledged(second)


async def test_a_nginx_that_starts_anew_without_its_memory_is_told_again(pod: BalancerPod, cluster: Published) -> None:
    version = cluster.main(0)
    async with running_agent(pod, cluster) as agent:
        await cluster.until_acknowledged(version)
        pod.process.send_signal(signal.SIGTERM)
        assert await pod.ended() == 0
        await until(lambda: agent._view.running == "", what="for the silence to be noticed")
        (pod.run / "nginx.conf").unlink()
        pod.start()
        await until(lambda: agent._view.running == version, what="for the version to be loaded again")
        assert await pod.applier.running() == version


async def test_it_answers_probes_and_ends_when_told(
    pod: BalancerPod, cluster: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    site = aiohttp.web.TCPSite

    class Watched(site):  # type: ignore[misc, valid-type]
        async def start(self) -> None:
            await super().start()
            # Port 0 on all addresses is another port for IPv4 than for IPv6.
            ports.extend(address[1] for address in self._runner.addresses if len(address) == 2)

    monkeypatch.setattr(aiohttp.web, "TCPSite", Watched)
    version = cluster.main(0)
    task = asyncio.create_task(run(config(pod), cluster))
    await cluster.until_acknowledged(version)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports[0]}") as session:
        async with session.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get("/metrics") as answer:
            assert f'wsroute_agent_version_info{{version="{version}"}} 1.0' in await answer.text()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(60):
        await task
    assert await pod.applier.running() == version


# --- old workers ---


@asynccontextmanager
async def generations(pod: BalancerPod, cluster: Published, count: int) -> AsyncIterator[list[ClientConnection]]:
    """A socket from before each of so many reloads; the next version is the one with the number ``count``."""
    async with running_backend() as backend, AsyncExitStack() as exits:
        cluster.backend = backend.endpoint()
        sockets = []
        for number in range(count):
            await cluster.until_acknowledged(cluster.main(number, terms=(count, 3_600_000)))
            sockets.append(await exits.enter_async_context(opened(cluster.port)))
        yield sockets


async def closed(socket: ClientConnection) -> None:
    """Wait until the balancer has closed a socket."""
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(60):
            await socket.recv()


def total(agent: Agent, name: str, **labels: str) -> float:
    """A metric of the agent."""
    text = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
    [line] = [line for line in agent.metrics.render().decode().splitlines() if line.startswith(f"{name}{text} ")]
    return float(line.rpartition(" ")[2])


def drains(agent: Agent) -> int:
    """How many generations the agent tells of."""
    draining = agent._drainer.draining
    return draining.generations if draining is not None else -1


def closes(agent: Agent, reason: str) -> float:
    """How many sockets were closed, and workers ended, for a reason: here each worker has one."""
    sockets = total(agent, "wsroute_agent_closed_sockets_total", reason=reason)
    return sockets if sockets == total(agent, "wsroute_agent_ended_workers_total", reason=reason) else -1


async def test_one_generation_too_many_ends_the_oldest_and_nothing_else(pod: BalancerPod, cluster: Published) -> None:
    async with running_agent(pod, cluster) as agent, generations(pod, cluster, 3) as (first, second, third):
        await until(lambda: drains(agent) == 2, what="for what drains to be told")
        said = await cluster.until_acknowledged(cluster.main(3, terms=(2, 3_600_000)))
        assert said.draining.generations == 3, "that there is one more is told with the version"
        await closed(first)
        for client in (second, third):
            await echo(client, "still here")
        await until(lambda: closes(agent, "early-retirement") == 1, what="for the close to be counted")
        assert closes(agent, "drain-timeout") == 0
        await until(lambda: drains(agent) == 2, what="for the rest to be told")
        assert total(agent, "wsroute_agent_draining_sockets") == 2
        assert total(agent, "wsroute_agent_draining_generations") == 2


async def test_a_change_of_terms_alone_ends_what_is_too_old_and_reloads_nothing(
    pod: BalancerPod, cluster: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsroute.agent.drain.PAUSE", 0.2)
    async with running_agent(pod, cluster) as agent, generations(pod, cluster, 3) as (first, second, third):
        await until(lambda: drains(agent) == 2, what="for what drains to be told")
        loads, accepting = count(agent, "applied"), pod.accepting()
        cluster.main(2, terms=(3, 2_000))
        await closed(first)
        await closed(second)
        await echo(third, "still here")
        await until(lambda: closes(agent, "drain-timeout") == 2, what="for the closes to be counted")
        assert count(agent, "applied") == loads
        assert pod.accepting() == accepting
        await until(lambda: (said := cluster.acknowledged()) is not None and said.draining == NOT_DRAINING)


async def test_at_the_end_of_its_pod_an_agent_stays_until_nginx_has_ended_and_says_what_that_closed() -> None:
    span = 6
    with balancer_pod(grace=str(span + 5)) as pod:
        [port, page] = free_ports(2)
        cluster = Published(pod, port)
        async with running_backend() as backend:
            cluster.backend = backend.endpoint()
            version = cluster.main(0)
            task = asyncio.create_task(run(config(pod, port=page), cluster))
            await cluster.until_acknowledged(version)
            assert await sample(page, "wsroute_agent_leaving") == 0
            async with opened(port) as client:
                before = time.time()
                pod.process.send_signal(signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
                await until(lambda: not pod.accepting(), what="for the listeners to be closed")
                cluster.main(1)
                await echo(client, "still here")
                assert not task.done()

                async def leaves() -> bool:
                    return await sample(page, "wsroute_agent_leaving") == 1

                await until_async(leaves, what="for it to look", pause=0.01)
                until_when = await sample(page, "wsroute_agent_leaving_until_timestamp_seconds")
                # Files have the time of the kernel's last tick.
                assert before - 0.1 < until_when - span < time.time()
                await closed(client)
            async with asyncio.timeout(60):
                await task
            said = cluster.acknowledged()
            assert said is not None
            assert (said.version, said.closed, said.failure) == (version, 1, None)
            assert "pod-termination: the end of worker" in pod.words()


async def sample(page: int, name: str) -> float:
    """A figure of the agent's metrics, which has no labels."""
    answer = await ask(connected(page), host="agent", path="/metrics")
    [line] = [line for line in answer.body.decode().splitlines() if line.startswith(f"{name} ")]
    return float(line.removeprefix(name))


async def test_an_error_of_a_part_ends_the_agent(pod: BalancerPod, cluster: Published) -> None:
    cluster.fail = lambda _verb, _resource, _name: ValueError("a slip")  # type: ignore[assignment, return-value]
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(60):
            await run(config(pod), cluster)


def test_the_environment_says_who_we_are() -> None:
    found = config_from_environment({"POD_NAME": "a", "POD_NAMESPACE": "b", "WSROUTE_BALANCER": "c"})
    assert (found.pod, found.namespace, found.balancer, str(found.run)) == ("a", "b", "c", "/run/wsroute")
    with pytest.raises(ConfigError, match="POD_NAMESPACE, WSROUTE_BALANCER"):
        config_from_environment({"POD_NAME": "a", "POD_NAMESPACE": ""})
    usual = {"POD_NAME": "a", "POD_NAMESPACE": "b", "WSROUTE_BALANCER": "c"}
    assert not found.route_metrics
    assert config_from_environment({**usual, "WSROUTE_ROUTE_METRICS": "true"}).route_metrics
    with pytest.raises(ConfigError, match="WSROUTE_ROUTE_METRICS is 'yes': set it to true or to false"):
        config_from_environment({**usual, "WSROUTE_ROUTE_METRICS": "yes"})
