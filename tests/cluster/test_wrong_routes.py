"""Wrong routes: each is told where and what, and nobody else notices.

What the schema can tell, `kubectl apply` refuses. What only the operator can tell (other objects, the balancer's terms)
stands in the route's conditions.
"""

from typing import Any

import pytest

from tests.cluster.conftest import STATIC
from tests.support.stack import Stack
from wsroute.kube.port import ROUTES, RejectedError

ECHO = {"path": "/echo", "backends": [{"service": "chat", "port": "http"}]}


def spec(**fields: Any) -> dict[str, Any]:
    """A good spec with some fields changed."""
    return {"hosts": ["wrong.example.com"], "paths": [ECHO]} | fields


def backend(**fields: Any) -> dict[str, Any]:
    """A good spec whose only backend has some fields changed."""
    return spec(paths=[{"path": "/echo", "backends": [{"service": "chat", "port": "http"} | fields]}])


# Each: the spec, the field that is blamed, words of the sentence.
REFUSED_AT_APPLY: dict[str, tuple[dict[str, Any], str, str]] = {
    "host in capitals": (spec(hosts=["Chat.example.com"]), "spec.hosts[0]", "lower case"),
    "host with a port": (spec(hosts=["chat.example.com:80"]), "spec.hosts[0]", "without a port"),
    "host is an address": (spec(hosts=["10.0.0.1"]), "spec.hosts[0]", "not an IP address"),
    "bare wildcard": (spec(hosts=["*"]), "spec.hosts[0]", "wildcard"),
    "host with nginx text": (spec(hosts=["a.example.com;return 200"]), "spec.hosts[0]", "host must"),
    "path without slash": (spec(paths=[ECHO | {"path": "ws"}]), "spec.paths[0].path", "start with a slash"),
    "path with a variable": (spec(paths=[ECHO | {"path": "/$host"}]), "spec.paths[0].path", "must consist of"),
    "path with dot segments": (spec(paths=[ECHO | {"path": "/a/../b"}]), "spec.paths[0].path", "elements . and .."),
    "no path at all": (spec(paths=[]), "spec.paths", "at least 1"),
    "the same path twice": (spec(paths=[ECHO, ECHO]), "spec.paths", "path"),
    "unknown upgrade": (spec(paths=[ECHO | {"upgrade": "Maybe"}]), "spec.paths[0].upgrade", "Required"),
    "port out of range": (backend(port=70_000), "spec.paths[0].backends[0].port", "65535"),
    "no weight at all": (backend(weight=0), "spec.paths[0].backends", "weight above 0"),
    "service with a dot": (backend(service="chat.other"), "spec.paths[0].backends[0].service", "DNS label"),
    "duration without unit": (spec(timeouts={"idle": "30"}), "spec.timeouts.idle", "units"),
    "pings too rare": (spec(timeouts={"idle": "30s"}, pingInterval="20s"), "spec.timeouts.idle", "twice pingInterval"),
    "page with a path": (spec(origins={"allow": ["https://a.example.com/x"]}), "spec.origins.allow[0]", "a path"),
    "hash of nothing": (spec(loadBalancing={"policy": "Hash"}), "spec.loadBalancing.hash", "needs hash"),
    "header of ours": (
        spec(headers={"set": [{"name": "X-Forwarded-For", "value": "1"}]}),
        "spec.headers.set[0].name",
        "set by the balancer",
    ),
    "header with a variable": (
        spec(headers={"set": [{"name": "X-Team", "value": "$http_cookie"}]}),
        "spec.headers.set[0].value",
        "dollar sign",
    ),
}

# Each: the spec, the condition that is false, its reason, the field, words of the sentence.
TOLD_IN_CONDITIONS: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "unknown balancer": (
        spec(balancerRef={"name": "nobody"}),
        "Accepted",
        "NoBalancer",
        "spec.balancerRef",
        "nobody",
    ),
    "unknown listener": (spec(listeners=["wss"]), "Accepted", "Invalid", "spec.listeners[0]", "wss"),
    "header that is not allowed": (
        spec(headers={"set": [{"name": "X-Team", "value": "a"}]}),
        "Accepted",
        "NotAllowed",
        "spec.headers.set[0].name",
        "X-Team",
    ),
    "more than the data plane can do": (
        spec(loadBalancing={"stickyCookie": {"name": "wsr"}}),
        "Accepted",
        "Unsupported",
        "spec.loadBalancing.stickyCookie",
        "Static",
    ),
    "unknown service": (
        backend(service="nobody"),
        "ResolvedRefs",
        "ServiceNotFound",
        "spec.paths[0].backends[0].service",
        "nobody",
    ),
    "unknown port": (
        backend(port="nothing"),
        "ResolvedRefs",
        "PortNotFound",
        "spec.paths[0].backends[0].port",
        "nothing",
    ),
}


@pytest.mark.parametrize("case", REFUSED_AT_APPLY)
async def test_what_the_schema_refuses(stack: Stack, case: str) -> None:
    wrong, field, words = REFUSED_AT_APPLY[case]
    with pytest.raises(RejectedError) as refusal:
        await stack.apply(ROUTES, {"metadata": {"name": "wrong"}, "spec": wrong})
    assert field in str(refusal.value)
    assert words in str(refusal.value)


@STATIC
async def test_what_only_the_operator_can_tell_and_nobody_else_notices(stack: Stack) -> None:
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    before = await stack.configuration()
    for number, (wrong, kind, reason, field, words) in enumerate(TOLD_IN_CONDITIONS.values()):
        name = f"wrong-{number}"
        hosts = [f"{name}.{stack.namespace}.example.com"]
        await stack.apply(ROUTES, {"metadata": {"name": name}, "spec": wrong | {"hosts": hosts}})
        told = await stack.condition(name, kind, "False")
        assert told["reason"] == reason
        assert field in told["message"]
        assert words in told["message"]
    await stack.condition("chat", "Ready")
    own = f"{stack.namespace}/chat"
    assert blocks_of(before, own)
    assert blocks_of(await stack.configuration(), own) == blocks_of(before, own)
    await stack.answers(host=stack.host(), status=101)


@STATIC
async def test_a_host_of_another_namespace_is_refused(stack: Stack, other_namespace: str) -> None:
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    before = await stack.configuration()
    taker = {"metadata": {"name": "taker", "namespace": other_namespace}, "spec": spec(hosts=[stack.host()])}
    await stack.apply(ROUTES, taker)
    other = Stack(cluster=stack.cluster, client=stack.client, namespace=other_namespace, chat_image=stack.chat_image)
    told = await other.condition("taker", "Accepted", "False")
    assert told["reason"] == "HostConflict"
    assert "spec.hosts[0]" in told["message"]
    own = f"{stack.namespace}/chat"
    assert blocks_of(await stack.configuration(), own) == blocks_of(before, own)
    assert f"{other_namespace}/taker" not in await stack.configuration()


def blocks_of(text: str, route: str) -> list[str]:
    """The upstreams and servers of a route: blocks below a comment that names it."""
    return [block.rstrip("}\n ") for block in text.split("\n\n    # ") if f"{route}\n" in block or f"{route}," in block]
