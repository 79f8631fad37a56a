"""Argo CD's view of our objects: the health script in the Lua that Argo CD speaks (5.1), on every condition and reason.

Argo CD gives the script the base and table libraries and little else, so it runs without the others here.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from localcluster import install
from wsroute.api.conditions import ABNORMAL, Condition, ConditionType, Reason, merge_conditions
from wsroute.graph.conditions import TERMINAL

DEPLOY = Path(__file__).parents[3] / "deploy"
SCRIPT = (DEPLOY / "argocd" / "health.lua").read_text()

HEALTHY, PROGRESSING, DEGRADED, SUSPENDED = "Healthy", "Progressing", "Degraded", "Suspended"

GOOD = {
    Reason.ACCEPTED,
    Reason.RESOLVED,
    Reason.PROGRAMMED,
    Reason.READY,
    Reason.PROGRESSING,
    Reason.NO_BACKLOG,
    Reason.MAX_DRAINING_GENERATIONS,
}
"""What stands on a condition that holds, on a Stalled that does not, or on DrainBacklog, which is nobody's illness."""

# A new reason must be decided here and in the script: what waits for an edit is degraded, the rest may mend itself.
HEALTH = {
    Reason.INVALID: DEGRADED,
    Reason.NOT_ALLOWED: DEGRADED,
    Reason.HOST_CONFLICT: DEGRADED,
    Reason.PATH_CONFLICT: DEGRADED,
    Reason.QUOTA: DEGRADED,
    Reason.UNSUPPORTED: DEGRADED,
    Reason.REF_NOT_PERMITTED: DEGRADED,
    Reason.UNSUPPORTED_SERVICE: DEGRADED,
    Reason.CONFIG_REJECTED: DEGRADED,
    Reason.TEMPLATE_INVALID: DEGRADED,
    Reason.ROUTES_HELD: DEGRADED,
    Reason.NO_BALANCER: PROGRESSING,
    Reason.SECRET_NOT_FOUND: PROGRESSING,
    Reason.INVALID_CERTIFICATE: PROGRESSING,
    Reason.SERVICE_NOT_FOUND: PROGRESSING,
    Reason.PORT_NOT_FOUND: PROGRESSING,
    Reason.ENDPOINT_NOT_ALLOWED: PROGRESSING,
    Reason.DEPLOYMENT_NOT_FOUND: PROGRESSING,
    Reason.DEPLOYMENT_TAKEN: PROGRESSING,
    Reason.SERVICE_PORT_MISSING: PROGRESSING,
    Reason.TEMPLATE_NOT_FOUND: PROGRESSING,
    Reason.PENDING: PROGRESSING,
    Reason.NO_BALANCER_PODS: PROGRESSING,
    Reason.RELOAD_HELD: PROGRESSING,
    Reason.NO_ENDPOINTS: PROGRESSING,
}

TYPES = {
    "WebSocketRoute": ("Accepted", "ResolvedRefs", "Programmed", "Ready", "Stalled"),
    "WebSocketBalancer": ("Accepted", "DeploymentReady", "Programmed", "DrainBacklog", "Stalled"),
}
"""The conditions of each kind, in the order in which the operator writes them."""

PLACES = [(kind, ConditionType(name)) for kind, names in TYPES.items() for name in names if name not in ABNORMAL]


def health(found: dict[str, Any]) -> tuple[str, str]:
    """What the script says of an object."""
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    for library in ("string", "math", "io", "os", "debug", "package", "require", "dofile", "loadfile"):
        lua.execute(f"{library} = nil")
    lua.globals().obj = lua.table_from(found, recursive=True)
    answer = lua.execute(SCRIPT)
    return answer["status"], answer["message"]


def seen(kind: str, *conditions: Condition, generation: int = 3, observed: int = 3) -> dict[str, Any]:
    """An object with the conditions that the operator writes for it: those that aren't given hold."""
    given = {condition.type: condition for condition in conditions}
    written = merge_conditions(
        [given.get(ConditionType(name), holding(ConditionType(name))) for name in TYPES[kind]],
        [],
        generation=observed,
        now="2026-01-01T00:00:00Z",
    )
    status: dict[str, Any] = {"observedGeneration": observed, "conditions": written}
    return {"kind": kind, "metadata": {"name": "chat", "generation": generation}, "status": status}


def holding(kind: ConditionType) -> Condition:
    """A condition as it should be."""
    status = kind not in ABNORMAL
    return Condition(kind, status=status, reason=Reason.READY, message="As it should be.")


def failing(kind: ConditionType, reason: Reason) -> Condition:
    """A condition that does not hold."""
    return Condition(kind, status=False, reason=reason, message=f"Because of {reason}.")


