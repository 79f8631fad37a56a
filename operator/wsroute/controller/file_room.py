"""Which routes have to give way where a Static balancer's nginx.conf would be far too large. Pure but for its memo.

How far a text can be compressed shows only once it is there, and to write down all that the routes of one team may ask
for can take more memory than there is, and minutes. So routes are weighed before, and what is too heavy in any case
never becomes text. As with tables the largest route of the namespace that takes most gives way.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from wsroute.controller.fitting import Room
from wsroute.dataplane.ir import Configuration, Location, Proxy, RouteRef, Upstream, VirtualServer
from wsroute.graph.changes import span

LIMIT: Final = 24 * 1024 * 1024
"""Characters that the routes may have together, about; those of 10,000 usual ones have 10 MB."""

_PLACE: Final = 250
_HEADERS: Final = 1_100
_PIECE: Final = 40
_SERVER: Final = 200
"""Characters about a name or a value, by what it stands in."""


class _Use(NamedTuple):
    """What the locations of one route on a server take, and the upstreams that they name."""

    size: int
    upstreams: frozenset[str]


@dataclass(slots=True)
class _Server:
    """A server that was weighed. ``cut`` is what is left of it without some routes, None for nothing."""

    server: VirtualServer
    uses: Mapping[RouteRef, _Use]
    cut: tuple[frozenset[RouteRef], VirtualServer | None] | None = None


class FileRoom:
    """What is kept of one balancer between passes: what was weighed, and the routes for which there is no room. These
    follow from the configuration alone."""

    def __init__(self) -> None:
        self._servers: tuple[VirtualServer, ...] = ()
        self._weighed: dict[int, _Server] = {}
        self._total = 0
        self.left_out: frozenset[RouteRef] = frozenset()

    def fitting(self, wished: Configuration) -> Configuration:
        """A configuration without the routes for which there is no room, the same object where there is."""
        self._weigh(wished.servers)
        self.left_out = self._left_out(wished)
        return self._without(wished, self.left_out) if self.left_out else wished

    def _weigh(self, servers: tuple[VirtualServer, ...]) -> None:
        start, before, after = span(self._servers, servers)
        gone = {id(server): self._weighed.pop(id(server)) for server in self._servers[start:before]}
        self._total -= sum(use.size for server in gone.values() for use in server.uses.values())
        sizes: dict[int, int] = {}
        for server in servers[start:after]:
            weighed = gone.get(id(server)) or _Server(server, _uses(server, sizes))
            self._weighed[id(server)] = weighed
            self._total += sum(use.size for use in weighed.uses.values())
        self._servers = servers

    def _left_out(self, wished: Configuration) -> frozenset[RouteRef]:
        upstreams = {upstream.name: _upstream_size(upstream) for upstream in wished.upstreams}
        if self._total + sum(upstreams.values()) <= LIMIT:
            return frozenset()
        room = Room(LIMIT)
        for server in wished.servers:
            for route, use in self._weighed[id(server)].uses.items():
                room.put(route, (route, server.host, server.listeners), use.size)
                for name in use.upstreams:
                    room.put(route, name, upstreams[name])
        return frozenset(room.make_room())

    def _without(self, wished: Configuration, routes: frozenset[RouteRef]) -> Configuration:
        servers = []
        used: set[str] = set()
        for server in wished.servers:
            weighed = self._weighed[id(server)]
            gone = routes & weighed.uses.keys()
            if weighed.cut is None or weighed.cut[0] != gone:
                left = tuple(location for location in server.locations if location.route not in gone)
                weighed.cut = (gone, (replace(server, locations=left) if gone else server) if left else None)
            if weighed.cut[1] is not None:
                servers.append(weighed.cut[1])
            used.update(*(use.upstreams for route, use in weighed.uses.items() if route not in gone))
        upstreams = tuple(upstream for upstream in wished.upstreams if upstream.name in used)
        return replace(wished, servers=tuple(servers), upstreams=upstreams)


def _uses(server: VirtualServer, sizes: dict[int, int]) -> Mapping[RouteRef, _Use]:
    """``sizes`` are those of locations by their identity: a route has the same ones on all its hosts."""
    found: Counter[RouteRef] = Counter()
    upstreams: defaultdict[RouteRef, set[str]] = defaultdict(set)
    for location in server.locations:
        size = sizes.get(id(location))
        if size is None:
            size = sizes[id(location)] = location_size(location)
        if location.route not in found:
            found[location.route] = (_SERVER + len(server.host)) * len(server.listeners)
        found[location.route] += size
        if isinstance(location.action, Proxy):
            upstreams[location.route].add(location.action.upstream)
    return {route: _Use(size, frozenset(upstreams[route])) for route, size in found.items()}


def location_size(location: Location) -> int:
    """About how many characters a location takes. One that refuses is written twice, for its path and what is below."""
    action = location.action
    size = _PLACE + len(location.path) + 2 * len(str(location.route))
    if isinstance(action, Proxy):
        size += len(action.upstream) + sum(len(each) + 3 for each in action.origins.allow)
        if action.rewrite_prefix is not None:
            size += _PLACE + len(action.rewrite_prefix)
        if action.set_headers or action.remove_headers:
            size += _HEADERS + sum(len(name) + len(value) + _PIECE for name, value in action.set_headers)
            size += sum(len(name) + _PIECE for name in action.remove_headers)
        return size
    return 2 * size


def _upstream_size(upstream: Upstream) -> int:
    texts = sum(len(each.address) + _PIECE for each in upstream.endpoints) + sum(map(len, upstream.sources))
    return _PLACE + len(upstream.name) + texts
