"""The ``status`` of both kinds: its shape for the CRDs and the reference, and the texts that ``kubectl get`` prints.

The operator writes a status and never reads one as truth, so the models here are for the schema alone. Printer columns
are plain JSONPath, which can neither count nor choose: what the columns need stands ready in ``status.summary``.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from wsroute.api.balancer import Listener
from wsroute.api.conditions import ABNORMAL, Condition
from wsroute.api.fields import Model, many

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Generation = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
Column = Annotated[str, Field(max_length=1024)]

SUMMARY_ITEMS: Final = 2
"""How many hosts or listeners a column names; the others are counted."""


class ConditionStatus(Model):
    """One condition, as metav1.Condition has it."""

    type: Annotated[str, Field(max_length=316)] = Field(description="What the condition speaks of.")
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})] = Field(
        description="Whether it holds."
    )
    reason: Annotated[str, Field(max_length=1024)] = Field(description="Why, as one word in CamelCase.")
    message: Annotated[str, Field(max_length=32_768)] = Field(description="Why, in sentences.")
    observed_generation: Generation = Field(default=0, description="The metadata.generation that was judged.")
    last_transition_time: Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})] = Field(
        description="When the condition's status last changed."
    )


class Endpoints(Model):
    """Endpoints behind a route, over all its backends."""

    ready: Count = Field(default=0, description="Endpoints that take new sockets.")
    draining: Count = Field(default=0, description="Endpoints that are terminating and keep the sockets they have.")


class RouteSummary(Model):
    """Texts for the columns of kubectl get."""

    hosts: Column = Field(default="", description="The first hosts, and how many more there are.")
    endpoints: Column = Field(default="", description="Endpoints that take new sockets, and those that drain.")
    reason: Column = Field(default="", description="Reason of the first condition that does not hold.")


class WebSocketRouteStatus(Model):
    """What became of a WebSocketRoute."""

    observed_generation: Generation = Field(default=0, description="The metadata.generation that the status is about.")
    balancer: Annotated[str, Field(max_length=317)] | None = Field(
        default=None, description="Namespace and name of the balancer that serves the route."
    )
    hosts: tuple[Annotated[str, Field(max_length=253)], ...] = many(
        "atomic",
        "Hosts in force, the one derived from the balancer's domain included.",
        minimum=0,
        maximum=16,
        default=(),
    )
    urls: tuple[Annotated[str, Field(max_length=1400)], ...] = many(
        "atomic", "Addresses that clients connect to.", minimum=0, maximum=64, default=()
    )
    endpoints: Endpoints | None = Field(default=None, description="Endpoints behind the route.")
    summary: RouteSummary | None = Field(default=None, description="Texts for the columns of kubectl get.")
    conditions: tuple[ConditionStatus, ...] = many(
        "map",
        "Accepted, ResolvedRefs, Programmed, Ready and Stalled.",
        minimum=0,
        maximum=16,
        key="type",
        default=(),
    )


class RouteCounts(Model):
    """Routes that name a balancer."""

    accepted: Count = Field(default=0, description="Routes that are served.")
    rejected: Count = Field(default=0, description="Routes that are not, for a reason that their status tells.")


class ReloadChange(Model):
    """Something that the version before did not have."""

    reason: Annotated[str, Field(max_length=64)] = Field(
        description=(
            "ListenerAdded, ListenerRemoved, ListenerChanged, Certificates, TimeoutClasses, RequestHeaders, "
            "WorkerSettings, TrustedProxies, Template, DataPlane, IPv6, or Release where the operator's new release "
            "writes another file; with dataPlane Static also Routes, Endpoints and EndpointRemoval; or Unknown."
        )
    )
    subject: Annotated[str, Field(max_length=512)] = Field(
        default="", description="The field of the balancer, or the route, that it is about."
    )


class PodCounts(Model):
    """Pods of a balancer."""

    total: Count = Field(default=0, description="Pods that are ready.")
    current: Count = Field(default=0, description="Ready pods that serve the version in force.")


class DrainingCounts(Model):
    """Workers from before the last reloads, which take no new sockets and keep those that they have."""

    generations: Count = Field(default=0, description="Generations that hold sockets, of the pod that has the most.")
    sockets: Count = Field(default=0, description="Sockets that they hold, over all pods.")


class LastReload(Model):
    """The last version that came in force."""

    time: Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})] = Field(
        description="When it came in force."
    )
    reason: Annotated[str, Field(max_length=64)] = Field(
        description=("What the reload budget goes by: Configuration, Endpoints, or EndpointRemoval, which never waits.")
    )
    pods: Count = Field(default=0, description="Ready pods that have loaded it.")
    changes: tuple[ReloadChange, ...] = many(
        "atomic", "What is new in it, the balancer's own settings first.", minimum=0, maximum=8, default=()
    )


class BalancerSummary(Model):
    """Texts for the columns of kubectl get."""

    listeners: Column = Field(default="", description="The first listeners with their ports.")
    routes: Column = Field(default="", description="Routes that are served, and those that are rejected.")
    pods: Column = Field(default="", description="Pods that serve the version in force, of those that are ready.")
    reason: Column = Field(default="", description="Reason of the first condition that does not hold.")


class WebSocketBalancerStatus(Model):
    """The state of a WebSocketBalancer."""

    observed_generation: Generation = Field(default=0, description="The metadata.generation that the status is about.")
    addresses: tuple[Annotated[str, Field(max_length=253)], ...] = many(
        "atomic", "Addresses of the Service in front of the balancer.", minimum=0, maximum=16, default=()
    )
    routes: RouteCounts | None = Field(default=None, description="Routes that name this balancer.")
    pods: PodCounts | None = Field(default=None, description="Pods of the balancer's Deployment.")
    sockets: Count | None = Field(default=None, description="Open connections of clients, over all pods.")
    version: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Version of the nginx.conf in force."
    )
    draining: DrainingCounts | None = Field(default=None, description="What the pods keep of earlier versions.")
    last_reload: LastReload | None = Field(default=None, description="The last version that came in force.")
    summary: BalancerSummary | None = Field(default=None, description="Texts for the columns of kubectl get.")
    conditions: tuple[ConditionStatus, ...] = many(
        "map",
        "Accepted, ResolvedRefs (where a listener ends TLS), DeploymentReady, Programmed, DrainBacklog, Stalled.",
        minimum=0,
        maximum=16,
        key="type",
        default=(),
    )


def first_false_reason(conditions: Sequence[Condition]) -> str:
    """The reason of the first condition that ought to be true and is not, or an empty text."""
    return next((str(c.reason) for c in conditions if not c.status and c.type not in ABNORMAL), "")


def route_summary(
    *, hosts: Sequence[str], ready: int, draining: int, conditions: Sequence[Condition]
) -> dict[str, Any]:
    """``status.summary`` of a route: ``chat.example.com``, ``3 (1 draining)``, ``NoEndpoints``."""
    return {
        "hosts": _named(hosts),
        "endpoints": f"{ready} ({draining} draining)" if draining else str(ready),
        "reason": first_false_reason(conditions),
    }


def balancer_summary(
    *,
    listeners: Sequence[Listener],
    accepted: int,
    rejected: int,
    current: int,
    total: int,
    conditions: Sequence[Condition],
) -> dict[str, Any]:
    """``status.summary`` of a balancer: ``ws:8080``, ``40 (1 rejected)``, ``3/3``, ``DeploymentNotFound``."""
    return {
        "listeners": _named([f"{listener.name}:{listener.port}" for listener in listeners]),
        "routes": f"{accepted} ({rejected} rejected)" if rejected else str(accepted),
        "pods": f"{current}/{total}",
        "reason": first_false_reason(conditions),
    }


def _named(items: Sequence[str]) -> str:
    more = len(items) - SUMMARY_ITEMS
    return ",".join(items[:SUMMARY_ITEMS]) + (f" +{more} more" if more > 0 else "")
