"""A custom main template on the real balancer: live, refused, broken, mended, taken away."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from localcluster.install import BALANCER, NAMESPACE
from tests.cluster.conftest import STATIC
from tests.support.handshake import echo
from tests.support.stack import Stack, eventually
from tests.support.templates import example_template
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, Json

pytestmark = STATIC

NAME = "custom-main"
LABELS = {"wsroute.dev/balancer": BALANCER, "wsroute.dev/role": "template"}
REFUSED = '{% extends "nginx.conf.j2" %}{% block http %}no_such_thing on;{% endblock %}'
BROKEN = '{% extends "nginx.conf.j2" %}\n{% block http %}{% endblok %}'


async def put(stack: Stack, text: str, labels: Mapping[str, str] = LABELS) -> None:
    """Apply the ConfigMap as an administrator would."""
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": dict(labels)}
    await stack.apply(CONFIG_MAPS, {"metadata": metadata, "data": {"nginx.conf.j2": text}})


async def refer(stack: Stack, reference: Mapping[str, str] | None) -> None:
    """Have the shared balancer name a template, or none."""
    patch = json.dumps({"spec": {"nginx": {"templateRef": reference}}})
    await stack.kubectl("-n", NAMESPACE, "patch", "websocketbalancer", BALANCER, "--type=merge", "-p", patch)


async def programmed(stack: Stack, status: str, reason: str, words: str = "") -> None:
    """Wait until the balancer says so of its present generation."""

    async def look() -> None:
        found: Json = await stack.client.get(BALANCERS, namespace=NAMESPACE, name=BALANCER)
        told: dict[str, Any] = {c["type"]: c for c in found["status"]["conditions"]}
        condition = told["Programmed"]
        assert condition["observedGeneration"] == found["metadata"]["generation"]
        assert (condition["status"], condition["reason"]) == (status, reason), condition
        assert words in condition["message"], condition
        assert told["Accepted"]["status"] == "True"

    await eventually(look)


async def served(stack: Stack, name: str, header: str | None) -> None:
    """Wait until every pod opens sockets on a route, and says whose template it has."""

    async def look() -> None:
        pods = await stack.balancer_pods()
        assert pods
        for pod in pods:
            answer = await stack.handshake(pod, host=stack.host(name))
            assert (answer.status, answer.headers.get("x-balancer")) == (101, header)

    await eventually(look)


@pytest.fixture
async def balancer(stack: Stack) -> AsyncIterator[Stack]:
    """The shared balancer, with the shipped template again at the end."""
    yield stack
    await refer(stack, None)
    await stack.kubectl("-n", NAMESPACE, "delete", "configmap", NAME, "--ignore-not-found")
    await programmed(stack, "True", "Programmed")


async def test_a_custom_template_from_its_first_use_to_its_last(balancer: Stack) -> None:
    stack = balancer
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    await put(stack, example_template(), labels={})
    await refer(stack, {"configMap": NAME})
    await programmed(stack, "False", "TemplateNotFound", f"label configmap {NAME}")
    await served(stack, "chat", None)

    pod = (await stack.balancer_pods())[0]
    async with stack.socket(pod, host=stack.host()) as socket:
        await put(stack, example_template())
        await programmed(stack, "True", "Programmed")
        await served(stack, "chat", BALANCER)
        await echo(socket, "opened before it")
    assert "log_format  text" in await stack.configuration()

    await put(stack, REFUSED)
    await programmed(stack, "False", "ConfigRejected", 'unknown directive "no_such_thing"')
    await stack.route("while-refused")
    await stack.condition("while-refused", "Ready")
    await served(stack, "while-refused", None)

    await put(stack, BROKEN)
    await programmed(stack, "False", "TemplateInvalid", "Line 2: Encountered unknown tag 'endblok'")
    await stack.route("while-broken")
    await stack.condition("while-broken", "Ready")
    await served(stack, "while-broken", None)

    await put(stack, example_template())
    await programmed(stack, "True", "Programmed")
    for name in ("chat", "while-refused", "while-broken"):
        await served(stack, name, BALANCER)

    await refer(stack, None)
    await served(stack, "chat", None)
