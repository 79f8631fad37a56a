"""The evidence of the pods: what they say of a version, and when a refusal is believed."""

from typing import Any

import pytest

from wsroute.controller.judging import NOTHING_PUBLISHED, Evidence, Published
from wsroute.controller.rollout import BalancerPod
from wsroute.controller.view import Refused
from wsroute.dataplane.acknowledgement import Acknowledgement, Failure

OLD, NEW = Published("v0", "s0", "b0"), Published("v1", "s1", "b1")
AT_TEST = Failure("v1", "test", "nginx: [emerg] invalid")
AT_LOAD = Failure("v1", "load", "2026/01/31 12:00:00 [emerg] 7#7: limit uses another key than before")
THE_MACHINES = Failure("v1", "load", "2026/01/31 12:00:00 [emerg] 7#7: bind() to 0.0.0.0:80 failed")


def pod(name: str, runs: str = "v0", *, failure: Failure | None = None, ready: bool = True) -> BalancerPod:
    return BalancerPod(name, ready, Acknowledgement(runs, 1, 0, "1.31.3", ipv6=True, failure=failure))


def evidence(*pods: BalancerPod, **more: Any) -> Evidence:
    known: dict[str, Any] = {"in_force": OLD, "trial": NEW, "silent": (), "proven": OLD, "lines": {}}
    return Evidence(pods=pods, **{**known, **more})


def test_what_is_in_force_is_accepted_once_a_pod_runs_it() -> None:
    assert evidence(pod("a", "v1"), in_force=NEW, trial=NOTHING_PUBLISHED).verdict("s1") == "accepted"
    assert evidence(pod("a"), in_force=NEW, trial=NOTHING_PUBLISHED).verdict("s1") == "open"


def test_a_refusal_at_the_test_is_believed_at_once() -> None:
    assert evidence(pod("a", failure=AT_TEST), pod("b")).verdict("s1") == Refused(AT_TEST, ())


@pytest.mark.parametrize("failure", [AT_TEST, AT_LOAD])
def test_what_some_pod_runs_is_the_trouble_of_the_one_that_refuses_it(failure: Failure) -> None:
    assert evidence(pod("a", failure=failure), pod("b", "v1")).verdict("s1") == "open"


@pytest.mark.parametrize(
    ("other", "believed"),
    [
        (pod("b"), False),
        (pod("b", failure=AT_LOAD), True),
        (pod("b", ready=False), True),
        (pod("b", ""), True),
        (pod("silent"), True),
    ],
    ids=["may-try-it", "refused-it-too", "not-ready", "runs-nothing", "silent"],
)
def test_a_refusal_at_load_is_believed_once_nobody_is_left_to_try(other: BalancerPod, believed: bool) -> None:
    verdict = evidence(pod("a", failure=AT_LOAD), other, silent={"silent"}).verdict("s1")
    assert verdict == (Refused(AT_LOAD, ()) if believed else "open")


def test_the_machines_trouble_says_nothing_of_a_version() -> None:
    assert evidence(pod("a", failure=THE_MACHINES)).verdict("s1") == "open"


def test_what_was_run_before_is_not_at_fault_for_being_refused_by_now() -> None:
    assert evidence(pod("a", "", failure=AT_TEST), in_force=NEW, proven=NEW).verdict("s1") == "open"


def test_a_balancer_is_taken_once_a_version_for_it_is_in_force_and_not_refused() -> None:
    assert evidence(pod("a"), in_force=NEW).takes("b1"), "it may yet be loaded"
    assert not evidence(pod("a", failure=AT_TEST), in_force=NEW).takes("b1")
    assert evidence(pod("a", failure=AT_TEST), pod("b", "v1"), in_force=NEW).takes("b1")
    assert not evidence(pod("a", "v1"), in_force=NEW).takes("b0")
