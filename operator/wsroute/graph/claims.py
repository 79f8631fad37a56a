"""How long a host stays its owner's: as long as it has a route there, and a while longer.

The claims come from ``<balancer>-state`` and go back into it. Without them the owner would have to be found out anew in
each pass, and whoever has the oldest route could take a host by adding it to that one.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import filterfalse
from operator import attrgetter
from typing import Final, NamedTuple

from wsroute.cluster.balancer_state import HostClaim, format_time, parse_time

HOLD: Final = 600
"""Seconds for which a host stays its owner's after its last route was gone: a route that is deleted and made anew, by a
hand or by a tool, finds its host where it was."""


_NAMESPACE: Final = attrgetter("namespace")


class Aged(NamedTuple):
    """The claims that stand at a time, and until when that will be so (seconds since the epoch)."""

    claims: Mapping[str, HostClaim]
    expires: float


def idle_hosts(claims: Mapping[str, HostClaim], wanted: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """The claimed hosts for which the owner has no route: ``wanted`` are hosts and the namespaces of their routes."""
    owned = zip(claims, map(_NAMESPACE, claims.values()), strict=True)
    return tuple(host for host, _ in filterfalse(wanted.__contains__, owned))


def age(claims: Mapping[str, HostClaim], idle: Iterable[str], *, wall: float) -> Aged:
    """Release the claims that have become idle, and drop those that were idle for long enough.

    A time of release that is yet to come (a hand's, or that of a clock that went wrong) counts as now.
    """
    now = format_time(wall)
    changed: dict[str, HostClaim | None] = {}
    expires = math.inf
    for host in idle:
        claim = claims[host]
        since = min(claim.released or now, now)
        until = held_until(since)
        if until <= wall:
            changed[host] = None
        else:
            expires = min(expires, until)
            if since != claim.released:
                changed[host] = replace(claim, released=since)
    if not changed:
        return Aged(claims, expires)
    merged = {**claims, **changed}
    return Aged({host: claim for host, claim in merged.items() if claim is not None}, expires)


def held_until(released: str) -> float:
    """When a host is free that was released then (seconds since the epoch)."""
    return (parse_time(released) or 0.0) + HOLD
