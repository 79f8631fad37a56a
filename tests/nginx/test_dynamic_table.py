"""The admin socket of a Dynamic balancer: what the agent may write, and what it reads."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.nginx.test_render_handshake import connected, served, shake
from tests.support.backend import running_backend
from tests.support.configurations import HOST, configuration
from tests.support.handshake import echo, held_socket
from tests.support.nginx_runner import Nginx, running_nginx
from tests.support.ports import free_ports
from tests.support.tables import address, forward, group, host, largest, record, table
from tests.support.waiting import until, wait_until
from wsroute.dataplane import dictionary
from wsroute.dataplane.room import ROOM, group_room, host_room
from wsroute.dataplane.shards import host_line
from wsroute.dataplane.table import Address, Policy, Table

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

MARK = "a" * 64


def post(nginx: Nginx, path: str, body: Any = None) -> int:
    """The status of a POST."""
    return nginx.ask_admin(path, body="" if body is None else json.dumps(body))[0]


def described(nginx: Nginx) -> dict[str, Any]:
    """What nginx says of its table."""
    found: dict[str, Any] = json.loads(nginx.ask_admin("/table")[1])
    return found


def test_it_is_ready_with_its_first_whole_table_only(nginx: Nginx) -> None:
    assert nginx.ask_admin("/readyz") == (503, "no table\n")
    assert nginx.ask_admin("/version") == (200, nginx.version)
    entries = [["s", key, value] for key, value in dictionary.entries(table()).items()]
    assert post(nginx, "/table/entries?generation=b", entries) == 204
    assert nginx.ask_admin("/readyz")[0] == 503, "half a table is none"
    assert described(nginx)["entries"] == len(entries)
    assert post(nginx, f"/table/flip?generation=b&mark={MARK}") == 204
    assert nginx.ask_admin("/readyz") == (200, nginx.version)
    found = described(nginx)
    assert (found["live"], found["mark"], found["entries"], found["format"]) == ("b", MARK, len(entries), 1)


def test_changes_need_the_table_that_they_were_made_for(nginx: Nginx) -> None:
    nginx.pusher.push(table())
    found = described(nginx)
    letter, mark = found["live"], found["mark"]
    other = "b" if letter == "a" else "a"
    change = [["s", "hws other.example.com", "1 other.example.com|ws"]]
    assert post(nginx, f"/table/changes?generation={letter}&mark={MARK}&from={MARK}", change) == 409
    assert post(nginx, f"/table/changes?generation={other}&mark={MARK}&from={mark}", change) == 409
    for path in ("entries", "clear", "flip"):
        assert post(nginx, f"/table/{path}?generation={letter}&mark={MARK}", change) == 409
    assert described(nginx) == found
    assert post(nginx, f"/table/changes?generation={letter}&mark={MARK}&from={mark}", change) == 204
    assert described(nginx)["mark"] == MARK


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("flip", "generation={spare}"),
        ("flip", "generation={spare}&mark=1"),
        ("flip", f"generation={{spare}}&mark={MARK}0"),
        ("changes", "generation={live}&from={mark}"),
        ("changes", "generation={live}&from={mark}&mark=1"),
        ("changes", f"generation={{live}}&mark={MARK}"),
        ("changes", f"generation=c&from={{mark}}&mark={MARK}"),
    ],
)
def test_what_is_no_mark_of_a_table_is_never_its_mark(nginx: Nginx, path: str, query: str) -> None:
    nginx.pusher.push(table())
    found = described(nginx)
    spare = "b" if found["live"] == "a" else "a"
    assert post(nginx, f"/table/{path}?{query.format(spare=spare, **found)}", []) == 400
    assert described(nginx) == found


def test_of_what_is_not_served_nothing_is_told(nginx: Nginx) -> None:
    assert post(nginx, "/table/entries?generation=b", [["s", "hws a.example.com", "0 a.example.com|ws"]]) == 204
    assert nginx.ask_admin("/table/keys") == (200, "")
    assert nginx.ask_admin("/table/values", body='["bhws a.example.com", "m"]') == (200, "[null,null]\n")
    nginx.pusher.push(table())
    assert nginx.ask_admin("/table/values", body='["hws nobody.test"]') == (200, "[null]\n")


def test_the_entries_are_counted_anew_after_each_write(nginx: Nginx) -> None:
    nginx.pusher.push(table())
    one = described(nginx)["entries"]
    assert one == len(dictionary.entries(table()))
    several = table(host(), host(name="b.example.com"), host(name="c.example.com"))
    nginx.pusher.push(several)
    more = described(nginx)["entries"]
    assert more == len(dictionary.entries(several)) > one
    nginx.pusher.push(table())
    assert described(nginx)["entries"] == one, "after deletions"
    nginx.pusher.forget()
    nginx.pusher.push(several)
    assert described(nginx)["entries"] == one + more, "both generations"
    other = "b" if described(nginx)["live"] == "a" else "a"
    assert nginx.ask_admin(f"/table/clear?generation={other}", body="")[0] == 200
    assert described(nginx)["entries"] == more
    assert post(nginx, f"/table/entries?generation={other}", [["s", "hws d.example.com", "1 d.example.com|ws"]]) == 204
    assert described(nginx)["entries"] == more + 1
    assert post(nginx, f"/table/flip?generation={other}&mark={MARK}") == 204
    assert described(nginx)["entries"] == more + 1


@pytest.mark.parametrize("path", ["entries", "clear", "flip", "changes"])
@pytest.mark.parametrize(
    "query", ["", "?generation=c", "?generation=", "?mark=1&generation=ab", "?generation=__proto__"]
)
def test_a_generation_is_a_or_b(nginx: Nginx, path: str, query: str) -> None:
    assert post(nginx, f"/table/{path}{query}", []) == 400


@pytest.mark.parametrize("body", ["", "no json", "{}", "null", '"text"', "[" * 100_000])
def test_a_body_is_a_list(nginx: Nginx, body: str) -> None:
    assert nginx.ask_admin("/table/entries?generation=a", body=body)[0] == 400


def test_a_full_dictionary_takes_nothing_and_keeps_serving(nginx: Nginx) -> None:
    nginx.pusher.push(table())
    found = described(nginx)
    spare = "b" if found["live"] == "a" else "a"
    for endpoints in (6_000, 100):
        status, answer = 204, ""
        for number in range(400):
            value = f"{endpoints} 0 40\n" + "0123456710.0.0.1:80".ljust(40) * endpoints
            entries = [["s", f"eteam/g{endpoints}-{number}-{each}:80", value] for each in range(3)]
            status, answer = nginx.ask_admin(f"/table/entries?generation={spare}", body=json.dumps(entries))
            if status != 204:
                break
        assert (status, answer[:19]) == (507, "the dictionary has "), answer
        assert described(nginx)["free"] >= 256 * 1024, "what the values of a change need before the old ones go"
    assert described(nginx)["mark"] == found["mark"]
    assert nginx.ask_admin("/readyz")[0] == 200
    while json.loads(nginx.ask_admin(f"/table/clear?generation={spare}", body="")[1])["left"]:
        pass
    assert described(nginx)["entries"] == found["entries"]


def test_nginx_takes_the_largest_that_a_route_can_have(nginx: Nginx) -> None:
    wanted = largest()
    nginx.pusher.push(wanted)
    assert described(nginx)["mark"] == dictionary.mark(dictionary.entries(wanted))


def test_two_tables_of_all_the_room_there_is_stand_beside_one_another(nginx: Nginx) -> None:
    crowd = largest().groups[0]
    routes = [host(name=f"h{number}.example.com") for number in range(10_000)]
    left = ROOM - sum(host_room(each, host_line(each)) for each in routes)
    groups = [replace(crowd, name=f"team-x/s{number}:80") for number in range(left // group_room(crowd, ""))]
    wanted = table(*routes, groups=[group(), *groups])
    for number in range(2):
        nginx.pusher.forget()
        nginx.pusher.push(replace(wanted, hosts=wanted.hosts[number:]))
    nginx.pusher.push(wanted)
    found = described(nginx)
    assert found["mark"] == dictionary.mark(dictionary.entries(wanted))
    print(f"{found['free']:,} bytes of {found['capacity']:,} are left")


def test_a_change_for_which_there_is_no_room_in_one_piece_leaves_no_mark(nginx: Nginx) -> None:
    page = group(*(Address(f"10.0.{number}.1", 8080) for number in range(100, 200)))
    large = group(*(Address(f"10.1.{number}.1", 8080) for number in range(50, 250)))
    scattered = [replace(page, name=f"team-x/s{number:05}:80") for number in range(14_000)]
    nginx.pusher.push(table(groups=[group(), *scattered]))
    live = described(nginx)["live"]

    def change(operations: list[list[str]]) -> int:
        query = f"generation={live}&mark={MARK}&from={described(nginx)['mark']}"
        return post(nginx, f"/table/changes?{query}", operations)

    for first in range(0, len(scattered), 400):
        assert change([["d", f"e{each.name}"] for each in scattered[first : first + 400 : 2]]) == 204
    assert described(nginx)["free"] > 20 * 1024 * 1024
    status = 204
    for number in range(30):
        names = (f"eteam-x/l{number}-{other}:80" for other in range(100))
        changes = [["s", name, dictionary.group_value(large)] for name in names]
        if (status := change(changes)) != 204:
            break
    assert status == 500
    assert described(nginx)["mark"] == "f" * 64
    assert described(nginx)["free"] > 20 * 1024 * 1024
    assert nginx.ask_admin("/readyz")[0] == 200
    spare = "b" if live == "a" else "a"
    assert post(nginx, f"/table/entries?generation={spare}", changes) == 507


async def test_a_table_survives_a_restart_of_nginx() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            state = Path(nginx.paths.table_state)
            mark = described(nginx)["mark"]
            await asyncio.to_thread(_wait_for, state, mark)
            nginx.stop()
            text = (Path(nginx.paths.run) / "nginx.conf").read_text()
            nginx.start(text, nginx.version)
            assert described(nginx)["mark"] == mark
            assert (await shake(port)).status == 101


@pytest.mark.parametrize("policy", [Policy.LEAST_CONNECTIONS, Policy.ROUND_ROBIN])
@pytest.mark.parametrize("strange", ["unix:/tmp/x:", "localhost:80"])
async def test_what_is_no_address_in_a_state_is_not_connected_to(strange: str, policy: Policy) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(configuration(port=port)) as nginx:
            backends = group(Address("127.0.0.1", backend.port))
            nginx.pusher.push(table(host(record(action=forward(policy=policy))), groups=[backends]))
            state = Path(nginx.paths.table_state)
            await asyncio.to_thread(_wait_for, state, described(nginx)["mark"])
            nginx.stop()
            _put_into(state, f"127.0.0.1:{backend.port}", strange)
            nginx.start((Path(nginx.paths.run) / "nginx.conf").read_text(), nginx.version)
            answer = await shake(port)
            assert (answer.status, answer.reason) == (503, "no-endpoints")


@pytest.mark.parametrize(
    "strange", ["c {mark}", "ab{mark}", "a {mark}0", "a "], ids=["generation", "blank", "long", "short"]
)
def test_a_state_without_the_mark_of_a_whole_table_is_none(nginx: Nginx, strange: str) -> None:
    nginx.pusher.push(table())
    state, mark = Path(nginx.paths.table_state), described(nginx)["mark"]
    _wait_for(state, mark)
    nginx.stop()
    text = state.read_text()
    assert text.count(f'"a {mark}"') == 1
    state.write_text(text.replace(f'"a {mark}"', f'"{strange.format(mark=mark)}"'))
    nginx.start((Path(nginx.paths.run) / "nginx.conf").read_text(), nginx.version)
    assert nginx.ask_admin("/readyz") == (503, "no table\n")
    found = described(nginx)
    assert (found["live"], found["mark"]) == ("", "")


def _wait_for(state: Path, mark: str) -> None:
    wait_until(lambda: state.exists() and mark in state.read_text(), "the state is written")


def _put_into(state: Path, known: str, strange: str) -> None:
    before = state.read_text()
    assert before.count(known) == 1
    state.write_text(before.replace(known, strange.ljust(len(known))))


def _with_endpoint(wanted: Table, port: int) -> Table:
    changed = group(address(1)._replace(address="127.0.0.1", port=port), name=wanted.groups[0].name)
    return Table(wanted.hosts, (changed,))


async def test_held_sockets_do_not_notice_two_hundred_changes() -> None:
    [port] = free_ports(1)
    async with running_backend() as one, running_backend() as two:
        whole = configuration(port=port, worker_processes=2, worker_connections=4_096)
        with running_nginx(whole) as nginx:
            await until(lambda: len(nginx.workers()) == 2, what="for the workers")
            workers = nginx.workers()
            nginx.pusher.push(_with_endpoint(table(), one.port))
            held = [await held_socket(connected(port), host=HOST, path="/ws") for _ in range(500)]
            for number in range(200):
                changed = host(name=f"other-{number % 7}.example.com")
                nginx.pusher.push(_with_endpoint(table(host(), changed), (one, two)[number % 2].port))
                await echo(held[number], f"after change {number}")
            for client in held:
                await echo(client, "still here")
            assert nginx.workers() == workers
            await asyncio.gather(*(client.close() for client in held))


async def test_no_handshake_sees_a_mixture_of_two_tables() -> None:
    """Full pushes: in one table /ws goes to one backend on both hosts, in the other to another."""
    [port] = free_ports(1)
    async with running_backend() as one, running_backend() as two:
        with running_nginx(configuration(port=port)) as nginx:
            names = [f"h{number}.example.com" for number in range(150)]
            tables = [
                _with_endpoint(table(*(host(name=name) for name in names[:count])), backend.port)
                for count, backend in ((150, one), (100, two))
            ]
            nginx.pusher.push(tables[0])
            done = False

            async def ask() -> None:
                while not done:
                    answer = await shake(port, host=names[120])
                    assert answer.status in (101, 404)

            asking = [asyncio.create_task(ask()) for _ in range(4)]
            for number in range(20):
                nginx.pusher.forget()
                await asyncio.to_thread(nginx.pusher.push, tables[number % 2])
            done = True
            await asyncio.gather(*asking)
            assert two.requests == [], "the host of the first table alone never reached the second one's endpoint"
            assert one.requests
