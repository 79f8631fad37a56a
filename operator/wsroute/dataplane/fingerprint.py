"""When is a route's change live? A digest of all that a handshake on the route depends on, endpoints left aside.

A pod that runs a version with the same fingerprint for a route serves that route as it is now. Which endpoints there
are changes all the time and says nothing about the route's own generation, so only whether there are any counts, and
which Services they come from. Nor do the certificates: they are the balancer's.
"""

import hashlib
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import Any

from wsroute.dataplane.certificates import NO_CERTIFICATES
from wsroute.dataplane.ir import Configuration, Listener, Proxy, RouteRef
from wsroute.graph.memo import Memo


def fingerprints(configuration: Configuration, *, memo: Memo | None = None) -> dict[RouteRef, str]:
    """The fingerprint of each route that has a location, in hex. Equal for equal meaning, on any machine."""
    memo = Memo() if memo is None else memo
    listeners = {listener.name: _without_certificates(listener) for listener in configuration.listeners}
    upstreams = {each.name: (str(each.balancing), each.hash_key, each.sources) for each in configuration.upstreams}
    parts: defaultdict[RouteRef, list[Any]] = defaultdict(list)
    for server in configuration.servers:
        served = tuple(listeners[name] for name in server.listeners)
        for location in server.locations:
            action = location.action
            upstream = upstreams[action.upstream] if isinstance(action, Proxy) else None
            parts[location.route].append((server.host, served, location, upstream))
    return {
        route: memo.get(("fingerprint", configuration.balancer, route), tuple(found), partial(_digest, found))
        for route, found in parts.items()
    }


def _without_certificates(listener: Listener) -> Listener:
    return listener if listener.tls is None else replace(listener, tls=NO_CERTIFICATES)


def _digest(parts: list[Any]) -> str:
    """SHA-256 of the parts' text: dataclasses, enumerations and tuples have one that is stable."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
