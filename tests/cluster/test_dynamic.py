"""The Dynamic data plane on a real cluster: what teams change is there at once, without a reload and without a loss."""

from contextlib import AsyncExitStack

from prometheus_client.parser import text_string_to_metric_families

from localcluster import install
from tests.support.handshake import ask, echo
from tests.support.prober import probing
from tests.support.stack import BalancerPod, Stack, eventually
from wsroute.kube.port import BALANCERS, CONFIG_MAPS, ROUTES


def path(prefix: str, service: str = "chat") -> dict[str, object]:
    return {"path": prefix, "backends": [{"service": service, "port": "http"}]}


async def reloads(stack: Stack, pods: list[BalancerPod]) -> dict[str, float]:
    """How often each pod's nginx has loaded a file."""
    found = {}
    for pod in pods:
        answer = await ask(stack.connect(pod, 8082), host="agent", path="/metrics")
        samples = [each for family in text_string_to_metric_families(answer.body.decode()) for each in family.samples]
        found[pod.name] = sum(
            sample.value
            for sample in samples
            if sample.name == "wsroute_agent_applied_total" and sample.labels["outcome"] == "applied"
        )
    return found


async def served_by(stack: Stack, pods: list[BalancerPod], host: str, count: int) -> None:
    """New sockets go to exactly the ready pods of the backend, on every balancer pod."""
    live = {
        pod["metadata"]["name"] for pod in await stack.pods_of("chat") if "deletionTimestamp" not in pod["metadata"]
    }
    assert len(live) == count
    for pod in pods:
        async with AsyncExitStack() as exits:
            seen = set()
            for _ in range(4 * count):  # held, so that the one with fewest sockets gets the next one
                connection = await exits.enter_async_context(stack.socket(pod, host=host))
                assert connection.response is not None
                seen.add(connection.response.headers["X-Chat-Pod"])
            assert seen == live, pod.name


async def test_routes_and_endpoints_change_without_a_reload_and_no_socket_is_lost(stack: Stack) -> None:
    host, other = stack.host(), stack.host("other")
    await stack.backend(pre_stop=2)
    await stack.route()
    await stack.condition("chat", "Ready")
    pods = await stack.balancer_pods()
    before = await reloads(stack, pods)
    async with AsyncExitStack() as exits:
        held = [await exits.enter_async_context(stack.socket(pod, host=host)) for pod in pods]

        async def all_live(when: str) -> None:
            for number, connection in enumerate(held):
                await echo(connection, f"socket {number}, {when}")

        await stack.scale("chat", 3)
        await eventually(lambda: served_by(stack, pods, host, 3))
        await all_live("after two endpoints more")
        async with probing(stack, host, pods) as prober:
            await stack.route("other")
            await stack.condition("other", "Programmed")
            await stack.answers(host=other, status=101)
            await stack.route("other", paths=[path("/elsewhere/echo")])
            await stack.condition("other", "Programmed")
            await stack.answers(host=other, path="/elsewhere/echo", status=101)
            await stack.answers(host=other, status=404)
            await stack.client.delete(ROUTES, namespace=stack.namespace, name="other")
            await eventually(lambda: stack.answers(host=other, path="/elsewhere/echo", status=404))
        assert prober.wrong == []
        assert prober.total > 0
        await all_live("after another route came, changed and went")
        await stack.route(timeouts={"idle": "30m"}, paths=[path("/echo"), path("/more/echo")])
        await stack.condition("chat", "Programmed")
        await stack.answers(host=host, path="/more/echo", status=101)
        await all_live("after an edit of their own route")
    assert await reloads(stack, pods) == before


async def test_the_tables_can_be_read_and_hold_what_is_served(stack: Stack) -> None:
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    lines = (await stack.tables()).splitlines()
    assert any(line.startswith("host ") and stack.host() in line for line in lines)
    [pod] = await stack.pods_of("chat")
    assert any(line.startswith("endpoints ") and pod["status"]["podIP"] in line for line in lines)
    assert stack.host() not in await stack.configuration()


async def test_a_part_that_a_hand_has_changed_is_put_right_and_nobody_notices(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    pods = await stack.balancer_pods()
    name = f"{install.BALANCER}-table-r0"

    async def ours() -> list[str]:
        """What the part says of this test's route; others' may be on their way out."""
        found = await stack.client.list(CONFIG_MAPS, namespace=install.NAMESPACE)
        [text] = [each["data"]["table"] for each in found.items if each["metadata"]["name"] == name] or [""]
        return [line for line in text.splitlines() if stack.namespace in line]

    before = await ours()
    assert before
    async with probing(stack, host, pods) as prober:
        for command in (
            ("patch", "configmap", name, "--type=merge", "-p", '{"data": {"table": ""}}'),
            ("delete", "configmap", name),
        ):
            await stack.kubectl("-n", install.NAMESPACE, *command)

            async def is_back() -> None:
                assert await ours() == before

            await eventually(is_back)
            await eventually(lambda: stack.answers(host=host, status=101))
    assert prober.wrong == []


async def test_the_balancer_says_that_nothing_drains(stack: Stack) -> None:
    await stack.backend()
    for number in range(5):
        await stack.route(f"r{number}")
        await stack.condition(f"r{number}", "Programmed")

    async def all_have_it() -> None:
        status = (await stack.client.get(BALANCERS, namespace=install.NAMESPACE, name=install.BALANCER))["status"]
        assert status["pods"] == {"total": 2, "current": 2}
        assert status["draining"] == {"generations": 0, "sockets": 0}

    await eventually(all_have_it)
