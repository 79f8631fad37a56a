"""Fixtures of the tests that need an API server but no nodes."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import apiserver as support
from tests.support.controlled import ADMIN, World
from tests.support.fault_proxy import FaultProxy
from wsroute.kube.client import KubeClient
from wsroute.kube.port import BALANCERS, NAMESPACES, ROUTES, NotFoundError, Resource

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
CRD_FOLDER = Path(__file__).parents[2] / "crds"

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
    for name in ("websocketroutes", "websocketbalancers"):
        await client.apply(CRDS, yaml.safe_load((CRD_FOLDER / f"{name}.yaml").read_text()), manager=ADMIN)
    for resource in (ROUTES, BALANCERS):
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(NotFoundError):
                    await client.list(resource)
                    break
                await asyncio.sleep(0.05)
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
