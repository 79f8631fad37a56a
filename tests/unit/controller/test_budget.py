"""The reload budget: tables of verdicts, which pod is full, and what counts as the removal of an endpoint."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.configurations import configuration, location, many_routes, proxy, server, upstream
from wsroute.api.policies import Policy
from wsroute.controller.budget import (
    AHEAD,
    LATE,
    Cause,
    Full,
    Go,
    Hold,
    Reload,
    Terms,
    find_full,
    judge,
    only_endpoints,
    removes,
    removes_of,
)
from wsroute.controller.rollout import SILENCE, BalancerPod
from wsroute.dataplane.acknowledgement import NOT_DRAINING, Acknowledgement, Draining, Failure
from wsroute.dataplane.ir import Configuration, Endpoint, RouteRef
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.reading import read_endpoints
from wsroute.nginx.render import render

NOW = 1_800_000_000.0
TERMS = Terms(5.0, 3, 3600.0, "5s", "1h")
FULL = Full("a", 3, NOW + 60)
CAUSES = pytest.mark.parametrize("cause", list(Cause))


def reload(ago: float, *, interval: float | None = None) -> Reload:
    return Reload(NOW - ago, Cause.CONFIGURATION, NOW - (ago if interval is None else interval))


def verdict(cause: Cause, *, last: Reload | None = None, full: Full | None = None, terms: Terms = TERMS) -> Go | Hold:
    return judge(cause, terms=terms, last=last, full=full, now=NOW)


# --- the interval ---


@CAUSES
@pytest.mark.parametrize("last", [None, reload(5.0), reload(3600.0)])
def test_an_isolated_change_goes_at_once(cause: Cause, last: Reload | None) -> None:
    assert verdict(cause, last=last) == Go()


@pytest.mark.parametrize("cause", [Cause.CONFIGURATION, Cause.ENDPOINTS])
def test_a_change_soon_after_a_reload_waits_and_says_until_when(cause: Cause) -> None:
    held = verdict(cause, last=reload(2.0))
    assert held == Hold(
        "Reloads keep 5s apart (spec.reload.minInterval of the balancer), and the last one was at "
        "2027-01-15 07:59:58 UTC: the change is brought in at 2027-01-15 08:00:03 UTC.",
        NOW + 3.0,
    )


def test_a_removal_goes_alone_within_the_interval() -> None:
    assert verdict(Cause.REMOVAL, last=reload(2.0)) == Go(alone=True)


def test_reloads_that_could_not_wait_make_nothing_else_wait_longer() -> None:
    assert verdict(Cause.CONFIGURATION, last=reload(0.1, interval=5.0)) == Go()


@CAUSES
def test_without_an_interval_nothing_waits(cause: Cause) -> None:
    assert verdict(cause, last=reload(0.0), terms=replace(TERMS, min_interval=0.0)) == Go()


@CAUSES
def test_a_clock_that_was_set_back_holds_nothing(cause: Cause) -> None:
    assert verdict(cause, last=reload(-100.0)) == Go()


# --- the generations ---


@pytest.mark.parametrize("cause", [Cause.CONFIGURATION, Cause.ENDPOINTS])
@pytest.mark.parametrize("last", [None, reload(2.0), reload(3600.0)])
def test_a_full_pod_holds_changes_and_says_until_when(cause: Cause, last: Reload | None) -> None:
    assert verdict(cause, last=last, full=FULL) == Hold(
        "Pod a has 3 draining generations that hold sockets, and spec.reload.maxDrainingGenerations of the balancer is "
        "3. The change waits until one of them has ended, at the latest until shortly after 2027-01-15 08:01:00 UTC, "
        "when the drainTimeout (1h) of the oldest is over.",
        NOW + 60 + LATE,
    )


@pytest.mark.parametrize("last", [None, reload(2.0), reload(3600.0)])
def test_a_full_pod_does_not_hold_a_removal_which_takes_along_what_waits(last: Reload | None) -> None:
    assert verdict(Cause.REMOVAL, last=last, full=FULL) == Go()


def pod(
    name: str = "a", runs: str = "v1", *, drains: Draining = NOT_DRAINING, sockets: int = 9, **more: Any
) -> BalancerPod:
    ready = more.pop("ready", True)
    return BalancerPod(name, ready, Acknowledgement(runs, 1, sockets, "1.31.3", ipv6=True, draining=drains, **more))


def drains(generations: int, *, ago: float = 60.0) -> Draining:
    return Draining(generations, generations, round(NOW - ago))


def full(*pods: BalancerPod, published: float | None = NOW - 60) -> Full | None:
    return find_full(pods, standing="v1", published=published, terms=TERMS, now=NOW)


def test_pods_below_the_limit_have_room() -> None:
    assert full() is None
    assert full(BalancerPod("a", ready=True, said=None), pod("b"), pod("c", drains=drains(2))) is None


def test_of_full_pods_the_one_that_takes_longest_counts() -> None:
    pods = [pod("a", drains=drains(3, ago=50)), pod("b", drains=drains(4, ago=20)), pod("c", drains=drains(3, ago=90))]
    assert full(*pods) == Full("b", 4, NOW - 20 + 3600)


def test_a_pod_that_is_not_ready_counts_too() -> None:
    assert full(pod(drains=drains(3), ready=False)) == Full("a", 3, NOW - 60 + 3600)


@pytest.mark.parametrize("ago", [3600 + LATE, 10**6, -AHEAD - 1])
def test_what_can_t_be_true_any_more_holds_nothing(ago: float) -> None:
    assert full(pod(drains=drains(3, ago=ago))) is None


def test_a_generation_that_is_late_still_counts() -> None:
    assert full(pod(drains=drains(3, ago=3600 + LATE - 1))) is not None


def test_a_pod_that_has_yet_to_load_what_stands_will_have_one_more() -> None:
    late = pod(runs="v0", drains=drains(2))
    assert full(late, published=NOW - 1) == Full("a", 2, NOW - 1 + SILENCE, coming=True)
    held = verdict(Cause.ENDPOINTS, full=full(late, published=NOW - 1))
    assert isinstance(held, Hold)
    assert held.message.startswith("The change waits until pod a has loaded the version before")
    # One that says nothing for long is not waited for.
    assert full(late, published=NOW - SILENCE) is None
    assert full(late, published=None) is None


def test_a_pod_that_is_full_counts_before_one_that_will_be() -> None:
    late = pod("z", runs="v0", drains=drains(2))
    over = pod("a", drains=drains(3, ago=3600 + 60))
    assert full(late, over, published=NOW - 1) == Full("a", 3, NOW - 60)


@pytest.mark.parametrize(
    "other",
    [
        pod(runs="v1", drains=drains(2)),
        pod(runs="", drains=drains(2)),
        pod(runs="v0", drains=drains(2), sockets=2),
        pod(runs="v0", drains=drains(2), ready=False),
        pod(runs="v0", drains=drains(2), failure=Failure("v1", "test", "no")),
        pod(runs="v0", drains=drains(1)),
    ],
    ids=["loaded", "nothing-loaded", "no-new-sockets", "not-ready", "refused", "room"],
)
def test_a_pod_that_will_not_have_one_more(other: BalancerPod) -> None:
    assert full(other, published=NOW - 1) is None


# --- what changes ---

ONE, TWO, THREE = (Endpoint(f"10.0.0.{number}", 8080, 1) for number in (1, 2, 3))


def served(*endpoints: Endpoint, sources: tuple[str, ...] = ("team-a/chat:80 weight 1",), **more: Any) -> Configuration:
    return configuration(upstreams=[replace(upstream(*endpoints), sources=sources)], **more)


def test_an_address_that_leaves_is_a_removal() -> None:
    assert removes(served(ONE, TWO), served(TWO, THREE))
    assert not removes(served(ONE), served(ONE, TWO))
    assert not removes(served(ONE, TWO), served(ONE, TWO, port=9090))


def test_another_weight_is_no_removal_and_another_port_is_one() -> None:
    assert not removes(served(ONE), served(replace(ONE, weight=5)))
    assert removes(served(ONE), served(replace(ONE, port=81)))


def test_the_end_of_a_route_or_of_its_last_endpoint_is_a_removal() -> None:
    assert removes(served(ONE), configuration(upstreams=[], servers=[]))


def test_paths_that_change_places_remove_nothing() -> None:
    def two(first: Endpoint, second: Endpoint) -> Configuration:
        return configuration(
            upstreams=[upstream(first, name="team-a_chat_0"), upstream(second, name="team-a_chat_1")],
            servers=[server(location("/a"), location("/b", proxy("team-a_chat_1")))],
        )

    assert not removes(two(ONE, TWO), two(TWO, ONE))
    assert removes(two(ONE, TWO), two(TWO, THREE))


def test_an_address_that_goes_over_to_another_route_leaves_the_first() -> None:
    def teams(first: Endpoint, second: Endpoint) -> Configuration:
        return configuration(
            upstreams=[upstream(first, name="team-a_chat_0"), upstream(second, name="team-b_chat_0")],
            servers=[
                server(location()),
                server(location("/b", proxy("team-b_chat_0"), route=RouteRef("team-b", "chat")), host="b.example.com"),
            ],
        )

    assert removes(teams(ONE, TWO), teams(THREE, ONE))


def test_a_file_tells_of_removals_as_its_configuration_does() -> None:
    before = many_routes(20, port=8080)
    six = Endpoint("2001:db8::1", 443, 3)
    before = replace(before, upstreams=(*before.upstreams[:-1], replace(before.upstreams[-1], endpoints=(ONE, six))))
    read = read_endpoints(render(before, POD_PATHS).text)
    assert read == {
        each.name: frozenset((endpoint.address, endpoint.port) for endpoint in each.endpoints)
        for each in before.upstreams
    }
    assert not removes_of(read, before)
    assert removes_of(read, replace(before, upstreams=before.upstreams[1:]))
    fewer = replace(before, upstreams=(*before.upstreams[:-1], replace(before.upstreams[-1], endpoints=(ONE,))))
    assert removes_of(read, fewer)
    more = replace(before, upstreams=(*before.upstreams, upstream(TWO, name="team-x_new_0")))
    assert not removes_of(read, more)


def test_a_removal_alone_leaves_all_else_as_it_stands() -> None:
    standing, desired = served(ONE, TWO), served(TWO, THREE, port=9090)
    assert only_endpoints(standing, desired) == served(TWO, THREE)


@pytest.mark.parametrize(
    "desired",
    [
        configuration(upstreams=[], servers=[]),
        served(TWO, sources=("team-a/other:80 weight 1",)),
        configuration(upstreams=[upstream(TWO, balancing=Policy.ROUND_ROBIN)]),
    ],
    ids=["route-gone", "other-service", "other-policy"],
)
def test_a_removal_that_needs_more_can_t_go_alone(desired: Configuration) -> None:
    assert only_endpoints(served(ONE, TWO), desired) is None


def test_an_edited_route_waits_while_another_s_removal_goes_alone() -> None:
    def both(first: Endpoint, *second: Endpoint, sources: tuple[str, ...]) -> Configuration:
        return configuration(
            upstreams=[
                replace(upstream(first), sources=sources),
                replace(upstream(*second, name="team-b_chat_0"), sources=("team-b/chat:80 weight 1",)),
            ],
        )

    standing = both(ONE, TWO, THREE, sources=("team-a/chat:80 weight 1",))
    desired = both(ONE, TWO, sources=("team-a/chat:80 weight 1", "team-a/empty:80 weight 1"))
    assert only_endpoints(standing, desired) == both(ONE, TWO, sources=("team-a/chat:80 weight 1",))
