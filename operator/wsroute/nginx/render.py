"""From the data plane's model to nginx.conf. Pure: the same model gives the same bytes, wherever and whenever."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from textwrap import indent
from typing import Final

from wsroute.dataplane.ir import Configuration, Proxy, RouteRef, Upstream, VirtualServer
from wsroute.dataplane.requirements import DYNAMIC, STATIC
from wsroute.nginx.linemap import LineMap
from wsroute.nginx.listening import Listening
from wsroute.nginx.memo import RenderMemo
from wsroute.nginx.paths import Options, Paths
from wsroute.nginx.quoting import (
    Comment,
    Duration,
    EmitError,
    FilePath,
    Identifier,
    Integer,
    Network,
    Size,
    UnixSocket,
)
from wsroute.nginx.script import SCRIPT
from wsroute.nginx.shell import shell_names
from wsroute.nginx.sizes import HashSize, hash_size, zone_kibibytes
from wsroute.nginx.skeleton import ListenerView, MainContext, Skeleton, make_skeleton
from wsroute.nginx.templating import ENVIRONMENT, Block, macro, source
from wsroute.nginx.views import COMMON_CONNECT_TIMEOUT, COMMON_IDLE_TIMEOUT, OWN_HEADERS, server_view, upstream_view

_SCHEMES: Final = {"ws": "http", "wss": "https"}

VERSION_LENGTH: Final = 12
"""Hex digits of a version."""

_HTTP: Final = ENVIRONMENT.get_template("http.conf.j2")
_DYNAMIC: Final = ENVIRONMENT.get_template("dynamic.conf.j2")
_BANNER: Final = macro("blocks.conf.j2", "banner")
_REQUIRED_MAIN: Final = macro("blocks.conf.j2", "required_main")
_BOOTSTRAP: Final = ENVIRONMENT.get_template("bootstrap.conf.j2")
_TEMPLATES: Final = hashlib.sha256(
    "".join(source(f"{name}.conf.j2") for name in ("nginx", "http", "dynamic", "hop", "blocks")).encode()
).hexdigest()
"""What the templates were made of: another release may say other things of the same model."""
_REQUEST_HEADERS: Final = macro("blocks.conf.j2", "request_headers")
_UPSTREAM: Final = macro("blocks.conf.j2", "upstream")
_SERVER: Final = macro("blocks.conf.j2", "server")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of a file, the version that nginx answers once it runs it, and its structure: a name that files share
    which differ in nothing but the endpoints of their upstreams. ``lines`` tells which routes a line comes from."""

    text: str
    version: str
    structure: str
    lines: LineMap = field(compare=False)


@dataclass(frozen=True, slots=True)
class _PathsView:
    pid: FilePath
    error_log: FilePath
    client_body: FilePath
    proxy: FilePath
    fastcgi: FilePath
    uwsgi: FilePath
    scgi: FilePath


@dataclass(frozen=True, slots=True)
class _HashView:
    max_size: Integer
    bucket_size: Integer


@dataclass(frozen=True, slots=True)
class _Whole:
    """What follows from all listeners, servers and names of upstreams together: the routes that use each upstream, and
    how large nginx's hash tables must be."""

    owners: Mapping[str, tuple[RouteRef, ...]]
    server_names: _HashView
    headers_hash: _HashView


