"""The table of a balancer's routes."""

from typing import Any

import pytest

from tests.support import objects as made
from wsroute.dataplane.build_table import build_table
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.shards import host_line, parse_hosts
from wsroute.dataplane.table import (
    Address,
    EndpointGroup,
    Forward,
    HostRecord,
    OriginRules,
    PathRecord,
    Policy,
    Table,
    Target,
)
from wsroute.graph.build import build_graph
from wsroute.graph.memo import Memo
from wsroute.graph.model import GraphSettings

CHAT = RouteRef("team-a", "chat")
GROUP = "team-a/chat:8080"


class Passes:
    """Pass after pass over objects that change."""

    def __init__(self) -> None:
        self._memo = Memo()

    def table(self, *objects: made.Json, **balancer: Any) -> Table:
        snapshot = made.snapshot_of([made.balancer(spec=balancer), *objects])
        graph = build_graph(snapshot, GraphSettings(default_balancer=made.BALANCER), self._memo)
        found = build_table(graph.balancers[made.BALANCER], memo=self._memo)
        self._memo.end_pass()
        return found


def table(*objects: made.Json, **balancer: Any) -> Table:
    return Passes().table(*objects, **balancer)


def forward(*targets: Target, **changes: Any) -> Forward:
    whole: dict[str, Any] = {
        "targets": targets or (Target(GROUP, 1),),
        "websocket_only": True,
        "rewrite_prefix": None,
        "connect_timeout": 5_000,
        "idle_timeout": 3_600_000,
        "set_headers": (),
        "remove_headers": (),
        "policy": Policy.LEAST_CONNECTIONS,
        "origins": OriginRules("Enforce", ("chat.example.com",)),
    }
    return Forward(**(whole | changes))


def test_a_balancer_without_routes() -> None:
    assert table() == Table((), ())


def test_one_route() -> None:
    found = table(
        made.route(
            paths=[made.path("/ws/", upgrade="Optional", rewritePrefix="/")],
            spec={
                "timeouts": {"connect": "1s", "idle": "2h"},
                "loadBalancing": {"policy": "RoundRobin"},
                "headers": {"set": [{"name": "x_team", "value": "a"}], "remove": ["x-debug"]},
            },
        ),
        made.service(),
        made.endpoint_slice(endpoints=["10.0.0.2", "10.0.0.1"]),
        requestHeaders=["X-Team", "X-Debug"],
    )
    action = forward(
        websocket_only=False,
        rewrite_prefix="/",
        connect_timeout=1_000,
        idle_timeout=7_200_000,
        set_headers=(("X-Team", "a"),),
        remove_headers=("X-Debug",),
        policy=Policy.ROUND_ROBIN,
    )
    assert found == Table(
        (HostRecord("chat.example.com", ("ws",), (PathRecord(CHAT, "/ws", PathMatch.PREFIX, action),)),),
        (EndpointGroup(GROUP, (Address("10.0.0.1", 8080), Address("10.0.0.2", 8080))),),
    )


def test_a_terminating_endpoint_only_takes_clients_back_while_others_are_ready() -> None:
    leaving = made.endpoint("10.0.0.2", terminating=True, serving=True, ready=False)
    both = table(made.route(), made.service(), made.endpoint_slice(endpoints=[made.endpoint("10.0.0.1"), leaving]))
    assert both.groups == (EndpointGroup(GROUP, (Address("10.0.0.1", 8080),), (Address("10.0.0.2", 8080),)),)
    alone = table(made.route(), made.service(), made.endpoint_slice(endpoints=[leaving]))
    assert alone.groups == (EndpointGroup(GROUP, (Address("10.0.0.2", 8080),)),)


def test_a_route_whose_service_is_missing_waits_for_its_endpoints_only() -> None:
    missing = table(made.route())
    assert missing.groups == (EndpointGroup(GROUP, ()),)
    assert missing.hosts == table(made.route(), made.service(), made.endpoint_slice()).hosts


