"""The texts that `kubectl get` prints."""

from wsroute.api.conditions import Condition, ConditionType, Reason
from wsroute.api.status import balancer_summary, first_false_reason, route_summary
from wsroute.api.v1alpha1 import Listener

ACCEPTED = Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "")
RESOLVED = Condition(ConditionType.RESOLVED_REFS, True, Reason.RESOLVED, "")
PENDING = Condition(ConditionType.PROGRAMMED, False, Reason.PENDING, "")
NOT_READY = Condition(ConditionType.READY, False, Reason.PENDING, "")
STALLED = Condition(ConditionType.STALLED, False, Reason.PROGRESSING, "")


def listener(name: str, port: int) -> Listener:
    """One listener."""
    return Listener.model_validate({"name": name, "port": port, "protocol": "HTTP"})


def test_the_reason_is_that_of_the_first_condition_that_ought_to_be_true() -> None:
    assert first_false_reason([ACCEPTED, RESOLVED, PENDING, NOT_READY]) == "Pending"
    assert first_false_reason([STALLED, ACCEPTED]) == "", "not stalled is good news"


def test_a_route_s_columns() -> None:
    assert route_summary(hosts=["a.example.com"], ready=3, draining=0, conditions=[ACCEPTED]) == {
        "hosts": "a.example.com",
        "endpoints": "3",
        "reason": "",
    }
    assert route_summary(
        hosts=["a.example.com", "b.example.com", "c.example.com"], ready=0, draining=2, conditions=[PENDING]
    ) == {
        "hosts": "a.example.com,b.example.com +1 more",
        "endpoints": "0 (2 draining)",
        "reason": "Pending",
    }


def test_a_balancer_s_columns() -> None:
    assert balancer_summary(
        listeners=[listener("ws", 8080), listener("alt", 9090)],
        accepted=40,
        rejected=1,
        current=2,
        total=3,
        leaving=0,
        conditions=[ACCEPTED, PENDING],
    ) == {"listeners": "ws:8080,alt:9090", "routes": "40 (1 rejected)", "pods": "2/3", "reason": "Pending"}
    summary = balancer_summary(
        listeners=[listener("ws", 8080)], accepted=40, rejected=0, current=3, total=3, leaving=2, conditions=[]
    )
    assert (summary["routes"], summary["pods"]) == ("40", "3/3 (2 leaving)")
