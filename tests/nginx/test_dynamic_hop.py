"""The hop that a request of a Dynamic balancer takes through its own nginx before it goes to an endpoint."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.nginx.test_dynamic_choice import at, counted, serve
from tests.nginx.test_dynamic_full import small
from tests.nginx.test_render_handshake import connected, get, shake
from tests.support.backend import Backend, running_backend
from tests.support.configurations import HOST, configuration
from tests.support.handshake import echo, handshake, held_socket
from tests.support.hop import answer_to, ask_and_leave, question
from tests.support.nginx_runner import Nginx, running_nginx
from tests.support.ports import free_ports
from tests.support.stored import Stored
from tests.support.tables import GROUP, forward, group, host, record, table
from tests.support.waiting import until
from wsroute.dataplane.ir import RefusalReason, Refuse, RouteRef
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
    HashKey,
    HashSource,
    HostRecord,
    OriginRules,
    Policy,
    StickyCookie,
)

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

BY_HEADER = forward(policy=Policy.HASH, hash_key=HashKey(HashSource.HEADER, "X-User"))


@asynccontextmanager
async def routed(action: Forward) -> AsyncIterator[tuple[Nginx, int, Backend]]:
    """A balancer with a route /ws to one endpoint."""
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(configuration(port=port)) as nginx:
            serve(nginx, action, at(backend))
            yield nginx, port, backend


async def test_without_its_socket_a_request_is_refused_with_a_reason() -> None:
    async with routed(forward(websocket_only=False)) as (nginx, port, backend):
        os.unlink(nginx.paths.decide_socket)  # noqa: PTH108 - a path of a string
        for answer in (await shake(port), await get(port)):
            assert (answer.status, answer.reason) == (503, "no-decision")
            assert "retry-after" in answer.headers
        assert backend.requests == []
        assert (await nginx.log_line(1))["reason"] == "no-decision"


@pytest.mark.parametrize("action", [forward(), BY_HEADER], ids=["short", "whole"])
async def test_no_client_speaks_for_nginx(action: Forward) -> None:
    async with routed(action) as (nginx, port, backend):
        forged = {
            "X-WSRoute-Asked": f"whole 1 1 10.0.0.1 https websocket other.example.com ws {'1 ' * 3}",
            "X-WSRoute-Failed": f"1|team-a/chat|{at(backend)}||502|-",
            "X-WSRoute-Endpoint": "127.0.0.1:1",
            "X-WSRoute-Handshake": "sound",
            "X-Accel-Redirect": "@wsroute_503",
            "X-User": "anna",
        }
        assert (await shake(port, headers={**forged, "Sec-WebSocket-Version": "8"})).status == 426
        async with await held_socket(connected(port), host=HOST, path="/ws") as client:
            assert (await shake(port, headers=forged)).status == 101
            await until(lambda: counted(nginx) == {str(at(backend)): 1}, what="for the other socket to be taken back")
            await echo(client, "hello")


@pytest.mark.parametrize("action", [forward(), BY_HEADER], ids=["short", "whole"])
async def test_what_a_listener_takes_the_hop_takes(action: Forward) -> None:
    async with routed(action) as (_, port, backend):
        largest = "x" * 8_000
        headers = {"Cookie": f"a={largest}", "X-User": largest, "X-Other": largest}
        assert (await shake(port, "/ws?" + largest, headers=headers)).status == 101
        assert backend.last.headers["Cookie"] == f"a={largest}"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_reaches_the_endpoint_as_it_was(*, chunked: bool) -> None:
    body = os.urandom(700_000)
    arrived = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 700000\r\n" in head.lower(), head
        arrived.extend(await reader.readexactly(len(body)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    endpoint = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with endpoint:
        [port] = free_ports(1)
        with running_nginx(configuration(port=port)) as nginx:
            here = Backend()
            here.port = endpoint.sockets[0].getsockname()[1]
            serve(nginx, forward(websocket_only=False), at(here))
            reader, writer = await asyncio.open_connection(sock=connected(port))
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
            writer.write(f"POST /ws HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\nConnection: close\r\n\r\n".encode())
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
            assert (await reader.read()).endswith(b"ok")
            writer.close()
            assert arrived == body


@pytest.mark.parametrize("body", [None, "2"])
async def test_the_longest_way_that_a_request_takes_through_nginx_is_not_too_long(body: str | None) -> None:
    """After ten redirects nginx answers 500."""
    everything = forward(
        websocket_only=False,
        rewrite_prefix="/chat",
        idle_timeout=300,
        policy=Policy.HASH,
        hash_key=HashKey(HashSource.HEADER, "X-User"),
        sticky=StickyCookie("wsr", 60),
    )
    port, *dead = free_ports(3)
    with running_nginx(configuration(port=port)) as nginx:
        serve(nginx, everything, *(Address("127.0.0.1", each) for each in dead))
        reader, writer = await asyncio.open_connection(sock=connected(port))
        lines = ["PUT /ws/a HTTP/1.1", f"Host: {HOST}", "X-User: anna", "Connection: close"]
        lines += [f"Content-Length: {body}", "", "ok"] if body else ["", ""]
        writer.write("\r\n".join(lines).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 502 ")
        writer.close()
        line = await nginx.log_line(1)
        assert line["reason"] == "backend-refused"
        assert len(line["endpoint"].split(" : ")) == 2


@pytest.mark.parametrize("groups", [[EndpointGroup(GROUP, ())], []], ids=["none", "unknown"])
async def test_without_endpoints_nobody_waits_for_a_body(groups: list[EndpointGroup]) -> None:
    async with routed(forward(websocket_only=False)) as (nginx, port, _):
        nginx.pusher.push(table(host(record(action=forward(websocket_only=False))), groups=groups))
        answer = await handshake(
            connected(port), host=HOST, path="/ws", method="POST", headers={"Upgrade": None, "Content-Length": "900000"}
        )
        assert (answer.status, answer.reason) == (503, "no-endpoints")


async def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on() -> None:
    async with routed(forward(websocket_only=False)) as (nginx, port, backend):
        head = f"POST /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 4\r\n"
        reader, writer = await asyncio.open_connection(sock=connected(port))
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await reader.read()).startswith(b"HTTP/1.1 ")
        writer.close()
        assert (await nginx.log_line(1))["endpoint"] == str(at(backend))


async def test_a_socket_of_an_old_worker_is_taken_back_and_new_ones_are_decided() -> None:
    async with routed(forward()) as (nginx, port, backend):
        [old] = nginx.workers()
        waiting = connected(port)
        async with await held_socket(connected(port), host=HOST, path="/ws") as client:
            os.kill(nginx.pid, signal.SIGHUP)
            await until(lambda: len(nginx.workers()) == 2, what="for a new worker")
            await until(
                lambda: b"shutting down" in Path(f"/proc/{old}/cmdline").read_bytes(), what="for the old one to leave"
            )
            # The old worker has this connection, and asks a new one.
            async with await held_socket(waiting, host=HOST, path="/ws") as late:
                assert counted(nginx) == {str(at(backend)): 2}
                await echo(late, "hello")
            await echo(client, "hello")
        await until(lambda: counted(nginx) == {}, what="for no socket to be counted")


async def test_a_decision_that_comes_too_late_is_taken_back() -> None:
    async with routed(forward()) as (nginx, port, _):
        ask_and_leave(nginx, question(*nginx.workers()))
        assert (await shake(port)).status == 101
        await until(lambda: counted(nginx) == {}, what="for no socket to be counted")


def kept(nginx: Nginx) -> dict[str, dict[str, int | str]]:
    """What is counted of sockets, by endpoint and by route."""
    return {name: Stored(nginx, name).items() for name in ("wsroute_sockets", "wsroute_routes")}


@pytest.mark.parametrize("is_counted", [True, False], ids=["counted", "uncounted"])
async def test_when_nobody_hears_of_another_endpoint_all_is_as_it_was(*, is_counted: bool) -> None:
    [nobody] = free_ports(1)
    dead = Address("127.0.0.1", nobody)
    async with small("wsroute_sockets") as full:
        nginx = full.nginx
        [worker] = nginx.workers()
        full.serve(forward(), dead)
        if not is_counted:
            full.stored.fill(left=0)
        assert f"X-WSRoute-Endpoint: {dead}\r\n" in await answer_to(nginx, question(worker))
        full.stored.make_room()
        before = kept(nginx)
        assert before == {
            "wsroute_sockets": {f"p{worker} {dead}": 1, f"t{dead}": 1} if is_counted else {},
            "wsroute_routes": {f"{worker} team-a/chat": 1},
        }
        full.serve(forward(), at(full.backend), dead)
        failed = f"1|team-a/chat|{dead}|{'' if is_counted else '1'}|502|-"
        ask_and_leave(nginx, question(worker, failed=failed))
        requests = Stored(nginx, "wsroute_counts")
        await until(lambda: "retried team-a/chat" in requests.items(), what="for the other endpoint to be chosen")
        await until(lambda: kept(nginx) == before, what="for that to be taken back")
        [line] = Stored(nginx, "wsroute_open_1").items().values()
        assert str(line).endswith(f" 127.0.0.1 {dead} team-a/chat")


async def test_a_refusal_that_nobody_hears_takes_back_nothing() -> None:
    async with small("wsroute_sockets") as full:
        nginx = full.nginx
        full.serve(forward())
        [worker] = nginx.workers()
        await answer_to(nginx, question(worker))
        before = kept(nginx)
        ask_and_leave(nginx, question(worker, version="8"))
        requests = Stored(nginx, "wsroute_counts")
        await until(lambda: "upgrade-required team-a/chat" in requests.items(), what="for the refusal")
        assert (await shake(full.port, headers={"Sec-WebSocket-Version": "8"})).status == 426
        assert kept(nginx) == before


@pytest.mark.parametrize(
    "now",
    [
        host(record(route=RouteRef("team-b", "other"))),
        host(record(action=Refuse(RefusalReason.NO_ENDPOINTS))),
        host(record("/other")),
        host(name="other.example.com"),
    ],
    ids=["another route", "refused", "no path", "no host"],
)
async def test_only_the_same_route_asks_another_endpoint(now: HostRecord) -> None:
    async with routed(forward()) as (nginx, _, backend):
        failed = "1|team-a/chat|127.0.0.1:1|1|502|-"
        asked = question(*nginx.workers(), failed=failed)
        assert "X-Accel-Redirect: @wsroute_again\r\n" in await answer_to(nginx, asked)
        nginx.pusher.push(table(now, groups=[group(at(backend))]))
        assert "X-Accel-Redirect: @wsroute_502\r\n" in await answer_to(nginx, asked)


async def test_a_decision_that_found_no_room_to_be_counted_is_not_taken_back() -> None:
    async with small("wsroute_sockets") as full:
        full.serve(forward())
        full.stored.fill(left=1)
        ask_and_leave(full.nginx, question(*full.nginx.workers()))
        requests = Stored(full.nginx, "wsroute_counts")
        await until(lambda: requests.items() == {"forwarded team-a/chat": 1, "#": 1, "#team-a": 1}, what="for it")
        full.stored.make_room()
        assert (await shake(full.port)).status == 101
        await until(lambda: len(full.nginx.access_log()) == 1, what="for the end of one that was counted")
        assert kept(full.nginx) == {"wsroute_sockets": {}, "wsroute_routes": {}}
        assert "js exception" not in full.nginx.error_log()


@pytest.mark.parametrize(
    ("method", "version", "key", "place"),
    [
        ("GET", "13", "dGhlIHNhbXBsZSBub25jZQ==", "@wsroute_usual"),
        ("GET", "8", "dGhlIHNhbXBsZSBub25jZQ==", "@wsroute_426"),
        ("GET", "13", "x", "@wsroute_400"),
        ("POST", "13", "dGhlIHNhbXBsZSBub25jZQ==", "@wsroute_400"),
    ],
)
async def test_handshakes_are_looked_at_for_a_worker_of_an_earlier_release(
    method: str, version: str, key: str, place: str
) -> None:
    """It asks without the verdict of nginx's own table."""
    async with routed(forward()) as (nginx, _, _):
        asked = question(*nginx.workers(), method=method, version=version, key=key)
        assert f"X-Accel-Redirect: {place}\r\n" in await answer_to(nginx, asked)


@pytest.mark.parametrize(
    "changes",
    [
        {"connect_timeout": 1_000},
        {"idle_timeout": 60_000},
        {"rewrite_prefix": "/x"},
        {"set_headers": (("X-Team", "a"),)},
        {"remove_headers": ("X-Team",)},
        {"sticky": StickyCookie("wsr", 0)},
        {"origins": OriginRules("Report", (HOST,), require_header=True)},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_the_worker_is_told_all_that_is_not_as_in_most_cases(changes: dict[str, Any]) -> None:
    async with routed(forward()) as (nginx, _, backend):
        asked = question(*nginx.workers(), form="whole")
        assert "X-Accel-Redirect: @wsroute_usual\r\n" in await answer_to(nginx, asked)
        serve(nginx, forward(**changes), at(backend))
        assert "X-Accel-Redirect: @wsroute_other\r\n" in await answer_to(nginx, asked)
