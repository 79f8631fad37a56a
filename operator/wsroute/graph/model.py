"""What a pass finds out: balancers with their routes, routes with their endpoints, and all that is wrong with them.

Nodes hold no status and no resourceVersion: a node stays the same object from pass to pass until something changes what
it means, so that what follows from it (``dataplane``) need not be worked out again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wsroute.api.conditions import Problem
from wsroute.api.policies import HashKey, OriginRules, Policy, StickyCookie
from wsroute.api.route import PathType
from wsroute.api.v1alpha1 import WebSocketBalancerSpec
from wsroute.cluster.balancer_state import BalancerState
from wsroute.cluster.objects import Deployment, Key, PathClaim, Pod
from wsroute.graph.endpoints import EndpointSet


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """What the operator was told. ``default_balancer`` serves the routes that name none.

    ``standalone`` is for manifests in a folder: the only balancer is the default one, endpoints may be loopback
    addresses and written by hand, and namespaces need no object.
    """

    default_balancer: Key | None = None
    standalone: bool = False


@dataclass(frozen=True, slots=True)
class BackendNode:
    """A port of a Service that takes a share of a path's sockets. ``port`` is as the route's author wrote it.

    A backend whose reference does not resolve has no endpoints.
    """

    service: Key
    port: int | str
    weight: int
    endpoints: EndpointSet


@dataclass(frozen=True, slots=True)
class PathNode:
    """A path and the backends behind it. ``path`` is what is matched, as in ``PathClaim``."""

    path: str
    match: PathType
    websocket_only: bool
    rewrite_prefix: str | None
    backends: tuple[BackendNode, ...]

    @property
    def takes_sockets(self) -> bool:
        """Whether an endpoint can take a new socket."""
        return any(backend.weight and backend.endpoints.addresses for backend in self.backends)


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """A route's own choices with the balancer's defaults filled in. Timeouts are milliseconds.

    The names of ``set_headers`` and ``remove_headers`` are permitted by the balancer. ``hash_key`` is given with the
    policy Hash only.
    """

    connect_timeout: int
    idle_timeout: int
    policy: Policy
    hash_key: HashKey | None
    sticky: StickyCookie | None
    origins: OriginRules
    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteNode:
    """A route as its balancer sees it.

    ``balancer`` is the one that it is for, or None where that is unknown or does not exist. ``acceptance_problems``
    keep it from being served; ``reference_problems`` only take endpoints away, and were looked for only when
    ``references_checked``.

    ``hosts`` and ``listeners`` are those in force. Of a route with acceptance problems they and ``withdrawn_paths`` are
    what is rightfully its own all the same: there it answers that it is invalid, and nobody else gets them. ``paths``
    and ``settings`` are then empty.
    """

    key: Key
    uid: str
    generation: int
    balancer: Key | None
    acceptance_problems: tuple[Problem, ...]
    reference_problems: tuple[Problem, ...] = ()
    references_checked: bool = False
    listeners: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    paths: tuple[PathNode, ...] = ()
    withdrawn_paths: tuple[PathClaim, ...] = ()
    settings: RouteSettings | None = None
    urls: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether it is served as its author wrote it."""
        return not self.acceptance_problems


@dataclass(frozen=True, slots=True)
class BalancerNode:
    """A balancer with its routes, sorted by key.

    ``spec`` is None when it does not parse: ``acceptance_problems`` says why, there is nothing to build, and what its
    pods serve stays. ``deployment_problems`` are of the Deployment and the Service. ``pods`` are the Deployment's,
    sorted by key. ``addresses`` are what the Service's load balancer has. ``drives`` says that no older balancer names
    the Deployment.
    """

    key: Key
    uid: str
    generation: int
    spec: WebSocketBalancerSpec | None
    acceptance_problems: tuple[Problem, ...]
    deployment_problems: tuple[Problem, ...]
    accepted: tuple[RouteNode, ...]
    rejected: tuple[RouteNode, ...]
    deployment: Deployment | None
    drives: bool
    pods: tuple[Pod, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """All balancers and all routes, by key.

    ``states`` is what is to be remembered of the balancers; one whose spec does not parse keeps what it has. Until
    ``expires`` (seconds since the epoch) the same objects and these states give the same graph.
    """

    balancers: Mapping[Key, BalancerNode]
    routes: Mapping[Key, RouteNode]
    states: Mapping[Key, BalancerState]
    expires: float