def test_the_health_of_every_reason_is_decided() -> None:
    assert HEALTH.keys() | GOOD == set(Reason)
    in_script = dict(re.findall(r"^  (\w+) = \"(\w+)\",$", SCRIPT, re.MULTILINE))
    assert in_script == {str(reason): decided for reason, decided in HEALTH.items()}


def test_degraded_is_what_the_operator_calls_stalled() -> None:
    assert {reason for reason, decided in HEALTH.items() if decided == DEGRADED} == TERMINAL | {Reason.ROUTES_HELD}


def test_every_type_of_condition_is_tried() -> None:
    assert {kind for _, kind in PLACES} | ABNORMAL == set(ConditionType)


def test_sockets_that_drain_are_no_illness() -> None:
    backlog = Condition(
        ConditionType.DRAIN_BACKLOG, status=True, reason=Reason.MAX_DRAINING_GENERATIONS, message="Full."
    )
    assert health(seen("WebSocketBalancer", backlog)) == (HEALTHY, "")


@pytest.mark.parametrize("kind", TYPES)
def test_where_every_condition_holds_it_is_healthy(kind: str) -> None:
    assert health(seen(kind)) == (HEALTHY, "")


def test_the_first_address_is_the_message() -> None:
    found = seen("WebSocketRoute")
    found["status"]["urls"] = ["wss://chat.example.com/ws", "wss://chat.example.org/ws"]
    assert health(found) == (HEALTHY, "wss://chat.example.com/ws")
    found = seen("WebSocketBalancer")
    found["status"]["addresses"] = ["192.0.2.7"]
    assert health(found) == (HEALTHY, "192.0.2.7")


@pytest.mark.parametrize("reason", HEALTH)
@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_a_condition_that_does_not_hold(kind: str, place: ConditionType, reason: Reason) -> None:
    expected = HEALTH[reason]
    message = f"{reason}: Because of {reason}."
    if (place, reason) == (ConditionType.DEPLOYMENT_READY, Reason.NO_BALANCER_PODS):
        # Somebody has scaled it to 0.
        expected, message = SUSPENDED, f"Because of {reason}."
    assert health(seen(kind, failing(place, reason))) == (expected, message)


@pytest.mark.parametrize("reason", sorted(TERMINAL))
@pytest.mark.parametrize("kind", TYPES)
def test_stalled_is_degraded_whatever_came_first(kind: str, reason: Reason) -> None:
    stalled = Condition(ConditionType.STALLED, status=True, reason=reason, message="Edit it.")
    found = seen(kind, failing(ConditionType.PROGRAMMED, Reason.PENDING), stalled)
    assert health(found) == (DEGRADED, f"{reason}: Edit it.")


def test_the_first_condition_that_does_not_hold_says_why() -> None:
    found = seen(
        "WebSocketRoute",
        failing(ConditionType.RESOLVED_REFS, Reason.SERVICE_NOT_FOUND),
        failing(ConditionType.READY, Reason.NO_ENDPOINTS),
    )
    assert health(found)[1].startswith("ServiceNotFound")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("status", [None, {}, {"conditions": []}, {"observedGeneration": 3}], ids=str)
def test_what_the_operator_has_not_seen_is_progressing(kind: str, status: dict[str, Any] | None) -> None:
    found = seen(kind)
    found["status"] = status
    assert health(found) == (PROGRESSING, "The operator has not looked at it yet.")


@pytest.mark.parametrize("reason", [Reason.READY, *HEALTH])
@pytest.mark.parametrize("kind", TYPES)
def test_the_judgement_of_an_older_generation_does_not_count(kind: str, reason: Reason) -> None:
    stalled = Condition(ConditionType.STALLED, status=reason in TERMINAL, reason=reason, message="Old.")
    found = seen(kind, stalled, observed=2)
    assert health(found) == (PROGRESSING, "The operator has not looked at the last edit yet.")


def test_a_reason_of_a_later_version_is_progressing_unless_stalled() -> None:
    found = seen("WebSocketRoute", failing(ConditionType.READY, Reason.PENDING))
    found["status"]["conditions"][3]["reason"] = "FromTheFuture"
    assert health(found)[0] == PROGRESSING


def test_the_application_installs_the_chart_as_the_base_does() -> None:
    spec = yaml.safe_load((DEPLOY / "argocd" / "application.yaml").read_text())["spec"]
    assert (DEPLOY.parent / spec["source"]["path"] / "Chart.yaml").exists()
    assert spec["destination"]["namespace"] == install.NAMESPACE
    namespace = yaml.safe_load((DEPLOY / "operator" / "namespace.yaml").read_text())
    assert spec["syncPolicy"]["managedNamespaceMetadata"]["labels"] == namespace["metadata"]["labels"]
    assert "ServerSideApply=true" in spec["syncPolicy"]["syncOptions"]
    assert "ignoreDifferences" not in spec
