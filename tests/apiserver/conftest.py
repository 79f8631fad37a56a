"""Fixtures of the tests that need an API server but no nodes."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import apiserver as support
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
