"""What clients get, on every balancer pod of a real cluster."""

from collections import Counter

from tests.cluster.conftest import BOTH
from tests.support.stack import BalancerPod, Stack, eventually

pytestmark = BOTH


async def test_an_edited_path_moves(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    await stack.answers(host=host, path="/echo", status=101)
    await stack.route(paths=[{"path": "/moved/echo", "backends": [{"service": "chat", "port": 80}]}])
    await stack.condition("chat", "Ready")
    await stack.answers(host=host, path="/echo", status=404)
    await stack.answers(host=host, path="/moved/echo", status=101)


async def test_a_missing_service_is_503_until_it_appears(stack: Stack) -> None:
    host = stack.host()
    await stack.route()
    missing = await stack.condition("chat", "ResolvedRefs", "False")
    assert missing["reason"] == "ServiceNotFound"
    assert "spec.paths[0].backends[0].service" in missing["message"]
    await stack.condition("chat", "Programmed")
    for pod in await stack.balancer_pods():
        answer = await stack.handshake(pod, host=host)
        assert (answer.status, answer.reason) == (503, "no-endpoints")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    await stack.backend()
    await stack.condition("chat", "Ready")
    await stack.answers(host=host, status=101)


async def test_weighted_backends_get_their_shares(stack: Stack) -> None:
    host = stack.host()
    await stack.backend("blue", replicas=1)
    await stack.backend("green", replicas=2)
    backends = [{"service": "blue", "port": "http", "weight": 90}, {"service": "green", "port": "http", "weight": 10}]
    await stack.route(paths=[{"path": "/echo", "backends": backends}])
    await stack.condition("chat", "Ready")

    async def all_endpoints_are_there() -> None:
        assert (await stack.status())["endpoints"]["ready"] == 3

    await eventually(all_endpoints_are_there)
    await stack.condition("chat", "Programmed")
    counts: Counter[str] = Counter()
    pods = await stack.balancer_pods()
    for number in range(2_000):
        answer = await stack.handshake(pods[number % len(pods)], host=host)
        assert answer.status == 101
        counts[answer.headers["x-chat-pod"].partition("-")[0]] += 1
    assert abs(counts["blue"] / 2_000 - 0.9) < 0.03, counts


async def test_a_page_and_a_socket_through_one_path(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    backends = [{"service": "chat", "port": "http"}]
    await stack.route(paths=[{"path": "/", "upgrade": "Optional", "backends": backends}])
    await stack.condition("chat", "Ready")
    for pod in await stack.balancer_pods():
        page = await stack.ask(pod, host=host, path="/")
        assert page.status == 200
        assert b"<title>" in page.body
        assert (await stack.handshake(pod, host=host, path="/ws")).status == 101


async def test_plain_http_on_a_required_path_is_told_to_upgrade(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    for pod in await stack.balancer_pods():
        answer = await stack.ask(pod, host=host, path="/echo")
        assert (answer.status, answer.reason) == (426, "upgrade-required")
        assert answer.headers["upgrade"] == "websocket"
        smuggled = await stack.handshake(pod, host=host, headers={"Upgrade": "h2c"})
        assert smuggled.status == 426


async def test_pages_of_other_hosts_open_no_sockets_until_they_may(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")
    other = {"Origin": "https://www.example.net"}
    for pod in await stack.balancer_pods():
        for own in ({}, {"Origin": f"https://{host}"}, {"Origin": f"http://{host}:8880"}):
            assert (await stack.handshake(pod, host=host, headers=own)).status == 101
        for foreign in (other, {"Origin": "null"}, {"Origin": f"https://{host}.example.net"}):
            answer = await stack.handshake(pod, host=host, headers=foreign)
            assert (answer.status, answer.reason) == (403, "origin")
        old = await stack.handshake(pod, host=host, headers={"Sec-WebSocket-Version": "8"})
        assert (old.status, old.headers["sec-websocket-version"]) == (426, "13")
        answer = await stack.handshake(pod, host=host, headers={"Sec-WebSocket-Key": "short"})
        assert (answer.status, answer.reason) == (400, "bad-handshake")
    await stack.route(origins={"allow": ["https://*.example.net"]})
    await stack.condition("chat", "Ready")
    for pod in await stack.balancer_pods():
        assert (await stack.handshake(pod, host=host, headers=other)).status == 101


async def test_a_key_has_its_endpoint_on_every_balancer_pod(stack: Stack) -> None:
    host = stack.host()
    await stack.backend(replicas=3)
    await stack.route(loadBalancing={"policy": "Hash", "hash": {"by": "Query", "name": "room"}})
    await stack.condition("chat", "Ready")

    async def places(pod: BalancerPod) -> dict[str, str]:
        """The endpoint of each of 30 keys."""
        found = {}
        for number in range(30):
            answer = await stack.handshake(pod, host=host, path=f"/echo?room=room-{number}")
            found[f"room-{number}"] = answer.headers["x-chat-pod"]
        return found

    async def each_has_the_same() -> None:
        first, *others = [await places(pod) for pod in (*pods, *pods)]
        assert len(set(first.values())) == 3
        assert all(other == first for other in others)

    pods = await stack.balancer_pods()
    # Endpoints come by and by, and while workers are replaced the old ones answer beside the new ones for a moment.
    await eventually(each_has_the_same)
    await each_has_the_same()


async def test_a_listeners_port_changes(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    await stack.route()
    await stack.condition("chat", "Ready")

    async def listen_on(port: int) -> None:
        listener = f'{{"name": "ws", "port": {port}, "protocol": "HTTP", "public": {{"scheme": "ws", "port": 80}}}}'
        patch = f'{{"spec": {{"listeners": [{listener}]}}}}'
        await stack.kubectl("-n", "wsroute-system", "patch", "wsb", "shared", "--type=merge", "-p", patch)

    async def moved(*, here: int, gone: int) -> None:
        for pod in await stack.balancer_pods():
            try:
                answer = await stack.handshake(pod, host=host, port=here)
            except OSError as error:
                raise AssertionError(f"{pod.name} does not listen on {here} yet") from error
            assert answer.status == 101
            try:
                stack.connect(pod, gone).close()
            except ConnectionRefusedError:
                continue
            raise AssertionError(f"{pod.name} still listens on {gone}")

    pods = await stack.balancer_pods()
    async with stack.socket(pods[0], host=host) as held:
        await listen_on(8090)
        try:
            await eventually(lambda: moved(here=8090, gone=8080))
            await held.send("still here")
            assert await held.recv() == "still here"
        finally:
            await listen_on(8080)
            await eventually(lambda: moved(here=8080, gone=8090))
