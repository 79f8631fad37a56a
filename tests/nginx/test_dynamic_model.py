"""njs and the Python model of the router decide the same, for any table and any request."""

import asyncio
import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.nginx.test_render_handshake import connected
from tests.support.configurations import configuration
from tests.support.nginx_runner import Nginx, local_options, short_folder
from tests.support.ports import free_ports
from tests.support.tables import HEADERS, HOSTS, PATHS, tables
from wsroute.dataplane import dictionary
from wsroute.dataplane.choice import Live, choose
from wsroute.dataplane.ir import Listener, Shell
from wsroute.dataplane.router import Buckets, Forwarded, Refused, Request, decide
from wsroute.dataplane.shell import CONNECT_TIMEOUTS, IDLE_TIMEOUTS
from wsroute.dataplane.table import Address, EndpointGroup, Table
from wsroute.nginx.render import render

pytestmark = pytest.mark.nginx

BUCKETS = Buckets(idle=IDLE_TIMEOUTS, connect=CONNECT_TIMEOUTS)
KEY = base64.b64encode(bytes(16)).decode()
IDS = [dictionary.endpoint_id(Address("10.0.0.1", port)) for port in (80, 8080)]

headers = st.fixed_dictionaries(
    {},
    optional={
        "upgrade": st.sampled_from(["websocket", "WebSocket", "h2c"]),
        "sec-websocket-version": st.sampled_from(["13", "8", "013"]),
        "sec-websocket-key": st.sampled_from([KEY, "short", KEY[:-1]]),
        "origin": st.sampled_from(
            [
                "https://a.example.com",
                "HTTPS://A.Example.com:443",
                "http://x.example.com:81",
                "https://x.y.example.com",
                "http://c.example.org:8080",
                "http://c.example.org",
                "https://[2001:db9::1]",
                "chrome-extension://abcdef",
                "null",
                "https://evil.test",
                "https://a.example.com/",
            ]
        ),
        "cookie": st.sampled_from([f"wsr={IDS[0]}", f"a=b; wsr={IDS[1]}; room=1", "room=x", "wsr=zz"]),
        "x-user": st.sampled_from(["anna", "ben"]),
        "x-team": st.just("theirs"),
    },
)
HANDSHAKE = {"upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": KEY}
ANYWHERE = (
    st.sampled_from([*(host.replace("*", "x") for host in HOSTS), "x.y.example.com", "nobody.test", ".example.com"]),
    st.sampled_from([*PATHS, "/a/", "/a/b/", "/a/b/c/d", "/abc", "/b/x", "/c"]),
)


@st.composite
def asked_of(draw: st.DrawFn, table: Table) -> Request:
    """Any request; three of four are for a path of the table, and three of four are handshakes."""
    known = [(record.host, path.path) for record in table.hosts for path in record.paths]
    host, path = draw(st.tuples(*ANYWHERE))
    of_the_table: int = draw(st.integers(0, 3))
    if known and of_the_table:
        host, path = draw(st.sampled_from(known))
        host, path = host.replace("*", "x"), path + draw(st.sampled_from(["", "", "/b", "x", "/"]))
    return Request(
        listener=draw(st.sampled_from(["ws", "wss"])),
        host=host,
        path=path.replace("//", "/"),
        query=draw(st.sampled_from(["", "room=1", "Room=2&room=3", "rooms=1"])),
        method=draw(st.sampled_from(["GET"] * 7 + ["POST"])),
        headers=draw(headers) | (HANDSHAKE if draw(st.integers(0, 3)) else {}),
    )


def full(table: Table, number: int) -> Table:
    """With so many endpoints in each group, other ones in each, so that most requests go somewhere."""
    found = [Address(f"10.0.0.{place}", 80) for place in range(1, 2 + number * len(table.groups))]
    groups = tuple(
        EndpointGroup(group.name, tuple(found[place * number :][:number]), (found[-1],))
        for place, group in enumerate(table.groups)
    )
    return Table(table.hosts, groups)


filled = st.builds(full, tables().filter(lambda table: bool(table.hosts)), st.integers(1, 5))
cases = (tables() | filled | filled).flatmap(
    lambda table: st.tuples(st.just(table), st.lists(asked_of(table), min_size=30, max_size=30))
)


class Asked(NamedTuple):
    """nginx with the variables that njs sets in a header of each answer, so that no endpoint need be there."""

    nginx: Nginx
    ports: dict[str, int]


SHOWN = ("endpoint refusal spoken route cookie origin " + " ".join(f"set_{n}" for n in range(3))).split()
ENDS = re.compile(r"proxy_pass +http://\$wsroute_endpoint;|return (?!418|204)\d+[^;]*;")


