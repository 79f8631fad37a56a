"""Slim, frozen records of the objects that a pass looks at, and the keys that name them.

Only what a pass reads is kept, so that an unrelated change of an object (an annotation, a status) leaves its record
equal and causes no pass. Every value is as the API server gave it, type-checked but not yet trusted: what reaches
nginx is validated in ``graph`` and quoted in ``nginx``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wsroute.api.conditions import Problem
from wsroute.api.route import PathType
from wsroute.api.v1alpha1 import WebSocketBalancerSpec, WebSocketRouteSpec


class Key(NamedTuple):
    """Namespace and name of an object; the namespace is empty for cluster-scoped ones. Sorts by namespace, name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata that every record carries.

    ``version`` is the resourceVersion as an integer (comparable from Kubernetes 1.35 on, KEP-5504), or -1 when it does
    not parse. ``created`` is the creationTimestamp (RFC 3339, sorts as text). Name and namespace are valid DNS names.
    """

    key: Key
    uid: str
    version: int
    generation: int
    created: str


class PathClaim(NamedTuple):
    """A path that a route names. A prefix has no trailing slash unless it is ``/``."""

    path: str
    match: PathType


@dataclass(frozen=True, slots=True)
class Claims:
    """What a route asks for that others can't have: hosts and paths on listeners of a balancer.

    Of a spec that does not parse it holds what is good by itself, so that a slip in one field of a route that is being
    served gives its hosts to nobody else. ``balancer`` None means the default one, ``listeners`` None all of them,
    ``hosts`` None that the spec names none (and gets the derived one).
    """

    balancer: Key | None
    listeners: tuple[str, ...] | None
    hosts: tuple[str, ...] | None
    paths: tuple[PathClaim, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A WebSocketRoute. ``spec`` is None when it does not parse; then ``problems`` says why.

    ``claims`` is None when the spec does not even say which balancer it is for.
    """

    meta: Meta
    spec: WebSocketRouteSpec | None
    problems: tuple[Problem, ...]
    claims: Claims | None
    status: Mapping[str, Any] = field(compare=False, default_factory=dict)
    """The status as last seen; the status writer compares with it, a pass does not read it."""


@dataclass(frozen=True, slots=True)
class Balancer:
    """A WebSocketBalancer. ``spec`` is None when it does not parse; then ``problems`` says why. ``deployment`` is the
    name of the one that it refers to, as it stands there, whatever the rest."""

    meta: Meta
    spec: WebSocketBalancerSpec | None
    problems: tuple[Problem, ...]
    deployment: str = ""
    status: Mapping[str, Any] = field(compare=False, default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service. ``target`` is the targetPort: a number, a container port's name, or None."""

    name: str
    port: int
    protocol: str
    target: int | str | None


@dataclass(frozen=True, slots=True)
class Service:
    """A Service. ``type`` is ClusterIP, NodePort, LoadBalancer or ExternalName; ``addresses``: a load balancer's.

    ``cluster_ips`` are the addresses that the API server has given it, in their canonical text.
    """

    meta: Meta
    type: str
    has_selector: bool
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...]
    cluster_ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """One endpoint of a slice. Conditions follow discovery.k8s.io/v1: a missing ``ready`` counts as true, a missing
    ``serving`` as ``ready``, a missing ``terminating`` as false. ``pod`` is the targetRef where that is a Pod.
    ``address`` is in its canonical text where it is an IP address."""

    address: str
    ready: bool
    serving: bool
    terminating: bool
    pod: Key | None


@dataclass(frozen=True, slots=True)
class SlicePort:
    """One port of a slice; the name is empty for the only, unnamed port. ``port`` None means "all ports"."""

    name: str
    port: int | None
    protocol: str


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """An EndpointSlice of the Service named by its label ``kubernetes.io/service-name``.

    ``managed_by`` is the label ``endpointslice.kubernetes.io/managed-by``: anything but Kubernetes' own controllers
    makes it a hand-written slice.
    """

    meta: Meta
    service: Key
    address_type: str
    endpoints: tuple[SliceEndpoint, ...]
    ports: tuple[SlicePort, ...]
    managed_by: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace and its labels, for ``allowedRoutes.namespaces``."""

    meta: Meta
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Node:
    """A node's IP addresses, in their canonical text: all that a pass needs of it."""

    meta: Meta
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a balancer's Deployment: only those that ``app``-select as such are listed.

    ``addresses`` are its IP addresses in their canonical text, none when it has ended: then others may have them.
    ``ready`` is its Ready condition, ``terminating`` says that it has a deletionTimestamp, and ``until`` is that, the
    end of its grace period (RFC 3339). ``version`` is the annotation ``wsroute.dev/version``, which strategy Restart
    has in the pod template. ``init_failure`` are the last words of an init container that failed.
    """

    meta: Meta
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    ready: bool
    terminating: bool
    version: str = ""
    init_failure: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a Deployment's rollout is. ``observed`` is the generation that it counts for; ``is_stalled`` says that
    its progressDeadlineSeconds are over. ``replicas`` counts old pods too."""

    observed: int = 0
    replicas: int = 0
    updated: int = 0
    available: int = 0
    is_stalled: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """A balancer's Deployment: desired and ready replicas and the selector's matchLabels. ``version`` is the annotation
    ``wsroute.dev/version`` of its pod template."""

    meta: Meta
    replicas: int
    ready_replicas: int
    selector: Mapping[str, str]
    version: str = ""
    progress: Progress = Progress()


@dataclass(frozen=True, slots=True)
class ConfigMap:
    """A ConfigMap that the operator wrote (or an agent answered in), by label ``wsroute.dev/balancer``."""

    meta: Meta
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    data: Mapping[str, str]
    binary_data: Mapping[str, str]
    """Base64, as the API server gives it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret with a certificate, or one that the operator wrote. What it holds is shown nowhere, not even to those
    who debug."""

    meta: Meta
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    type: str
    data: Mapping[str, str] = field(repr=False)
    """Base64, as the API server gives it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a pass is a function of. Mappings are never changed once they are in a snapshot."""

    routes: Mapping[Key, Route]
    balancers: Mapping[Key, Balancer]
    services: Mapping[Key, Service]
    slices: Mapping[Key, tuple[EndpointSlice, ...]]
    """By the Service that they belong to, sorted by name."""
    namespaces: Mapping[Key, Namespace]
    pods: Mapping[Key, Pod]
    deployments: Mapping[Key, Deployment]
    config_maps: Mapping[Key, ConfigMap]
    nodes: Mapping[Key, Node]
    """Empty also where the operator may not list them."""
