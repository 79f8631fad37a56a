"""`kubectl wsroute plan` on a real cluster: what a change would do, told before it is done, and nothing of it done."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from localcluster import install
from tests.support.handshake import echo
from tests.support.plugin import Plugin
from tests.support.stack import Stack, eventually
from wsroute.kube.port import BALANCERS


@pytest.fixture
def ask(plugin: Plugin, tmp_path: Path) -> Any:
    """Plans objects, and gives the exit code, the plan, and what is said beside it."""

    async def run(*bodies: Any, options: tuple[str, ...] = ()) -> tuple[int, Any, str]:
        path = tmp_path / "change.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)}))
        code, output, errors = await plugin("plan", str(path), "-o", "json", *options)
        return code, json.loads(output), errors

    return run


def a_route(stack: Stack, name: str, host: str, **changes: Any) -> Any:
    paths = [{"path": "/echo", "backends": [{"service": "chat", "port": "http"}]}]
    return {
        "apiVersion": "wsroute.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": name, "namespace": stack.namespace},
        "spec": {"hosts": [host], "paths": paths, **changes},
    }


async def test_a_change_is_told_and_not_made(stack: Stack, ask: Any) -> None:
    host, name = stack.host(), f"{stack.namespace}/chat"
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    before = await stack.status()
    pods = await stack.balancer_pods()
    async with AsyncExitStack() as exits:
        sockets = [await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods]

        async def edit() -> Any:
            edited, fresh = (
                a_route(stack, "chat", host, timeouts={"idle": "7m"}),
                a_route(stack, "new", stack.host("new")),
            )
            code, plan, errors = await ask(edited, fresh)
            assert (code, errors) == (0, "")
            routes = {route["route"]: route for route in plan["routes"]}
            assert routes[name]["sockets"] == len(pods), "each pod tells of its own a moment later"
            return plan, routes

        plan, routes = await eventually(edit, every=0.5)
        assert [(each["balancer"], each["reload"]) for each in plan["balancers"]] == [
            (f"{install.NAMESPACE}/{install.BALANCER}", [])
        ]
        assert {route: each["effect"] for route, each in routes.items()} == {
            name: "changed",
            f"{stack.namespace}/new": "added",
        }
        [path] = routes[name]["paths"]
        assert [set(path["after"]) - set(path["before"]), set(path["before"]) - set(path["after"])] == [
            {"idle 7m"},
            {"idle 1h"},
        ]

        code, plan, _ = await ask(a_route(stack, "chat", host), options=("--delete",))
        assert code == 0
        [gone] = plan["routes"]
        assert (gone["effect"], gone["sockets"], gone["paths"][0]["after"]) == ("removed", len(pods), ["404 no-route"])

        wrong = a_route(stack, "chat", host, paths=[{"path": "echo", "backends": []}])
        code, plan, _ = await ask(wrong, a_route(stack, "taken", host))
        assert code == 1
        [(object_, words)] = plan["refused"].items()
        assert object_ == f"WebSocketRoute {name}"
        assert "spec.paths[0].path" in words
        [taken] = plan["routes"]
        assert (taken["route"], taken["accepted"]) == (f"{stack.namespace}/taken", False)
        assert f"{stack.namespace}/chat" in taken["problems"][0]

        for socket in sockets:
            await echo(socket, "still here")
    assert await stack.status() == before
    assert await stack.status("new") == {}


async def test_a_reload_is_told_with_its_reason(stack: Stack, ask: Any) -> None:
    """The balancer is everybody's: what becomes of it is told, and left as it is."""
    found = await stack.client.get(BALANCERS, namespace=install.NAMESPACE, name=install.BALANCER)
    listener = {"name": "another", "port": 8099, "protocol": "HTTP"}
    body = {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "metadata": {"name": install.BALANCER, "namespace": install.NAMESPACE},
        "spec": {**found["spec"], "listeners": [*found["spec"]["listeners"], listener]},
    }
    code, plan, errors = await ask(body)
    assert (code, errors) == (0, "")
    [balancer] = plan["balancers"]
    assert balancer["reload"] == [{"reason": "ListenerAdded", "subject": "spec.listeners[another]"}]
    assert not balancer["closesSockets"]
    after = await stack.client.get(BALANCERS, namespace=install.NAMESPACE, name=install.BALANCER)
    assert after["metadata"]["generation"] == found["metadata"]["generation"]
