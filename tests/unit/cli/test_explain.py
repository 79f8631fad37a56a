"""``wsroute explain``, with kubectl played by a table of answers."""

import json
from importlib.resources import files
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.fake_kubectl import FakeKubectl, balancer, dumped, listed, pod, shards
from tests.support.tables import HOST, address, forward, group, host, record, table
from wsroute.__main__ import main
from wsroute.cli import explain as module
from wsroute.cli.explain import NO_HOST, WORDS, Question, explain, normalised
from wsroute.cli.kubectl import KubectlError
from wsroute.dataplane.dictionary import endpoint_id, entries
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.table import EndpointGroup, HashKey, HashSource, OriginRules, Policy, StickyCookie, Table, Target

LISTENERS = [
    {"name": "ws", "port": 8080, "protocol": "HTTP"},
    {"name": "wss", "port": 8443, "protocol": "HTTP", "public": {"scheme": "wss", "port": 443}},
]
STRICT = OriginRules("Enforce", (HOST,), ("https://*.example.org",), require_header=True)
OFF = Refuse(RefusalReason.ROUTE_INVALID)
TABLE = table(
    host(
        record("/"),
        record("/ws/room", match=PathMatch.EXACT, route=RouteRef("team-a", "room")),
        record("/strict", forward(origins=STRICT)),
        record("/reported", forward(origins=OriginRules("Report", (HOST,)))),
        record("/off", OFF),
        record("/empty", forward(Target("team-a/none:80", 1))),
        record("/new", forward(rewrite_prefix="/old", websocket_only=False)),
    ),
    host(record("/ws"), name="*.example.org"),
    groups=[group(address(1), address(2)), EndpointGroup("team-a/none:80", ())],
)


def cluster(served: Table = TABLE, *, listeners: Any = LISTENERS[:1], **spec: Any) -> FakeKubectl:
    """One balancer with one pod."""
    body = balancer()
    body["spec"] |= {"listeners": listeners, "allowedRoutes": {"namespaces": {"from": "All"}}, **spec}
    return FakeKubectl(
        answers={
            ("get", "websocketbalancers.wsroute.dev"): listed(body),
            ("get", "pods"): listed(pod("a")),
            ("get", "configmaps"): shards(served),
            ("exec", "a"): dumped(entries(served), endpoints={"10.0.0.2:8080": 5}),
        }
    )


def told(
    question: Question, capsys: pytest.CaptureFixture[str], kubectl: FakeKubectl | None = None
) -> tuple[dict[str, Any], int]:
    """The answer as JSON, and the exit code."""
    code = explain(kubectl or cluster(), question, namespace=None, balancer=None, pod=None, as_json=True)
    return json.loads(capsys.readouterr().out), code


def test_a_handshake_that_gets_through(capsys: pytest.CaptureFixture[str]) -> None:
    question = Question("ws://chat.example.com:8080/ws/room")
    assert explain(cluster(), question, namespace=None, balancer=None, pod=None, as_json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Request   chat.example.com/ws/room on the listener ws of ws/shared",
        "Route     team-a/room: the host itself, and the exact path /ws/room",
        "Answer    that of an endpoint, LeastConnections; idle 1h, connect 5s",
        "May go to 10.0.0.1:8080, which holds 0 sockets (team-a/chat:8080)",
        "May go to 10.0.0.2:8080, which holds 5 sockets (team-a/chat:8080)",
    ]


