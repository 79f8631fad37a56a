"""wss on the shared balancer of a real cluster: a listener that ends TLS, and the Secret with its certificate."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from localcluster.install import BALANCER, NAMESPACE
from localcluster.install import CERTIFICATE as SECRET
from tests.support.certificates import Authority, Pair
from tests.support.stack import BalancerPod, Stack
from wsroute.kube.port import SECRETS

PORT: Final = 8443

LISTENER: Final[dict[str, Any]] = {
    "name": "wss", "port": PORT, "protocol": "HTTPS", "public": {"scheme": "wss", "port": 443},
    "tls": {"certificates": [{"secretName": SECRET}]},
}  # fmt: skip


@dataclass(slots=True)
class Wss:
    """The listener. ``hosts`` are what its certificates are for; ``current`` is the last one written, as DER, and
    ``context`` trusts them all."""

    stack: Stack
    hosts: Sequence[str]
    authority: Authority = field(default_factory=Authority)
    current: bytes = b""
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.context = self.authority.trusting()

    def issue(self) -> Pair:
        """A new certificate, which nobody has seen yet."""
        return self.authority.issue(*self.hosts)

    async def write(self, pair: Pair) -> None:
        """Put it into the Secret; returns when the API server's answer is in."""
        await self.stack.apply(SECRETS, pair.secret(SECRET, NAMESPACE))
        self.current = der_of(pair)

    async def rotate(self) -> None:
        """Issue a new one and write it."""
        await self.write(self.issue())

    def presented(self, pod: BalancerPod, host: str) -> bytes:
        """What a new handshake on a pod is shown, as DER. Raises OSError when it fails or can't be verified."""
        with (
            self.stack.connect(pod, PORT) as connection,
            self.context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    async def is_served(self, host: str) -> None:
        """Every pod that is ready presents the last one written, now."""
        for pod in await self.stack.balancer_pods():
            try:
                shown = await asyncio.to_thread(self.presented, pod, host)
            except OSError as error:
                raise AssertionError(f"{pod.name}: {error}") from error
            assert shown == self.current, f"{pod.name} presents another certificate"


@asynccontextmanager
async def wss(stack: Stack, *hosts: str) -> AsyncIterator[Wss]:
    """The shared balancer with the listener, which is taken away at the end of the block."""
    listeners = await balancer_listeners(stack)
    made = Wss(stack, hosts)
    await made.rotate()
    try:
        await set_listeners(stack, [*listeners, LISTENER])
        yield made
    finally:
        await set_listeners(stack, listeners)
        await stack.client.delete(SECRETS, namespace=NAMESPACE, name=SECRET)


async def balancer_listeners(stack: Stack) -> list[Any]:
    """The balancer's listeners but for ours, which a run that was ended may have left."""
    found = json.loads(await stack.kubectl("-n", NAMESPACE, "get", "wsb", BALANCER, "-o", "json"))
    return [each for each in found["spec"]["listeners"] if each["name"] != LISTENER["name"]]


async def set_listeners(stack: Stack, listeners: Sequence[Any]) -> None:
    """Replace the balancer's listeners."""
    patch = json.dumps({"spec": {"listeners": list(listeners)}})
    await stack.kubectl("-n", NAMESPACE, "patch", "wsb", BALANCER, "--type=merge", "-p", patch)


def der_of(pair: Pair) -> bytes:
    """The first certificate of a chain."""
    return x509.load_pem_x509_certificate(pair.chain).public_bytes(Encoding.DER)
