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
    """One ``location``'s head. With a ``target`` it rewrites the whole path, or ``prefix`` and not what follows it."""

    modifier: Block
    path: LocationPath
    target: RewriteTarget | None = None
    prefix: RegexLiteral | None = None


class LocationView(NamedTuple):
    """What the locations of one path of a route have in common. ``upstream`` is None where ``refusal`` stands, and
    ``origin_policy`` where it is Enforce."""

    summary: Comment
    route: RouteName
    places: tuple[PlaceView, ...]
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
    exact = {path for path, match in paths if match is PathMatch.EXACT}
    routes = tuple(dict.fromkeys(location.route for location in server.locations))
    name = ServerName(server.host)
    return ServerView(
        title=Comment(f"{server.host}: {_named(routes)}"),
        heads=heads,
        name=name,
        unclaimed_paths=("/", PathMatch.PREFIX) not in paths,
        locations=tuple(_location_view(location, exact=exact, host=server.host) for location in server.locations),
        request_headers=request_headers,
    )


def _named(routes: Sequence[RouteRef]) -> Comment:
    names = [_route_name(route) for route in routes[:_ROUTES_SHOWN]]
    more = len(routes) - len(names)
    return Comment(", ".join(names) + (f" and {more} more" if more else "") or "no route")


def _location_view(location: Location, *, exact: set[str], host: str) -> LocationView:
    try:
        route = _route_name(location.route)
        action = location.action
        if isinstance(action, Refuse):
            words, body = _REFUSALS[action.reason]
            return LocationView(
                summary=Comment(f"{route}, refused: {words}"),
                route=route,
                places=_places(location, rewrite=None, exact=exact),
                refusal=Identifier(action.reason.value),
                body=body,
            )
        return LocationView(
            summary=Comment(
                f"{route}, " + ("WebSockets only" if action.websocket_only else "WebSockets and plain HTTP")
            ),
            route=route,
            places=_places(location, rewrite=action.rewrite_prefix, exact=exact),
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
_EVERYTHING: Final = Block("")


def _places(location: Location, *, rewrite: str | None, exact: set[str]) -> tuple[PlaceView, ...]:
    """The locations that a path takes. nginx's prefixes know no path elements: ``/ws`` is ``= /ws`` and ``^~ /ws/``."""
    path = location.path
    whole = LocationPath(path)
    if rewrite is not None and not rewrite.startswith("/"):
        raise EmitError("A new prefix must start with a slash.")
    if location.match is PathMatch.EXACT:
        return (PlaceView(_EXACT, whole, None if rewrite is None else RewriteTarget(rewrite)),)
    if path == "/":
        return (_below("", _EVERYTHING, rewrite),)
    if path.endswith("/"):
        raise EmitError("A prefix must not end with a slash.")
    below = _below(path, _PREFIX, rewrite)
    if path in exact:
        return (below,)
    return (PlaceView(_EXACT, whole, None if rewrite is None else RewriteTarget(rewrite.rstrip("/") or "/")), below)


def _below(stem: str, modifier: Block, rewrite: str | None) -> PlaceView:
    """The location of all paths below one; what follows the prefix keeps its slash, so the new prefix ends without."""
    path = LocationPath(f"{stem}/")
    if rewrite is None:
        return PlaceView(modifier, path)
    return PlaceView(modifier, path, RewriteTarget(rewrite.rstrip("/")), RegexLiteral(stem))
