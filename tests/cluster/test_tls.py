"""wss on the Dynamic data plane of a real cluster: a listener, a rotation, and sockets that notice neither."""

from contextlib import AsyncExitStack

from tests.cluster.test_dynamic import reloads
from tests.support.handshake import echo, held_socket
from tests.support.stack import Stack, eventually
from tests.support.wss import PORT, wss


async def test_a_rotation_needs_no_reload_and_is_noticed_by_no_socket(stack: Stack) -> None:
    host = stack.host()
    await stack.backend()
    async with wss(stack, host) as secured, AsyncExitStack() as exits:
        await stack.route()

        async def listener_is_known() -> None:
            assert (await stack.status()).get("urls") == [f"wss://{host}/echo"]

        # The operator may see the route before the listener.
        await eventually(listener_is_known)
        await stack.condition("chat", "Ready")
        await secured.is_served(host)
        pods = await stack.balancer_pods()
        loaded = await reloads(stack, pods)
        sockets = [
            await exits.enter_async_context(
                await held_socket(stack.connect(pod, PORT), host=host, path="/echo", tls=secured.context)
            )
            for pod in pods
        ]
        for number in range(5):
            await secured.rotate()
            await eventually(lambda: secured.is_served(host), within=10)
            for socket in sockets:
                await echo(socket, f"still here after rotation {number}")
        assert await reloads(stack, pods) == loaded
