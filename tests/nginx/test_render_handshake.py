"""What a handshake, and what is none, gets from a real nginx that runs a rendered file."""

import asyncio
import socket
from collections.abc import Mapping

import pytest

from tests.support.backend import Backend, running_backend
from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from tests.support.handshake import Answer, ask, echo, handshake, held_socket
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from wsroute.dataplane.ir import Configuration, PathMatch

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]


def connected(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A connection to a listener."""
    return socket.create_connection((address, port), timeout=5)


def served(port: int, backend: Backend, *, websocket_only: bool = True) -> Configuration:
    """One route, /ws, to one backend."""
    return configuration(
        port=port,
        upstreams=[upstream(backend.endpoint())],
        servers=[server(location(action=proxy(websocket_only=websocket_only)))],
    )


async def shake(
    port: int,
    path: str = "/ws",
    headers: Mapping[str, str | None] | None = None,
    *,
    host: str = HOST,
    method: str = "GET",
) -> Answer:
    """A handshake's answer."""
    return await handshake(connected(port), host=host, path=path, headers=headers, method=method)


async def get(port: int, path: str = "/ws", headers: Mapping[str, str] | None = None, *, host: str = HOST) -> Answer:
    """A plain request's answer."""
    return await ask(connected(port), host=host, path=path, headers=headers)


async def test_a_handshake_opens_a_socket_that_echoes() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            client = await held_socket(connected(port), host=HOST, path="/ws?token=secret")
            async with client:
                await echo(client, "hello")
                await echo(client, "ü" * 100_000)
            assert backend.last.path == "/ws?token=secret"
            assert "X-WSRoute-Reason" not in client.response.headers  # type: ignore[union-attr]
            assert nginx.error_log() == ""


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws/a"])
async def test_plain_http_on_a_required_path_gets_426(path: str) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            answer = await get(port, path)
            assert answer.status == 426
            assert answer.headers["upgrade"] == "websocket"
            assert answer.reason == "upgrade-required"
            assert answer.body == b"This address takes WebSockets only.\n"
            assert backend.requests == []
            assert (await nginx.log_line(1))["reason"] == "upgrade-required"
            assert (await nginx.log_line(1))["route"] == "team-a/chat"
            assert nginx.error_log() == ""


@pytest.mark.parametrize("token", ["h2c", "websocket, h2c", "h2c, websocket", "websocketx", "TLS/1.0", "websocket/13"])
async def test_no_other_upgrade_reaches_a_backend(token: str) -> None:
    ports = free_ports(2)
    async with running_backend() as backend:
        with running_nginx(served(ports[0], backend)):
            answer = await shake(ports[0], headers={"Upgrade": token, "HTTP2-Settings": "AAMAAABkAAQAAP__"})
            assert (answer.status, answer.reason) == (426, "upgrade-required")
            assert backend.requests == []
        with running_nginx(served(ports[1], backend, websocket_only=False)):
            headers = {"Upgrade": token, "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
            answer = await shake(ports[1], headers=headers)
            assert answer.status == 200
            assert "Upgrade" not in backend.last.headers
            assert "HTTP2-Settings" not in backend.last.headers
            assert backend.last.headers["Connection"] == "close"


@pytest.mark.parametrize("websocket_only", [True, False])
@pytest.mark.parametrize("version", ["8", "013", "13 8", "8 13", "13, 8", None])
async def test_another_version_of_the_protocol_gets_426(version: str | None, *, websocket_only: bool) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend, websocket_only=websocket_only)):
            answer = await shake(port, headers={"Sec-WebSocket-Version": version})
            assert (answer.status, answer.reason) == (426, "upgrade-required")
            assert answer.headers["sec-websocket-version"] == "13"
            assert backend.requests == []


async def test_the_token_websocket_is_known_in_any_case() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)):
            answer = await shake(port, headers={"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"})
            assert answer.status == 101
            assert backend.last.headers["Upgrade"] == "websocket"
            assert backend.last.headers["Connection"] == "upgrade"


async def test_an_optional_path_serves_a_page_and_a_socket() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend, websocket_only=False)):
            answer = await get(port)
            assert (answer.status, answer.body, answer.reason) == (200, b"a page\n", "")
            async with await held_socket(connected(port), host=HOST, path="/ws") as client:
                await echo(client, "hello")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_a_listener_takes_ipv6_and_ipv4() -> None:
    [port, endpoint_port] = free_ports(2)
    async with running_backend(host="::1") as backend:
        endpoint = backend.endpoint()
        assert endpoint_port != endpoint.port
        in_ipv6 = upstream(type(endpoint)(address="::1", port=endpoint.port, weight=1))
        with running_nginx(configuration(port=port, ipv6=True, upstreams=[in_ipv6])):
            for address in ("::1", "127.0.0.1"):
                async with await held_socket(connected(port, address), host=HOST, path="/ws") as client:
                    await echo(client, address)


async def test_a_silent_socket_is_closed_after_its_idle_timeout_and_a_talking_one_is_not() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        short = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(location(action=proxy(idle_timeout=1_500)))],
        )
        with running_nginx(short):
            silent = await held_socket(connected(port), host=HOST, path="/ws")
            talking = await held_socket(connected(port), host=HOST, path="/ws")
            closed = asyncio.ensure_future(silent.wait_closed())
            while not closed.done():
                await echo(talking, "still here")
                await asyncio.wait([closed], timeout=0.1)
            await echo(talking, "and still")
            assert silent.close_code == 1006
            await talking.close()


async def test_an_exact_path_takes_nothing_below_it() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        exact = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(location(match=PathMatch.EXACT))],
        )
        with running_nginx(exact):
            assert (await shake(port, "/ws")).status == 101
            for path in ("/ws/", "/ws/a", "/wsx", "/"):
                answer = await shake(port, path)
                assert (answer.status, answer.reason) == (404, "no-route"), path
