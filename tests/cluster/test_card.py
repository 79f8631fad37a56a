"""The card: from an applied WebSocketRoute to an open socket on every balancer pod, and back to 404."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.cluster.conftest import BOTH
from tests.support.handshake import echo
from tests.support.stack import Stack, eventually, is_ready
from wsroute.kube.port import Json


@dataclass(frozen=True)
class Published:
    """What the ConfigMaps of a data plane hold of routes: how to read them, and how a pod and a host stand there."""

    read: Callable[[Stack], Awaitable[str]]
    endpoint: str
    host: str

    def names(self, pod: Json, text: str) -> bool:
        """Does a text name a pod as an endpoint?"""
        return self.endpoint.format(f"{pod['status']['podIP']}:8080") in text


PUBLISHED = {
    "Static": Published(Stack.configuration, endpoint=" {} ", host=r"server_name +{};"),
    "Dynamic": Published(Stack.tables, endpoint='"{}"', host='"host":"{}"'),
}


@BOTH
async def test_the_card(stack: Stack, data_plane: str) -> None:
    published = PUBLISHED[data_plane]
    host = stack.host()
    await stack.backend(replicas=1)
    await stack.route(timeouts={"idle": "1h"})
    await stack.condition("chat", "Ready")

    # The balancer's ConfigMaps hold the route's host, its path, which upgrades, and the pods' endpoints.
    [pod] = await stack.pods_of("chat")
    text = await published.read(stack)
    assert re.search(published.host.format(re.escape(host)), text)
    assert f"{stack.namespace}/chat" in text
    assert published.names(pod, text)
    assert re.search(r"proxy_set_header +Upgrade +\$wsroute_upgrade;", await stack.configuration())

    # Every balancer pod has it, and the socket opens on each.
    balancers = await stack.balancer_pods()
    assert len(balancers) == 2
    for balancer in balancers:
        async with stack.socket(balancer, host=host) as connection:
            await echo(connection, "1: hello")

    # The Service scales: the ConfigMaps and the pods follow.
    await stack.scale("chat", 3)

    async def all_three_serve() -> None:
        pods = await stack.pods_of("chat")
        assert len(pods) == 3
        assert all(is_ready(pod) for pod in pods)
        text = await published.read(stack)
        assert all(published.names(pod, text) for pod in pods)
        for balancer in balancers:
            answers = [await stack.handshake(balancer, host=host) for _ in range(9)]
            assert {a.headers.get("x-chat-pod") for a in answers} == {pod["metadata"]["name"] for pod in pods}

    await eventually(all_three_serve)

    # The route is deleted: 404 on every pod, and nothing of it is left in the ConfigMaps.
    await stack.kubectl("-n", stack.namespace, "delete", "wsr", "chat")
    await eventually(lambda: stack.answers(host=host, status=404))

    async def nothing_is_left() -> None:
        assert f"{stack.namespace}/chat" not in await published.read(stack)

    # Endpoints that no host looks up any more go out of a table a pass later.
    await eventually(nothing_is_left)