def test_weights_of_backends() -> None:
    backends = [
        made.backend(weight=2),
        made.backend("other", "web", weight=3),
        made.backend(weight=1),
        made.backend("none", weight=0),
    ]
    found = table(made.route(paths=[made.path(backends=backends)]))
    assert found.hosts[0].paths[0].action == forward(Target(GROUP, 3), Target("team-a/other:web", 3))
    assert [group.name for group in found.groups] == [GROUP, "team-a/other:web"]


def test_a_route_that_is_not_valid_any_more_is_refused_where_it_was() -> None:
    found = table(made.route(spec={"timeouts": {"idle": "never"}}), made.service(), made.endpoint_slice())
    refused = PathRecord(CHAT, "/ws", PathMatch.PREFIX, Refuse(RefusalReason.ROUTE_INVALID))
    assert found == Table((HostRecord("chat.example.com", ("ws",), (refused,)),), ())


LISTENERS = [{"name": name, "port": port, "protocol": "HTTP"} for name, port in (("b", 8080), ("a", 8443), ("c", 9000))]


def test_listeners_of_a_host_with_the_same_paths_share_a_record() -> None:
    found = table(
        made.route(paths=[made.path("/two"), made.path("/one", type="Exact")]),
        made.route("more", paths=[made.path("/more")], spec={"listeners": ["b"]}),
        listeners=LISTENERS,
    )
    assert [(each.host, each.listeners, [path.path for path in each.paths]) for each in found.hosts] == [
        ("chat.example.com", ("a", "c"), ["/one", "/two"]),
        ("chat.example.com", ("b",), ["/more", "/one", "/two"]),
    ]


def test_a_host_whose_only_route_lost_all_its_paths_is_in_no_table() -> None:
    """A record without paths would be no record: agents refuse the part that it stands in, and all of its hosts."""
    first = made.route("first", created="2026-01-01T00:00:00Z")
    second = made.route("second", hosts=["chat.example.com", "more.example.com"], created="2026-01-02T00:00:00Z")
    passes = Passes()
    for objects in ([second], [first, second], [first, second, *team(1, "10.0.0.1")]):
        found = passes.table(*objects)
        text = "".join(f"{host_line(record)}\n" for record in found.hosts)
        assert parse_hosts(text) == found.hosts
    assert [record.host for record in found.hosts] == ["chat-1.example.com", "chat.example.com"]


def test_a_balancer_whose_spec_does_not_parse() -> None:
    graph = made.graph_of([made.balancer(spec={"listeners": []})])
    with pytest.raises(ValueError, match="no valid spec"):
        build_table(graph.balancers[made.BALANCER], memo=Memo())


def team(number: int, *endpoints: str) -> list[made.Json]:
    name = f"chat-{number}"
    return [
        made.route(name, hosts=[f"{name}.example.com"], paths=[made.path(backends=[made.backend(name)])]),
        made.service(name),
        made.endpoint_slice(name, endpoints=list(endpoints)),
    ]


def test_what_does_not_change_stays_the_same_object() -> None:
    passes = Passes()
    first = passes.table(*team(1, "10.0.0.1"), *team(2, "10.0.0.2"))
    moved = passes.table(*team(1, "10.0.0.1"), *team(2, "10.0.0.3"))
    assert all(one is other for one, other in zip(first.hosts, moved.hosts, strict=True))
    assert moved.groups[1] == EndpointGroup("team-a/chat-2:8080", (Address("10.0.0.3", 8080),))
    more = passes.table(*team(1, "10.0.0.1"), *team(2, "10.0.0.3"), *team(3, "10.0.0.4"))
    assert [each is other for each, other in zip(more.hosts, moved.hosts, strict=False)] == [True, True]
    assert len(more.hosts) == 3
    fewer = passes.table(*team(2, "10.0.0.3"))
    assert fewer == table(*team(2, "10.0.0.3"))


def test_another_spelling_of_a_permitted_header_counts_at_once() -> None:
    passes = Passes()
    route = made.route(spec={"headers": {"set": [{"name": "X-Team", "value": "a"}]}})
    for name in ("X-Team", "x-team"):
        action = passes.table(route, requestHeaders=[name]).hosts[0].paths[0].action
        assert isinstance(action, Forward)
        assert action.set_headers == ((name, "a"),)
