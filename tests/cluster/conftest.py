"""One real cluster for the whole run, wsroute installed on it as `make demo` does it, a namespace for each test."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from localcluster import api, install
from tests.support.stack import Stack, to_json
from wsroute.kube.client import KubeClient


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is in this folder needs the cluster."""
    for item in items:
        if "tests/cluster/" in item.nodeid:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster() -> api.Cluster:
    """The cluster of the tests; it stays up afterwards, so that the next run starts at once."""
    return api.up(os.environ.get("WSROUTE_TEST_CLUSTER", "test"))


@pytest.fixture(scope="session")
def installed(cluster: api.Cluster) -> api.Cluster:
    """The cluster with operator and balancer, both ready."""
    install.install_locally(cluster)
    install.set_reload(cluster, **install.UNBUDGETED)
    install.wait_until_ready(cluster)
    return cluster


def admitted(cluster: api.Cluster) -> str:
    """A new namespace that may use the shared balancer."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"wsroute.dev/balancer": install.BALANCER}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl("create", "-f", "-", input=to_json(body))
    return name


@pytest.fixture
def other_namespace(installed: api.Cluster) -> Iterator[str]:
    """A second admitted namespace."""
    name = admitted(installed)
    yield name
    installed.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def stack(installed: api.Cluster) -> AsyncIterator[Stack]:
    """wsroute and a namespace of the test's own."""
    name = admitted(installed)
    client = await KubeClient.from_kubeconfig(installed.kubeconfig)
    try:
        yield Stack(
            cluster=installed, client=client, namespace=name, chat_image=install.LOCAL_IMAGES[install.CHAT_IMAGE]
        )
    finally:
        await client.close()
        installed.kubectl("delete", "namespace", name, "--wait=false")
