"""The models of a WebSocketBalancer's ``spec``: what a cluster's administrator writes."""

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from wsroute.api.allowed import AllowedRoutes
from wsroute.api.balancing import DEFAULT_RULES, LoadBalancing
from wsroute.api.common import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_IDLE_TIMEOUT,
    IDLE_RULE,
    Timeouts,
    cel_duration,
    header_key,
)
from wsroute.api.fields import (
    ConfigKey,
    DnsLabel,
    Domain,
    Duration,
    HeaderName,
    IntOrText,
    Model,
    Network,
    ObjectName,
    Pause,
    Rule,
    many,
)
from wsroute.api.origins import Origins
from wsroute.api.values import WORKER_PROCESSES

DEFAULT_WORKER_CONNECTIONS: Final = 16_384

DEFAULT_MIN_INTERVAL: Final = Pause("5s")
DEFAULT_MAX_DRAINING_GENERATIONS: Final = 3
DEFAULT_DRAIN_TIMEOUT: Final = Duration("1h")

RESERVED_PORTS: Final = (8081, 8082)
"""Ports of every balancer pod that are not for listeners: readiness, and the agent."""


DEFAULT_TEMPLATE_KEY: Final = "nginx.conf.j2"
"""Key of a ConfigMap under which a main template stands, unless the balancer names another."""


class DeploymentRef(Model):
    """A Deployment in the balancer's namespace."""

    name: ObjectName = Field(description="Name of the Deployment.")


class ServiceRef(Model):
    """A Service in the balancer's namespace."""

    name: DnsLabel = Field(description="Name of the Service.")


class Public(Model):
    """What clients see of a listener, behind a load balancer or a TLS proxy."""

    scheme: Literal["ws", "wss"] = Field(description="ws, or wss where something in front of the balancer ends TLS.")
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="Port that clients connect to; 80 for ws and 443 for wss when left out."
    )


class CertificateRef(Model):
    """A Secret of type kubernetes.io/tls in the balancer's namespace."""

    secret_name: ObjectName = Field(
        description="Name of the Secret: tls.crt has the certificate and its chain, tls.key the key in plain."
    )


class ListenerTls(Model):
    """How a listener ends TLS."""

    certificates: tuple[CertificateRef, ...] = many(
        "map",
        (
            "Certificates, chosen by the name that a client asks for (SNI): one that names the host, else one with a "
            "wildcard, which covers exactly one label. The first one is for all other names. An RSA and an ECDSA "
            "certificate for the same host are served side by side."
        ),
        minimum=1,
        maximum=64,
        key="secretName",
    )


_ENDS_TLS: Final = "self.protocol == 'HTTPS'"


def _public_without_tls(listener: "Listener") -> Iterable[str]:
    hides = listener.ends_tls and listener.public is not None and listener.public.scheme == "ws"
    return [".public.scheme"] if hides else []


class Listener(Model):
    """A port on which the balancer's pods accept connections, on IPv4 and IPv6."""

    name: DnsLabel = Field(description="Name of the listener, for the listeners of routes.")
    port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        description="Port on the balancer's pods. 8081 and 8082 are reserved."
    )
    protocol: Literal["HTTP", "HTTPS"] = Field(
        description="HTTP: handshakes without TLS. HTTPS: the balancer ends TLS (1.2 or 1.3), with HTTP/1.1 inside."
    )
    public: Public | None = Field(
        default=None,
        description=(
            "What clients see of the listener. Its own port when left out, with ws, or with wss where it ends TLS."
        ),
    )
    tls: ListenerTls | None = Field(default=None, description="The certificates; with protocol HTTPS, and only then.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=" && ".join(f"self.port != {port}" for port in RESERVED_PORTS),
            sentence="The ports 8081 and 8082 are reserved on balancer pods: choose another one, as 8080",
            broken=lambda listener: [".port"] if listener.port in RESERVED_PORTS else [],
            field=".port",
        ),
        Rule(
            cel=f"({_ENDS_TLS}) == has(self.tls)",
            sentence="A listener has tls with protocol HTTPS, and only then",
            broken=lambda listener: [".tls"] if listener.ends_tls != (listener.tls is not None) else [],
            field=".tls",
        ),
        Rule(
            cel=f"!({_ENDS_TLS}) || !has(self.public) || self.public.scheme == 'wss'",
            sentence="What clients see of a listener with protocol HTTPS is wss",
            broken=_public_without_tls,
            field=".public",
        ),
    )

    @property
    def ends_tls(self) -> bool:
        """Whether handshakes come inside of TLS."""
        return self.protocol == "HTTPS"

    @property
    def certificates(self) -> tuple[str, ...]:
        """The names of the Secrets with its certificates, the one for all other names first."""
        return tuple(reference.secret_name for reference in self.tls.certificates) if self.tls is not None else ()

    @property
    def public_scheme(self) -> Literal["ws", "wss"]:
        """The scheme of the listener's URLs."""
        if self.public is not None:
            return self.public.scheme
        return "wss" if self.ends_tls else "ws"

    @property
    def public_port(self) -> int:
        """The port of the listener's URLs."""
        if self.public is None:
            return self.port
        if self.public.port is not None:
            return self.public.port
        return {"ws": 80, "wss": 443}[self.public.scheme]


