"""Hosts have owners, paths have owners, and the oldest wins."""

from typing import Any

import pytest

from tests.support import objects as made
from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.objects import Key
from wsroute.graph.model import Graph

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def graph(*routes: made.Json, **balancer: Any) -> Graph:
    return made.graph_of([made.balancer(spec=balancer), *routes])


def problems(found: Graph, namespace: str, name: str = "chat") -> list[tuple[Reason, str]]:
    return [(problem.reason, problem.path) for problem in found.routes[Key(namespace, name)].acceptance_problems]


CONFLICT = [(Reason.HOST_CONFLICT, "spec.hosts[0]")]


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("a.example.com", "*.example.com", True),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "*.b.example.com", False),
        ("*.b.example.com", "*.example.com", False),
        ("*.b.example.com", "b.example.com", False),
        ("a.example.com", "*.a.example.com", False),
    ],
)
def test_a_host_belongs_to_the_namespace_of_its_oldest_route(first: str, second: str, conflict: bool) -> None:
    old = made.route(namespace="team-b", hosts=[first], created=OLD)
    new = made.route(namespace="team-a", hosts=[second], created=NEW)
    found = graph(new, old)
    assert found.routes[Key("team-b", "chat")].accepted
    assert problems(found, "team-a") == (CONFLICT if conflict else [])


@pytest.mark.parametrize(("first", "second"), [("a.example.com", "a.example.com"), ("*.example.com", "a.example.com")])
def test_hosts_of_one_namespace_are_shared(first: str, second: str) -> None:
    found = graph(
        made.route("one", hosts=[first], paths=[made.path("/one")]),
        made.route("two", hosts=[second], paths=[made.path("/two")]),
    )
    assert all(node.accepted for node in found.routes.values())


def test_a_wildcard_finds_any_rival_below_it() -> None:
    """The owner's own name below the wildcard must not hide the other namespace's."""
    found = graph(
        made.route("one", "team-a", hosts=["a.example.com"], created="2026-01-01T00:00:00Z"),
        made.route("two", "team-b", hosts=["b.example.com"], created="2026-01-02T00:00:00Z"),
        made.route("all", "team-a", hosts=["*.example.com"], created="2026-01-03T00:00:00Z"),
    )
    assert problems(found, "team-a", "all") == CONFLICT


def test_equal_ages_are_settled_by_name() -> None:
    routes = [made.route(namespace=namespace) for namespace in ("team-b", "team-a", "team-c")]
    found = graph(*routes)
    assert [key.namespace for key, node in found.routes.items() if node.accepted] == ["team-a"]


def test_the_sentence_does_not_tell_whose_host_it_is() -> None:
    found = graph(
        made.route(namespace="secret-project", hosts=["*.example.com"], created=OLD),
        made.route(hosts=["a.example.com"], created=NEW),
    )
    assert found.routes[Key("team-a", "chat")].acceptance_problems == (
        Problem(
            Reason.HOST_CONFLICT,
            "spec.hosts[0]",
            "The host a.example.com, which overlaps with *.example.com, belongs to another namespace, which claimed it "
            "first: choose another host, or have the routes of that namespace give it up.",
        ),
    )


def test_a_loser_keeps_its_other_hosts() -> None:
    found = graph(
        made.route(namespace="team-b", hosts=["a.example.com"], created=OLD),
        made.route(namespace="team-a", hosts=["a.example.com", "mine.example.com"], created=NEW),
        made.route(namespace="team-c", hosts=["mine.example.com"], created="2026-03-01T00:00:00Z"),
    )
    loser = found.routes[Key("team-a", "chat")]
    assert problems(found, "team-a") == CONFLICT
    assert loser.hosts == ("mine.example.com",)
    assert problems(found, "team-c") == CONFLICT


def test_an_invalid_route_keeps_its_hosts() -> None:
    found = graph(
        made.route(namespace="team-b", created=OLD, spec={"nonsense": 1}),
        made.route(namespace="team-a", created=NEW),
    )
    assert found.routes[Key("team-b", "chat")].hosts == ("chat.example.com",)
    assert problems(found, "team-a") == CONFLICT


