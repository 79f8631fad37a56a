"""The data plane's model: listeners, virtual servers, locations, upstreams. No Kubernetes types, no nginx text.

All durations are milliseconds, all strings are validated already (``graph``) and are quoted again by the renderer's
emitters. Everything is sorted and hashable, so that equal meaning gives equal bytes.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from wsroute.api.policies import HashKey, OriginRules, Policy
from wsroute.dataplane.certificates import ListenerTls


class RouteRef(NamedTuple):
    """The WebSocketRoute that a part comes from."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class PathMatch(StrEnum):
    """EXACT matches the path alone, PREFIX whole path elements: ``/ws``, ``/ws/``, ``/ws/a``, never ``/wsx``."""

    EXACT = "Exact"
    PREFIX = "Prefix"


@dataclass(frozen=True, slots=True)
class Listener:
    """A port on which a balancer's pods accept connections, and what clients see of it. ``tls`` is None where no TLS is
    ended."""

    name: str
    port: int
    public_scheme: Literal["ws", "wss"]
    public_port: int
    tls: ListenerTls | None = None


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where new connections go. ``address`` is a bare IPv4 or IPv6 address; ``weight`` is at least 1."""

    address: str
    port: int
    weight: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """A group of endpoints under a name that is unique in its balancer. Never empty: nginx refuses that.

    ``sources`` say where the endpoints come from, as ``team-a/chat:8080 weight 90``: for people, and to tell two
    generations of a route apart that happen to have the same endpoints. ``hash_key`` is given with the policy Hash
    only.
    """

    name: str
    balancing: Policy
    endpoints: tuple[Endpoint, ...]
    sources: tuple[str, ...] = ()
    hash_key: HashKey | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """A location that proxies. ``websocket_only`` answers 426 to a request that does not ask for a WebSocket.

    ``rewrite_prefix`` replaces the matched prefix (or the exact path) when it is not None. ``idle_timeout`` bounds the
    time between two reads or writes in either direction. ``set_headers`` are sent to the endpoint after our own;
    ``remove_headers`` of the client are not sent.
    """

    upstream: str
    websocket_only: bool
    rewrite_prefix: str | None
    connect_timeout: int
    idle_timeout: int
    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    origins: OriginRules


class RefusalReason(StrEnum):
    """Why a location answers 503; the value stands in ``X-WSRoute-Reason`` and in the access log."""

    NO_ENDPOINTS = "no-endpoints"
    ROUTE_INVALID = "route-invalid"


@dataclass(frozen=True, slots=True)
class Refuse:
    """A location that answers 503 with a reason and a jittered Retry-After."""

    reason: RefusalReason


@dataclass(frozen=True, slots=True)
class Location:
    """One path of one route. ``path`` begins with a slash; a prefix has no trailing slash unless it is ``/``."""

    route: RouteRef
    path: str
    match: PathMatch
    action: Proxy | Refuse


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """A host on some listeners. ``host`` is a lower-case name, or ``*.`` and a name, which covers exactly one label."""

    host: str
    listeners: tuple[str, ...]
    locations: tuple[Location, ...]


@dataclass(frozen=True, slots=True)
class Shell:
    """What a file of the Dynamic data plane holds in place of routes, so that no route needs another file.

    ``connect_timeouts`` and ``idle_timeouts`` are all that there are, in ascending order and never empty: a route gets
    the smallest that is not below its own. ``headers`` are the names that routes may set or remove; no two differ in
    case only.
    """

    connect_timeouts: tuple[int, ...]
    idle_timeouts: tuple[int, ...]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that one balancer serves.

    ``ipv6`` is true when its pods can listen on IPv6. ``trusted_proxies`` are networks in CIDR form whose forwarding
    headers are believed and extended. ``worker_processes`` None means one for each core. ``main_template`` is the text
    of an administrator's template, not yet looked at; None means the shipped one. With a ``shell`` there are neither
    upstreams nor servers: the data plane is Dynamic, and its routes are no part of the file.
    """

    balancer: str
    listeners: tuple[Listener, ...]
    ipv6: bool
    trusted_proxies: tuple[str, ...]
    worker_processes: int | None
    worker_connections: int
    upstreams: tuple[Upstream, ...]
    servers: tuple[VirtualServer, ...]
    main_template: str | None = None
    shell: Shell | None = None
