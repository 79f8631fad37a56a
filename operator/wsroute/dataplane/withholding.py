"""A configuration without what some routes wish: for routes that nginx refused, and for those under suspicion. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, NamedTuple

from wsroute.dataplane.ir import (
    Configuration,
    Location,
    Proxy,
    RefusalReason,
    Refuse,
    RouteRef,
    Upstream,
    VirtualServer,
)

_ROUTE_INVALID: Final = Refuse(RefusalReason.ROUTE_INVALID)


@dataclass(frozen=True, slots=True)
class Withheld:
    """What is not served as its author wishes.

    ``withdrawn`` routes answer 503 with ``route-invalid``, ``left_out`` ones have no text at all, and ``held`` ones are
    as in the configuration ``base``: left out when they are not in it, or when it is None because none is known.
    """

    withdrawn: frozenset[RouteRef] = frozenset()
    left_out: frozenset[RouteRef] = frozenset()
    held: frozenset[RouteRef] = frozenset()
    base: Configuration | None = field(default=None, compare=False)

    @property
    def routes(self) -> frozenset[RouteRef]:
        """All of them."""
        return self.withdrawn | self.left_out | self.held


class _Placed(NamedTuple):
    """A location on a listener of a host."""

    host: str
    listener: str
    location: Location


def withhold(wished: Configuration, withheld: Withheld) -> Configuration:
    """The configuration in which everybody but the withheld routes has what it wishes.

    A path that a held route had and somebody else has now goes to the other one. Hosts without a withheld route stay
    the same objects.
    """
    routes = withheld.routes
    if not routes:
        return wished
    base = withheld.base if withheld.held else None
    old = [] if base is None else [*_placed(base.servers, withheld.held)]
    hosts = {placed.host for placed in chain(_placed(wished.servers, routes), old)}
    kept: list[_Placed] = []
    for server in wished.servers:
        if server.host in hosts:
            kept += _kept(server, withheld)
    back = _without_conflict(wished, kept, old)
    servers = [server for server in wished.servers if server.host not in hosts]
    servers += _servers(chain(kept, back))
    return replace(
        wished,
        upstreams=_upstreams(wished, base, routes, back),
        servers=tuple(sorted(servers, key=lambda server: (server.host, server.listeners))),
    )


def _placed(servers: Iterable[VirtualServer], routes: frozenset[RouteRef]) -> Iterator[_Placed]:
    for server in servers:
        for location in server.locations:
            if location.route in routes:
                for listener in server.listeners:
                    yield _Placed(server.host, listener, location)


def _kept(server: VirtualServer, withheld: Withheld) -> Iterator[_Placed]:
    for location in server.locations:
        route = location.route
        if route in withheld.withdrawn:
            here = replace(location, action=_ROUTE_INVALID)
        elif route in withheld.left_out or route in withheld.held:
            continue
        else:
            here = location
        for listener in server.listeners:
            yield _Placed(server.host, listener, here)


def _without_conflict(wished: Configuration, kept: list[_Placed], old: list[_Placed]) -> list[_Placed]:
    """Those of the old locations that take nothing from anybody: their listener exists, their path is free, and their
    host is no other namespace's by now."""
    listeners = {listener.name for listener in wished.listeners}
    taken = {(host, listener, location.path, location.match) for host, listener, location in kept}
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for server in wished.servers:
        owners[server.host].update(location.route.namespace for location in server.locations)
    return [
        placed
        for placed in old
        if placed.listener in listeners
        and (placed.host, placed.listener, placed.location.path, placed.location.match) not in taken
        and owners[placed.host] <= {placed.location.route.namespace}
    ]


def _servers(placed: Iterable[_Placed]) -> Iterator[VirtualServer]:
    """The servers of these locations: one for all listeners of a host that have the same ones."""
    places: defaultdict[tuple[str, str], list[Location]] = defaultdict(list)
    for host, listener, location in placed:
        places[host, listener].append(location)
    alike: defaultdict[tuple[str, tuple[Location, ...]], list[str]] = defaultdict(list)
    for (host, listener), locations in sorted(places.items()):
        ordered = sorted(locations, key=lambda location: (location.path, location.match, location.route))
        alike[host, tuple(ordered)].append(listener)
    for (host, together), names in alike.items():
        yield VirtualServer(host, tuple(names), together)


def _upstreams(
    wished: Configuration, base: Configuration | None, routes: frozenset[RouteRef], back: list[_Placed]
) -> tuple[Upstream, ...]:
    """The upstreams of those that have what they wish, and of the locations that come back: with the present endpoints
    where they come from the same Services."""
    dropped = {
        placed.location.action.upstream
        for placed in _placed(wished.servers, routes)
        if isinstance(placed.location.action, Proxy)
    }
    present = {upstream.name: upstream for upstream in wished.upstreams}
    found = {name: upstream for name, upstream in present.items() if name not in dropped}
    former = {} if base is None else {upstream.name: upstream for upstream in base.upstreams}
    for placed in back:
        action = placed.location.action
        if isinstance(action, Proxy):
            name, upstream = action.upstream, former[action.upstream]
            fresh = present.get(name)
            same = fresh is not None and (fresh.balancing, fresh.sources) == (upstream.balancing, upstream.sources)
            found[name] = fresh if fresh is not None and same else upstream
    return tuple(found[name] for name in sorted(found))
