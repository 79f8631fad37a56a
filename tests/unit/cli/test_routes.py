"""``wsroute routes`` and ``wsroute sockets``, with kubectl played by a table of answers."""

import json
from typing import Any

import pytest

from tests.support.fake_kubectl import NOW, FakeKubectl, balancer, dumped, listed, pod, shards
from tests.support.tables import address, forward, group, host, record, table
from wsroute.balancer.table_reader import OpenSocket
from wsroute.cli.kubectl import KubectlError
from wsroute.cli.routes import Asked, duration, routes, sockets
from wsroute.dataplane.dictionary import entries
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.table import HashKey, HashSource, OriginRules, Policy, StickyCookie, Table, Target

FORBIDDEN = "Error from server (Forbidden): pods is forbidden"
NOT_ALLOWED = KubectlError("kubectl get failed: no.", FORBIDDEN)
EXEC = ("exec", "a")
BALANCERS = ("get", "websocketbalancers.wsroute.dev")
MAPS = ("get", "configmaps")
TABLE = table()
OTHER = table(host(name="other.example.com"))


def cluster(served: Table = TABLE, **answers: Any) -> FakeKubectl:
    """One balancer with two pods, a and b, that serve what is published."""
    return FakeKubectl(
        answers={
            BALANCERS: listed(balancer()),
            ("get", "pods"): listed(pod("b"), pod("a")),
            MAPS: shards(served),
            EXEC: dumped(entries(served), endpoints={"10.0.0.1:8080": 3}, routes={"team-a/chat": 3}),
            ("exec", "b"): dumped(entries(served), endpoints={"10.0.0.1:8080": 4}, routes={"team-a/chat": 4}),
        }
    )


def show(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str], asked: Asked = Asked()) -> tuple[str, str]:  # noqa: B008
    """What the routes look like, and what is said beside them."""
    routes(kubectl, asked, as_json=False)
    told = capsys.readouterr()
    return told.out, told.err


