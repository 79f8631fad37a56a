"""Fixtures of the tests that need an API server but no nodes."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import apiserver as support
from tests.support.controlled import World, serve_custom_resources
from tests.support.fault_proxy import FaultProxy
from wsroute.kube.client import KubeClient
from wsroute.kube.port import NAMESPACES

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def apiserver() -> Iterator[support.ApiServer]:
    """One API server for all tests of the session."""
    with support.running() as server:
        yield server


@pytest.fixture
async def client(apiserver: support.ApiServer) -> AsyncIterator[KubeClient]:
    """The administrator's client."""
    client = await KubeClient.from_kubeconfig(apiserver.kubeconfig())
    yield client
    await client.close()


@pytest.fixture
async def namespace(client: KubeClient) -> str:
    """A namespace that no other test uses."""
    name = f"test-{next(_numbers)}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    return name


@pytest.fixture
async def world(apiserver: support.ApiServer, client: KubeClient, namespace: str) -> AsyncIterator[World]:
    """A namespace for a balancer, with the custom resources served."""
    await serve_custom_resources(client)
    world = World(client, apiserver, namespace)
    agents = asyncio.create_task(world.serve())
    yield world
    if agents.done():
        agents.result()
    agents.cancel()
    await asyncio.wait([agents])


@pytest.fixture
async def proxy(apiserver: support.ApiServer) -> AsyncIterator[FaultProxy]:
    """A fault proxy before the API server; ``apiserver.kubeconfig(through=...)`` leads through it."""
    async with apiserver.proxy() as proxy:
        yield proxy
