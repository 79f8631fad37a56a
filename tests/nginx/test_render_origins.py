"""The tables of handshakes, against a real nginx that runs a rendered file."""

import random
from collections.abc import Sequence

import pytest

from tests.nginx.test_render_handshake import get, served, shake
from tests.support.backend import running_backend
from tests.support.configurations import configuration, location, proxy, server, upstream
from tests.support.handshakes import HANDSHAKE_CASES, HOST, ORIGIN_CASES, OWN, REPORTED, STRICT, WILDCARD, rules
from tests.support.nginx_runner import running_nginx
from tests.support.ports import free_ports
from wsroute.api.origins import normalised
from wsroute.api.policies import OriginRules
from wsroute.dataplane.origin import origin_allowed

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

RULES = list(dict.fromkeys(case.rules for case in ORIGIN_CASES))
HOSTS = (HOST, "talk.example.org", WILDCARD)


@pytest.mark.parametrize("websocket_only", [True, False])
async def test_origins(websocket_only: bool) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        locations = [
            location(f"/{number}", proxy(websocket_only=websocket_only, origins=rules))
            for number, rules in enumerate(RULES)
        ]
        model = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(*locations, host=host) for host in HOSTS],
        )
        wrong = []
        with running_nginx(model) as nginx:
            for number, case in enumerate(ORIGIN_CASES, start=1):
                path = f"/{RULES.index(case.rules)}"
                answer = await shake(port, path, {"Origin": case.origin}, host=case.host)
                line = await nginx.log_line(number)
                expected = (101, "", case.told) if case.passes else (403, "origin", case.told)
                if (answer.status, answer.reason, line["origin"]) != expected or line["reason"] != expected[1]:
                    wrong.append((case, answer.status, answer.reason, line))
            assert wrong == [], wrong
            assert len(backend.requests) == sum(case.passes for case in ORIGIN_CASES)
            assert nginx.error_log() == ""


@pytest.mark.parametrize("websocket_only", [True, False])
async def test_what_is_no_handshake(websocket_only: bool) -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        wrong = []
        with running_nginx(served(port, backend, websocket_only=websocket_only)) as nginx:
            for case in HANDSHAKE_CASES:
                answer = await shake(port, headers=dict(case.headers), method=case.method)
                if (answer.status, answer.reason) != (case.status, case.reason):
                    wrong.append((case, answer))
                assert ("sec-websocket-version" in answer.headers) == (case.status == 426), case
            assert wrong == []
            assert len(backend.requests) == sum(case.status == 101 for case in HANDSHAKE_CASES)
            await nginx.log_line(len(HANDSHAKE_CASES))
            lines = [line["reason"] for line in nginx.access_log()]
            assert lines == [case.reason for case in HANDSHAKE_CASES]
            assert nginx.error_log() == ""


async def test_two_origins_are_not_one() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)):
            both = {"Origin": "https://evil.example", "origin": f"https://{HOST}"}
            assert (await shake(port, headers=both)).status == 403
            assert backend.requests == []


async def test_pages_are_not_asked_where_they_come_from() -> None:
    """CORS is the page's own business, and a link from another site has to work."""
    [port] = free_ports(1)
    async with running_backend() as backend:
        pages = configuration(
            port=port,
            upstreams=[upstream(backend.endpoint())],
            servers=[server(location(action=proxy(websocket_only=False, origins=STRICT)))],
        )
        with running_nginx(pages) as nginx:
            for number, headers in enumerate(({}, {"Origin": "https://evil.example"}, {"Origin": "null"}), start=1):
                answer = await get(port, headers=headers)
                assert (answer.status, answer.reason) == (200, "")
                assert (await nginx.log_line(number))["origin"] == ""


async def test_where_nothing_is_served_no_origin_is_judged() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        with running_nginx(served(port, backend)) as nginx:
            evil = {"Origin": "https://evil.example"}
            assert (await shake(port, "/other", evil)).status == 404
            assert (await shake(port, headers=evil, host="other.example.com")).status == 404
            assert {(await nginx.log_line(number))["origin"] for number in (1, 2)} == {""}


async def test_the_refusals_of_a_rewritten_path_are_the_same() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend:
        rewritten = [
            location(f"/{rules.policy}", proxy(rewrite_prefix="/x", origins=rules)) for rules in (OWN, REPORTED)
        ]
        model = configuration(port=port, upstreams=[upstream(backend.endpoint())], servers=[server(*rewritten)])
        with running_nginx(model) as nginx:
            evil = {"Origin": "https://evil.example"}
            for path in ("/Enforce", "/Enforce/upgrade-required"):
                answer = await shake(port, path, evil)
                assert (answer.status, answer.reason) == (403, "origin")
            assert backend.requests == []
            assert (await shake(port, "/Report/y", evil)).status == 101
            assert backend.last.path == "/x/y"
            assert (await nginx.log_line(1))["path"] == "/Enforce"


LABELS = ("chat", "a", "x-1", "example", "com", "localhost", "null", "header", "127", "CHAT", "*", "")
PORTS = ("", ":80", ":443", ":8080", ":0", ":")


async def test_any_origin_is_judged_as_the_model_judges_it() -> None:
    """Rules and Origins made of few parts, so that they are often alike; the same ones in every run."""
    chance = random.Random(20_261_127)  # noqa: S311

    def name(least: int, labels: Sequence[str]) -> str:
        return ".".join(chance.choice(labels) for _ in range(chance.randint(least, 4)))

    def host() -> str:
        return chance.choice(("", "", "*.")) + name(2, LABELS[:5])

    def listed() -> str:
        return normalised(f"{chance.choice(('http', 'https'))}://{host()}{chance.choice(PORTS[:4])}")

    def origin(rules: OriginRules) -> str:
        known = [chance.choice(rules.own_hosts), *(entry.rpartition("://")[2] for entry in rules.allow)]
        somebody = chance.choice((name(1, LABELS), chance.choice(known).replace("*", chance.choice(LABELS))))
        made = f"{chance.choice(('http', 'https', 'HTTPS', 'wss'))}://{somebody}{chance.choice(PORTS)}"
        return chance.choice((made, made, made, f"{made} {made}", f"{made}, {made}", somebody, "null", "Null", ""))

    several = [
        rules(
            *{listed() for _ in range(chance.randrange(4))} | chance.choice((set(), {"null"})),
            hosts=tuple({HOST, *(host() for _ in range(chance.randrange(3)))}),
            header=chance.random() < 0.3,
        )
        for _ in range(40)
    ]
    [port] = free_ports(1)
    async with running_backend() as backend:
        locations = [location(f"/{number}", proxy(origins=own)) for number, own in enumerate(several)]
        model = configuration(port=port, upstreams=[upstream(backend.endpoint())], servers=[server(*locations)])
        with running_nginx(model) as nginx:
            passed = 0
            for number in [*range(len(several))] * 15:
                own = several[number]
                sent = origin(own)
                allowed = origin_allowed(
                    sent, own_hosts=own.own_hosts, allow=own.allow, require_header=own.require_header
                )
                answer = await shake(port, f"/{number}", {"Origin": sent})
                assert answer.status == (101 if allowed else 403), (sent, own)
                passed += allowed
            assert 100 < passed < 500, "both happen often"
            assert nginx.error_log() == ""
