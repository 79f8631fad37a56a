"""The models of a WebSocketRoute's ``spec``: what an application team writes."""

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from wsroute.api.balancer import WebSocketBalancerSpec
from wsroute.api.balancing import LoadBalancing, policy_in_force, sticky_in_force
from wsroute.api.common import IDLE_RULE, Timeouts, header_key
from wsroute.api.fields import (
    BalancerName,
    DnsLabel,
    Duration,
    HeaderName,
    HeaderValue,
    Host,
    Model,
    Path,
    PortRef,
    Rule,
    many,
)
from wsroute.api.origins import Origins, rules_in_force
from wsroute.api.policies import HashKey, OriginRules, Policy, StickyCookie

PathType = Literal["Prefix", "Exact"]


class BalancerRef(Model):
    """Which WebSocketBalancer serves a route."""

    name: BalancerName = Field(description="Name of the WebSocketBalancer.")
    namespace: DnsLabel | None = Field(
        default=None, description="Namespace of the WebSocketBalancer; the route's own when left out."
    )


class Backend(Model):
    """A Service that takes a share of a path's sockets."""

    service: DnsLabel = Field(description="Name of a Service in the route's namespace.")
    port: PortRef = Field(description="Port of the Service: its number or its name.")
    weight: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1,
        description=(
            "Share of new sockets in proportion to the other backends of the path; 1 when left out. "
            "0 takes no new sockets."
        ),
    )


class RoutePath(Model):
    """A path of a route and the backends behind it."""

    path: Path = Field(
        description="Path of the request, without query. /ws as a Prefix covers /ws, /ws/ and /ws/a, and never /wsx."
    )
    type: PathType = Field(
        default="Prefix",
        description="Prefix matches whole path elements, Exact the path alone; Prefix when left out.",
    )
    upgrade: Literal["Required", "Optional"] = Field(
        default="Required",
        description=(
            "Required answers 426 to requests that do not ask for a WebSocket; Optional proxies plain HTTP too, "
            "for pages and long polling. Required when left out."
        ),
    )
    rewrite_prefix: Path | None = Field(
        default=None,
        description="What the backend sees instead of the matched prefix (or exact path). Unchanged when left out.",
    )
    backends: tuple[Backend, ...] = many(
        "atomic", "The Services that share the path's sockets, by weight.", minimum=1, maximum=16
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.backends.exists(backend, !has(backend.weight) || backend.weight > 0)",
            sentence="At least one backend must have a weight above 0",
            broken=lambda path: [] if any(backend.weight for backend in path.backends) else [".backends"],
            field=".backends",
        ),
    )

    @property
    def match_path(self) -> str:
        """The path to match: of a prefix without the slash at its end, unless it is ``/`` itself."""
        if self.type == "Prefix" and self.path != "/":
            return self.path.removesuffix("/")
        return self.path


class SetHeader(Model):
    """A header that the backend gets."""

    name: HeaderName = Field(description="Name of the header; it must be among the balancer's requestHeaders.")
    value: HeaderValue = Field(description="Value of the header, as it is: no variables.")


def _same_headers(headers: "Headers") -> Iterator[str]:
    seen: set[str] = set()
    named = [(f".set[{index}].name", header.name) for index, header in enumerate(headers.set)]
    named += [(f".remove[{index}]", name) for index, name in enumerate(headers.remove)]
    for place, name in named:
        key = header_key(name)
        if key in seen:
            yield place
        seen.add(key)


_HEADER_KEYS: Final = (
    "((has(self.set) ? self.set.map(header, header.name) : []) + (has(self.remove) ? self.remove : []))"
    ".map(name, name.lowerAscii().replace('-', '_'))"
)


class Headers(Model):
    """What is changed in the headers of the request on its way to the backend."""

    set: tuple[SetHeader, ...] = many(
        "atomic", "Headers that replace those of the client.", minimum=0, maximum=16, default=()
    )
    remove: tuple[HeaderName, ...] = many(
        "atomic", "Headers of the client that the backend does not get.", minimum=0, maximum=16, default=()
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"{_HEADER_KEYS}.all(key, {_HEADER_KEYS}.exists_one(other, other == key))",
            sentence=(
                "A header must be named only once, and names that differ only in case or in - and _ are the same header"
            ),
            broken=_same_headers,
        ),
    )


