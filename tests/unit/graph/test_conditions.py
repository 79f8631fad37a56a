"""Conditions as users read them."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support import objects as made
from wsroute.api.conditions import Condition, ConditionType, Problem, Reason
from wsroute.graph.conditions import MAX_MESSAGE, RolloutView, balancer_conditions, route_conditions
from wsroute.graph.model import GraphSettings

DONE = RolloutView(ready_pods=2, current_pods=2, total_pods=2)
SERVED = [made.balancer(), made.route(), made.service(), made.endpoint_slice()]


def of_route(raws: list[made.Json], rollout: RolloutView = DONE, **more: Any) -> dict[str, Condition]:
    found = route_conditions(made.route_node(raws, **more), rollout)
    assert [condition.type for condition in found] == ["Accepted", "ResolvedRefs", "Programmed", "Ready", "Stalled"]
    assert all(condition.message.isprintable() and len(condition.message) <= MAX_MESSAGE for condition in found)
    return {condition.type: condition for condition in found}


def brief(conditions: dict[str, Condition]) -> dict[str, tuple[bool, str]]:
    return {name: (condition.status, str(condition.reason)) for name, condition in conditions.items()}


def test_all_is_well() -> None:
    found = of_route(SERVED)
    assert brief(found) == {
        "Accepted": (True, "Accepted"),
        "ResolvedRefs": (True, "ResolvedRefs"),
        "Programmed": (True, "Programmed"),
        "Ready": (True, "Ready"),
        "Stalled": (False, "Ready"),
    }
    assert found["Programmed"].message == "All 2 ready pods serve the route."


@pytest.mark.parametrize(
    ("rollout", "status", "reason", "message"),
    [
        (RolloutView(3, 2, 3), False, "Pending", "2/3 pods serve the route."),
        (RolloutView(0, 0, 2), False, "NoBalancerPods", "No pod of the balancer is ready (2 in all)."),
        (RolloutView(1, 1, 2), True, "Programmed", "The only ready pod serves the route."),
        (
            RolloutView(2, 0, 2, failure='nginx: [emerg] host not found\nin upstream "x"\x1b[31m'),
            False,
            "ConfigRejected",
            (
                "nginx refused the route, and the pods serve what they served before: "
                'nginx: [emerg] host not found in upstream "x" [31m'
            ),
        ),
        (RolloutView(2, 1, 2, hold="It waits."), False, "ReloadHeld", "It waits."),
        (RolloutView(2, 2, 2, hold="It waits."), True, "Programmed", "All 2 ready pods serve the route."),
        (RolloutView(2, 2, 2, failure="old"), True, "Programmed", "All 2 ready pods serve the route."),
    ],
)
def test_programmed(rollout: RolloutView, status: bool, reason: str, message: str) -> None:
    found = of_route(SERVED, rollout)
    assert found["Programmed"] == Condition(ConditionType.PROGRAMMED, status, Reason(reason), message)
    assert found["Ready"].status == status
    if not status:
        assert found["Ready"].reason == reason
    assert found["Stalled"].status == (reason == "ConfigRejected")


def test_nginx_words_are_cut() -> None:
    assert len(of_route(SERVED, RolloutView(1, 0, 1, failure="x" * 100_000))["Programmed"].message) < 1200


def test_rejected_and_stalled() -> None:
    found = of_route([made.balancer(), made.route(spec={"nonsense": 1})])
    assert brief(found) == {
        "Accepted": (False, "Invalid"),
        "ResolvedRefs": (False, "Invalid"),
        "Programmed": (False, "Invalid"),
        "Ready": (False, "Invalid"),
        "Stalled": (True, "Invalid"),
    }
    assert found["Accepted"].message.startswith("spec.nonsense: ")


def test_a_missing_balancer_may_still_come() -> None:
    found = of_route([made.route()])
    assert found["Accepted"].reason is Reason.NO_BALANCER
    assert not found["Stalled"].status
    assert found["Stalled"].reason is Reason.PROGRESSING


def test_a_missing_service_may_still_come() -> None:
    found = of_route([made.balancer(), made.route()])
    assert brief(found) == {
        "Accepted": (True, "Accepted"),
        "ResolvedRefs": (False, "ServiceNotFound"),
        "Programmed": (True, "Programmed"),
        "Ready": (False, "ServiceNotFound"),
        "Stalled": (False, "Progressing"),
    }
    assert found["Ready"].message == (
        "ResolvedRefs is false: spec.paths[0].backends[0].service: There is no Service chat in the route's namespace: "
        "create it, or name another."
    )


def test_no_endpoints_says_why() -> None:
    unready = made.endpoint_slice(endpoints=[made.endpoint(ready=False)])
    raws = [made.balancer(), made.route(), made.service(), unready]
    assert of_route(raws)["Ready"] == Condition(
        ConditionType.READY,
        status=False,
        reason=Reason.NO_ENDPOINTS,
        message="No endpoint takes new sockets for the path /ws. Service chat: 1 endpoint is not ready.",
    )


def test_endpoints_that_are_not_allowed_make_no_route_stalled() -> None:
    """Whoever writes the slices, or the balancer's administrator, cures it: the route itself waits for no edit."""
    slices = made.endpoint_slice(endpoints=["10.0.0.1", "127.0.0.1"])
    found = of_route([made.balancer(), made.route(), made.service(), slices])
    assert (found["ResolvedRefs"].status, found["ResolvedRefs"].reason) == (False, Reason.ENDPOINT_NOT_ALLOWED)
    assert found["ResolvedRefs"].message.startswith("spec.paths[0].backends[0].service: ")
    assert (found["Ready"].status, found["Ready"].reason) == (False, Reason.ENDPOINT_NOT_ALLOWED)
    assert found["Accepted"].status
    assert found["Programmed"].status
    assert not found["Stalled"].status


