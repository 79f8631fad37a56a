"""The Dynamic data plane's model: what a handshake may reach, as records that nginx looks up while it runs.

A route or an endpoint that changes is a record that changes, never a line of nginx.conf. All durations are
milliseconds, all strings are validated already (``graph``). Everything is sorted and hashable, so that equal meaning
gives equal bytes.
"""

from dataclasses import dataclass
from typing import NamedTuple

from wsroute.api.policies import HashKey, HashSource, OriginRules, Policy, StickyCookie
from wsroute.dataplane.certificates import Files
from wsroute.dataplane.ir import PathMatch, Refuse, RouteRef

__all__ = [
    "Address",
    "CertificateRecord",
    "EndpointGroup",
    "Forward",
    "HashKey",
    "HashSource",
    "HostRecord",
    "OriginRules",
    "PathRecord",
    "Policy",
    "StickyCookie",
    "Table",
    "Target",
]


class Address(NamedTuple):
    """Where sockets go: a bare IPv4 or IPv6 address in its canonical text, and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class EndpointGroup:
    """The endpoints behind a port of a Service; ``name`` is ``team-a/chat:8080``.

    ``addresses`` take new sockets. ``returning`` are those that terminate but still serve while others take the new
    sockets: they take only the client whose sticky cookie names them.
    """

    name: str
    addresses: tuple[Address, ...]
    returning: tuple[Address, ...] = ()


class Target(NamedTuple):
    """A group of endpoints and its share of a path's sockets, at least 1."""

    group: str
    weight: int


@dataclass(frozen=True, slots=True)
class Forward:
    """A path that takes sockets, with ``websocket_only`` nothing else.

    ``targets`` is never empty, but a group may be. ``rewrite_prefix`` replaces the matched prefix (or the exact path)
    when it is not None. The names of ``set_headers`` and ``remove_headers`` are among those that the balancer permits.
    ``hash_key`` is given with the policy Hash only.
    """

    targets: tuple[Target, ...]
    websocket_only: bool
    rewrite_prefix: str | None
    connect_timeout: int
    idle_timeout: int
    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    policy: Policy
    origins: OriginRules
    hash_key: HashKey | None = None
    sticky: StickyCookie | None = None


@dataclass(frozen=True, slots=True)
class PathRecord:
    """One path of one route. ``path`` begins with a slash; a prefix has no trailing slash unless it is ``/``."""

    route: RouteRef
    path: str
    match: PathMatch
    action: Forward | Refuse


@dataclass(frozen=True, slots=True)
class HostRecord:
    """The paths of a host on some listeners, sorted. ``host`` is a lower-case name, or ``*.`` and a name, which covers
    exactly one label. No two records of a table have a host and a listener in common."""

    host: str
    listeners: tuple[str, ...]
    paths: tuple[PathRecord, ...]


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """The files that some listeners serve for a name, one for each type of key and never none.

    ``name`` is a lower-case name, or ``*.`` and a name, which covers exactly one label, or ``*`` for what no other
    record covers. No two records of a table have a name and a listener in common.
    """

    name: str
    listeners: tuple[str, ...]
    files: Files


@dataclass(frozen=True, slots=True)
class Table:
    """All that one balancer's pods look up: hosts and certificates sorted by name and listeners, groups by name."""

    hosts: tuple[HostRecord, ...]
    groups: tuple[EndpointGroup, ...]
    certificates: tuple[CertificateRecord, ...] = ()
