"""What changes a fingerprint, and what must not."""

from typing import Any

import pytest

from tests.support import objects as made
from tests.support.configurations import configuration
from wsroute.dataplane.certificates import ListenerTls
from wsroute.dataplane.fingerprint import fingerprints
from wsroute.dataplane.ir import Listener, RouteRef
from wsroute.graph.memo import Memo

CHAT, OTHER = RouteRef("team-a", "chat"), RouteRef("team-a", "other")


def world(
    *, route: dict[str, Any] | None = None, endpoints: list[Any] | None = None, **balancer: Any
) -> list[made.Json]:
    return [
        made.balancer(spec=balancer),
        made.route(spec=route),
        made.route("other", hosts=["other.example.com"]),
        made.service(),
        made.endpoint_slice(endpoints=["10.0.0.1"] if endpoints is None else endpoints),
        made.service("next"),
        made.endpoint_slice("next", endpoints=["10.0.0.1"]),
    ]


def of(raws: list[made.Json]) -> dict[RouteRef, str]:
    return fingerprints(made.configuration_of(raws))


def test_every_route_has_one() -> None:
    found = of(world())
    assert set(found) == {CHAT, OTHER}
    assert found == of(world())
    assert found[CHAT] != found[OTHER]


@pytest.mark.parametrize("endpoints", [["10.0.0.2"], ["10.0.0.1", "10.0.0.2", "10.0.0.3"]])
def test_which_endpoints_there_are_does_not_matter(endpoints: list[Any]) -> None:
    assert of(world(endpoints=endpoints)) == of(world())


def test_the_numbers_of_endpoints_do_not_matter_to_weights() -> None:
    backends = [made.backend(weight=3), made.backend("next", weight=1)]
    route = {"paths": [made.path(backends=backends)]}
    assert of(world(route=route, endpoints=["10.0.0.1", "10.0.0.2"])) == of(world(route=route))


def test_whether_there_are_any_matters() -> None:
    assert of(world(endpoints=[]))[CHAT] != of(world())[CHAT]


@pytest.mark.parametrize(
    "route",
    [
        {"hosts": ["new.example.com"]},
        {"hosts": ["chat.example.com", "new.example.com"]},
        {"paths": [made.path("/new")]},
        {"paths": [made.path(type="Exact")]},
        {"paths": [made.path(upgrade="Optional")]},
        {"paths": [made.path(rewritePrefix="/")]},
        {"paths": [made.path(backends=[made.backend("next")])]},
        {"paths": [made.path(backends=[made.backend(weight=2), made.backend("next")])]},
        {"timeouts": {"idle": "2h"}},
        {"timeouts": {"connect": "2s"}},
        {"loadBalancing": {"policy": "RoundRobin"}},
        {"loadBalancing": {"policy": "Hash", "hash": {"by": "ClientIP"}}},
        {"origins": {"policy": "Report"}},
        {"origins": {"allow": ["https://a.example.com"]}},
        {"origins": {"requireHeader": True}},
        {"nonsense": 1},
    ],
    ids=repr,
)
def test_every_change_of_the_route_matters_to_it_alone(route: dict[str, Any]) -> None:
    before, after = of(world()), of(world(route=route))
    assert before[CHAT] != after[CHAT]
    assert before[OTHER] == after[OTHER]


def test_what_is_hashed_matters() -> None:
    room, user = (
        world(route={"loadBalancing": {"policy": "Hash", "hash": {"by": "Query", "name": name}}})
        for name in ("room", "user")
    )
    assert of(room)[CHAT] != of(user)[CHAT]


@pytest.mark.parametrize("listener", [{"port": 8090}, {"name": "web"}, {"public": {"scheme": "wss"}}], ids=repr)
def test_listeners_matter(listener: dict[str, Any]) -> None:
    listeners = [{"name": "ws", "port": 8080, "protocol": "HTTP", **listener}]
    assert of(world(listeners=listeners))[CHAT] != of(world())[CHAT]


def test_a_memo_changes_nothing_but_the_cost() -> None:
    memo = Memo()
    for raws in (world(), world(endpoints=["10.0.0.2"]), world(route={"timeouts": {"idle": "2h"}})):
        configuration = made.configuration_of(raws)
        assert fingerprints(configuration, memo=memo) == fingerprints(configuration)
        memo.end_pass()


def test_certificates_are_no_part_of_a_route() -> None:
    old, new = (ListenerTls((file,), ()) for file in ("a" * 64, "b" * 64))
    plain, before, after = (
        fingerprints(configuration(listeners=(Listener("ws", 8080, "wss", 443, tls),))) for tls in (None, old, new)
    )
    assert before == after != plain
