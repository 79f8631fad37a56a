"""A pass that remembers the one before comes to what a pass without a memory comes to, whatever has changed."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.world import SHARED, TEAM, Planner, SmallWorld
from wsroute.cluster.kinds import Kind
from wsroute.controller.generated import Wanted
from wsroute.controller.plan import BalancerPlan
from wsroute.dataplane.names import ROLE_STATE, ROLE_TABLE

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("route"),
            NAMES,
            st.sampled_from(["a.example.com", "b.example.com", "*.example.com", "", "not a host"]),
            st.sampled_from(["/ws", "/other"]),
            st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]),
        ),
        st.tuples(st.just("endpoints"), NAMES, st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), unique=True)),
        st.tuples(st.just("remove"), NAMES),
        st.tuples(st.just("write")),
        st.tuples(st.just("rest"), st.sampled_from([1, 700])),
        st.tuples(st.just("plane"), st.sampled_from(["Static", "Dynamic"])),
        st.tuples(st.just("quota"), st.sampled_from([None, 2])),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(EVENTS)
def test_a_pass_with_a_memory_comes_to_what_one_without_comes_to(events: Iterable[tuple[object, ...]]) -> None:
    world = SmallWorld()
    warm = Planner(world)
    terms: dict[str, object] = {"dataPlane": "Dynamic"}
    world.balancer(**terms)
    for number, event in enumerate(events):
        match event:
            case ("route", str(name), str(host), str(path), str(created)):
                world.route(name, host=host, path=path, service=name, created=created, generation=number + 1)
            case ("endpoints", str(name), list(addresses)):
                world.service(name, *addresses)
            case ("remove", str(name)):
                world.remove(Kind.ROUTE, name, TEAM)
            case ("write",):
                world.commit(warm.plan())
            case ("rest", int(seconds)):
                # Since when a host is without a route is in the memory alone until that is written.
                while tables(warm.plan()):
                    world.commit(warm.plan())
                warm.now += seconds
            case ("plane", plane):
                terms["dataPlane"] = plane
                world.balancer(**terms)
            case ("quota", quota):
                allowed = {"namespaces": {"from": "All"}, "hosts": ["*.example.com"]}
                terms["allowedRoutes"] = {**allowed, "maxPerNamespace": quota} if quota else allowed
                world.balancer(**terms)
        cold = Planner(world)
        cold.now = warm.now
        one, other = warm.result(), cold.result()
        assert one.graph == other.graph
        assert list(one.graph.routes) == list(other.graph.routes)
        assert one.plans[SHARED].desired == other.plans[SHARED].desired
        assert tables(one.plans[SHARED]) == tables(other.plans[SHARED])


def tables(plan: BalancerPlan) -> list[Wanted]:
    """What is to be written of tables and of the state. (With a file goes since when and why, as far as is known.)"""
    return [write.wanted for write in plan.writes if write.wanted.role in (ROLE_TABLE, ROLE_STATE)]
