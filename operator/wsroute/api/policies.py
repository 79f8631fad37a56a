"""What is in force of a route's origins and load balancing: plain types, for the graph and for the data planes.

Without pydantic, so that what reads them (an agent, too) stays small.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

OriginPolicy = Literal["Enforce", "Report", "Off"]


class Policy(StrEnum):
    """How one endpoint is chosen for a new socket."""

    LEAST_CONNECTIONS = "LeastConnections"
    ROUND_ROBIN = "RoundRobin"
    HASH = "Hash"


class HashSource(StrEnum):
    """What of a request is hashed."""

    CLIENT_IP = "ClientIP"
    HEADER = "Header"
    QUERY = "Query"
    COOKIE = "Cookie"


@dataclass(frozen=True, slots=True)
class HashKey:
    """What a policy Hash looks at. ``name`` is empty for the client's address."""

    on: HashSource
    name: str = ""


@dataclass(frozen=True, slots=True)
class StickyCookie:
    """A cookie that brings a client back to its endpoint. ``max_age`` is seconds, 0 for the browser's session."""

    name: str
    max_age: int = 0


@dataclass(frozen=True, slots=True)
class OriginRules:
    """Which pages may open sockets (RFC 6455, section 10.2). ``own_hosts`` are the route's hosts.

    ``allow`` are origins in their serialised form (RFC 6454, section 6.2) in lower case, without the scheme's default
    port, sorted; a host may begin with ``*.``, which covers exactly one label; ``null`` stands for itself. A handshake
    without the header may go on unless ``require_header``.
    """

    policy: OriginPolicy
    own_hosts: tuple[str, ...]
    allow: tuple[str, ...] = ()
    require_header: bool = False
