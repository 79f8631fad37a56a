"""The data plane's model with a raw value in it, as if neither schema nor operator had looked at it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.support.configurations import configuration, location, proxy, server, upstream
from wsroute.api.policies import HashKey, HashSource, OriginRules, Policy
from wsroute.dataplane.ir import Configuration, Endpoint, Listener, RouteRef

_NAME: Final = "X-Harmless"


def _route(*, host: Any = "m.example.com", path: Any = "/ws", port: int = 8080, **action: Any) -> Configuration:
    return configuration(port=port, servers=[server(location(path, proxy(**action)), host=host)])


def _listener(**changes: Any) -> Configuration:
    usual: dict[str, Any] = {"name": "ws", "port": 8080, "public_scheme": "ws", "public_port": 80}
    listener = Listener(**(usual | changes))
    return configuration(listeners=(listener,), servers=[server(listeners=(listener.name,))])


MODELS: Final[Mapping[tuple[str, str], Callable[[Any], Configuration]]] = {
    ("WebSocketRoute", "spec.hosts[]"): lambda value: _route(host=value),
    ("WebSocketRoute", "spec.paths[].path"): lambda value: _route(path=value),
    ("WebSocketRoute", "spec.paths[].rewritePrefix"): lambda value: _route(rewrite_prefix=value),
    ("WebSocketRoute", "spec.headers.set[].name"): lambda value: _route(set_headers=((value, "harmless"),)),
    ("WebSocketRoute", "spec.headers.set[].value"): lambda value: _route(set_headers=((_NAME, value),)),
    ("WebSocketRoute", "spec.headers.remove[]"): lambda value: _route(remove_headers=(value,)),
    ("WebSocketRoute", "spec.timeouts.connect"): lambda value: _route(connect_timeout=value),
    ("WebSocketRoute", "spec.timeouts.idle"): lambda value: _route(idle_timeout=value),
    ("WebSocketRoute", "spec.paths[].backends[].weight"): lambda value: configuration(
        upstreams=[upstream(Endpoint("10.1.2.3", 8080, value))]
    ),
    ("WebSocketRoute", "spec.origins.policy"): lambda value: _route(origins=OriginRules(value, ("m.example.com",))),
    ("WebSocketRoute", "spec.origins.allow[]"): lambda value: _route(
        origins=OriginRules("Enforce", ("m.example.com",), (value,))
    ),
    ("WebSocketRoute", "spec.loadBalancing.hash.name"): lambda value: configuration(
        upstreams=[upstream(balancing=Policy.HASH, hash_key=HashKey(HashSource.QUERY, value))]
    ),
    ("EndpointSlice", "endpoints[].addresses[]"): lambda value: configuration(
        upstreams=[upstream(Endpoint(value, 8080, 1))]
    ),
    ("WebSocketBalancer", "spec.trustedProxies[]"): lambda value: configuration(trusted_proxies=(value,)),
    ("WebSocketBalancer", "spec.listeners[].name"): lambda value: _listener(name=value),
    ("WebSocketBalancer", "spec.listeners[].port"): lambda value: _listener(port=value),
    ("WebSocketBalancer", "spec.listeners[].public.scheme"): lambda value: _listener(public_scheme=value),
    ("WebSocketBalancer", "spec.nginx.workerProcesses"): lambda value: configuration(worker_processes=value),
    ("WebSocketBalancer", "spec.nginx.workerConnections"): lambda value: configuration(worker_connections=value),
    ("WebSocketRoute", "metadata.name"): lambda value: configuration(
        servers=[server(location(route=RouteRef("team-m", value)))]
    ),
    ("WebSocketBalancer", "metadata.name"): lambda value: configuration(balancer=value),
}
"""By kind and field: the fields whose values reach the renderer. All others end in the graph, or are compared with what
others wrote."""

HARMLESS: Final[Mapping[str, Any]] = {
    "spec.hosts[]": "harmless.example.com",
    "spec.paths[].path": "/harmless",
    "spec.paths[].rewritePrefix": "/harmless",
    "spec.headers.set[].name": _NAME,
    "spec.headers.set[].value": "harmless",
    "spec.headers.remove[]": _NAME,
    "spec.timeouts.connect": 3_000,
    "spec.timeouts.idle": 3_000,
    "spec.paths[].backends[].weight": 2,
    "spec.origins.policy": "Report",
    "spec.origins.allow[]": "https://harmless.example.com",
    "spec.loadBalancing.hash.name": "harmless",
    "endpoints[].addresses[]": "10.1.2.3",
    "spec.trustedProxies[]": "10.0.0.0/8",
    "spec.listeners[].name": "ws",
    "spec.listeners[].port": 8080,
    "spec.listeners[].public.scheme": "ws",
    "spec.nginx.workerProcesses": 2,
    "spec.nginx.workerConnections": 1024,
    "metadata.name": "harmless",
}
"""A good value of each, for the structure."""