def as_json(kubectl: FakeKubectl, capsys: pytest.CaptureFixture[str], asked: Asked = Asked()) -> Any:  # noqa: B008
    """The same as JSON."""
    routes(kubectl, asked, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_a_route_with_its_endpoints_and_their_sockets_of_all_pods(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = show(cluster(), capsys)
    mark = json.loads(cluster().answers[EXEC].splitlines()[0])["mark"][:12]  # type: ignore[union-attr]
    assert out.splitlines() == [
        "Balancer ws/shared, Dynamic",
        f"Pod a  ready  3 sockets, version 0123456789ab, table {mark}",
        f"Pod b  ready  4 sockets, version 0123456789ab, table {mark}",
        "",
        "HOST              PATH  ROUTE        LISTENERS  SOCKETS  IDLE  CONNECT  POLICIES",
        "chat.example.com  /ws   team-a/chat  ws         7        1h    5s       LeastConnections; any origin",
        "    10.0.0.1:8080  7  team-a/chat:8080",
    ]
    assert err == ""


def test_all_policies_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    action = forward(
        Target("team-a/one:80", 9),
        Target("team-a/two:80", 1),
        websocket_only=False,
        rewrite_prefix="/new",
        connect_timeout=1_500,
        idle_timeout=90_060_000,
        set_headers=(("X-Team", "a b"),),
        remove_headers=("X-Debug",),
        policy=Policy.HASH,
        hash_key=HashKey(HashSource.QUERY, "room"),
        sticky=StickyCookie("srv", 3600),
        origins=OriginRules("Report", ("chat.example.com",), ("https://*.example.org",), require_header=True),
    )
    refused = record("/off", Refuse(RefusalReason.ROUTE_INVALID), match=PathMatch.EXACT, route=RouteRef("team-b", "x"))
    groups = [group(address(1), name="team-a/one:80", returning=(address(2),)), group(name="team-a/two:80")]
    groups[1] = type(groups[1])("team-a/two:80", ())
    out, _ = show(cluster(table(host(record("/ws", action), refused), groups=groups)), capsys)
    assert "Hash of Query room; cookie srv for 1h; origins reported beyond own hosts https://*.example.org; " in out
    assert "Origin required; plain HTTP too; rewritten to /new; sets x-team: a b; removes x-debug" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "chat.example.com /off (exact) team-b/x ws 0 refused: route-invalid" in lines
    assert any(line.startswith("chat.example.com /ws team-a/chat ws 7 1d1h 1s500ms Hash") for line in lines)
    assert "10.0.0.1:8080 7 team-a/one:80 weight 9" in lines
    assert "10.0.0.2:8080 0 team-a/one:80 weight 9, returning clients only" in lines
    assert "no endpoints team-a/two:80 weight 1" in lines


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (Asked(host="other.example.com"), {"other.example.com"}),
        (Asked(host="a.example.org"), {"*.example.org"}),
        (Asked(host="a.b.example.org"), set()),
        (Asked(route="team-a/chat"), {"chat.example.com", "other.example.com", "*.example.org"}),
        (Asked(route="team-a/nobody"), set()),
    ],
)
def test_what_is_asked_for(asked: Asked, shown: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    served = table(host(), host(name="other.example.com"), host(name="*.example.org"))
    assert {each["host"] for each in as_json(cluster(served), capsys, asked)["routes"]} == shown
    assert ("No such route." in show(cluster(served), capsys, asked)[0]) is (not shown)


def test_json_has_the_sockets_by_pod(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(cluster(), capsys)
    [route] = found["routes"]
    assert route["targets"] == [
        {
            "group": "team-a/chat:8080",
            "weight": 1,
            "endpoints": [{"address": "10.0.0.1:8080", "state": "ready", "sockets": {"a": 3, "b": 4}}],
        }
    ]
    assert (route["host"], route["path"], route["match"], route["route"]) == (
        "chat.example.com",
        "/ws",
        "Prefix",
        "team-a/chat",
    )
    assert [(each["name"], each["published"], each["differences"]) for each in found["pods"]] == [
        ("a", True, []),
        ("b", True, []),
    ]


def test_endpoints_that_left_and_hold_sockets_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[EXEC] = dumped(entries(TABLE), endpoints={"10.0.0.9:8080": 2})
    out, _ = show(kubectl, capsys)
    assert out.endswith("Endpoints of no route any more that still hold sockets:\n    10.0.0.9:8080  2\n")


# --- pods that differ ---


def test_a_pod_that_lags_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[EXEC] = dumped(entries(table(groups=[group(address(2))])))
    out, err = show(kubectl, capsys)
    assert "10.0.0.1:8080" in out, "of one and one the published table is the usual one"
    assert err == ("Pod a has other endpoints of team-a/chat:8080: not 10.0.0.1:8080, 10.0.0.2:8080.\n")


def test_what_no_pod_serves_yet_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[MAPS] = shards(table(host(), host(name="new.example.com")))
    _, err = show(kubectl, capsys)
    assert "What is published, and no pod serves, has the host new.example.com on the listener ws" in err


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (dumped({}, mark=""), "Pod a has no complete table: handshakes there get 503 no-table.\n"),
        (dumped(entries(TABLE), moving=True), "Pod a has changed its table while it was read.\n"),
        (dumped(entries(TABLE), version="f" * 12), "several versions of nginx.conf: a ffffffffffff, b 0123456789ab.\n"),
        (dumped(entries(TABLE), wsroute=2), "It speaks protocol 2, and this wsroute 1: use that pod's version.\n"),
        ('{"wsroute":1}\n', "What it prints can't be read. Line 1 makes no sense"),
        ("Traceback", "What it prints can't be read. Line 1 is no JSON: 'Traceback'.\n"),
        ("", "What it prints can't be read. It ends too soon.\n"),
        (dumped(entries(TABLE)).replace('"end"', ""), "What it prints can't be read."),
        (
            KubectlError("kubectl exec failed", 'error: unable to upgrade connection: pods "a" is forbidden: User'),
            "Pod a: You may not run commands in it: that needs the right to create pods/exec in ws.\n",
        ),
        (
            KubectlError("kubectl exec failed", "Error: No such command 'table'."),
            "Pod a: It runs a wsroute that has no command `table` yet.\n",
        ),
        (KubectlError("kubectl exec failed: gone"), "Pod a: kubectl exec failed: gone\n"),
    ],
)
def test_a_pod_that_can_t_be_read_hides_no_other(
    answer: str | KubectlError, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl = cluster()
    kubectl.answers[EXEC] = answer
    out, err = show(kubectl, capsys)
    assert words in err
    assert "chat.example.com" in out


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (pod("a", phase="Pending", ready=False), "Pod a: It is Pending."),
        (pod("a", containers=("nginx",)), "Pod a: It has no container agent (strategy Restart)"),
    ],
)
def test_a_pod_that_can_t_be_asked(odd: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers["get", "pods"] = listed(odd)
    assert routes(kubectl, Asked(), as_json=False) == 2
    assert words in capsys.readouterr().err
    assert not any(words[0] == "exec" for words in kubectl.asked)


def test_without_the_right_to_read_config_maps_pods_are_compared_with_one_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kubectl = cluster()
    kubectl.answers[MAPS] = KubectlError("kubectl get failed: no", FORBIDDEN)
    out, err = show(kubectl, capsys)
    assert "chat.example.com" in out
    assert err == "What the operator has published can't be read: kubectl get failed: no\n"


def test_a_damaged_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[MAPS] = shards(TABLE).replace("host {", "toast {")
    assert "The ConfigMap shared-table-r0 can't be read: Line 1: It must begin with" in show(kubectl, capsys)[1]


def test_a_terminal_obeys_nothing_that_a_pod_says(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[EXEC] = dumped({**entries(TABLE), "eteam-a/\x1b[2Jx:80": "\x07"})
    out, err = show(kubectl, capsys)
    assert "\x1b" not in out + err
    assert "\x07" not in out + err


# --- which balancer ---


@pytest.mark.parametrize(
    ("asked", "answer", "words"),
    [
        (Asked(), listed(), "There is no WebSocketBalancer in this cluster."),
        (Asked(namespace="ws"), listed(), "There is no WebSocketBalancer in the namespace ws."),
        (
            Asked(),
            listed(balancer("two"), balancer("one")),
            "There are several balancers in this cluster: ws/one, ws/two. Name one of them, and its namespace with -n.",
        ),
        (Asked(balancer="gone"), listed(balancer()), "There is no WebSocketBalancer gone in this cluster."),
        (
            Asked(namespace="ws", balancer="gone"),
            KubectlError("", 'Error from server (NotFound): "gone" not found'),
            "There is no WebSocketBalancer ws/gone.",
        ),
        (
            Asked(),
            KubectlError("", 'error: the server doesn\'t have a resource type "websocketbalancers"'),
            "This cluster does not know WebSocketBalancers: wsroute is not installed there.",
        ),
        (
            Asked(),
            KubectlError("kubectl get failed: no.", FORBIDDEN),
            "kubectl get failed: no. Name a namespace with -n.",
        ),
        (Asked(namespace="ws"), KubectlError("kubectl get failed: no.", FORBIDDEN), "kubectl get failed: no."),
        (Asked(pod="gone"), listed(balancer()), "The balancer ws/shared has no pod gone."),
    ],
)
def test_which_balancer_is_said_or_asked(
    asked: Asked, answer: str | KubectlError, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl = cluster()
    kubectl.answers[BALANCERS] = answer
    assert routes(kubectl, asked, as_json=False) == 2
    assert capsys.readouterr().err == words + "\n"


def test_one_of_several_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[BALANCERS] = listed(balancer("other"), balancer())
    assert "Balancer ws/shared" in show(kubectl, capsys, Asked(balancer="shared"))[0]
    assert "Pod b" not in show(kubectl, capsys, Asked(balancer="shared", pod="a"))[0]


def test_a_static_balancer_says_where_its_routes_stand(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[BALANCERS] = listed(balancer(data_plane="Static"))
    for name in "ab":
        kubectl.answers["exec", name] = dumped({}, format=0, mark="")
    out, err = show(kubectl, capsys)
    assert err == ""
    assert out.splitlines()[1:3] == ["Pod a  ready  version 0123456789ab", "Pod b  ready  version 0123456789ab"]
    assert "ConfigMap shared-nginx" in out
    assert not any(words[1] == "configmaps" for words in kubectl.asked)


# --- sockets ---


def held(connection: int, route: str = "team-a/chat", *, age: int = 60) -> OpenSocket:
    return OpenSocket(17, connection, int(NOW) - age, "192.0.2.1", "10.0.0.1:8080", route)


def test_open_sockets_the_oldest_first(capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[EXEC] = dumped(
        entries(TABLE), sockets=[held(1), held(2, age=3_700)], endpoints={"10.0.0.1:8080": 3}
    )
    kubectl.answers["exec", "b"] = dumped(entries(TABLE))
    assert sockets(kubectl, Asked(), as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [
        "",
        "AGE   CLIENT     ENDPOINT       ROUTE        POD  WORKER",
        "1h1m  192.0.2.1  10.0.0.1:8080  team-a/chat  a    17",
        "1m    192.0.2.1  10.0.0.1:8080  team-a/chat  a    17",
        "1 sockets more are open; the pods had no room to list them.",
    ]
    assert all("--sockets" in words for words in kubectl.asked if words[0] == "exec")


@pytest.mark.parametrize(
    ("asked", "connections"),
    [
        (Asked(), [1, 2]),
        (Asked(route="team-a/chat"), [1]),
        (Asked(host="chat.example.com"), [1]),
        (Asked(host="nobody.test"), []),
    ],
)
def test_sockets_of_a_route_or_a_host(asked: Asked, connections: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = cluster()
    kubectl.answers[EXEC] = dumped(entries(TABLE), sockets=[held(1), held(2, "team-b/gone")])
    sockets(kubectl, asked, as_json=True)
    found = json.loads(capsys.readouterr().out)["sockets"]
    assert [each["connection"] for each in found] == connections


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0s"), (1, "1ms"), (1_500, "1s500ms"), (3_600_000, "1h"), (90_061_001, "1d1h")],
)
def test_times(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text
