"""Which headers reach an endpoint, and which the client."""

import platform

import pytest

from tests.nginx.test_render_handshake import get, served, shake
from tests.support.backend import response, running_backend
from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from wsroute.dataplane.ir import Listener

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

LIES = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "lie.example.com",
    "X-Forwarded-Port": "443",
    "X-Real-IP": "203.0.113.9",
    "X-WSRoute-Pod": "lie",
    "Forwarded": "for=203.0.113.9",
    "Proxy": "http://lie.example.com",
}


async def test_a_route_sets_and_removes_headers_beside_ours() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        value = 'it is "quoted" \\ and {braced}; # not a comment'
        action = proxy(set_headers=(("X-Team", value), ("X-Long-" + "a" * 200, "b")), remove_headers=("X-Debug",))
        changing = configuration(
            port=port, upstreams=[upstream(backend.endpoint())], servers=[server(location(action=action))]
        )
        with running_nginx(changing):
            assert (
                await shake(port, headers={"X-Debug": "1", "X-Team": "theirs", "X-Other": "2"} | LIES)
            ).status == 101
            headers = backend.last.headers
            assert headers.get_all("X-Team") == [value]
            assert headers.get_all("X-Long-" + "a" * 200) == ["b"]
            assert "X-Debug" not in headers
            assert headers["X-Other"] == "2"
            assert headers["Upgrade"] == "websocket"
            assert headers["X-Forwarded-For"] == "127.0.0.1"


async def test_forwarding_headers_of_strangers_are_replaced() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            assert (await shake(port, headers=LIES)).status == 101
            headers = backend.last.headers
            assert headers.get_all("X-Forwarded-For") == ["127.0.0.1"]
            assert headers.get_all("X-Forwarded-Proto") == ["http"]
            assert headers.get_all("X-Forwarded-Host") == [HOST]
            assert headers.get_all("X-Forwarded-Port") == ["80"]
            assert headers.get_all("X-Real-IP") == ["127.0.0.1"]
            assert headers.get_all("X-WSRoute-Pod") == [platform.node()]
            assert "Forwarded" not in headers
            assert "Proxy" not in headers
            assert nginx.error_log() == ""


@pytest.mark.parametrize(
    ("target", "host", "told"),
    [
        ("/ws", "CHAT.example.com:8080", "CHAT.example.com:8080"),
        ("/ws", f"{HOST}.", f"{HOST}."),
        ("/ws", f"{HOST}.:8080", f"{HOST}.:8080"),
        (f"http://{HOST}/ws", HOST, HOST),
        (f"http://{HOST.upper()}./ws", f"{HOST}:8080", f"{HOST}:8080"),
        (f" http://{HOST}:81/ws", "admin.example.com", HOST),
        (f"http://{HOST}/ws", "admin.example.com", HOST),
        (f"http://{HOST}/ws", f"{HOST}.example.org", HOST),
        (f"http://{HOST}/ws", f"example.org.{HOST}", HOST),
        (f"http://{HOST}/ws", HOST.replace(".", "-"), HOST),
    ],
)
async def test_an_endpoint_is_told_the_host_by_which_its_route_was_found(target: str, host: str, told: str) -> None:
    """A request may name another one in its first line, which counts (RFC 9112, section 3.2.2). An endpoint may have
    more hosts than those for which there is a route."""
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend, websocket_only=False)):
            await get(port, target, host=host)
            assert backend.last.headers.get_all("Host") == [told]
            assert backend.last.headers.get_all("X-Forwarded-Host") == [told]