def render(
    configuration: Configuration, paths: Paths, *, options: Options | None = None, memo: RenderMemo | None = None
) -> Rendered:
    """Render all that a balancer serves.

    ``memo`` belongs to one balancer and makes the next call cheap. Raises EmitError, with the route where there is one,
    for what nginx can't express and for a model that contradicts itself; TemplateRefusedError for a custom main
    template that can't be used.
    """
    memo = RenderMemo() if memo is None else memo
    context = _main_context(configuration)
    skeleton = _skeleton(configuration, context, paths)
    upstreams, servers = configuration.upstreams, configuration.servers
    whole = memo.derived(
        "whole",
        (configuration.listeners, tuple(upstream.name for upstream in upstreams), servers, configuration.shell),
        partial(_whole, configuration),
    )
    ports = tuple((listener.name, listener.port, listener.tls is not None) for listener in configuration.listeners)
    trusted = bool(configuration.trusted_proxies)
    request_headers = _REQUEST_HEADERS(trusted=trusted)
    memo.begin((ports, configuration.ipv6, trusted))
    listening = Listening(configuration, context.listeners, paths)
    blocks: list[str] = []
    for upstream in upstreams:
        owners = whole.owners[upstream.name]
        blocks.append(memo.block(upstream, owners, partial(_upstream, upstream, owners)))
    location_headers = Block(indent(request_headers, " " * 12).rstrip("\n"))
    first_server = len(blocks)
    for server in servers:
        heads = listening.heads(server)
        blocks.append(memo.block(server, heads, partial(_server, server, heads, location_headers)))
    memo.end()
    headers = Block(indent(request_headers, " " * 4))
    place = _place(paths, options or Options())
    main = _REQUIRED_MAIN(user=place["user"], paths=place["paths"]).rstrip("\n")
    custom = configuration.main_template is not None
    needs = Comment(str(STATIC if configuration.shell is None else DYNAMIC))

    def around(version: str) -> tuple[str, str]:
        """What stands before and behind the routes."""
        http = _http(configuration, context, paths, place, headers, whole, listening.heads_for_all(), version)
        head, tail = skeleton.around(main, http)
        banner = _BANNER(balancer=context.balancer, version=Block(version), custom=custom, needs=needs)
        return banner + head, tail

    body = "".join(blocks)
    head, tail = around("")
    version = _digest(f"{head}{body}{tail}")
    head, tail = around(version)
    parts = _structure(configuration, blocks[first_server:])
    structure = memo.derived("structure", parts, lambda: _digest("\n".join(parts)))
    lines = LineMap(configuration, head.count("\n"), blocks)
    return Rendered(text=f"{head}{body}{tail}", version=version, structure=structure, lines=lines)


def check_main_template(configuration: Configuration, paths: Paths) -> None:
    """Raise TemplateRefusedError where the custom main template can't be used."""
    _skeleton(configuration, _main_context(configuration), paths)


def _structure(configuration: Configuration, servers: list[str]) -> tuple[str, ...]:
    """All that a file follows from but the endpoints, with the servers as they were rendered."""
    return (
        repr(
            (
                _TEMPLATES,
                configuration.balancer,
                configuration.listeners,
                configuration.ipv6,
                configuration.trusted_proxies,
                configuration.worker_processes,
                configuration.worker_connections,
                configuration.main_template,
                configuration.shell and (configuration.shell, SCRIPT.name),
            )
        ),
        *(f"{each.name} {each.balancing} {each.hash_key} {each.sources}" for each in configuration.upstreams),
        *servers,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_LENGTH]


def bootstrap(paths: Paths, *, options: Options | None = None) -> str:
    """The configuration before the first version: it answers that it is not ready, and nothing else."""
    return _BOOTSTRAP.render(**_place(paths, options or Options()))


def _place(paths: Paths, options: Options) -> dict[str, object]:
    return {
        "paths": _PathsView(
            pid=FilePath(paths.pid),
            error_log=FilePath(paths.error_log),
            client_body=FilePath(f"{paths.temporary}/client_body"),
            proxy=FilePath(f"{paths.temporary}/proxy"),
            fastcgi=FilePath(f"{paths.temporary}/fastcgi"),
            uwsgi=FilePath(f"{paths.temporary}/uwsgi"),
            scgi=FilePath(f"{paths.temporary}/scgi"),
        ),
        "admin_socket": UnixSocket(paths.admin_socket),
        "user": None if options.user is None else Identifier(options.user),
        "readiness_port": None if options.readiness_port is None else _port(options.readiness_port),
    }


def _whole(configuration: Configuration) -> _Whole:
    """Raises EmitError for a model that contradicts itself."""
    _check(configuration)
    return _Whole(
        owners={name: tuple(routes) for name, routes in _routes_of_upstreams(configuration).items()},
        server_names=_hash_view(hash_size(server.host for server in configuration.servers)),
        headers_hash=_hash_view(hash_size(_header_names(configuration))),
    )


def _skeleton(configuration: Configuration, context: MainContext, paths: Paths) -> Skeleton:
    sockets = frozenset(f"unix:{path}" for path in (paths.admin_socket, paths.refuse_socket, paths.decide_socket))
    counts_in_log = configuration.shell is not None
    return make_skeleton(configuration.main_template, context, sockets, counts_in_log=counts_in_log)


