"""Where a custom main template is found, and whose fault a refusal is."""

from typing import Any

import pytest

from tests.support.world import SHARED, SYSTEM, SmallWorld
from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.balancer_state import RefusedTemplate
from wsroute.cluster.kinds import Kind
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import digest
from wsroute.dataplane.main_template import (
    blamed,
    describe_refused,
    find_main_template,
    still_refused,
)
from wsroute.graph.build import build_graph
from wsroute.graph.memo import Memo
from wsroute.graph.model import GraphSettings

LABELS = {names.BALANCER_LABEL: "shared", names.ROLE_LABEL: names.ROLE_TEMPLATE}
VERSION = "0123456789ab"


def found(labels: dict[str, str] | None, data: dict[str, str] | None = None, **reference: Any) -> str | Problem | None:
    """What a reference leads to, with or without a ConfigMap."""
    world = SmallWorld()
    world.balancer(nginx={"templateRef": {"configMap": "custom-main", **reference}})
    if labels is not None:
        content = {"nginx.conf.j2": "a text"} if data is None else data
        world.put(Kind.CONFIG_MAP, "custom-main", SYSTEM, labels=labels, data=content)
    graph = build_graph(world.snapshot, GraphSettings(), Memo())
    return find_main_template(graph.balancers[SHARED], world.snapshot.config_maps)


def test_a_labelled_config_map_holds_the_text() -> None:
    assert found(LABELS) == "a text"
    assert found(LABELS, {"other.j2": "another"}, key="other.j2") == "another"


def test_no_reference_means_the_shipped_template() -> None:
    world = SmallWorld()
    graph = build_graph(world.snapshot, GraphSettings(), Memo())
    assert find_main_template(graph.balancers[SHARED], world.snapshot.config_maps) is None


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {names.BALANCER_LABEL: "shared"},
        {names.BALANCER_LABEL: "other", names.ROLE_LABEL: "template"},
        {names.BALANCER_LABEL: "shared", names.ROLE_LABEL: "nginx"},
    ],
)
def test_without_its_labels_it_is_not_there_and_the_problem_says_how_to_add_them(labels: dict[str, str] | None) -> None:
    problem = found(labels)
    assert isinstance(problem, Problem)
    assert (problem.reason, problem.path) == (Reason.TEMPLATE_NOT_FOUND, "spec.nginx.templateRef.configMap")
    assert (
        "kubectl -n wsroute-system label configmap custom-main wsroute.dev/balancer=shared wsroute.dev/role=template"
        in problem.message
    )


def test_a_key_that_is_not_there_is_named_beside_those_that_are() -> None:
    problem = found(LABELS, {"b": "", "a": ""})
    assert isinstance(problem, Problem)
    assert problem.path == "spec.nginx.templateRef.key"
    assert problem.message.endswith("has no key nginx.conf.j2 in its data, but a, b.")


# --- refusals ---

ROUTES = range(100, 200)


def test_what_is_remembered_holds_for_this_text_only() -> None:
    known = RefusedTemplate(digest(b"a"), "words")
    assert still_refused(known, "a") is known
    assert still_refused(known, "b") is None
    assert still_refused(known, None) is None
    assert still_refused(None, "a") is None


@pytest.mark.parametrize(
    ("message", "guilty"),
    [
        (f"nginx: [emerg] no such thing in /etc/wsroute/{VERSION}.conf:99", True),
        (f"nginx: [emerg] no such thing in /etc/wsroute/{VERSION}.conf:200", True),
        (f"nginx: [emerg] no such thing in /etc/wsroute/{VERSION}.conf:100", False),
        (f"nginx: [emerg] no such thing in /etc/wsroute/{VERSION}.conf:199\nmore", False),
        ("[emerg] 7#7: no such thing in /run/wsroute/nginx.conf:150", False),
        ("[emerg] no such thing in /etc/nginx/mine.conf:150", True),
        ("bind() to 0.0.0.0:8080 failed (98: Address already in use)", True),
        ("", True),
    ],
)
def test_what_is_not_in_a_routes_lines_is_the_templates_fault(message: str, *, guilty: bool) -> None:
    verdict = blamed(Failure(VERSION, "test", message), "a", ROUTES)
    assert verdict == (RefusedTemplate(digest(b"a"), message) if guilty else None)


def test_without_a_refusal_or_a_template_nobody_is_to_blame() -> None:
    assert blamed(None, "a", ROUTES) is None
    assert blamed(Failure(VERSION, "load", "words"), None, ROUTES) is None


def test_nginx_words_are_shown_on_one_line_and_not_without_end() -> None:
    refused = blamed(Failure(VERSION, "load", "\x1b[31mfirst\nsecond" + "x" * 5_000), "a", ROUTES)
    assert refused is not None
    problem = describe_refused(refused)
    assert problem.message.isprintable()
    assert "first second" in problem.message
    assert len(problem.message) < 1_200
