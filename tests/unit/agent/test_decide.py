"""What a pod does next, for every state that it can be in."""

from dataclasses import replace
from typing import Any

import pytest

from wsroute.agent.decide import (
    DOUBT,
    RETRY_LOAD,
    Apply,
    PublicationError,
    Published,
    View,
    Wait,
    decide,
    parse_publication,
    supersedes,
)
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure

A, B, C = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
NOW = 1000.0


def published(version: str, *, canary: str = "", pods: str = "", epoch: int = 1, uid: str = "u1") -> Published:
    return Published(
        uid=uid,
        version=version,
        digest="",
        epoch=epoch,
        canary=canary,
        pods=frozenset(pods.split()),
        ports=frozenset({8080}),
    )


def view(running: str | None, main: Published | None, trial: Published | None = None) -> View:
    return View(pod="me", running=running).publish(main=main, next=trial)


def refusal(version: str, phase: Any = "test") -> Failure:
    return Failure(version=version, phase=phase, message="no")


NOTHING_UNDER_CANARY = published("")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(view(None, published(A, pods="*")), Wait(), id="what runs is not known yet"),
        pytest.param(view("", None), Wait(), id="nothing is published"),
        pytest.param(view("", published("")), Wait(), id="an empty version is in force"),
        pytest.param(view("", published(A)), Apply(A), id="nothing loaded: at once, whoever's turn it is"),
        pytest.param(view(A, published(A, pods="*")), Wait(), id="the right one runs"),
        pytest.param(view(A, published(B, pods="*")), Apply(B), id="every pod's turn"),
        pytest.param(view(A, published(B, pods="other me")), Apply(B), id="my turn"),
        pytest.param(view(A, published(B, pods="other")), Wait(), id="not my turn"),
        pytest.param(view(A, published(B, pods="me2 xme")), Wait(), id="names are compared whole"),
        pytest.param(view(A, published(A, pods="*"), published(B, canary="me")), Apply(B), id="I am the canary"),
        pytest.param(view(A, published(A, pods="*"), published(B, canary="x")), Wait(), id="another is the canary"),
        pytest.param(
            view(A, published(A, pods="*"), published(B, canary="me")).load(A).load(B), Wait(), id="the canary has it"
        ),
        pytest.param(view(B, published(A, pods="*"), NOTHING_UNDER_CANARY), Apply(A), id="the canary is taken back"),
        pytest.param(view(B, published(A, pods="*"), None), Apply(A), id="its ConfigMap is deleted"),
        pytest.param(view(B, published(A, pods="x"), NOTHING_UNDER_CANARY), Wait(), id="taken back, in its turn"),
        pytest.param(view(B, published(B, pods="me"), NOTHING_UNDER_CANARY), Wait(), id="promoted: nothing to do"),
        pytest.param(view("", published(A), published(B, canary="me")), Apply(B), id="a canary that starts"),
        pytest.param(view("", published(A), published(B, canary="x")), Apply(A), id="a pod that starts under canary"),
    ],
)
def test_the_aim_is_a_function_of_what_is_published(state: View, expected: object) -> None:
    assert decide(state, now=NOW) == expected


@pytest.mark.parametrize("phase", ["test", "load"])
def test_a_canary_that_refuses_goes_on_with_the_version_in_force_and_tries_again(phase: str) -> None:
    state = view(A, published(A, pods="*"), published(B, canary="me")).refuse(refusal(B, phase), now=NOW)
    assert decide(state, now=NOW) == Wait(RETRY_LOAD)
    assert state.failure == refusal(B, phase)
    assert decide(state, now=NOW + RETRY_LOAD) == Apply(B)
    assert decide(state.load(A).load(B), now=NOW + RETRY_LOAD) == Wait()


def test_another_pods_trial_is_not_tried_again() -> None:
    state = view(A, published(A, pods="*"), published(B, canary="x")).refuse(refusal(B), now=NOW)
    assert decide(state, now=NOW + 10 * RETRY_LOAD) == Wait()


@pytest.mark.parametrize("phase", ["test", "load"])
def test_the_version_in_force_is_tried_again(phase: str) -> None:
    """Also where the file failed its test: a machine without memory fails that as well."""
    state = view(A, published(B, pods="other")).refuse(refusal(B, phase), now=NOW)
    assert decide(state, now=NOW + 1e6) == Wait()
    state = state.publish(main=published(B, pods="*"), next=None)
    assert decide(state, now=NOW + 10) == Wait(RETRY_LOAD - 10)
    assert decide(state, now=NOW + RETRY_LOAD) == Apply(B)
    assert decide(state.load(B), now=NOW + RETRY_LOAD) == Wait()