_RESTARTS: Final = "has(self.strategy) && self.strategy == 'Restart'"


def _drained_too_soon(reload: "Reload") -> Iterable[str]:
    return [".drainTimeout"] if not reload.restarts and reload.drains_for < reload.interval else []


def _means_nothing(field: str, name: str) -> Rule:
    """What is about draining generations must be left out where there are none."""
    return Rule(
        cel=f"!({_RESTARTS}) || !has(self.{field})",
        sentence=f"{field} means nothing with strategy Restart, where no pod reloads: leave it out",
        broken=lambda reload: [f".{field}"] if reload.restarts and name in reload.model_fields_set else [],
        field=f".{field}",
    )


class Reload(Model):
    """How a new configuration is brought in, and how much of the past the pods keep for it.

    The worker processes from before a reload finish their sockets: they are one draining generation.
    """

    strategy: Literal["InPlace", "Restart"] = Field(
        default="InPlace",
        description=(
            "InPlace (when left out): each pod's agent reloads its nginx, one canary pod first. Restart: for a "
            "Deployment without the agent, whose pods are replaced; that closes the sockets that outlive the old pods' "
            "grace period."
        ),
    )
    min_interval: Pause | None = Field(
        default=None,
        description=(
            "Least time between two reloads; what changes meanwhile is brought in together. An isolated change goes at "
            "once, and so does the removal of an endpoint, but not with strategy Restart. 5s when left out; 0s is none."
        ),
    )
    max_draining_generations: Annotated[int, Field(ge=1, le=64)] = Field(
        default=DEFAULT_MAX_DRAINING_GENERATIONS,
        description=(
            "How many draining generations a pod may have that still hold sockets. When a pod has as many, changes "
            "wait; the removal of an endpoint does not, and ends the oldest generation early. 3 when left out."
        ),
    )
    drain_timeout: Duration | None = Field(
        default=None,
        description=(
            "How long a draining generation may live. Then its workers are ended one at a time, with the sockets that "
            "they still hold. 1h when left out."
        ),
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                f"{_RESTARTS} || (has(self.drainTimeout) ? {cel_duration('self.drainTimeout')} "
                f": duration('{DEFAULT_DRAIN_TIMEOUT}')) >= "
                f"(has(self.minInterval) ? {cel_duration('self.minInterval')} "
                f": duration('{DEFAULT_MIN_INTERVAL}'))"
            ),
            sentence=(
                f"drainTimeout must not be shorter than minInterval ({DEFAULT_MIN_INTERVAL} when left out): sockets "
                "would be closed before the next reload could follow"
            ),
            broken=_drained_too_soon,
            field=".drainTimeout",
        ),
        _means_nothing("maxDrainingGenerations", "max_draining_generations"),
        _means_nothing("drainTimeout", "drain_timeout"),
    )

    @property
    def restarts(self) -> bool:
        """Whether pods are replaced, in place of reloading."""
        return self.strategy == "Restart"

    @property
    def interval(self) -> Duration:
        """The minInterval in force, milliseconds."""
        return DEFAULT_MIN_INTERVAL if self.min_interval is None else self.min_interval

    @property
    def drains_for(self) -> Duration:
        """The drainTimeout in force, milliseconds."""
        return DEFAULT_DRAIN_TIMEOUT if self.drain_timeout is None else self.drain_timeout