def _same_paths(spec: "WebSocketRouteSpec") -> Iterator[str]:
    seen = set()
    for index, path in enumerate(spec.paths):
        key = (path.type, path.match_path)
        if key in seen:
            yield f".paths[{index}].path"
        seen.add(key)


_PATH_KEY: Final = (
    "(has(path.type) && path.type == 'Exact' ? '=' + path.path : path.path.endsWith('/') ? path.path : path.path + '/')"
)


class WebSocketRouteSpec(Model):
    """What a team wants served: hosts, paths, and the Services behind them."""

    balancer_ref: BalancerRef | None = Field(
        default=None,
        description="The WebSocketBalancer that serves the route. The operator's default balancer when left out.",
    )
    listeners: tuple[DnsLabel, ...] = many(
        "set",
        "Names of the balancer's listeners on which the route is served. All of them when left out.",
        minimum=1,
        maximum=16,
        default=(),
    )
    hosts: tuple[Host, ...] = many(
        "set",
        "Host names of the route. A wildcard covers exactly one label. When left out and the balancer has a domain: "
        "<name>--<namespace>.<domain>.",
        minimum=1,
        maximum=16,
        default=(),
    )
    paths: tuple[RoutePath, ...] = many(
        "atomic", "The paths of the route; the longest one that matches a request serves it.", minimum=1, maximum=32
    )
    timeouts: Timeouts | None = Field(default=None, description="How long to wait for what.")
    ping_interval: Duration | None = Field(
        default=None,
        description="How often the application sends WebSocket pings. timeouts.idle must be at least twice as long.",
    )
    origins: Origins | None = Field(
        default=None, description="Which pages may open sockets. Those of the route's own hosts when left out."
    )
    load_balancing: LoadBalancing | None = Field(
        default=None, description="How an endpoint is chosen for a new socket."
    )
    headers: Headers | None = Field(
        default=None, description="What is changed in the headers of the request on its way to the backend."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        IDLE_RULE,
        Rule(
            cel=f"self.paths.map(path, {_PATH_KEY}).all(key, self.paths.exists_one(path, {_PATH_KEY} == key))",
            sentence="Each path must be given once for each type, and /ws and /ws/ are the same Prefix",
            broken=_same_paths,
            field=".paths",
        ),
    )

    def connect_timeout(self, balancer: WebSocketBalancerSpec) -> int:
        """Milliseconds: the route's own, else the balancer's default."""
        own = self.timeouts.connect if self.timeouts else None
        return balancer.default_connect_timeout if own is None else own

    def idle_timeout(self, balancer: WebSocketBalancerSpec) -> int:
        """Milliseconds: the route's own (which may exceed the balancer's maximum), else the balancer's default."""
        own = self.timeouts.idle if self.timeouts else None
        return balancer.default_idle_timeout if own is None else own

    def ping(self, balancer: WebSocketBalancerSpec) -> int | None:
        """Milliseconds between the application's pings: the route's own, else the balancer's default, else unknown."""
        return self.ping_interval if self.ping_interval is not None else balancer.defaults.ping_interval

    def policy(self, balancer: WebSocketBalancerSpec) -> tuple[Policy, HashKey | None]:
        """The load balancing policy in force, and the key of the policy Hash."""
        return policy_in_force(self.load_balancing, balancer.defaults.load_balancing)

    def sticky_cookie(self, balancer: WebSocketBalancerSpec) -> StickyCookie | None:
        """The sticky cookie in force."""
        return sticky_in_force(self.load_balancing, balancer.defaults.load_balancing)

    def origin_rules(self, balancer: WebSocketBalancerSpec, hosts: Iterable[str]) -> OriginRules:
        """Which pages may open sockets, ``hosts`` being the route's in force."""
        return rules_in_force(self.origins, balancer.defaults.origins, hosts)
