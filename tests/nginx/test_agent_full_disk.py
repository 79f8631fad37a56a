"""Disks that are full: what is served goes on, tables too, and all that waits is done once there is room."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.nginx.test_agent_tables import Dynamic, probing, status, to, until_answered, until_saved
from tests.support.backend import Backend
from tests.support.balancer_pod import BalancerPod, opened
from tests.support.handshake import echo
from tests.support.nginx_runner import short_folder
from tests.support.ports import free_ports
from tests.support.published import running_agent
from tests.support.small_disk import full, needs_root, small_disk
from tests.support.waiting import until, wait_until
from wsroute.dataplane.table import Table

pytestmark = [pytest.mark.nginx, needs_root]

BOUNDS = {"conf": 5.0, "run": 30.0}
"""Seconds within which a version that has waited is live once there is room, by volume: where the start script could
not answer, the agent first gives its command up."""


@pytest.fixture
def pod() -> Iterator[BalancerPod]:
    """A pod with small volumes."""
    with short_folder() as folder, ExitStack() as disks:
        found = BalancerPod(folder)
        for place in (found.conf, found.run):
            inside = [path.name for path in place.iterdir() if path.is_dir()]
            disks.enter_context(small_disk(place, 2048))
            for name in inside:
                (place / name).mkdir()
        try:
            found.start()
            wait_until(found.serves, "nginx serves")
            yield found
        finally:
            found.stop()


@pytest.fixture
def cluster(pod: BalancerPod) -> Dynamic:
    [port] = free_ports(1)
    return Dynamic(pod, port)


async def settle(pod: BalancerPod, table: Table) -> None:
    """Wait until nothing is left that would make room on its volume when it goes."""
    await until(lambda: not (pod.run / "njs.pid").exists(), what="for the end of the nginx that told njs's version")
    await until_saved(pod, table)
    # nginx's log is emptied when a version is loaded.
    os.truncate(pod.run / "error.log", 0)


def room_of(pod: BalancerPod, volume: str) -> Path:
    return pod.conf if volume == "conf" else pod.run


@pytest.mark.parametrize("volume", ["conf", "run"])
async def test_a_full_volume_stops_neither_sockets_nor_tables(
    pod: BalancerPod, cluster: Dynamic, backend: Backend, other: Backend, volume: str
) -> None:
    cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster):
        await cluster.until_pushed(to(backend))
        async with opened(cluster.port) as client, probing(cluster.port) as answers:
            await settle(pod, to(backend))
            with full(room_of(pod, volume)):
                version = cluster.shell(1)
                began = asyncio.get_running_loop().time()
                cluster.table(to(other))
                await cluster.until_pushed(to(other))
                print(f"{volume}: a table after {asyncio.get_running_loop().time() - began:.2f} s")
                assert await status(cluster.port) == 101
                if volume == "conf":
                    await until(lambda: "can't be written" in getattr(cluster.acknowledged(), "trouble", ""))
                await echo(client, "while the disk is full")
                said = cluster.acknowledged()
                assert said is not None
                assert said.version != version
            began = asyncio.get_running_loop().time()
            await cluster.until_acknowledged(version, seconds=BOUNDS[volume])
            print(f"{volume}: a version after {asyncio.get_running_loop().time() - began:.2f} s")
            await until(lambda: not getattr(cluster.acknowledged(), "trouble", "-"))
            await echo(client, "and afterwards")
        assert set(answers) == {101}


async def test_nginx_s_master_is_killed_while_its_volume_is_full(
    pod: BalancerPod, cluster: Dynamic, backend: Backend
) -> None:
    cluster.shell()
    cluster.table(to(backend))
    async with running_agent(pod, cluster):
        await cluster.until_pushed(to(backend))
        async with opened(cluster.port) as client:
            before = pod.master()
            with full(pod.run):
                os.kill(before, signal.SIGKILL)
                await asyncio.sleep(3)
                await echo(client, "while the disk is full")
            began = asyncio.get_running_loop().time()
            await until(lambda: pod.serves(after=before), seconds=30, what="for another master")
            await until_answered(cluster.port)
            await cluster.until_pushed(to(backend))
            print(f"served {asyncio.get_running_loop().time() - began:.2f} s after there was room")
            await echo(client, "and afterwards")