async def test_forwarding_headers_of_trusted_proxies_are_extended() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        trusting = configuration(
            port=port,
            trusted_proxies=("127.0.0.0/8", "10.0.0.0/8"),
            upstreams=[upstream(backend.endpoint())],
            servers=[server(location(action=proxy(websocket_only=False)))],
        )
        with running_nginx(trusting) as nginx:
            assert (
                await get(port, headers=LIES | {"X-Forwarded-For": "192.0.2.1, 203.0.113.9, 10.1.2.3"})
            ).status == 200
            headers = backend.last.headers
            assert headers.get_all("X-Forwarded-For") == ["192.0.2.1, 203.0.113.9, 10.1.2.3, 127.0.0.1"]
            assert headers.get_all("X-Forwarded-Proto") == ["https"]
            assert headers.get_all("X-Forwarded-Host") == ["lie.example.com"]
            assert headers.get_all("X-Forwarded-Port") == ["443"]
            assert headers.get_all("X-Real-IP") == ["203.0.113.9"], "the last address that is no trusted proxy"
            assert (await nginx.log_line(1))["client"] == "203.0.113.9"

            assert (await get(port)).status == 200
            headers = backend.last.headers
            assert headers["X-Forwarded-For"] == "127.0.0.1"
            assert headers["X-Forwarded-Proto"] == "http"
            assert headers["X-Forwarded-Host"] == HOST
            assert headers["X-Forwarded-Port"] == "80"

            assert (await get(port, headers={"X-Forwarded-Proto": "wss"})).status == 200
            assert backend.last.headers["X-Forwarded-Proto"] == "https"
            assert (await get(port, headers={"X-Forwarded-Proto": "gopher"})).status == 200
            assert backend.last.headers["X-Forwarded-Proto"] == "http"


async def test_a_stranger_is_not_trusted_because_others_are() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        trusting = configuration(port=port, trusted_proxies=("10.0.0.0/8",), upstreams=[upstream(backend.endpoint())])
        with running_nginx(trusting):
            assert (await shake(port, headers=LIES | {"X-Forwarded-For": "203.0.113.9, 10.1.2.3"})).status == 101
            headers = backend.last.headers
            assert headers.get_all("X-Forwarded-For") == ["127.0.0.1"]
            assert headers.get_all("X-Forwarded-Proto") == ["http"]
            assert headers.get_all("X-Forwarded-Host") == [HOST]
            assert headers.get_all("X-Forwarded-Port") == ["80"]


async def test_each_listener_says_what_clients_see_of_it() -> None:
    ports = free_ports(2)
    async with running_backend() as backend:
        listeners = (
            Listener(name="ws", port=ports[0], public_scheme="ws", public_port=80),
            Listener(name="behind-tls", port=ports[1], public_scheme="wss", public_port=443),
        )
        two = configuration(
            listeners=listeners,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(listeners=("behind-tls", "ws"))],
        )
        with running_nginx(two):
            for port, expected in zip(ports, [("http", "80"), ("https", "443")], strict=True):
                assert (await shake(port)).status == 101
                headers = backend.last.headers
                assert (headers["X-Forwarded-Proto"], headers["X-Forwarded-Port"]) == expected


async def test_a_host_is_served_on_its_own_listeners_only() -> None:
    ports = free_ports(2)
    async with running_backend() as backend:
        listeners = tuple(
            Listener(name=name, port=port, public_scheme="ws", public_port=80)
            for name, port in zip(("one", "two"), ports, strict=True)
        )
        one = configuration(
            listeners=listeners, upstreams=[upstream(backend.endpoint())], servers=[server(listeners=("one",))]
        )
        with running_nginx(one):
            assert (await shake(ports[0])).status == 101
            answer = await shake(ports[1])
            assert (answer.status, answer.reason) == (404, "no-route")


async def test_a_backend_can_neither_forge_a_reason_nor_steer_nginx() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend, websocket_only=False)) as nginx:
            backend.answer = lambda _request: response(
                503, X_WSRoute_Reason="no-endpoints", X_Accel_Redirect="/elsewhere", Retry_After="7"
            )
            answer = await get(port)
            assert answer.status == 503
            assert "x-wsroute-reason" not in answer.headers
            assert answer.headers["retry-after"] == "7"
            assert (await nginx.log_line(1))["reason"] == ""
