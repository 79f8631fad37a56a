"""Everybody but the withheld has what it wishes, and the others have what they had, or nothing."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.configurations import configuration, location, many_routes, proxy, server, upstream
from wsroute.dataplane.fingerprint import fingerprints
from wsroute.dataplane.ir import Configuration, Endpoint, Listener, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.withholding import Withheld, withhold
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.render import render

ONE, TWO = RouteRef("team-a", "one"), RouteRef("team-a", "two")


def pair(one: str = "/one", two: str = "/two", **changes: Any) -> Configuration:
    """Two routes on a host."""
    return configuration(
        upstreams=[upstream(name="u1"), upstream(name="u2")],
        servers=[server(location(one, proxy("u1"), route=ONE), location(two, proxy("u2"), route=TWO))],
        **changes,
    )


def only(*routes: RouteRef) -> frozenset[RouteRef]:
    return frozenset(routes)


def test_nothing_withheld_is_the_same_object() -> None:
    wished = pair()
    assert withhold(wished, Withheld()) is wished


def test_a_withdrawn_route_keeps_its_paths_and_loses_its_upstream() -> None:
    found = withhold(pair(), Withheld(withdrawn=only(ONE)))
    assert found.servers[0].locations[0] == location("/one", Refuse(RefusalReason.ROUTE_INVALID), route=ONE)
    assert found.servers[0].locations[1] == pair().servers[0].locations[1]
    assert [group.name for group in found.upstreams] == ["u2"]


def test_of_one_that_is_left_out_nothing_is_left_nor_of_a_host_that_was_its_own() -> None:
    assert withhold(pair(), Withheld(left_out=only(ONE, TWO))).servers == ()
    found = withhold(pair(), Withheld(left_out=only(ONE)))
    assert [place.route for place in found.servers[0].locations] == [TWO]


def test_a_held_route_is_as_it_was_and_has_the_present_endpoints() -> None:
    wished = pair(one="/new")
    fresh = upstream(Endpoint("10.9.9.9", 80, 1), name="u1")
    wished = configuration(upstreams=[fresh, wished.upstreams[1]], servers=wished.servers)
    found = withhold(wished, Withheld(held=only(ONE), base=pair()))
    assert [place.path for place in found.servers[0].locations] == ["/one", "/two"]
    assert found.upstreams[0] is fresh


def test_a_held_route_that_was_not_there_or_of_which_nothing_is_known_is_left_out() -> None:
    for base in (None, configuration(upstreams=[], servers=[])):
        found = withhold(pair(), Withheld(held=only(ONE), base=base))
        assert [place.route for place in found.servers[0].locations] == [TWO]


def test_a_held_route_takes_nothing_from_anybody() -> None:
    base = pair(one="/shared")
    wished = pair(one="/new", two="/shared")
    found = withhold(wished, Withheld(held=only(ONE), base=base))
    assert [(place.route, place.path) for place in found.servers[0].locations] == [(TWO, "/shared")]
    other = RouteRef("team-b", "thief")
    moved = configuration(upstreams=[upstream(name="u2")], servers=[server(location("/b", proxy("u2"), route=other))])
    assert withhold(moved, Withheld(held=only(ONE), base=base)).servers == moved.servers


def test_a_listener_that_is_gone_does_not_come_back() -> None:
    two = (Listener("ws", 8080, "ws", 80), Listener("old", 8081, "ws", 81))
    base = configuration(listeners=two, servers=[server(location(route=ONE), listeners=("old", "ws"))])
    found = withhold(configuration(servers=[]), Withheld(held=only(ONE), base=base))
    assert [each.listeners for each in found.servers] == [("ws",)]


@given(st.data())
def test_others_are_as_they_wish_and_the_held_as_they_were(data: st.DataObject) -> None:
    base, wished = many_routes(6, port=8080), many_routes(9, port=8080)
    moved = data.draw(st.sets(st.sampled_from(range(9))))
    wished = configuration(
        upstreams=wished.upstreams,
        servers=[
            server(location("/moved", each.locations[0].action, route=each.locations[0].route), host=each.host)
            if number in moved
            else each
            for number, each in enumerate(wished.servers)
        ],
    )
    routes = list(fingerprints(wished))
    chosen = st.frozensets(st.sampled_from(routes))
    held = data.draw(chosen)
    gone = data.draw(chosen) - held
    found = withhold(wished, Withheld(withdrawn=gone, held=held, base=base))
    told, before, wishes = fingerprints(found), fingerprints(base), fingerprints(wished)
    for route in routes:
        if route in held:
            assert told.get(route) == before.get(route)
        elif route in gone:
            assert told[route] != wishes[route]
        else:
            assert told[route] == wishes[route]
    render(found, POD_PATHS)
