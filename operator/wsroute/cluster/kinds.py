"""The kinds of objects that a pass looks at: the one list of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from wsroute.cluster import objects, parse

Record = (
    objects.Route
    | objects.Balancer
    | objects.Service
    | objects.EndpointSlice
    | objects.Namespace
    | objects.Pod
    | objects.Deployment
    | objects.ConfigMap
    | objects.Node
)


class Kind(StrEnum):
    """A kind, by the name that stands in an object's ``kind``."""

    ROUTE = "WebSocketRoute"
    BALANCER = "WebSocketBalancer"
    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    NAMESPACE = "Namespace"
    POD = "Pod"
    DEPLOYMENT = "Deployment"
    CONFIG_MAP = "ConfigMap"
    NODE = "Node"


@dataclass(frozen=True, slots=True)
class KindInfo:
    """How objects of a kind become records. ``parse`` takes any JSON value and never raises; None means "not usable".

    ``observed_generation`` says that the generation alone matters to a pass, because a status repeats it.
    """

    record: type
    parse: Callable[[Any], Record | None]
    observed_generation: bool = False


KINDS: Final[Mapping[Kind, KindInfo]] = {
    Kind.ROUTE: KindInfo(objects.Route, parse.parse_route, observed_generation=True),
    Kind.BALANCER: KindInfo(objects.Balancer, parse.parse_balancer, observed_generation=True),
    Kind.SERVICE: KindInfo(objects.Service, parse.parse_service),
    Kind.ENDPOINT_SLICE: KindInfo(objects.EndpointSlice, parse.parse_endpoint_slice),
    Kind.NAMESPACE: KindInfo(objects.Namespace, parse.parse_namespace),
    Kind.POD: KindInfo(objects.Pod, parse.parse_pod),
    Kind.DEPLOYMENT: KindInfo(objects.Deployment, parse.parse_deployment),
    Kind.CONFIG_MAP: KindInfo(objects.ConfigMap, parse.parse_config_map),
    Kind.NODE: KindInfo(objects.Node, parse.parse_node),
}

KIND_OF: Final[Mapping[type, Kind]] = {info.record: kind for kind, info in KINDS.items()}
"""The kind of a record, by its class."""


def parse_record(kind: Kind, raw: object, *, standalone: bool = False) -> Record | None:
    """The record of an object, or None where it is not usable; never raises. ``standalone`` is for objects from files:
    a balancer needs no Deployment there."""
    if kind is Kind.BALANCER and standalone:
        return parse.parse_balancer(raw, standalone=True)
    return KINDS[kind].parse(raw)
