"""A route that nginx refuses on the real balancer: it is withdrawn with nginx's words, and nobody else notices.

The API and the emitters let nothing through that nginx refuses, so the test runs the operator itself, with an emitter
that writes the values of headers as they are, without quotes. Everything else is real.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from localcluster import install
from localcluster.install import BALANCER, NAMESPACE
from tests.cluster.conftest import STATIC
from tests.support.handshake import echo
from tests.support.stack import Stack, eventually
from wsroute.cluster.objects import Key
from wsroute.controller.runtime import Operator, OperatorConfig
from wsroute.kube.client import KubeClient
from wsroute.kube.port import BALANCERS, Json
from wsroute.nginx.quoting import Emitted

pytestmark = STATIC

DIRECTIVE = "a; no_such_directive b"
"""What nginx refuses at the test, with the line."""


def zone_keyed_by(key: str, zone: str) -> str:
    """What nginx takes the first time and, with another key, refuses at load only, without a line: it breaks out of its
    server, and defines a zone."""
    return (
        f"a; proxy_pass http://@wsroute_websocket_upstream; }} }} limit_req_zone {key} zone={zone}:32k rate=1r/s; "
        f"server {{ listen 127.0.0.1:8999; server_name {zone}.invalid; location / {{ proxy_set_header X-B b"
    )


class Raw(Emitted):
    """A value as it is; ``@`` stands for the dollar sign, which the API does not let through."""

    def __new__(cls, value: str) -> Self:
        return str.__new__(cls, value.replace("@", "$"))


def team(value: str, **spec: Any) -> dict[str, Any]:
    """A route that sets a header, on one exact path: its text stands in nginx's file once."""
    path = {"path": "/echo", "type": "Exact", "backends": [{"service": "chat", "port": "http"}]}
    return {"paths": [path], "headers": {"set": [{"name": "X-Team", "value": value}]}, **spec}


@asynccontextmanager
async def leading(stack: Stack, identity: str) -> AsyncIterator[Operator]:
    """One replica of the operator with an administrator's rights; leaving the block ends it in order."""
    client = await KubeClient.from_kubeconfig(stack.cluster.kubeconfig)
    config = OperatorConfig(
        namespaces=(NAMESPACE,),
        default_balancer=Key(NAMESPACE, BALANCER),
        lease_namespace=NAMESPACE,
        lease_name="wsroute-operator",
        identity=identity,
        http_host="127.0.0.1",
        http_port=0,
        kubeconfig=stack.cluster.kubeconfig,
    )
    operator, stop = Operator(config, client), asyncio.Event()
    task = asyncio.create_task(operator.run(stop))
    try:

        async def leads() -> None:
            assert not task.done(), task
            assert operator._elector.leading

        await eventually(leads)
        yield operator
    finally:
        stop.set()
        await task
        await client.close()


@pytest.fixture
async def bypassed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """The stack without its operators, with a balancer that lets routes set X-Team, and with an emitter that quotes
    nothing in this process."""
    monkeypatch.setattr("wsroute.nginx.views.Quoted", Raw)
    try:
        await scale(stack, 0)
        await permit(stack, ["X-Team"])
        yield stack
    finally:
        monkeypatch.undo()
        try:
            await stack.kubectl("-n", stack.namespace, "delete", "wsr", "--all")
            await permit(stack, [])
        finally:
            await scale(stack, 2)


async def scale(stack: Stack, replicas: int) -> None:
    await stack.kubectl("-n", NAMESPACE, "scale", "deployment/wsroute-operator", f"--replicas={replicas}")
    if replicas:
        await asyncio.to_thread(install.wait_until_ready, stack.cluster)
    else:
        selector = "app.kubernetes.io/name=wsroute-operator"
        await stack.kubectl("-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", selector, "--timeout=50s")


async def permit(stack: Stack, headers: list[str]) -> None:
    patch = f'{{"spec":{{"requestHeaders":{headers or "null"}}}}}'.replace("'", '"')
    await stack.kubectl("-n", NAMESPACE, "patch", "wsb", BALANCER, "--type=merge", "-p", patch)


async def rejected(stack: Stack, name: str) -> str:
    """Wait until a route is in quarantine as all its conditions say; returns nginx's words."""

    async def look() -> Json:
        told = await stack.condition(name, "Programmed", "False")
        assert told["reason"] == "ConfigRejected", told
        return told

    words = (await eventually(look))["message"]
    for kind, status in (("Accepted", "True"), ("Ready", "False"), ("Stalled", "True")):
        await stack.condition(name, kind, status)
    assert isinstance(words, str)
    return words


async def withdrawn(stack: Stack, name: str) -> None:
    """Wait until every balancer pod says that the route is invalid."""

    async def look() -> None:
        for pod in await stack.balancer_pods():
            answer = await stack.handshake(pod, host=stack.host(name))
            assert (answer.status, answer.reason) == (503, "route-invalid"), pod.name

    await eventually(look)


async def until_accepted(stack: Stack) -> None:
    """Wait until the balancer serves what it is by now."""

    async def look() -> None:
        found = await stack.client.get(BALANCERS, namespace=NAMESPACE, name=BALANCER)
        conditions = {condition["type"]: condition for condition in found["status"]["conditions"]}
        assert conditions["Programmed"]["status"] == "True", conditions
        assert conditions["Programmed"]["observedGeneration"] == found["metadata"]["generation"]

    await eventually(look)


async def test_what_nginx_refuses_is_quarantined_and_its_neighbours_go_live(bypassed: Stack) -> None:
    stack = bypassed
    await stack.backend()
    # Key "a" is served, and another one is what nginx refuses at load only.
    zone = f"z{stack.namespace[-8:]}"
    bad = {"line": DIRECTIVE, "dark": f"a; limit_req zone=none-{zone}", "load": zone_keyed_by("b", zone)}
    words = {"line": 'unknown directive "no_such_directive"', "dark": "zero size shared memory zone", "load": "uses"}
    async with leading(stack, "first"):
        await stack.route("old")
        await stack.route("load", **team(zone_keyed_by("a", zone)))
        for name in ("old", "load"):
            await stack.condition(name, "Ready")
        await until_accepted(stack)
        [pod, *_] = await stack.balancer_pods()
        async with stack.socket(pod, host=stack.host("old")) as held:
            for kind, value in bad.items():
                neighbours = [f"{kind}-{number}" for number in range(3)]
                applied = time.monotonic()
                await asyncio.gather(
                    stack.route(kind, **team(value)), *(stack.route(name, **team("fine")) for name in neighbours)
                )

                async def live(names: list[str] = neighbours) -> None:
                    for name in names:
                        await stack.answers(host=stack.host(name), status=101)

                await eventually(live, within=20)
                print(f"{kind}: the neighbours were live {time.monotonic() - applied:.2f} s after all were applied")
                assert words[kind] in await rejected(stack, kind)
                await withdrawn(stack, kind)
                await stack.answers(host=stack.host("old"), status=101)
            await echo(held, "still there")

    async with leading(stack, "second"):
        # Its first pass has been made once a route that it has never seen is served.
        await stack.route("after", **team("fine"))
        await stack.condition("after", "Ready")
        for kind in bad:
            assert words[kind] in await rejected(stack, kind)
            await withdrawn(stack, kind)
        for kind in bad:
            await stack.route(kind, **team("fine"))
        for kind in bad:
            await stack.condition(kind, "Ready")
            await stack.answers(host=stack.host(kind), status=101)
