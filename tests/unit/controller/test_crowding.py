"""Who gives way where a Static balancer's file is too large."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from wsroute.cluster.objects import Key, PathClaim
from wsroute.controller.crowding import left_out, make_room
from wsroute.dataplane.ir import RouteRef
from wsroute.graph.model import RouteNode

ROUTE = RouteNode(Key("a", "a"), "uid", 1, Key("s", "b"), (), hosts=("a.example.com",))


def routes(*many: tuple[str, int]) -> dict[RouteRef, RouteNode]:
    """Routes of these namespaces with so many paths."""
    return {
        RouteRef(namespace, f"r{number}"): replace(
            ROUTE,
            key=Key(namespace, f"r{number}"),
            withdrawn_paths=tuple(PathClaim(f"/{each}", "Exact") for each in range(paths)),
        )
        for number, (namespace, paths) in enumerate(many)
    }


SOME = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 9)), min_size=1, max_size=30)


@given(SOME, st.floats(0, 1))
def test_enough_give_way_and_never_who_takes_no_more_than_an_equal_share(
    some: list[tuple[str, int]], part: float
) -> None:
    there = routes(*some)
    sizes = {route: 100.0 * len(node.withdrawn_paths) for route, node in there.items()}
    whole = sum(sizes.values())
    excess = part * whole
    counts = make_room({}, there, sizes, excess)
    gone = left_out(counts, there)
    assert sum(sizes[route] for route in gone) >= min(excess, whole - 0.01)
    assert gone
    totals = Counter({namespace: sum(n for name, n in some if name == namespace) * 100.0 for namespace, _ in some})
    share = (whole - excess) / len(totals)
    small = {namespace for namespace, total in totals.items() if total < share - 0.01}
    assert not small & {route.namespace for route in gone}
    # Of each namespace the largest ones.
    for route in gone:
        kept = [sizes[each] for each in there if each.namespace == route.namespace and each not in gone]
        assert sizes[route] >= max(kept, default=0)
    # Of those that are left, more give way; the first ones stay where they are.
    left = {route: size for route, size in sizes.items() if route not in gone}
    assert left_out(make_room(counts, there, left, 1.0), there) >= gone


def test_nobody_is_left_to_give_way() -> None:
    there = routes(("a", 1))
    counts = make_room({}, there, {RouteRef("a", "r0"): 10.0}, 5.0)
    assert counts == {"a": 1}
    assert make_room(counts, there, {}, 5.0) == counts
