"""The card: from an applied WebSocketRoute to an open socket on every balancer pod, and back to 404."""

import re

from tests.support.handshake import echo
from tests.support.stack import Stack, eventually, is_ready
from wsroute.kube.port import Json


def endpoint(pod: Json) -> str:
    """A pod as an upstream names it."""
    return f" {pod['status']['podIP']}:8080 "


async def test_the_card(stack: Stack) -> None:
    host = stack.host()
    await stack.backend(replicas=1)
    await stack.route(timeouts={"idle": "1h"})
    await stack.condition("chat", "Ready")

    # The balancer's ConfigMap holds the route's location, which upgrades, and the pods' endpoints.
    [pod] = await stack.pods_of("chat")
    text = await stack.configuration()
    assert re.search(rf"server_name +{re.escape(host)};", text)
    assert f"{stack.namespace}/chat" in text
    assert endpoint(pod) in text
    assert re.search(r"proxy_set_header +Upgrade +\$wsroute_upgrade;", text)

    # Every balancer pod has reloaded, and the socket opens on each.
    balancers = await stack.balancer_pods()
    assert len(balancers) == 2
    for balancer in balancers:
        async with stack.socket(balancer, host=host) as connection:
            await echo(connection, "1: hello")

    # The Service scales: the ConfigMap and the pods follow.
    await stack.scale("chat", 3)

    async def all_three_serve() -> None:
        pods = await stack.pods_of("chat")
        assert len(pods) == 3
        assert all(is_ready(pod) for pod in pods)
        text = await stack.configuration()
        assert all(endpoint(pod) in text for pod in pods)
        for balancer in balancers:
            answers = [await stack.handshake(balancer, host=host) for _ in range(9)]
            assert {a.headers.get("x-chat-pod") for a in answers} == {pod["metadata"]["name"] for pod in pods}

    await eventually(all_three_serve)

    # The route is deleted: 404 on every pod, and nothing of it is left in the ConfigMap.
    await stack.kubectl("-n", stack.namespace, "delete", "wsr", "chat")
    await eventually(lambda: stack.answers(host=host, status=404))
    assert f"{stack.namespace}/chat" not in await stack.configuration()
