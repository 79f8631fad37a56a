"""What the templates of upstreams and servers get to see: records of emitters, made from the data plane's model.

Named tuples, because they are made three times as fast as frozen dataclasses and there are thousands of them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from wsroute.api.policies import Policy
from wsroute.dataplane.ir import (
    Endpoint,
    Location,
    PathMatch,
    Proxy,
    RefusalReason,
    Refuse,
    RouteRef,
    Upstream,
    VirtualServer,
)
from wsroute.nginx.handshakes import HashVariable, OriginWords, origin_words
from wsroute.nginx.quoting import (
    Comment,
    Duration,
    EmitError,
    HeaderName,
    Identifier,
    Integer,
    LocationPath,
    PathPattern,
    Quoted,
    RegexLiteral,
    RewriteTarget,
    RouteName,
    ServerName,
    SocketAddress,
)
from wsroute.nginx.templating import Block

COMMON_CONNECT_TIMEOUT: Final = 5_000
COMMON_IDLE_TIMEOUT: Final = 3_600_000
"""Milliseconds that stand once, for all locations; those that differ say theirs. Fixed, so that no route changes what
is written for another."""

MANY_PREFIXES: Final = 32
"""A host with more of them gets locations that nginx finds in a tree, so that no handshake pays for them; not where
an exact path must be an expression, which such locations would shut out."""

_ROUTES_SHOWN: Final = 3

_route_name: Final = lru_cache(maxsize=1024)(RouteName)
"""A route stands beside its upstreams, its server and its locations."""

OWN_HEADERS: Final = frozenset(
    {
        "host", "upgrade", "connection", "http2-settings", "forwarded", "x-real-ip", "x-wsroute-pod",
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
    }
)  # fmt: skip
"""What every location sends, in lower case: a second line for one of them would reach the endpoint beside ours."""

_COLUMN: Final = max(len(name) for name in OWN_HEADERS)
"""Where the values of our own headers begin; a route's stand below them."""

_REFUSALS: Final = {
    RefusalReason.NO_ENDPOINTS: ("no endpoint is ready", Block(r'"No endpoint of this route takes connections.\n"')),
    RefusalReason.ROUTE_INVALID: ("the route is invalid", Block(r'"This route is invalid at the moment.\n"')),
}


class EndpointView(NamedTuple):
    """``weight`` None is nginx's own, 1."""

    address: SocketAddress
    weight: Integer | None


class UpstreamView(NamedTuple):
    """An ``upstream``."""

    routes: Comment
    name: Identifier
    least_conn: bool
    hash_key: HashVariable | None
    endpoints: tuple[EndpointView, ...]


class PlaceView(NamedTuple):
    """One ``location``'s head."""

    modifier: Block
    path: LocationPath | PathPattern


class RewriteView(NamedTuple):
    """A new beginning of the path: ``target`` in place of ``prefix``, or of the whole path where that is None."""

    target: RewriteTarget
    prefix: Block | None = None


class LocationView(NamedTuple):
    """What the locations of one path of a route have in common. ``upstream`` is None where ``refusal`` stands, and
    ``origin_policy`` where it is Enforce."""

    summary: Comment
    route: RouteName
    places: tuple[PlaceView, ...]
    rewrite: RewriteView | None = None
    refusal: Identifier | None = None
    body: Block | None = None
    upstream: Identifier | None = None
    websocket_only: bool = False
    connect_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    headers: tuple[tuple[Block, Quoted], ...] = ()
    origin_policy: Identifier | None = None
    origins: tuple[OriginWords, ...] = ()


class ServerView(NamedTuple):
    """A ``server``, or several that differ in their listeners. ``unclaimed_paths`` says that there are paths that no
    location takes."""

    title: Comment
    heads: tuple[Block, ...]
    name: ServerName
    unclaimed_paths: bool
    locations: tuple[LocationView, ...]
    request_headers: Block


def upstream_view(upstream: Upstream, routes: Sequence[RouteRef]) -> UpstreamView:
    """An upstream of these routes. Raises EmitError."""
    if not upstream.endpoints:
        raise EmitError("An upstream must have an endpoint.", route=routes[0] if routes else None)
    try:
        return UpstreamView(
            routes=_named(routes),
            name=Identifier(upstream.name),
            least_conn=upstream.balancing == Policy.LEAST_CONNECTIONS,
            hash_key=_hash_key(upstream),
            endpoints=tuple(_endpoint_view(endpoint) for endpoint in upstream.endpoints),
        )
    except EmitError as error:
        raise EmitError(str(error), route=routes[0] if routes else None) from None


def _hash_key(upstream: Upstream) -> HashVariable | None:
    if (upstream.balancing == Policy.HASH) != (upstream.hash_key is not None):
        raise EmitError("The policy Hash has a key, and no other policy has.")
    return None if upstream.hash_key is None else HashVariable(upstream.hash_key)


def _endpoint_view(endpoint: Endpoint) -> EndpointView:
    return EndpointView(
        address=SocketAddress(endpoint.address, endpoint.port),
        weight=None if endpoint.weight == 1 else Integer(endpoint.weight, minimum=1),
    )


