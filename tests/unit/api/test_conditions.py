"""Conditions keep their transition times, and nothing that the API server would refuse gets in."""

from typing import Any

import pytest

from wsroute.api.conditions import MAX_MESSAGE, Condition, ConditionType, Problem, Reason, merge_conditions

NOW = "2026-11-23T10:00:00Z"
BEFORE = "2026-01-31T09:00:00Z"


def merged(status: bool, written: list[Any], message: str = "All is well.") -> dict[str, Any]:
    """One condition, merged with what is written."""
    condition = Condition(ConditionType.READY, status, Reason.READY, message)
    (entry,) = merge_conditions([condition], written, generation=3, now=NOW)
    return entry


def written(**fields: Any) -> list[Any]:
    """What the status holds."""
    return [{"type": "Ready", "status": "True", "lastTransitionTime": BEFORE} | fields]


def test_the_shape_is_that_of_the_kubernetes_conventions() -> None:
    assert merged(True, []) == {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "All is well.",
        "observedGeneration": 3,
        "lastTransitionTime": NOW,
    }


def test_the_time_stays_while_the_status_does() -> None:
    assert merged(True, written(reason="Other", message="other"))["lastTransitionTime"] == BEFORE
    assert merged(False, written())["lastTransitionTime"] == NOW
    assert merged(True, written(type="Accepted"))["lastTransitionTime"] == NOW


@pytest.mark.parametrize(
    "forged",
    [
        None,
        5,
        "",
        "yesterday",
        "2026-02-31T09:00:00Z",
        "2026-01-01T25:00:00Z",
        "2026-01-01T09:00:00Z\n",
        "2026-1-1T9:0:0Z",
    ],
)
def test_a_forged_time_is_not_kept(forged: Any) -> None:
    assert merged(True, written(lastTransitionTime=forged))["lastTransitionTime"] == NOW


@pytest.mark.parametrize("entry", [None, 5, "Ready", [], {}, {"type": 5}, {"type": ["Ready"]}])
def test_anything_may_stand_in_a_status(entry: Any) -> None:
    assert merged(True, [entry])["lastTransitionTime"] == NOW


def test_a_message_that_is_too_long_is_cut() -> None:
    assert merged(True, [], "a" * MAX_MESSAGE)["message"] == "a" * MAX_MESSAGE
    cut = merged(True, [], "a" * (MAX_MESSAGE + 1))["message"]
    assert len(cut) == MAX_MESSAGE
    assert cut.endswith("a ...")


def test_a_problem_reads_as_field_and_sentence() -> None:
    assert str(Problem(Reason.INVALID, "spec.hosts[0]", "It is wrong.")) == "spec.hosts[0]: It is wrong."
    assert str(Problem(Reason.NO_BALANCER, "", "There is none.")) == "There is none."
