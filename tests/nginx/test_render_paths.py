"""Which requests a location takes, and which URI its endpoints get."""

import pytest

from tests.nginx.test_render_handshake import get, shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from wsroute.dataplane.ir import Location, PathMatch, RouteRef
from wsroute.nginx.views import MANY_PREFIXES

FEW: list[Location] = []
MANY = [location(f"/other/{number}") for number in range(MANY_PREFIXES)]
"""What stands beside the paths of a test, so that they are written in one way, or in the other."""

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]


@pytest.mark.parametrize("others", [FEW, MANY], ids=["few", "many"])
async def test_a_prefix_takes_whole_path_elements(others: list[Location]) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        one = configuration(
            port=port, upstreams=[upstream(backend.endpoint())], servers=[server(location("/ws"), *others)]
        )
        with running_nginx(one) as nginx:
            for path in ("/ws", "/ws/", "/ws/a", "/ws/a/b?c", "/ws?a=b", "//ws", "/%77s"):
                assert (await shake(port, path)).status == 101, path
                assert backend.last.path == path, "the URI goes through as the client wrote it"
            for path in ("/wsx", "/ws.", "/w", "/", "/WS", "/a/ws", "/ws%2e", "/ws%0a"):
                answer = await shake(port, path)
                assert (answer.status, answer.reason) == (404, "no-route"), path
            assert nginx.error_log() == ""


@pytest.mark.parametrize("others", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("wider", ["", "/", "/a", "/a/b"])
async def test_an_exact_path_with_a_slash_at_its_end_takes_no_other_and_redirects_none(
    others: list[Location], wider: str
) -> None:
    [port] = free_ports(1)
    async with running_backend() as exact, running_backend() as below:
        names = {"exact": exact, "below": below, "team-a_chat_0": below}
        locations = [location("/a/b/", proxy("exact"), match=PathMatch.EXACT), *others]
        several = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint(), name=name) for name, backend in names.items()],
            servers=[server(*locations, *([location(wider, proxy("below"))] if wider else []))],
        )
        with running_nginx(several):
            assert (await shake(port, "/a/b/")).status == 101
            assert [len(exact.requests), len(below.requests)] == [1, 0]
            for path in ("/a/b", "/a/b/c"):
                answer = await shake(port, path)
                assert (answer.status, answer.reason) == ((101, "") if wider else (404, "no-route")), path
            assert [len(exact.requests), len(below.requests)] == [1, 2 if wider else 0]


async def test_everything_else_is_404_whatever_the_method() -> None:
    [port] = free_ports(1)
    with running_nginx(configuration(port=port)) as nginx:
        answer = await shake(port, "/ws", host="unknown.example.com")
        assert (answer.status, answer.reason, answer.body) == (404, "no-route", b"No route claims this host.\n")
        for path in ("/", "/nothing", "/nothing/", "/../etc/passwd", "/html"):
            answer = await get(port, path)
            assert answer.status in (400, 404), path
        assert nginx.error_log() == ""


@pytest.mark.parametrize("others", [FEW, MANY], ids=["few", "many"])
async def test_the_longest_path_wins_and_an_exact_one_before_it(others: list[Location]) -> None:
    [port] = free_ports(1)
    async with (
        running_backend() as everything,
        running_backend() as below,
        running_backend() as exact,
        running_backend() as deeper,
    ):
        names = {"all": everything, "below": below, "exact": exact, "deeper": deeper, "team-a_chat_0": everything}
        several = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint(), name=name) for name, backend in names.items()],
            servers=[
                server(
                    location("/", proxy("all")),
                    location("/ws", proxy("exact"), match=PathMatch.EXACT),
                    location("/ws", proxy("below")),
                    location("/ws/a/b", proxy("deeper")),
                    *others,
                )
            ],
        )
        with running_nginx(several):
            for path, expected in {
                "/": everything,
                "/other": everything,
                "/wsx": everything,
                "/ws": exact,
                "/ws/": below,
                "/ws/a": below,
                "/ws/a/bc": below,
                "/ws/a/b": deeper,
                "/ws/a/b/c": deeper,
            }.items():
                assert (await shake(port, path)).status == 101
                assert expected.requests, path
                assert expected.last.path == path
                for backend in names.values():
                    backend.requests.clear()


