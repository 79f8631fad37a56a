"""docs/reference/metrics.md names every metric of operator and agent, with its type and labels."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from wsroute.agent.metrics import AgentMetrics
from wsroute.agent.traffic import Traffic
from wsroute.balancer.table_reader import Counts
from wsroute.observability.metrics import Metrics

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
USUAL = ("process_", "python_")


class Told(NamedTuple):
    """What there is to know of a metric."""

    kind: str
    labels: tuple[str, ...]


def described() -> dict[str, Told]:
    """The rows of the page's tables."""
    rows = re.findall(r"^\| `(wsroute_\w+)` \| (\w+) \|([\w, ]*)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows}), "a metric stands there twice"
    return {name: Told(kind, tuple(filter(None, labels.strip().split(", ")))) for name, kind, labels in rows}


def of_registry(registry: CollectorRegistry) -> dict[str, Told]:
    """What a registry has, but for the usual."""
    found: dict[str, Told] = {}
    for collector in registry._collector_to_names:
        labels: Any = getattr(collector, "_labelnames", None)
        for family in collector.collect():
            if not family.name.startswith(USUAL):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                own = labels if labels is not None else sorted({each for one in family.samples for each in one.labels})
                found[name] = Told(family.type, tuple(own))
    return found


@pytest.fixture
def exposed() -> Mapping[str, Told]:
    """All of both."""
    agent = AgentMetrics()
    traffic = Traffic(Path("/nowhere"), lambda: None, names=True)
    reasons = {(reason, "a/b"): 1 for reason in ("forwarded", "retried", "ejected")}
    traffic._counts, traffic._endpoints = Counts(reasons, {"a/b": 1}, 0), {("a/b:80", "10.0.0.1:80"): 1}
    agent.include(traffic)
    return of_registry(agent._registry) | of_registry(Metrics().registry)


def in_order(told: Mapping[str, Told]) -> dict[str, Told]:
    """Labels have no order."""
    return {name: Told(kind, tuple(sorted(labels))) for name, (kind, labels) in told.items()}


def test_the_page_is_complete_and_true(exposed: Mapping[str, Told]) -> None:
    assert in_order(described()) == in_order(exposed)


def test_every_metric_says_what_it_is() -> None:
    for registry in (AgentMetrics()._registry, Metrics().registry):
        for family in registry.collect():
            assert family.documentation.endswith(".") or family.name.startswith(USUAL), family.name