@pytest.mark.parametrize(
    ("url", "route", "why"),
    [
        ("chat.example.com/ws/room", "team-a/room", "the host itself, and the exact path /ws/room"),
        ("http://CHAT.example.com./ws/room/1?x=/y", "team-a/chat", "the host itself, and the prefix /"),
        ("ws://a.example.org/ws/1", "team-a/chat", "the wildcard *.example.org, and the prefix /ws"),
        ("ws://a.example.org/wsx", None, "no route of that host takes the path /wsx"),
        ("ws://a.b.example.org/ws", None, "no route has the host a.b.example.org on the listener ws"),
        ("ws://chat.example.com/x/..//%77s/room", "team-a/room", "the host itself, and the exact path /ws/room"),
    ],
)
def test_which_route_takes_it_and_why(
    url: str, route: str | None, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = told(Question(url), capsys)
    assert (found["route"], found["why"]) == (route, why)


@pytest.mark.parametrize(
    ("question", "status", "reason", "detail"),
    [
        (Question("ws://nobody.test/ws"), 404, "no-route", ""),
        (Question(f"ws://{HOST}/off"), 503, "route-invalid", ""),
        (Question(f"ws://{HOST}/empty"), 503, "no-endpoints", ""),
        (Question(f"ws://{HOST}/", plain=True), 426, "upgrade-required", ""),
        (Question(f"ws://{HOST}/", headers={"sec-websocket-version": "8"}), 426, "upgrade-required", ""),
        (Question(f"ws://{HOST}/", headers={"sec-websocket-key": "short"}), 400, "bad-handshake", ""),
        (
            Question(f"ws://{HOST}/strict", headers={"origin": "https://evil.test"}),
            403,
            "origin",
            "the Origin https://evil.test is none of chat.example.com, https://*.example.org",
        ),
        (
            Question(f"ws://{HOST}/strict"),
            403,
            "origin",
            "there is no header Origin, which this route requires; it allows chat.example.com, https://*.example.org",
        ),
    ],
)
def test_what_refuses_it(
    question: Question, status: int, reason: str, detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, code = told(question, capsys)
    assert (code, found["status"], found["reason"], found["detail"]) == (1, status, reason, detail)
    assert found["answer"] == WORDS.get(reason, NO_HOST)


def test_the_words_are_those_of_the_answers() -> None:
    template = (files("wsroute.nginx") / "templates" / "dynamic.conf.j2").read_text(encoding="utf-8")
    lines = {" ".join(line.split()) for line in template.splitlines()}
    assert all(f'{reason} "{words}\\n";' in lines for reason, words in WORDS.items())
    assert f'return 404 "{NO_HOST}\\n";' in template


def test_what_is_only_reported_and_what_is_rewritten(capsys: pytest.CaptureFixture[str]) -> None:
    found, code = told(Question(f"ws://{HOST}/reported", headers={"origin": "https://evil.test"}), capsys)
    assert (code, found["originReported"]) == (0, "the Origin https://evil.test is none of chat.example.com")
    found, code = told(Question(f"ws://{HOST}/new/x", plain=True), capsys)
    assert (code, found["pathAtTheEndpoint"]) == (0, "/old/x")


def test_a_hash_and_a_cookie_name_the_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    hashed = forward(policy=Policy.HASH, hash_key=HashKey(HashSource.QUERY, "room"))
    sticky = forward(sticky=StickyCookie("srv"))
    endpoints = [address(number) for number in range(1, 6)]
    served = table(host(record("/h", hashed), record("/s", sticky)), groups=[group(*endpoints)])
    by_room = {
        told(Question(f"ws://{HOST}/h?room={room}"), capsys, cluster(served))[0]["endpoint"] for room in range(20)
    }
    assert len(by_room) > 1
    assert by_room <= set(map(str, endpoints))
    assert told(Question(f"ws://{HOST}/h"), capsys, cluster(served))[0]["endpoint"] is None
    cookie = {"cookie": f"srv={endpoint_id(endpoints[3])}"}
    found, _ = told(Question(f"ws://{HOST}/s", headers=cookie), capsys, cluster(served))
    assert found["endpoint"] == str(endpoints[3])
    found, _ = told(Question(f"ws://{HOST}/s", headers={"cookie": "srv=00000000"}), capsys, cluster(served))
    assert found["endpoint"] is None


@pytest.mark.parametrize(
    ("url", "listener"),
    [
        ("ws://chat.example.com:8080/", "ws"),
        ("wss://chat.example.com/", "wss"),
        ("https://chat.example.com:443/", "wss"),
    ],
)
def test_the_url_says_which_listener(url: str, listener: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(Question(url), capsys, cluster(listeners=LISTENERS))[0]["listener"] == listener


@pytest.mark.parametrize(
    ("kubectl", "question", "words"),
    [
        (cluster(listeners=LISTENERS), Question("ws://x.test/"), "say --listener, with one of ws, wss.\n"),
        (cluster(listeners=[]), Question("ws://x.test/"), "say --listener, with one of that its spec names.\n"),
        (cluster(), Question("ftp://x.test/"), "write it as ws://chat.example.com/ws.\n"),
        (cluster(), Question("ws:///ws"), "write it as ws://chat.example.com/ws.\n"),
        (cluster(), Question("ws://x.test:port/"), "is no URL: "),
        (cluster(), Question("ws://[x/"), "is no URL: "),
    ],
)
def test_what_can_t_be_explained(
    kubectl: FakeKubectl, question: Question, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(kubectl, question, namespace=None, balancer=None, pod=None, as_json=False) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "data_plane", "words"),
    [
        (
            dumped({}, format=0, mark=""),
            "Static",
            "The balancer ws/shared is Static: its routes stand in nginx.conf.\n",
        ),
        (dumped({}, mark=""), "Dynamic", "The balancer ws/shared has no pod whose table can be read.\n"),
        (KubectlError("gone"), "Dynamic", "has no pod whose table can be read. Pod a: gone\n"),
        (
            dumped({"hws chat.example.com": "0 chat.example.com|ws", "^chat.example.com|ws/": "{}"}),
            "Dynamic",
            "This wsroute can't read what the pods have for that host: use their version.\n",
        ),
    ],
)
def test_without_a_table_there_is_nothing_to_explain(
    answer: str | KubectlError, data_plane: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl = cluster(dataPlane=data_plane)
    kubectl.answers["exec", "a"] = answer
    question = Question("ws://chat.example.com/")
    assert explain(kubectl, question, namespace=None, balancer=None, pod=None, as_json=False) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "looked_up"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/a/", "/a/"),
        ("//a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/%61%2Fb", "/a/b"),
        ("/a+b", "/a+b"),
    ],
)
def test_paths_are_looked_up_as_nginx_does(path: str, looked_up: str) -> None:
    assert normalised(path) == looked_up


def test_headers_are_given_as_name_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Question] = []

    def note(_: object, question: Question, **__: object) -> int:
        asked.append(question)
        return 0

    monkeypatch.setattr(module, "explain", note)
    options = ["--origin", "https://a.test", "-H", "Cookie: a=b:c", "--client", "192.0.2.1", "shared"]
    assert CliRunner().invoke(main, ["explain", "ws://x.test/", *options]).exit_code == 0
    assert asked == [
        Question("ws://x.test/", client="192.0.2.1", headers={"origin": "https://a.test", "cookie": "a=b:c"})
    ]
    assert "write it as NAME:VALUE" in CliRunner().invoke(main, ["explain", "ws://x.test/", "-H", "odd"]).output