def test_balancers_do_not_share_hosts() -> None:
    found = made.graph_of(
        [
            made.balancer(),
            made.balancer("second"),
            made.route(namespace="team-a"),
            made.route(namespace="team-b", spec={"balancerRef": {"name": "second", "namespace": "wsroute-system"}}),
        ]
    )
    assert all(node.accepted for node in found.routes.values())


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (made.path("/ws"), made.path("/ws"), True),
        (made.path("/ws/"), made.path("/ws"), True),
        (made.path("/ws", type="Exact"), made.path("/ws"), False),
        (made.path("/ws", type="Exact"), made.path("/ws/", type="Exact"), False),
        (made.path("/ws"), made.path("/ws/a"), False),
        (made.path("/"), made.path("/ws"), False),
    ],
)
def test_a_path_belongs_to_the_oldest_route(first: made.Json, second: made.Json, conflict: bool) -> None:
    found = graph(
        made.route("younger", paths=[made.path("/free"), second], created=NEW),
        made.route("zz-older", paths=[first], created=OLD),
    )
    assert found.routes[Key("team-a", "zz-older")].accepted
    younger = found.routes[Key("team-a", "younger")]
    assert problems(found, "team-a", "younger") == ([(Reason.PATH_CONFLICT, "spec.paths[1].path")] if conflict else [])
    if conflict:
        assert "team-a/zz-older" in younger.acceptance_problems[0].message
        assert [path for path, _ in younger.withdrawn_paths] == ["/free"]


def test_paths_conflict_on_common_hosts_and_listeners_only() -> None:
    listeners = [{"name": name, "port": port, "protocol": "HTTP"} for name, port in (("a", 8080), ("b", 8090))]
    found = graph(
        made.route("one", spec={"listeners": ["a"]}),
        made.route("two", spec={"listeners": ["b"]}),
        made.route("three", hosts=["other.example.com"]),
        made.route("four", hosts=["four.example.com", "chat.example.com"], spec={"listeners": ["b"]}),
        listeners=listeners,
    )
    assert [key.name for key, node in found.routes.items() if node.accepted] == ["four", "one", "three"]
    assert problems(found, "team-a", "two") == [(Reason.PATH_CONFLICT, "spec.paths[0].path")]


def test_an_invalid_route_keeps_its_path() -> None:
    found = graph(
        made.route("older", created=OLD, spec={"nonsense": 1}),
        made.route("younger", created=NEW),
    )
    assert problems(found, "team-a", "younger") == [(Reason.PATH_CONFLICT, "spec.paths[0].path")]
    assert found.routes[Key("team-a", "older")].withdrawn_paths == (("/ws", "Prefix"),)


def quota_routes() -> list[made.Json]:
    return [made.route(f"r{n}", hosts=[f"r{n}.example.com"], created=f"2026-01-0{9 - n}T00:00:00Z") for n in range(4)]


def test_quota_admits_the_oldest() -> None:
    allowed = {"namespaces": {"from": "All"}, "hosts": ["*"], "maxPerNamespace": 2}
    other = made.route(namespace="team-b", hosts=["b.example.com"], created=NEW)
    found = graph(*quota_routes(), other, allowedRoutes=allowed)
    assert [str(key) for key, node in found.routes.items() if node.accepted] == [
        "team-a/r2",
        "team-a/r3",
        "team-b/chat",
    ]
    late = found.routes[Key("team-a", "r0")]
    assert [problem.reason for problem in late.acceptance_problems] == [Reason.QUOTA]
    assert (late.hosts, late.withdrawn_paths) == ((), ())


def test_invalid_routes_count_for_the_quota() -> None:
    """Else mending one of them would throw out another."""
    allowed = {"namespaces": {"from": "All"}, "hosts": ["*"], "maxPerNamespace": 2}
    routes = quota_routes()
    routes[3]["spec"]["nonsense"] = 1
    found = graph(*routes, allowedRoutes=allowed)
    assert [key.name for key, node in found.routes.items() if node.accepted] == ["r2"]
