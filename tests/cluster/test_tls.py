"""wss on the Dynamic data plane of a real cluster: a listener, a rotation, and sockets that notice neither."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect

from localcluster import api, install
from tests.cluster.conftest import DATA_PLANE
from tests.cluster.test_dynamic import reloads
from tests.support.certificates import Authority, Pair
from tests.support.handshake import echo
from tests.support.stack import BalancerPod, Stack, eventually
from wsroute.kube.port import SECRETS

PORT = 8443
SECRET = "shared-certificate"
AUTHORITY = Authority()
LISTENERS = [
    {"name": "ws", "port": 8080, "protocol": "HTTP", "public": {"scheme": "ws", "port": 80}},
    {
        "name": "wss", "port": PORT, "protocol": "HTTPS", "public": {"scheme": "wss", "port": 443},
        "tls": {"certificates": [{"secretName": SECRET}]},
    },
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def dynamic(installed: api.CurrentCluster) -> Iterator[None]:
    """The shared balancer as it is shipped; the one of most other tests afterwards."""
    install.set_data_plane(installed, "Dynamic")
    yield
    install.set_data_plane(installed, DATA_PLANE)


@pytest.fixture
async def secured(stack: Stack) -> AsyncIterator[Stack]:
    """With a second listener, which ends TLS."""
    await set_listeners(stack, LISTENERS)
    yield stack
    await set_listeners(stack, LISTENERS[:1])
    await stack.client.delete(SECRETS, namespace=install.NAMESPACE, name=SECRET)


async def set_listeners(stack: Stack, listeners: list[dict[str, object]]) -> None:
    patch = json.dumps({"spec": {"listeners": listeners}})
    await stack.kubectl("-n", install.NAMESPACE, "patch", "wsb", install.BALANCER, "--type=merge", "-p", patch)


async def put(stack: Stack, pair: Pair) -> None:
    """Give the listener a certificate, or another one."""
    await stack.apply(SECRETS, pair.secret(SECRET, install.NAMESPACE))


def shown(stack: Stack, pod: BalancerPod, host: str) -> bytes:
    """The certificate that a pod shows a client who checks it, DER."""
    with AUTHORITY.trusting().wrap_socket(stack.connect(pod, PORT), server_hostname=host) as client:
        found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


async def serves(stack: Stack, pair: Pair, host: str) -> None:
    """Every pod shows this certificate, now."""
    for pod in await stack.balancer_pods():
        try:
            found = await asyncio.to_thread(shown, stack, pod, host)
        except OSError as error:
            raise AssertionError(f"{pod.name}: {error}") from error
        assert found == der(pair), f"{pod.name} shows another certificate"


def der(pair: Pair) -> bytes:
    """The first certificate of a chain."""
    return ssl.PEM_cert_to_DER_cert(
        pair.chain.decode().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )


async def test_a_rotation_needs_no_reload_and_is_noticed_by_no_socket(secured: Stack) -> None:
    stack, host = secured, secured.host()
    await stack.backend()
    pair = AUTHORITY.issue(host)
    await put(stack, pair)
    await stack.route()
    await stack.condition("chat", "Ready")
    assert (await stack.status())["urls"] == [f"wss://{host}/echo"]
    await serves(stack, pair, host)
    pods = await stack.balancer_pods()
    loaded = await reloads(stack, pods)
    async with AsyncExitStack() as exits:
        sockets = [
            await exits.enter_async_context(
                connect(
                    f"wss://{host}/echo",
                    sock=stack.connect(pod, PORT),
                    ssl=AUTHORITY.trusting(),
                    server_hostname=host,
                    proxy=None,
                )
            )
            for pod in pods
        ]
        for number in range(5):
            pair = AUTHORITY.issue(host)
            await put(stack, pair)
            await eventually(lambda pair=pair: serves(stack, pair, host), within=10)  # type: ignore[misc]
            for socket in sockets:
                await echo(socket, f"still here after rotation {number}")
    assert await reloads(stack, pods) == loaded