@pytest.mark.parametrize(
    ("path", "rewrite", "asked", "expected"),
    [
        ("/ws", "/", "/ws", "/"),
        ("/ws", "/", "/ws/", "/"),
        ("/ws", "/", "/ws/a?b=c&d", "/a?b=c&d"),
        ("/ws", "/", "/ws?b", "/?b"),
        ("/ws", "/new", "/ws", "/new"),
        ("/ws", "/new", "/ws/", "/new/"),
        ("/ws", "/new/", "/ws/a", "/new/a"),
        ("/ws", "/new", "/ws/ws/a", "/new/ws/a"),
        ("/", "/new", "/", "/new/"),
        ("/", "/new", "/a", "/new/a"),
        ("/v1.0", "/new", "/v1.0/a", "/new/a"),
        ("/a+b(c)", "/new", "/a+b(c)/d", "/new/d"),
        ("/a+b(c)", "/", "/a+b(c)", "/"),
        # Decoded by nginx, and encoded again: never a line break, a second query or a blank in the request line.
        ("/ws", "/", "/ws/a%0d%0aX-Evil:%201", "/a%0D%0AX-Evil:%201"),
        ("/ws", "/new", "/ws/a%0ab/c", "/new/a%0Ab/c"),
        ("/ws", "/", "/ws/a%3Fb", "/a%3Fb"),
        ("/ws", "/", "/ws/a%3Fb?c", "/a%3Fb?c"),
        ("/ws", "/", "/ws/a%20b", "/a%20b"),
        ("/ws", "/", "/ws/a%23b", "/a%23b"),
        ("/ws", "/", "/ws/100%25", "/100%25"),
        ("/ws", "/", "/ws/%C3%BC", "/%C3%BC"),
        ("/ws", "/", "/ws/a%2Fb", "/a/b"),
        ("/ws", "/", "/ws/$host", "/$host"),
        ("/ws", "/", "/ws/%24host", "/$host"),
    ],
)
@pytest.mark.parametrize(("websocket_only", "others"), [(True, FEW), (False, MANY)], ids=["few", "many"])
async def test_a_prefix_is_rewritten(
    path: str, rewrite: str, asked: str, expected: str, websocket_only: bool, others: list[Location]
) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        rewriting = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(location(path, proxy(rewrite_prefix=rewrite, websocket_only=websocket_only)), *others)],
        )
        with running_nginx(rewriting) as nginx:
            assert (await shake(port, asked)).status == 101
            assert backend.last.path == expected
            assert nginx.error_log() == ""


async def test_the_access_log_shows_the_path_before_it_was_rewritten() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        rewriting = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(location("/ws", proxy(rewrite_prefix="/new", websocket_only=False)))],
        )
        with running_nginx(rewriting) as nginx:
            assert (await get(port, "/ws/a")).status == 200
            assert (await nginx.log_line(1))["path"] == "/ws/a"


async def test_an_exact_path_is_rewritten() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        action = proxy(rewrite_prefix="/socket/")
        rewriting = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(location("/ws", action, match=PathMatch.EXACT))],
        )
        with running_nginx(rewriting):
            assert (await shake(port, "/ws?a=b")).status == 101
            assert backend.last.path == "/socket/?a=b"


async def test_a_wildcard_covers_one_label_and_an_exact_host_goes_first() -> None:
    [port] = free_ports(1)
    async with running_backend() as wild, running_backend() as exact:
        hosts = configuration(
            port=port,
            upstreams=[upstream(wild.endpoint(), name="wild"), upstream(exact.endpoint(), name="exact")],
            servers=[
                server(location(action=proxy("wild"), route=RouteRef("team-b", "wild")), host="*.example.com"),
                server(location(action=proxy("exact")), host=HOST),
            ],
        )
        with running_nginx(hosts):
            for host in ("a.example.com", "A.Example.COM", "a.example.com:8443", "a.example.com."):
                assert (await shake(port, host=host)).status == 101, host
                assert wild.last.headers["Host"] == host, "the client's own Host goes through"
            assert (await shake(port, host=HOST)).status == 101
            assert exact.requests
            for host in ("a.b.example.com", "example.com", ".example.com", "a.example.com.evil.test", "aexample.com"):
                assert (await shake(port, host=host)).status in (400, 404), host