def test_not_allowed_endpoints_of_many_backends_stay_short() -> None:
    hostile = made.endpoint_slice(endpoints=[made.endpoint("x" * 1_000 + "\n", pod="a")])
    paths = [made.path(f"/{n}", [made.backend() for _ in range(16)]) for n in range(32)]
    found = of_route([made.balancer(), made.route(paths=paths), made.service(), hostile])
    assert found["ResolvedRefs"].message.endswith(" ...")
    assert len(found["ResolvedRefs"].message) <= 4_000
    assert found["ResolvedRefs"].message.isprintable()


def test_every_path_needs_endpoints() -> None:
    paths = [made.path("/ws"), made.path("/idle", [made.backend("idle")])]
    raws = [made.balancer(), made.route(paths=paths), made.service(), made.service("idle"), made.endpoint_slice()]
    assert of_route(raws)["Ready"].message == "No endpoint takes new sockets for the path /idle."


def test_only_terminating_endpoints_are_ready() -> None:
    raws = [made.balancer(), made.route(), made.service(), made.endpoint_slice(endpoints=[made.terminating()])]
    assert of_route(raws)["Ready"].status


def test_many_problems_stay_short() -> None:
    paths = [made.path(f"/{n}", [made.backend(f"gone-{m}") for m in range(16)]) for n in range(32)]
    found = of_route([made.balancer(), made.route(paths=paths)])
    assert found["ResolvedRefs"].message.endswith(" ...")


def of_balancer(raws: list[made.Json], rollout: RolloutView = DONE, **more: Any) -> dict[str, Condition]:
    found = balancer_conditions(made.balancer_node(raws, **more), rollout)
    kinds = ["Accepted", "DeploymentReady", "Programmed", "DrainBacklog", "Stalled"]
    assert [condition.type for condition in found] == kinds
    return {condition.type: condition for condition in found}


@pytest.mark.parametrize(
    ("deployment", "status", "reason", "message"),
    [
        (made.deployment(), True, "Ready", "2/2 replicas are ready."),
        (made.deployment(ready=1), False, "Pending", "1/2 replicas are ready."),
        (made.deployment(replicas=0), False, "NoBalancerPods", "The Deployment shared-balancer is scaled to 0."),
        (
            made.deployment("other"),
            False,
            "DeploymentNotFound",
            (
                "spec.deploymentRef: There is no Deployment shared-balancer in the balancer's namespace: make it or "
                "name another."
            ),
        ),
    ],
)
def test_deployment_ready(deployment: made.Json, status: bool, reason: str, message: str) -> None:
    found = of_balancer([made.balancer(), deployment])
    assert found["DeploymentReady"] == Condition(ConditionType.DEPLOYMENT_READY, status, Reason(reason), message)
    assert not found["Stalled"].status
    assert found["Programmed"].message == "All 2 ready pods serve the version in force."


def test_balancer_without_deployment() -> None:
    found = of_balancer([made.balancer(spec={"deploymentRef": None})], settings=GraphSettings(standalone=True))
    assert found["DeploymentReady"].status


def test_invalid_balancer() -> None:
    found = of_balancer([made.balancer(spec={"nonsense": 1}), made.deployment()])
    assert brief(found) == {
        "Accepted": (False, "Invalid"),
        "DeploymentReady": (False, "Invalid"),
        "Programmed": (False, "Invalid"),
        "DrainBacklog": (False, "NoBacklog"),
        "Stalled": (True, "Invalid"),
    }


@pytest.mark.parametrize(
    ("reason", "who"),
    [
        (Reason.INVALID, "this object."),
        (Reason.HOST_CONFLICT, "the route, or deletes those that have the host."),
        (Reason.NOT_ALLOWED, "the route, its balancer or its namespace's labels."),
        (Reason.UNSUPPORTED_SERVICE, "the route or its Service."),
    ],
)
def test_what_stalls_says_whose_edit_ends_it(reason: Reason, who: str) -> None:
    problem = Problem(reason, "spec", "It is wrong.")
    stalled = route_conditions(replace(made.route_node(SERVED), acceptance_problems=(problem,)), DONE)[-1]
    assert stalled.status
    assert stalled.message.startswith(f"Nothing will change until somebody edits {who} ")


def test_a_drain_backlog_is_told_and_stalls_nothing() -> None:
    node = made.balancer_node([made.balancer(), made.deployment()])
    found: dict[str, Condition] = {
        each.type: each for each in balancer_conditions(node, DONE, backlog="Pod a is full.")
    }
    assert brief(found)["DrainBacklog"] == (True, "MaxDrainingGenerations")
    assert found["DrainBacklog"].message == "Pod a is full."
    assert brief(found)["Stalled"] == (False, "Ready")
