"""Which route a line of a rendered file comes from: nginx names the line at which it stopped reading."""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, final

from wsroute.dataplane.ir import Configuration, Proxy, RouteRef
from wsroute.nginx.views import in_order

_LOCATION: Final = "        # "
"""What the line above each route's location begins with, and no other line of a server."""


@final
class LineMap:
    """The routes of each line. Made of what the renderer has at hand, so that a map that nobody asks costs nothing.

    ``blocks`` are the texts of the configuration's upstreams and of its servers, in this order, below ``head_lines``
    lines that belong to no route.
    """

    __slots__ = ("_blocks", "_configuration", "_head_lines")

    def __init__(self, configuration: Configuration, head_lines: int, blocks: Sequence[str]) -> None:
        self._configuration = configuration
        self._head_lines = head_lines
        self._blocks = blocks

    @property
    def routes(self) -> range:
        """The numbers of the lines, counted from 1, in which the routes stand."""
        first = self._head_lines + 1
        return range(first, first + sum(block.count("\n") for block in self._blocks))

    def routes_at(self, line: int) -> tuple[RouteRef, ...]:
        """The routes that a line comes from, counted from 1: one inside a location, several where they share a server's
        head, none where the line is the balancer's own or does not exist."""
        left = line - self._head_lines
        if left < 1:
            return ()
        for index, block in enumerate(self._blocks):
            lines = block.count("\n")
            if left <= lines:
                return self._owners(index, left)
            left -= lines
        return ()

    def blocks_of(self, route: RouteRef) -> list[str]:
        """The texts of the servers in which a route has a location."""
        first = len(self._configuration.upstreams)
        return [
            self._blocks[first + index]
            for index, server in enumerate(self._configuration.servers)
            if any(location.route == route for location in server.locations)
        ]

    def sizes(self, *, compressed: bool) -> Mapping[RouteRef, float]:
        """About what each route takes of the file, in bytes. Text that repeats itself takes little once ``compressed``,
        which is measured for each namespace."""
        upstreams, servers = self._configuration.upstreams, self._configuration.servers
        users = {
            location.action.upstream: location.route
            for server in servers
            for location in server.locations
            if isinstance(location.action, Proxy)
        }
        sizes: defaultdict[RouteRef, float] = defaultdict(float)
        texts: defaultdict[str, list[str]] = defaultdict(list)
        for upstream, block in zip(upstreams, self._blocks, strict=False):
            if upstream.name in users:
                route = users[upstream.name]
                sizes[route] += len(block)
                texts[route.namespace].append(block)
        for server, block in zip(servers, self._blocks[len(upstreams) :], strict=True):
            for location in server.locations:
                sizes[location.route] += len(block) / len(server.locations)
            for namespace in {location.route.namespace for location in server.locations}:
                texts[namespace].append(block)
        if not compressed:
            return sizes
        rates = {}
        for namespace, blocks in texts.items():
            raw = "".join(blocks).encode()
            rates[namespace] = len(zlib.compress(raw, 1)) / len(raw)
        return {route: size * rates[route.namespace] for route, size in sizes.items()}

    def _owners(self, index: int, line: int) -> tuple[RouteRef, ...]:
        upstreams, servers = self._configuration.upstreams, self._configuration.servers
        if index < len(upstreams):
            return self._users(upstreams[index].name)
        locations = in_order(servers[index - len(upstreams)].locations)
        lines = self._blocks[index].split("\n")
        heads = [number for number, text in enumerate(lines, start=1) if text.startswith(_LOCATION)]
        above = sum(number <= line for number in heads)
        if above and len(heads) % len(locations) == 0:  # listeners with other certificates have it once more
            return (locations[(above - 1) % len(locations)].route,)
        return tuple(dict.fromkeys(location.route for location in locations))

    def _users(self, upstream: str) -> tuple[RouteRef, ...]:
        users = (
            location.route
            for server in self._configuration.servers
            for location in server.locations
            if isinstance(location.action, Proxy) and location.action.upstream == upstream
        )
        return tuple(dict.fromkeys(users))
