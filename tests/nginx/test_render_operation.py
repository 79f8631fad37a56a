"""What operating a balancer needs of the file: versions, readiness, logs, reloads, size."""

import http.client
from pathlib import Path

import pytest

from tests.nginx.test_render_handshake import connected, get, served, shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration, location, many_routes, proxy, server
from tests.support.handshake import echo, held_socket
from tests.support.nginx_runner import (
    check,
    local_options,
    make_paths,
    running_nginx,
    short_folder,
)
from tests.support.ports import free_ports
from tests.support.waiting import until, wait_until
from wsroute.nginx.paths import Options
from wsroute.nginx.quoting import TOKEN_LIMIT
from wsroute.nginx.render import bootstrap, render

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

SECRETS = ("query-secret", "cookie-secret", "protocol-secret", "key-secret")


def readyz(port: int) -> tuple[int, str]:
    """What the kubelet would see."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_bootstrap_is_not_ready_and_the_first_version_is() -> None:
    [port, readiness] = free_ports(2)
    with running_nginx(options=local_options(readiness)) as nginx:
        assert nginx.ask_admin("/version") == (200, "bootstrap")
        assert nginx.ask_admin("/readyz") == (503, "bootstrap")
        assert readyz(readiness) == (503, "bootstrap")
        nginx.load(configuration(port=port))
        assert nginx.ask_admin("/version") == (200, nginx.version)
        assert nginx.ask_admin("/readyz") == (200, nginx.version)
        assert nginx.ask_admin("/other")[0] == 404
        wait_until(lambda: readyz(readiness) == (200, nginx.version), "readiness")
        assert nginx.error_log() == ""


def test_a_pod_that_was_told_to_end_is_ready_no_more() -> None:
    [port, readiness] = free_ports(2)
    with running_nginx(configuration(port=port), options=local_options(readiness)) as nginx:
        wait_until(lambda: readyz(readiness) == (200, nginx.version), "readiness")
        leaving = Path(nginx.paths.leaving)
        leaving.write_text("1 55\n")
        assert readyz(readiness) == (503, "leaving")
        leaving.unlink()
        assert readyz(readiness) == (200, nginx.version)


async def test_a_balancer_without_routes_is_ready_and_answers_404() -> None:
    [port, readiness] = free_ports(2)
    with running_nginx(configuration(port=port, servers=[], upstreams=[]), options=local_options(readiness)) as nginx:
        assert readyz(readiness) == (200, nginx.version)
        answer = await get(port)
        assert (answer.status, answer.reason) == (404, "no-route")
        assert (await nginx.log_line(1))["reason"] == "no-route"


async def test_a_socket_survives_changes_of_everything_about_it(data_plane: str) -> None:
    [port] = free_ports(1)
    old_workers = 1 if data_plane == "Static" else 0
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            async with await held_socket(connected(port), host=HOST, path="/ws") as client:
                for number in range(5):
                    changed = configuration(port=port, servers=[server(host=f"other-{number}.example.com")])
                    nginx.load(changed)
                    await echo(client, f"message {number}")
                await until(
                    lambda: len(nginx.workers()) == old_workers + 1, what="for what keeps the socket, and a new worker"
                )
                answer = await shake(port)
                assert (answer.status, answer.reason) == (404, "no-route")
                await echo(client, "the last one")
            await until(lambda: len(nginx.workers()) == 1, what="for the old worker ends with its socket")
            assert nginx.error_log() == ""


async def test_tokens_never_reach_the_logs() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            query, cookie, protocol, key = SECRETS
            await shake(
                port,
                f"/ws/a%22b%0ac?token={query}",
                {"Cookie": f"session={cookie}", "Sec-WebSocket-Protocol": protocol, "Authorization": key},
            )
            assert query in backend.last.path
            line = await nginx.log_line(1)
            assert line["path"] == '/ws/a"b\nc'
            assert (line["status"], line["route"], line["host"]) == ("101", "team-a/chat", HOST)
            assert line["endpoint"] == f"127.0.0.1:{backend.port}"
            assert not [secret for secret in SECRETS if secret in str(line) + nginx.error_log()]


@pytest.mark.parametrize("endpoints", [1, 3])
@pytest.mark.parametrize("count", [1, 100, 1_000, 3_000])
def test_a_large_file_loads_without_a_word(count: int, endpoints: int) -> None:
    with short_folder() as folder:
        [port] = free_ports(1)
        large = many_routes(count, port=port, endpoints=endpoints)
        assert check(render(large, make_paths(folder), options=local_options()).text, folder) == ""


def test_long_hosts_and_thousands_of_endpoints_load_without_a_word() -> None:
    with short_folder() as folder:
        [port] = free_ports(1)
        paths = make_paths(folder)
        hosts = [f"{'a' * 60}.{'b' * 60}.{'c' * 60}.h{number:03}.{'d' * 50}.example.com"[:253] for number in range(300)]
        long_hosts = configuration(port=port, servers=[server(host=host) for host in hosts])
        assert check(render(long_hosts, paths, options=local_options()).text, folder) == ""
        assert (
            check(render(many_routes(1, port=port, endpoints=250), paths, options=local_options()).text, folder) == ""
        )


def test_the_longest_values_load() -> None:
    with short_folder() as folder:
        [port] = free_ports(1)
        values = ("x" * (TOKEN_LIMIT - 2), '"' * (TOKEN_LIMIT // 2 - 1), "\\" * (TOKEN_LIMIT // 2 - 1))
        headers = tuple((f"X-Long-{number}", value) for number, value in enumerate(values))
        action = proxy(set_headers=headers, rewrite_prefix="/" + "b" * 2_000)
        long_values = configuration(port=port, servers=[server(location("/" + "a" * 2_000, action))])
        assert check(render(long_values, make_paths(folder), options=local_options()).text, folder) == ""


def test_the_bootstrap_passes_the_test_in_any_place() -> None:
    with short_folder() as folder:
        [readiness] = free_ports(1)
        spaced = folder / "with blanks"
        spaced.mkdir()
        assert check(bootstrap(make_paths(spaced), options=local_options(readiness)), folder) == ""
        paths = make_paths(folder)
        assert check(render(configuration(port=readiness), paths, options=local_options()).text, folder) == ""
        assert "\nuser " not in bootstrap(paths, options=Options())
