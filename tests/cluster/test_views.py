"""`kubectl wsroute`: what the pods of the shared balancer serve, read by the real commands."""

import json
from contextlib import AsyncExitStack
from typing import Any

from localcluster import install
from tests.support.plugin import Plugin
from tests.support.stack import Stack, eventually


async def as_json(plugin: Plugin, *arguments: str) -> Any:
    """What a command prints as JSON."""
    code, output, errors = await plugin(*arguments, "-o", "json")
    assert code == 0, errors
    return json.loads(output)


async def test_the_routes_and_the_sockets_of_the_running_pods(stack: Stack, plugin: Plugin) -> None:
    route, host = f"{stack.namespace}/chat", stack.host()
    await stack.backend(replicas=2)
    await stack.route(timeouts={"idle": "30m"})
    await stack.condition("chat", "Ready")
    pods = await stack.balancer_pods()

    async def backends() -> set[str | None]:
        """The addresses of both chat servers; Ready waits for one of them only."""
        found = {pod["status"].get("podIP") for pod in await stack.pods_of("chat")}
        assert len(found - {None}) == 2, found
        return found

    async def route_is_told() -> Any:
        found = await as_json(plugin, "routes", install.BALANCER, "-n", install.NAMESPACE, "--host", host)
        assert [(each["name"], each["published"], each["differences"]) for each in found["pods"]] == [
            (pod.name, True, []) for pod in pods
        ]
        [told] = found["routes"]
        assert (told["route"], told["host"], told["path"], told["idle"]) == (route, host, "/echo", 1_800_000)
        [target] = told["targets"]
        assert {each["address"].partition(":")[0] for each in target["endpoints"]} == await backends()
        return told

    # Both chat servers have to be served before the first socket is opened, or all of them go to the one.
    await eventually(route_is_told, every=0.5)
    async with AsyncExitStack() as exits:
        for pod in pods * 3:
            await exits.enter_async_context(stack.socket(pod, host=host))

        async def all_are_told() -> None:
            told = await route_is_told()
            [target] = told["targets"]
            held = [sum(each["sockets"].get(pod.name, 0) for each in target["endpoints"]) for pod in pods]
            assert held == [3] * len(pods)
            assert told["routeSockets"] == 3 * len(pods)

        async def text_is_the_same() -> None:
            code, output, errors = await plugin("routes", "--route", route, "-n", install.NAMESPACE)
            # Routes of a test before, which may still be leaving, are gone from one pod before the other: that is told.
            assert (code, errors) == (0, "")
            [line] = [line for line in output.splitlines() if line.startswith(host)]
            assert line.split()[1:6] == ["/echo", route, "ws", str(3 * len(pods)), "30m"]

        await eventually(all_are_told, every=0.5)
        await eventually(text_is_the_same, every=0.5)
        sockets = (await as_json(plugin, "sockets", install.BALANCER, "--route", route))["sockets"]
        assert {each["pod"] for each in sockets} == {pod.name for pod in pods}
        assert {each["endpoint"].partition(":")[0] for each in sockets} == await backends()
        assert len(sockets) == 3 * len(pods)
        assert all(each["age"] < 600 and each["client"] and each["route"] == route for each in sockets)
    code, _, errors = await plugin("routes", "nobody", "-n", install.NAMESPACE)
    assert (code, errors) == (2, f"There is no WebSocketBalancer {install.NAMESPACE}/nobody.\n")


async def test_who_may_not_run_commands_in_pods_is_told_so(stack: Stack, plugin: Plugin) -> None:
    name = stack.namespace
    rules = [
        {"apiGroups": ["wsroute.dev"], "resources": ["websocketbalancers"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]},
    ]
    subject = {"kind": "User", "name": "a-reader", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    meta = {"name": name, "namespace": install.NAMESPACE}
    kind = "rbac.authorization.k8s.io/v1"
    try:
        for body in (
            {"apiVersion": kind, "kind": "Role", "metadata": meta, "rules": rules},
            {"apiVersion": kind, "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": [subject]},
        ):
            await stack.kubectl("create", "-f", "-", stdin=json.dumps(body))
        pods = await stack.balancer_pods()
        where = (install.BALANCER, "-n", install.NAMESPACE)

        async def it_is_told() -> None:
            code, output, errors = await plugin("routes", *where, "--as", "a-reader")
            assert code == 2, output
            for pod in pods:
                words = f"that needs the right to create pods/exec in {install.NAMESPACE}."
                assert f"Pod {pod.name}: You may not run commands in it: {words}" in errors

        # The API server learns of new rights a moment after it has stored them.
        await eventually(it_is_told, every=0.5)
    finally:
        for each in ("rolebinding", "role"):
            await stack.kubectl("-n", install.NAMESPACE, "delete", "--ignore-not-found", each, name)


async def test_the_published_table_reads_as_lines(stack: Stack) -> None:
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    selector = f"wsroute.dev/balancer={install.BALANCER},wsroute.dev/role=table"
    shown = await stack.kubectl("-n", install.NAMESPACE, "get", "configmaps", "-l", selector, "-o", "yaml")
    lines = [line.strip() for line in shown.splitlines()]
    assert "table: |" in lines
    assert any(line.startswith('host {"host":"' + stack.host() + '"') for line in lines)
    assert any(line.startswith('endpoints {"name":"' + stack.namespace + "/chat:") for line in lines)
