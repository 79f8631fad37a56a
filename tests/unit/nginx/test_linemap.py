"""Every line of a file is told from the routes that it comes from, whatever else the file holds."""

import pytest

from tests.support.configurations import configuration, location, many_routes, proxy, server, upstream
from wsroute.dataplane.ir import Configuration, RefusalReason, Refuse, RouteRef
from wsroute.nginx.linemap import LineMap
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.render import Rendered, render
from wsroute.nginx.served import served_routes

ONE, TWO, THREE = (RouteRef("team-a", name) for name in ("one", "two", "three"))


def rendered(given: Configuration, memo: RenderMemo | None = None) -> Rendered:
    return render(given, POD_PATHS, options=POD_OPTIONS, memo=memo)


def owners(found: Rendered) -> list[tuple[RouteRef, ...]]:
    """The routes of each line of a file, from the first."""
    return [found.lines.routes_at(number) for number in range(1, found.text.count("\n") + 1)]


def shared() -> Configuration:
    """Three routes on one host, with headers and rewrites that make several lines."""
    return configuration(
        upstreams=[upstream(name="u1"), upstream(name="u2")],
        servers=[
            server(
                location("/a", proxy("u1", set_headers=(("X-Team", "1"),), rewrite_prefix="/x"), route=ONE),
                location("/b", Refuse(RefusalReason.NO_ENDPOINTS), route=TWO),
                location("/c", proxy("u2"), route=THREE),
            )
        ],
    )


def test_a_line_in_a_location_is_its_routes_alone() -> None:
    found = rendered(shared())
    lines = found.text.split("\n")
    told = owners(found)
    for word, route in (("X-Team", ONE), ('rewrite "', ONE), (r"location ~ ^/b(/|\z) {", TWO), ("^/c(", THREE)):
        numbers = [number for number, line in enumerate(lines) if word in line]
        assert numbers
        assert all(told[number] == (route,) for number in numbers)


def test_a_line_of_the_servers_head_is_all_its_routes() -> None:
    found = rendered(shared())
    number = next(n for n, line in enumerate(found.text.split("\n"), 1) if "server_name  chat" in line)
    assert found.lines.routes_at(number) == (ONE, TWO, THREE)


def test_a_line_of_an_upstream_is_whose_locations_use_it() -> None:
    found = rendered(shared())
    number = next(n for n, line in enumerate(found.text.split("\n"), 1) if "upstream u2" in line)
    assert found.lines.routes_at(number) == (THREE,)


def test_the_balancers_own_lines_are_nobodys() -> None:
    found = rendered(shared())
    first = found.text.split("\n").index("    # team-a/one")
    assert {*owners(found)[: first - 1]} == {()}
    assert [found.lines.routes_at(number) for number in (-1, 0, 10**9)] == [(), (), ()]


@pytest.mark.parametrize("memo", [None, RenderMemo()])
def test_every_line_of_every_block_is_told_with_a_memo_too(memo: RenderMemo | None) -> None:
    for count in (3, 30, 29):
        found = rendered(many_routes(count, port=8080), memo)
        told = owners(found)
        for number, line in enumerate(found.text.split("\n")):
            if line.startswith("            set $wsroute_route"):
                namespace, _, name = line.split()[-1].removesuffix(";").partition("/")
                assert told[number] == (RouteRef(namespace, name),)


def test_a_location_that_is_not_what_it_seems_makes_all_of_its_host_suspects() -> None:
    """Should a value ever break out of its place, it can't put the blame on another host's routes."""
    config = shared()
    blocks = ["up\n", "up\n", "\n    server {\n        # team-a/one, forged\n        # team-a/one, x\n    }\n"]
    assert LineMap(config, 10, blocks).routes_at(15) == (ONE, TWO, THREE)


def test_the_servers_of_a_route_are_found() -> None:
    found = rendered(many_routes(3, port=8080))
    [block] = found.lines.blocks_of(RouteRef("team-01", "chat-1"))
    assert "chat-1.team-01.example.com" in block
    assert block in found.text


def test_the_routes_that_are_served_are_read_back() -> None:
    assert served_routes(rendered(shared()).text) == {ONE, THREE}
    assert served_routes("set $wsroute_route a/b;") == frozenset()
