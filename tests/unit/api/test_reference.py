"""The reference says what the models say."""

import re
from pathlib import Path

import yaml

from wsroute.api import balancing, origins, values
from wsroute.api.conditions import ConditionType, Reason
from wsroute.api.grammar import Grammar
from wsroute.api.reference import BALANCER_EXAMPLE, CONDITIONS, REASONS, ROUTE_EXAMPLE, main, reference
from wsroute.api.v1alpha1 import WebSocketBalancerSpec, WebSocketRouteSpec, parse_balancer_spec, parse_route_spec

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "api.md"


def test_the_page_is_what_the_models_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_writing_the_page(tmp_path: Path) -> None:
    main(str(tmp_path / "api.md"))
    assert (tmp_path / "api.md").read_text(encoding="utf-8") == reference()


def test_every_condition_and_reason_is_explained() -> None:
    assert set(CONDITIONS) == set(ConditionType)
    assert set(REASONS) == set(Reason)


def test_every_grammar_has_a_section() -> None:
    modules = (values, balancing, origins)
    known = {value for module in modules for value in vars(module).values() if isinstance(value, Grammar)}
    used = known - {values.WORKER_PROCESSES}
    _, _, section = reference().partition("## Values")
    assert {grammar.name for grammar in used} == set(re.findall(r"^### (.+)$", section, re.MULTILINE))


def test_the_examples_are_good() -> None:
    route, balancer = yaml.safe_load(ROUTE_EXAMPLE), yaml.safe_load(BALANCER_EXAMPLE)
    assert isinstance(parse_route_spec(route["spec"]), WebSocketRouteSpec)
    assert isinstance(parse_balancer_spec(balancer["spec"]), WebSocketBalancerSpec)
