"""One real cluster for the whole run, wsroute installed on it as `make demo` does it, a namespace for each test.

The balancer has the data plane that is shipped, Dynamic. Tests that look into the other one's nginx.conf, or wait for
its reloads, are marked ``STATIC``; those of what every balancer must do ``BOTH``. Each test finds its own in force,
whatever those before it have left.

With ``CLUSTER=current`` it is the one that KUBECONFIG names; tests that are about the local cluster are left out then.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from localcluster import api, install
from tests.support.plugin import Plugin, install_plugin
from tests.support.stack import Stack, to_json
from wsroute.kube.client import KubeClient


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is in this folder needs the cluster."""
    for item in items:
        if "tests/cluster/" in item.nodeid:
            item.add_marker(pytest.mark.cluster)


SHIPPED = "Dynamic"
STATIC = pytest.mark.parametrize("data_plane", ["Static"], indirect=True)
BOTH = pytest.mark.parametrize("data_plane", ["Static", SHIPPED], indirect=True)

CURRENT = os.environ.get("CLUSTER") == "current"


@pytest.fixture(scope="session")
def cluster() -> api.CurrentCluster:
    """The cluster of the tests; a local one stays up afterwards, so that the next run starts at once."""
    return api.current() if CURRENT else api.up(os.environ.get("WSROUTE_TEST_CLUSTER", "test"))


@pytest.fixture(scope="session")
def images() -> Mapping[str, str]:
    """The images that the cluster has or can pull, by the names that `deploy/` and `examples/` have for them."""
    return install.pulled_images() if CURRENT else install.LOCAL_IMAGES


@pytest.fixture(scope="session")
def installed(cluster: api.CurrentCluster, images: Mapping[str, str]) -> api.CurrentCluster:
    """The cluster with operator and balancer, both ready."""
    if isinstance(cluster, api.Cluster):
        install.install_locally(cluster)
    else:
        install.install_operator(cluster, images)
        install.install_balancer(cluster, images)
    settle(cluster)
    return cluster


def settle(cluster: api.CurrentCluster) -> None:
    """Give a balancer that was just applied as it is shipped what most tests expect of it; wait until it is ready."""
    install.unburden(cluster, SHIPPED)


@pytest.fixture(scope="module")
def data_plane(installed: api.CurrentCluster, request: pytest.FixtureRequest) -> str:
    """The balancer's, in force on all of its pods; and no budget, whatever a test that failed has left."""
    plane: str = getattr(request, "param", SHIPPED)
    install.unburden(installed, plane)
    programmed = ("wait", "--for=condition=Programmed", "--timeout=120s", f"wsb/{install.BALANCER}")
    installed.kubectl("-n", install.NAMESPACE, *programmed, timeout=150)
    return plane


@pytest.fixture(scope="session")
def local(installed: api.CurrentCluster) -> api.Cluster:
    """The same for tests of the mark ``local_cluster``: they go by the local cluster's network."""
    assert isinstance(installed, api.Cluster)
    return installed


def admitted(cluster: api.CurrentCluster) -> str:
    """A new namespace that may use the shared balancer."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"wsroute.dev/balancer": install.BALANCER}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl("create", "-f", "-", input=to_json(body))
    return name


@pytest.fixture
def other_namespace(installed: api.CurrentCluster) -> Iterator[str]:
    """A second admitted namespace."""
    name = admitted(installed)
    yield name
    installed.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def stack(installed: api.CurrentCluster, data_plane: str, images: Mapping[str, str]) -> AsyncIterator[Stack]:
    """wsroute and a namespace of the test's own."""
    name = admitted(installed)
    client = await KubeClient.from_kubeconfig(installed.kubeconfig)
    try:
        yield Stack(cluster=installed, client=client, namespace=name, chat_image=images[install.CHAT_IMAGE])
    finally:
        await client.close()
        installed.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def plugin(installed: api.CurrentCluster, tmp_path: Path) -> Plugin:
    """`kubectl wsroute` on the cluster."""
    return install_plugin(installed, tmp_path)