class Defaults(Model):
    """What counts where a route leaves a field out."""

    timeouts: Timeouts | None = Field(default=None, description="How long to wait for what.")
    ping_interval: Duration | None = Field(default=None, description="How often applications send WebSocket pings.")
    origins: Origins | None = Field(default=None, description="Which pages may open sockets.")
    load_balancing: LoadBalancing | None = Field(
        default=None, description="How an endpoint is chosen for a new socket."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (IDLE_RULE,)


class Maximums(Model):
    """What no route may exceed."""

    idle: Duration | None = Field(default=None, description="Longest timeouts.idle of a route.")


class TemplateRef(Model):
    """A main template in a ConfigMap of the balancer's namespace, in place of the shipped one."""

    config_map: ObjectName = Field(
        description=(
            "Name of the ConfigMap. It must bear the labels wsroute.dev/balancer, with the balancer's name, and "
            "wsroute.dev/role: template."
        )
    )
    key: ConfigKey = Field(default=DEFAULT_TEMPLATE_KEY, description="Key in its data. nginx.conf.j2 when left out.")


class Nginx(Model):
    """Settings of nginx itself."""

    worker_processes: Annotated[int | str, IntOrText(1, 64, WORKER_PROCESSES)] = Field(
        default="auto", description="Worker processes of nginx: 1 to 64, or auto (when left out) for one for each core."
    )
    worker_connections: Annotated[int, Field(ge=64, le=1_048_576)] = Field(
        default=DEFAULT_WORKER_CONNECTIONS,
        description="Connections of one worker process; a proxied socket takes two. 16384 when left out.",
    )
    template_ref: TemplateRef | None = Field(
        default=None,
        description=(
            "A main template of your own. While it can't be used, or nginx refuses what it gives, the shipped one is "
            "used, and the condition Programmed says why."
        ),
    )


def _same_ports(spec: "WebSocketBalancerSpec") -> Iterator[str]:
    seen: set[int] = set()
    for index, listener in enumerate(spec.listeners):
        if listener.port in seen:
            yield f".listeners[{index}].port"
        seen.add(listener.port)


def _tls_without_agent(spec: "WebSocketBalancerSpec") -> Iterator[str]:
    if spec.reload.restarts:
        for index, listener in enumerate(spec.listeners):
            if listener.ends_tls:
                yield f".listeners[{index}].protocol"


def _default_above_maximum(spec: "WebSocketBalancerSpec") -> Iterable[str]:
    own = spec.defaults.timeouts.idle if spec.defaults.timeouts else None
    maximum = spec.maximum_idle
    return [".defaults.timeouts.idle"] if own is not None and maximum is not None and own > maximum else []


class WebSocketBalancerSpec(Model):
    """An nginx Deployment that serves routes, and what it lets them do."""

    data_plane: Literal["Static", "Dynamic"] = Field(
        description=(
            "Dynamic: routes and endpoints are tables that nginx looks up while it runs, so that their changes need no "
            "reload; it needs the agent, and an nginx with its module njs. Static: routes are blocks of nginx.conf, "
            "and a change is brought in by a reload in place."
        )
    )
    deployment_ref: DeploymentRef | None = Field(
        default=None, description="The nginx Deployment that is driven; the operator never creates or deletes it."
    )
    service_ref: ServiceRef | None = Field(
        default=None, description="The Service in front of the Deployment, whose addresses the status shows."
    )
    domain: Domain | None = Field(
        default=None, description="Domain of routes that name no host: they get <name>--<namespace>.<domain>."
    )
    listeners: tuple[Listener, ...] = many(
        "map", "Ports on which the balancer's pods accept connections.", minimum=1, maximum=16, key="name"
    )
    allowed_routes: AllowedRoutes = Field(
        default=AllowedRoutes(),
        description=(
            "Which routes are served. Those of the balancer's own namespace with hosts of its domain when left out."
        ),
    )
    reload: Reload = Field(
        default=Reload(), description="How a new configuration is brought in, and what the pods keep for it."
    )
    trusted_proxies: tuple[Network, ...] = many(
        "set",
        "Networks of the proxies in front of the balancer, whose X-Forwarded headers are believed and extended.",
        minimum=0,
        maximum=64,
        default=(),
    )
    request_headers: tuple[HeaderName, ...] = many(
        "set", "Names of the headers that routes may set or remove.", minimum=0, maximum=64, default=()
    )
    defaults: Defaults = Field(default=Defaults(), description="What counts where a route leaves a field out.")
    maximums: Maximums = Field(default=Maximums(), description="What no route may exceed.")
    nginx: Nginx = Field(default=Nginx(), description="Settings of nginx itself.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "self.dataPlane != 'Dynamic' || !has(self.reload) || !has(self.reload.strategy) || "
                "self.reload.strategy != 'Restart'"
            ),
            sentence=(
                "dataPlane Dynamic needs the agent, which a Deployment with strategy Restart does not have: use "
                "dataPlane Static, or strategy InPlace"
            ),
            broken=lambda spec: [".dataPlane"] if spec.is_dynamic and spec.reload.restarts else [],
            field=".dataPlane",
        ),
        Rule(
            cel=(
                "!has(self.reload) || !has(self.reload.strategy) || self.reload.strategy != 'Restart' || "
                "self.listeners.all(listener, listener.protocol != 'HTTPS')"
            ),
            sentence=(
                "A listener with protocol HTTPS needs reload.strategy InPlace: it is the agent that brings "
                "certificates to nginx"
            ),
            broken=_tls_without_agent,
            field=".listeners",
        ),
        Rule(
            cel="self.listeners.all(listener, self.listeners.exists_one(other, other.port == listener.port))",
            sentence="Each listener must have a port of its own",
            broken=_same_ports,
            field=".listeners",
        ),
        Rule(
            cel=(
                "!has(self.maximums) || !has(self.maximums.idle) || "
                "!has(self.defaults) || !has(self.defaults.timeouts) || !has(self.defaults.timeouts.idle) || "
                f"{cel_duration('self.defaults.timeouts.idle')} <= {cel_duration('self.maximums.idle')}"
            ),
            sentence="defaults.timeouts.idle must not exceed maximums.idle",
            broken=_default_above_maximum,
            field=".defaults",
        ),
        *DEFAULT_RULES,
    )

    @property
    def is_dynamic(self) -> bool:
        """Whether routes are looked up in tables, and are no part of nginx.conf."""
        return self.data_plane == "Dynamic"

    @property
    def default_connect_timeout(self) -> int:
        """Milliseconds for routes that don't say."""
        own = self.defaults.timeouts.connect if self.defaults.timeouts else None
        return DEFAULT_CONNECT_TIMEOUT if own is None else own

    @property
    def default_idle_timeout(self) -> int:
        """Milliseconds for routes that don't say; never above the maximum."""
        own = self.defaults.timeouts.idle if self.defaults.timeouts else None
        if own is not None:
            return own
        return min(DEFAULT_IDLE_TIMEOUT, self.maximum_idle or DEFAULT_IDLE_TIMEOUT)

    @property
    def maximum_idle(self) -> int | None:
        """Milliseconds that no route's idle timeout may exceed, or None."""
        return self.maximums.idle

    @property
    def worker_processes(self) -> int | None:
        """nginx's worker processes; None means one for each core."""
        chosen = self.nginx.worker_processes
        return chosen if isinstance(chosen, int) else None

    @property
    def worker_connections(self) -> int:
        """Connections of one worker process."""
        return self.nginx.worker_connections

    def permits_header(self, name: str) -> bool:
        """Whether routes may set or remove a header: names that differ only in case or in - and _ are the same."""
        return header_key(name) in {header_key(permitted) for permitted in self.request_headers}
