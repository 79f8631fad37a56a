"""Short ways to write the data plane's model in tests."""

from collections.abc import Sequence
from typing import Any

from wsroute.api.policies import HashKey, OriginRules, Policy
from wsroute.dataplane.ir import (
    Configuration,
    Endpoint,
    Listener,
    Location,
    PathMatch,
    Proxy,
    Refuse,
    RouteRef,
    Upstream,
    VirtualServer,
)

HOST = "chat.example.com"
ROUTE = RouteRef("team-a", "chat")


def proxy(upstream: str = "team-a_chat_0", **changes: Any) -> Proxy:
    """A WebSockets-only proxy with the usual timeouts."""
    usual: dict[str, Any] = {
        "websocket_only": True,
        "rewrite_prefix": None,
        "connect_timeout": 5_000,
        "idle_timeout": 3_600_000,
        "set_headers": (),
        "remove_headers": (),
        "origins": OriginRules("Enforce", (HOST,)),
    }
    return Proxy(upstream=upstream, **(usual | changes))


def location(
    path: str = "/ws",
    action: Proxy | Refuse | None = None,
    *,
    match: PathMatch = PathMatch.PREFIX,
    route: RouteRef = ROUTE,
) -> Location:
    """A location of the route team-a/chat."""
    return Location(route=route, path=path, match=match, action=proxy() if action is None else action)


def server(*locations: Location, host: str = HOST, listeners: tuple[str, ...] = ("ws",)) -> VirtualServer:
    """A host with these locations, or with the usual one."""
    return VirtualServer(host=host, listeners=listeners, locations=locations or (location(),))


def upstream(
    *endpoints: Endpoint,
    name: str = "team-a_chat_0",
    balancing: Policy = Policy.LEAST_CONNECTIONS,
    hash_key: HashKey | None = None,
) -> Upstream:
    """The upstream of the usual location."""
    chosen = endpoints or (Endpoint("10.1.2.3", 8080, 1),)
    return Upstream(name=name, balancing=balancing, endpoints=chosen, hash_key=hash_key)


def configuration(
    *,
    port: int = 8080,
    servers: Sequence[VirtualServer] | None = None,
    upstreams: Sequence[Upstream] | None = None,
    **changes: Any,
) -> Configuration:
    """A balancer with one listener, one route and one endpoint, unless told otherwise."""
    usual: dict[str, Any] = {
        "balancer": "shared",
        "listeners": (Listener(name="ws", port=port, public_scheme="ws", public_port=80),),
        "ipv6": False,
        "trusted_proxies": (),
        "worker_processes": 1,
        "worker_connections": 1024,
        "upstreams": tuple(upstreams) if upstreams is not None else (upstream(),),
        "servers": tuple(servers) if servers is not None else (server(),),
    }
    return Configuration(**(usual | changes))


def many_routes(count: int, *, port: int, endpoints: int = 3) -> Configuration:
    """So many routes, each with a host and endpoints of its own."""
    refs = [RouteRef(f"team-{number % 50:02}", f"chat-{number}") for number in range(count)]
    hosts = [f"{ref.name}.{ref.namespace}.example.com" for ref in refs]
    return configuration(
        port=port,
        worker_processes=2,
        upstreams=[
            upstream(
                *(Endpoint(f"10.{other}.{number // 250}.{number % 250 + 1}", 8080, 1) for other in range(endpoints)),
                name=f"{ref.namespace}_{ref.name}_0",
            )
            for number, ref in enumerate(refs)
        ],
        servers=[
            server(
                location(
                    action=proxy(f"{ref.namespace}_{ref.name}_0", origins=OriginRules("Enforce", (host,))), route=ref
                ),
                host=host,
            )
            for ref, host in zip(refs, hosts, strict=True)
        ],
    )