def telling(text: str) -> str:
    """The file with locations that say what was decided, where they would answer or ask an endpoint."""
    before, title, after = text.partition("    # All hosts of all routes.")
    place, *places = after.split("        location ")
    told = "".join(rf"{name}=$wsroute_{name}\n" for name in SHOWN)
    for each in places:
        answer = rf'return 200 "class={each.partition(" ")[0]}\npath=$uri\n{told}";'
        place += "        location " + answer.join(ENDS.split(each))
    return before + title + place


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    """It tells what it decided instead of doing it."""
    ports = dict(zip(("ws", "wss"), free_ports(2), strict=True))
    listeners = tuple(Listener(name, port, "ws", 80) for name, port in ports.items())
    shell = Shell(CONNECT_TIMEOUTS, IDLE_TIMEOUTS, tuple(sorted(HEADERS)))
    given_ = replace(configuration(), listeners=listeners, servers=(), upstreams=(), shell=shell)
    with short_folder() as folder:
        nginx = Nginx(folder, local_options())
        try:
            rendered = render(given_, nginx.paths, options=nginx.options)
            nginx.start(telling(rendered.text), rendered.version)
            yield Asked(nginx, ports)
        finally:
            nginx.stop()


async def ask(port: int, request: Request, body: str = "") -> dict[str, str]:
    """What njs decided."""
    query = f"?{request.query}" if request.query else ""
    lines = [f"{request.method} {request.path}{query} HTTP/1.1", f"Host: {request.host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {len(body)}"] if body else []
    reader, writer = await asyncio.open_connection(sock=connected(port))
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
    answer = await reader.read()
    writer.close()
    lines = answer.partition(b"\r\n\r\n")[2].decode().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def expected_class(decision: Forwarded) -> str:
    usual = (decision.connect_timeout, decision.idle_timeout) == (5_000, 3_600_000)
    return "@wsroute_usual" if usual else f"@wsroute_{decision.connect_timeout}_{decision.idle_timeout}"


def compare(entries: dictionary.Entries, request: Request, told: dict[str, str]) -> None:
    decision = decide(entries, request, BUCKETS)
    if isinstance(decision, Refused):
        if decision.status == 404:
            assert told["class"] in ("@wsroute_404", "@wsroute_unknown_host")
        else:
            assert (told["class"], told["refusal"]) == (f"@wsroute_{decision.status}", decision.reason)
            assert told["route"] == decision.route
        assert told["spoken"] == ("13" if decision.version else "")
        assert told["endpoint"] == ""
        return
    assert told["refusal"] == ""
    assert told["route"] == decision.route
    assert told["origin"] == ((request.headers.get("origin") or "missing") if decision.origin_refused else "")
    assert (told["class"], told["path"]) == (expected_class(decision), decision.path or request.path)
    for number, name in enumerate(sorted(HEADERS)):
        removed = name.lower() in decision.remove_headers
        value = decision.set_headers.get(name.lower())
        assert told[f"set_{number}"] == ("-" if removed else "" if value is None else f"={value}")
    model = choose(decision, Live(draw=lambda: 0.0, sockets={}, turns={}))
    assert model is not None
    brought = {identity: text for part in decision.candidates for identity, text in (*part.ready, *part.returning)}
    if decision.hashed or decision.returning_to in brought:
        assert told["endpoint"] == model.endpoint
        assert told["cookie"].partition(";")[0] == (
            f"{decision.sticky[0]}={model.cookie}" if decision.sticky and model.cookie else ""
        )
    else:
        ready = {text: identity for part in decision.candidates for identity, text in part.ready}
        assert told["endpoint"] in ready
        if decision.sticky is not None:
            assert told["cookie"].startswith(f"{decision.sticky[0]}={ready[told['endpoint']]};")


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(case=cases)
def test_njs_decides_what_the_model_decides(asked: Asked, case: tuple[Table, list[Request]]) -> None:
    table, several = case
    entries = dictionary.entries(table)
    asked.nginx.pusher.push(table)

    async def all_of_them(body: str) -> list[dict[str, str]]:
        return await asyncio.gather(*(ask(asked.ports[request.listener], request, body) for request in several))

    for request, told in zip(several, asyncio.run(all_of_them("")), strict=True):
        compare(entries, request, told)
    for request, told in zip(several, asyncio.run(all_of_them("a body")), strict=True):
        early = told["class"] not in ("@wsroute_404", "@wsroute_unknown_host") and isinstance(
            decide(entries, request, BUCKETS), Refused
        )
        assert told["class"].startswith("@wsroute_judged_") == early, (
            "what is refused is refused before its body is there"
        )
        compare(entries, request, {**told, "class": told["class"].replace("judged_", "")})
