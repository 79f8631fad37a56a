"""Which routes have to give way where a Static balancer's nginx.conf would be too large."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.configurations import configuration, location, proxy, server, upstream
from tests.support.world import Planner, SmallWorld
from wsroute.api.policies import OriginRules
from wsroute.cluster.kinds import Kind
from wsroute.controller import file_room
from wsroute.controller.file_room import FileRoom, location_size
from wsroute.dataplane.ir import Configuration, Location, RefusalReason, Refuse, RouteRef
from wsroute.nginx import render as rendering
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.render import render

OWN = RouteRef("team-a", "own")
ORIGINS = OriginRules(
    "Enforce", ("a.example.com",), allow=tuple(f"https://page-{number}.example.com" for number in range(9))
)


def crowd(sizes: Sequence[int]) -> Configuration:
    """A configuration with a small route, and one of another team for each size: so many paths on two hosts."""
    servers = [server(location("/", Refuse(RefusalReason.NO_ENDPOINTS), route=OWN), host="own.example.com")]
    for number, size in enumerate(sizes):
        route = RouteRef("team-b", f"r{number}")
        paths = [location(f"/{path}", Refuse(RefusalReason.NO_ENDPOINTS), route=route) for path in range(size)]
        servers += [server(*paths, host=f"h{number}-{host}.example.com") for host in range(2)]
    return configuration(servers=tuple(sorted(servers, key=lambda each: each.host)), upstreams=())


@pytest.mark.parametrize(
    "place",
    [
        location("/", Refuse(RefusalReason.NO_ENDPOINTS)),
        location("/a", Refuse(RefusalReason.ROUTE_INVALID)),
        location("/" + "a" * 1000),
        location("/a", proxy(rewrite_prefix="/b")),
        location("/a", proxy(origins=ORIGINS)),
        location("/a", proxy(set_headers=(("X-Team", "a" * 1000),), remove_headers=("X-Debug",))),
    ],
)
def test_a_route_weighs_about_what_is_written(place: Location) -> None:
    def written(*locations: Location) -> int:
        return len(render(configuration(servers=(server(*locations),), upstreams=(upstream(),)), POD_PATHS).text)

    other = location("/other")
    assert 0.6 < location_size(place) / (written(other, place) - written(other)) < 2.5


@given(st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=6))
def test_who_gives_way_does_not_depend_on_what_was_before(wishes: list[list[int]]) -> None:
    warm = FileRoom()
    for sizes in wishes:
        wished = crowd(sizes)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_room, "LIMIT", 15_000)
            cold = FileRoom()
            made = warm.fitting(wished)
            assert (made, warm.left_out) == (cold.fitting(wished), cold.left_out)
            assert warm.fitting(made) is made
        left = {place.route for each in made.servers for place in each.locations}
        assert OWN in left
        assert left.isdisjoint(cold.left_out)
        assert left | cold.left_out == {place.route for each in wished.servers for place in each.locations}


def test_what_is_far_too_much_is_never_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """It might be gigabytes."""
    world = SmallWorld()
    world.service("chat", "10.0.0.1")
    world.route("a")
    world.put(Kind.NAMESPACE, "team-b", "")
    for number in range(8):
        paths = [{"path": f"/{number}/{path}", "backends": [{"service": "none", "port": 80}]} for path in range(32)]
        spec = {"balancerRef": {"name": "shared", "namespace": "wsroute-system"}, "paths": paths}
        world.put(
            Kind.ROUTE, f"r{number}", "team-b", spec={**spec, "hosts": [f"h{host}.example.com" for host in range(16)]}
        )
    monkeypatch.setattr(file_room, "LIMIT", 1_000_000)
    written = 0
    write = rendering._server

    def count(*arguments: object) -> str:
        nonlocal written
        text = write(*arguments)  # type: ignore[arg-type]
        written += len(text)
        return text

    monkeypatch.setattr(rendering, "_server", count)
    planner = Planner(world)
    plan = planner.settle()
    assert {route.namespace for route in plan.left_out} == {"team-b"}
    assert not plan.obstacle
    assert 0 < written < 1_000_000
    written = 0
    world.route("b")
    planner.settle()
    assert 0 < written < 5_000, "nor is anything of it when others change"
    assert planner.programmed("b")[0]