def server_view(server: VirtualServer, *, heads: tuple[Block, ...], request_headers: Block) -> ServerView:
    """A server with all its locations. Raises EmitError, with the route where it is a location's fault."""
    paths = [(location.path, location.match) for location in server.locations]
    if len(set(paths)) != len(paths):
        raise EmitError("Two locations of a host have the same path.")
    routes = tuple(dict.fromkeys(location.route for location in server.locations))
    name = ServerName(server.host)
    exact = frozenset(path for path, match in paths if match is PathMatch.EXACT)
    many = len(paths) - len(exact) > MANY_PREFIXES and not any(map(_redirected_to, exact))
    return ServerView(
        title=Comment(f"{server.host}: {_named(routes)}"),
        heads=heads,
        name=name,
        unclaimed_paths=("/", PathMatch.PREFIX) not in paths,
        locations=tuple(
            _location_view(location, host=server.host, exact=exact, many=many)
            for location in in_order(server.locations)
        ),
        request_headers=request_headers,
    )


def in_order(locations: Sequence[Location]) -> list[Location]:
    """As they are written: nginx takes the first regular expression that matches, so that the longest path goes first,
    and a path alone before all below it."""
    return sorted(locations, key=lambda location: (-len(location.path), location.match))


def _named(routes: Sequence[RouteRef]) -> Comment:
    names = [_route_name(route) for route in routes[:_ROUTES_SHOWN]]
    more = len(routes) - len(names)
    return Comment(", ".join(names) + (f" and {more} more" if more else "") or "no route")


def _location_view(location: Location, *, host: str, exact: frozenset[str], many: bool) -> LocationView:
    try:
        route = _route_name(location.route)
        places = _places(location, exact=exact, many=many)
        action = location.action
        if isinstance(action, Refuse):
            words, body = _REFUSALS[action.reason]
            return LocationView(
                summary=Comment(f"{route}, refused: {words}"),
                route=route,
                places=places,
                refusal=Identifier(action.reason.value),
                body=body,
            )
        return LocationView(
            summary=Comment(
                f"{route}, " + ("WebSockets only" if action.websocket_only else "WebSockets and plain HTTP")
            ),
            route=route,
            places=places,
            rewrite=None if action.rewrite_prefix is None else _rewrite(location, action.rewrite_prefix),
            upstream=Identifier(action.upstream),
            websocket_only=action.websocket_only,
            connect_timeout=_unless_common(action.connect_timeout, COMMON_CONNECT_TIMEOUT),
            idle_timeout=_unless_common(action.idle_timeout, COMMON_IDLE_TIMEOUT),
            headers=_headers(action),
            origin_policy=None if action.origins.policy == "Enforce" else Identifier(action.origins.policy),
            origins=origin_words(action.origins, host),
        )
    except EmitError as error:
        raise EmitError(str(error), route=location.route) from None


def _unless_common(milliseconds: int, common: int) -> Duration | None:
    return None if milliseconds == common else Duration(milliseconds)


def _headers(action: Proxy) -> tuple[tuple[Block, Quoted], ...]:
    if not action.set_headers and not action.remove_headers:
        return ()
    lines = [*((name, "") for name in action.remove_headers), *action.set_headers]
    lower = [name.lower() for name, _ in lines]
    if len(set(lower)) != len(lower):
        raise EmitError("A header is set or removed twice.")
    if not OWN_HEADERS.isdisjoint(lower):
        raise EmitError("A header is set or removed that the balancer itself sets.")
    return tuple((Block(HeaderName(name).ljust(_COLUMN)), Quoted(value)) for name, value in lines)


_EXACT: Final = Block("= ")
_PREFIX: Final = Block("^~ ")
_PATTERN: Final = Block("~ ")
_EVERYTHING: Final = Block("")


def _redirected_to(path: str) -> bool:
    """Whether nginx would answer ``/q`` with a redirect where there is ``location = /q/`` and no ``location = /q``."""
    return path.endswith("/") and path != "/"


def _places(location: Location, *, exact: frozenset[str], many: bool) -> tuple[PlaceView, ...]:
    """The locations that a path takes. nginx's own prefixes know no path elements, so that ``/ws`` is a regular
    expression, or where there are ``many`` both ``= /ws`` and ``^~ /ws/``: at a reload each location costs nginx as
    much as all the rest of a server, and at a request each expression that it tries an eighth of a microsecond."""
    path = location.path
    if location.match is PathMatch.EXACT:
        if _redirected_to(path):
            return (PlaceView(_PATTERN, PathPattern(path, below=False)),)
        return (PlaceView(_EXACT, LocationPath(path)),)
    if path == "/":
        return (PlaceView(_EVERYTHING, LocationPath(path)),)
    if path.endswith("/"):
        raise EmitError("A prefix must not end with a slash.")
    if not many:
        return (PlaceView(_PATTERN, PathPattern(path)),)
    below = PlaceView(_PREFIX, LocationPath(f"{path}/"))
    return (below,) if path in exact else (PlaceView(_EXACT, LocationPath(path)), below)


def _rewrite(location: Location, rewrite: str) -> RewriteView:
    """What follows a prefix keeps its slash, so the new one ends without; where that leaves nothing, a slash stays."""
    if not rewrite.startswith("/"):
        raise EmitError("A new prefix must start with a slash.")
    if location.match is PathMatch.EXACT:
        return RewriteView(RewriteTarget(rewrite))
    prefix, target = RegexLiteral(location.path.rstrip("/")), rewrite.rstrip("/")
    return RewriteView(RewriteTarget(target or "/"), Block(prefix if target else f"{prefix}/?"))
