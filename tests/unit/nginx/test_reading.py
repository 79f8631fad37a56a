"""What another replica's file tells: which routes it serves as the desired file does."""

from dataclasses import replace

import pytest

from tests.support.configurations import configuration, many_routes
from wsroute.api.policies import Policy
from wsroute.dataplane.ir import Configuration, Endpoint, Listener, RouteRef
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.reading import changed_routes
from wsroute.nginx.render import render

ROUTES = many_routes(60, port=8080)
FIRST, LAST = RouteRef("team-00", "chat-0"), RouteRef("team-09", "chat-59")


def changed(before: Configuration, after: Configuration) -> frozenset[RouteRef] | None:
    return changed_routes(render(before, POD_PATHS).text, render(after, POD_PATHS).text)


def test_the_same_file_changes_nothing() -> None:
    assert changed(ROUTES, ROUTES) == frozenset()


def test_added_and_removed_routes_say_nothing_of_the_others() -> None:
    fewer = replace(ROUTES, upstreams=ROUTES.upstreams[:-1], servers=ROUTES.servers[:-1])
    assert changed(fewer, ROUTES) == frozenset({LAST})
    assert changed(ROUTES, fewer) == frozenset()
    rest = replace(ROUTES, upstreams=ROUTES.upstreams[1:], servers=ROUTES.servers[1:])
    assert changed(rest, ROUTES) == frozenset({FIRST})


@pytest.mark.parametrize("index", [0, -1])
def test_a_route_with_other_endpoints_another_policy_or_other_locations_is_changed(index: int) -> None:
    upstreams, servers = list(ROUTES.upstreams), list(ROUTES.servers)
    one = frozenset({FIRST if index == 0 else LAST})
    upstreams[index] = replace(upstreams[index], endpoints=(Endpoint("10.9.9.9", 80, 1),))
    assert changed(ROUTES, replace(ROUTES, upstreams=tuple(upstreams))) == one
    upstreams[index] = replace(ROUTES.upstreams[index], balancing=Policy.ROUND_ROBIN)
    assert changed(ROUTES, replace(ROUTES, upstreams=tuple(upstreams))) == one
    [location] = servers[index].locations
    servers[index] = replace(servers[index], locations=(replace(location, path="/other"),))
    assert changed(ROUTES, replace(ROUTES, servers=tuple(servers))) == one


@pytest.mark.parametrize(
    "after",
    [
        replace(ROUTES, trusted_proxies=("10.0.0.0/8",)),
        replace(ROUTES, ipv6=True),
        replace(ROUTES, listeners=(Listener("ws", 8080, "wss", 443),)),
        configuration(servers=[], upstreams=[], listeners=(Listener("ws", 8080, "ws", 8000),)),
    ],
    ids=["trusted", "ipv6", "public", "public-port"],
)
def test_what_concerns_all_routes_says_nothing_of_any(after: Configuration) -> None:
    assert changed(ROUTES, after) is None