def test_a_refused_version_is_tried_again_once_another_has_come_between() -> None:
    state = view(A, published(B, pods="*")).refuse(refusal(B), now=NOW)
    state = state.publish(main=published(C, pods="*"), next=None)
    assert decide(state, now=NOW) == Apply(C)
    assert state.failure == refusal(B)
    back = state.publish(main=published(B, pods="*"), next=None)
    assert back.failure is None
    assert decide(back, now=NOW) == Apply(B)


def test_a_failure_is_told_until_another_version_is_loaded() -> None:
    state = view(A, published(A, pods="*"), published(B, canary="me")).refuse(refusal(B), now=NOW)
    emptied = state.publish(main=published(A, pods="*"), next=NOTHING_UNDER_CANARY)
    assert emptied.failure == refusal(B)
    assert emptied.load(C).failure is None


def test_a_version_that_runs_after_all_is_not_tried_again() -> None:
    """Its workers were too slow to answer, and then did."""
    state = replace(view(A, published(B, pods="*")).refuse(refusal(B, "load"), now=NOW), running=B)
    assert decide(state, now=NOW + RETRY_LOAD + 1) == Wait(None)


def test_what_is_known_of_versions_that_are_gone_is_forgotten() -> None:
    state = view(A, published(B, pods="x")).refuse(refusal(C), now=NOW)
    later = state.publish(main=published(A, pods="*"), next=None)
    assert later.refusals == {}


def test_the_epoch_told_is_that_of_the_running_version() -> None:
    state = view(A, published(A, pods="*", epoch=3), published(B, canary="x", epoch=5))
    assert state.epoch == 3
    assert state.load(B).epoch == 5
    assert state.load(C).epoch == 0


def test_a_lower_epoch_is_late_unless_the_object_is_new() -> None:
    assert supersedes(published(A, epoch=1), None)
    assert supersedes(published(A, epoch=2), published(B, epoch=2))
    assert not supersedes(published(A, epoch=1), published(B, epoch=2))
    assert supersedes(replace(published(A, epoch=1), uid="u2"), published(B, epoch=2))


def test_a_lower_epoch_that_stands_for_long_is_believed() -> None:
    """The Lease was deleted, or a hand had raised the annotation: no leader of the higher epoch is there."""
    assert not supersedes(published(A, epoch=1), published(B, epoch=2), stood=DOUBT - 0.1)
    assert supersedes(published(A, epoch=1), published(B, epoch=2), stood=DOUBT)


def config_map(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "shared-nginx", "uid": "u1", "annotations": annotations}}


def test_a_config_map_is_read() -> None:
    found = parse_publication(
        config_map(
            **{
                names.VERSION_ANNOTATION: A,
                names.DIGEST_ANNOTATION: "d",
                names.EPOCH_ANNOTATION: "7",
                names.CANARY_ANNOTATION: "pod-1",
                names.PODS_ANNOTATION: "pod-1 pod-2",
                names.LISTENER_PORTS_ANNOTATION: "8080 8443 70000",
            }
        )
    )
    assert found == Published(
        uid="u1",
        version=A,
        digest="d",
        epoch=7,
        canary="pod-1",
        pods=frozenset({"pod-1", "pod-2"}),
        ports=frozenset({8080, 8443}),
    )


def test_a_config_map_without_annotations_publishes_nothing() -> None:
    assert parse_publication({"metadata": {"name": "x", "uid": "u1"}}).version == ""


@pytest.mark.parametrize(
    "annotations",
    [
        {names.VERSION_ANNOTATION: "../../etc/passwd"},
        {names.VERSION_ANNOTATION: A + "\n"},
        {names.VERSION_ANNOTATION: A.upper()},
        {names.EPOCH_ANNOTATION: "-1"},
        {names.EPOCH_ANNOTATION: "1e9"},
        {names.EPOCH_ANNOTATION: "٣"},
        {names.EPOCH_ANNOTATION: "9" * 5000},
        {names.LISTENER_PORTS_ANNOTATION: "8080,8443"},
    ],
)
def test_nonsense_is_not_followed(annotations: dict[str, str]) -> None:
    with pytest.raises(PublicationError):
        parse_publication(config_map(**annotations))


def test_another_publication_alone_changes_no_epoch() -> None:
    loaded = view("", published(A, pods="*", epoch=3)).load(A)
    assert loaded.epoch == 3
    told = loaded.publish(main=published(B, pods="*", epoch=3), next=None)
    assert told.epoch == 3
    assert told.load(B).epoch == 3
    assert told.publish(main=published(A, pods="*", epoch=4), next=None).epoch == 4
    assert view("", published(A, epoch=3)).epoch == 0