def _main_context(configuration: Configuration) -> MainContext:
    workers = configuration.worker_processes
    return MainContext(
        balancer=Comment(configuration.balancer),
        worker_processes=Identifier("auto") if workers is None else Integer(workers, minimum=1),
        worker_connections=Integer(configuration.worker_connections, minimum=1),
        listeners=tuple(
            ListenerView(
                name=Comment(listener.name),
                port=_port(listener.port),
                port_column=Block(_port(listener.port).ljust(len("default"))),
                scheme=Identifier(_SCHEMES.get(str(listener.public_scheme), "")),
                public_port=_port(listener.public_port),
                tls=listener.tls is not None,
            )
            for listener in configuration.listeners
        ),
        ipv6=configuration.ipv6,
        tls=any(listener.tls is not None for listener in configuration.listeners),
        trusted_proxies=tuple(Network(network) for network in configuration.trusted_proxies),
    )


def _http(
    configuration: Configuration,
    context: MainContext,
    paths: Paths,
    place: Mapping[str, object],
    headers: Block,
    whole: _Whole,
    heads_for_all: tuple[Block, ...],
    version: str,
) -> str:
    """All of http that is ours and stands before the upstreams and servers of the routes."""
    upstreams = configuration.upstreams
    zone = zone_kibibytes(upstreams=len(upstreams), endpoints=sum(len(upstream.endpoints) for upstream in upstreams))
    template = _HTTP if configuration.shell is None else _DYNAMIC
    return template.render(
        **place,
        **shell_names(configuration, paths),
        **context.names(),
        version=Block(version),
        server_names=whole.server_names,
        headers_hash=whole.headers_hash,
        connect_timeout=Duration(COMMON_CONNECT_TIMEOUT),
        idle_timeout=Duration(COMMON_IDLE_TIMEOUT),
        request_headers=headers,
        refuse_socket=UnixSocket(paths.refuse_socket),
        heads_for_all=heads_for_all,
        zone=Size(zone),
    )


def _port(number: int) -> Integer:
    return Integer(number, minimum=1, maximum=65_535)


def _hash_view(size: HashSize) -> _HashView:
    return _HashView(max_size=Integer(size.max_size), bucket_size=Integer(size.bucket_size))


def _header_names(configuration: Configuration) -> set[str]:
    names = set(OWN_HEADERS)
    if configuration.shell is not None:
        names.update(configuration.shell.headers)
    for server in configuration.servers:
        for location in server.locations:
            action = location.action
            if isinstance(action, Proxy):
                names.update(action.remove_headers)
                names.update(name for name, _ in action.set_headers)
    return names


def _upstream(upstream: Upstream, routes: tuple[RouteRef, ...]) -> str:
    return _UPSTREAM(view=upstream_view(upstream, routes))


def _server(server: VirtualServer, heads: tuple[Block, ...], request_headers: Block) -> str:
    return _SERVER(view=server_view(server, heads=heads, request_headers=request_headers))


def _check(configuration: Configuration) -> None:
    """What no single part can see: names that must be unique or must exist. nginx would refuse the whole file."""
    listeners = configuration.listeners
    names = {listener.name for listener in listeners}
    if len(names) != len(listeners) or len({listener.port for listener in listeners}) != len(listeners):
        raise EmitError("Two listeners have the same name or the same port.")
    if len({upstream.name for upstream in configuration.upstreams}) != len(configuration.upstreams):
        raise EmitError("Two upstreams have the same name.")
    hosts: set[tuple[str, str]] = set()
    for server in configuration.servers:
        if not names.issuperset(server.listeners):
            raise EmitError("A server has a listener that the balancer does not have.")
        hosts.update((server.host, listener) for listener in server.listeners)
    if len(hosts) != sum(len(server.listeners) for server in configuration.servers):
        raise EmitError("Two servers have the same host on one listener.")


def _routes_of_upstreams(configuration: Configuration) -> dict[str, list[RouteRef]]:
    """Which routes use which upstream."""
    routes: dict[str, list[RouteRef]] = {upstream.name: [] for upstream in configuration.upstreams}
    for server in configuration.servers:
        for location in server.locations:
            action = location.action
            if isinstance(action, Proxy):
                owners = routes.get(action.upstream)
                if owners is None:
                    raise EmitError("A location names an upstream that there is not.", route=location.route)
                if location.route not in owners:
                    owners.append(location.route)
    return routes
