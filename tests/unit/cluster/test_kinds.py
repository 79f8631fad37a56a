"""The registry of kinds against the port to the API server: every kind that is watched can be parsed."""

import pytest

from tests.support import objects as made
from wsroute.cluster.kinds import KIND_OF, KINDS, Kind, parse_record
from wsroute.kube import port

WATCHED = (
    port.ROUTES,
    port.BALANCERS,
    port.SERVICES,
    port.ENDPOINT_SLICES,
    port.NAMESPACES,
    port.PODS,
    port.DEPLOYMENTS,
    port.CONFIG_MAPS,
    port.NODES,
)


def test_kinds_are_those_of_the_port() -> None:
    assert {resource.kind for resource in WATCHED} == set(Kind) == set(KINDS)


@pytest.mark.parametrize(
    "raw",
    [
        made.route(),
        made.balancer(),
        made.service(),
        made.endpoint_slice(),
        made.namespace(),
        made.pod(),
        made.deployment(),
        made.config_map("shared-nginx"),
        made.node(),
    ],
    ids=lambda raw: raw["kind"],
)
def test_each_builder_makes_a_record_of_its_kind(raw: made.Json) -> None:
    kind = Kind(raw["kind"])
    record = parse_record(kind, raw)
    assert record is not None
    assert KIND_OF[type(record)] is kind


def test_standalone_balancers_need_no_deployment() -> None:
    raw = made.balancer(spec={"deploymentRef": None})
    here = parse_record(Kind.BALANCER, raw, standalone=True)
    there = parse_record(Kind.BALANCER, raw)
    assert here is not None
    assert there is not None
    assert here.problems == ()  # type: ignore[union-attr]
    assert [problem.path for problem in there.problems] == ["spec.deploymentRef"]  # type: ignore[union-attr]
