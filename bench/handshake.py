"""What a handshake and an open socket cost: the Dynamic data plane beside a plain nginx, written by hand.

The same routes (a host, a path, three endpoints of twelve) four times on loopback: as `server` and `location` with an
`upstream` in a plain nginx.conf, as the Static data plane writes them, and in the table of Dynamic, with and without a
check of Origin. Each with one worker and an access log. Rounds of handshakes go to all of them in turn.

First over ws, which is what the targets are for. Then over wss, as browsers do it: certificates with an ECDSA key on
P-256, one for each of fifty teams, as `ssl_certificate` of each `server` and from the table of Dynamic; each TLS
handshake is a full one.

- CPU of the worker per handshake, from opening the socket until it is closed again: what its process used, not time.
- The worker's resident memory that each socket held adds.
- The worker's resident memory with all routes, nothing held.

    python -m bench.handshake --routes 10 1000 10000
"""

import argparse
import ssl
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.peers import ADDRESSES, Handshake, endpoints, handshakes, open_sockets
from tests.support.certificates import Authority, put, served
from tests.support.configurations import configuration, location, proxy, server, upstream
from tests.support.dynamic import shell_of, table_of
from tests.support.nginx_runner import Nginx, nginx_binary, short_folder
from tests.support.ports import free_ports
from tests.support.waiting import wait_until
from wsroute.cluster.certificates import Certificate
from wsroute.dataplane.certificates import ListenerTls, names_of, wildcard_of
from wsroute.dataplane.ir import Configuration, Endpoint, Listener, Refuse, RouteRef
from wsroute.dataplane.table import Forward, HostRecord, OriginRules, PathRecord, Table
from wsroute.nginx.render import render

PLAIN: Final = "plain nginx"
STATIC: Final = "Static"
BARE: Final = "Dynamic, no policies"
ORIGIN: Final = "Dynamic, Origin checked"

OFF: Final = OriginRules("Off", ())

TARGETS: Final = (
    "over ws, CPU ≤ 1.5 × plain with Origin checked; memory per socket within 5 % of plain; RSS ≤ 25 MiB at 10,000"
)
CONNECTIONS: Final = 16_384
TEAMS: Final = 50

_HEAD: Final = """{user}
worker_processes  1;
pid               {paths.pid};
error_log         stderr warn;
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path  {paths.temporary}/client_body;
    proxy_temp_path        {paths.temporary}/proxy;
    fastcgi_temp_path      {paths.temporary}/fastcgi;
    uwsgi_temp_path        {paths.temporary}/uwsgi;
    scgi_temp_path         {paths.temporary}/scgi;
    access_log             /dev/stdout combined;
    server_names_hash_max_size     65536;
    server_names_hash_bucket_size  128;
    ssl_protocols        TLSv1.2 TLSv1.3;
    ssl_buffer_size      4k;
    ssl_session_cache    shared:tls:8m;
    ssl_session_tickets  off;

    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    proxy_http_version  1.1;
    proxy_read_timeout  1h;
    proxy_send_timeout  1h;
    proxy_set_header    Host               $http_host;
    proxy_set_header    Upgrade            $http_upgrade;
    proxy_set_header    Connection         $connection_upgrade;
    proxy_set_header    X-Real-IP          $remote_addr;
    proxy_set_header    X-Forwarded-For    $remote_addr;
    proxy_set_header    X-Forwarded-Proto  $scheme;
    proxy_set_header    X-Forwarded-Host   $http_host;

    server {{ listen unix:{paths.run}/admin.sock; location = /version {{ return 200 plain; }} }}
    server {{ listen {listen} default_server backlog=4096; {reject} return 404; }}
"""


def main() -> None:
    """Measure and print, for each number of routes."""
    parser = argparse.ArgumentParser(prog="python -m bench.handshake", description=__doc__.partition("\n")[0])
    parser.add_argument("--routes", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--handshakes", type=int, default=2_000, help="in each round over ws")
    parser.add_argument("--tls-handshakes", type=int, default=500, help="in each round over wss")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sockets", type=int, default=2_000, help="held, for their memory")
    arguments = parser.parse_args()
    print(f"{nginx_binary()}\nTargets: {TARGETS}.")
    secured = Secured(Authority())
    with endpoints() as port:
        for routes in arguments.routes:
            for tls in (None, secured):
                measure(routes, port, arguments, tls)


@dataclass(frozen=True, slots=True)
class Secured:
    """TLS: the certificates, one for each team's hosts, and a client that trusts them."""

    authority: Authority
    certificates: list[Certificate] = field(init=False)
    client: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        names = (f"*.team-{number:02}.example.com" for number in range(TEAMS))
        object.__setattr__(self, "certificates", [self.authority.issue(name).certificate() for name in names])
        object.__setattr__(self, "client", self.authority.trusting())


@dataclass(frozen=True, slots=True)
class Subject:
    """A running nginx with the routes. ``idle`` is how many TCP sockets its worker has without clients."""

    nginx: Nginx
    port: int
    worker: int
    idle: int
    tls: ssl.SSLContext | None

    def cpu(self) -> int:
        """What the worker has used of the processor so far, in nanoseconds."""
        return int(Path(f"/proc/{self.worker}/schedstat").read_text().split()[0])

    def resident(self) -> int:
        """The worker's resident memory in bytes, with its share of what all processes have in common."""
        lines = Path(f"/proc/{self.worker}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))

    def until_idle(self) -> None:
        """Wait until the last client's sockets are closed."""
        wait_until(lambda: tcp_sockets(self.worker) <= self.idle, "the sockets are closed")


def tcp_sockets(pid: int) -> int:
    """How many TCP sockets a process has open; those over which nginx asks itself are none."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    tcp = {f"socket:[{line.split()[9]}]" for line in lines}
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(file.readlink()) in tcp
    return found


def measure(routes: int, backend: int, arguments: argparse.Namespace, secured: Secured | None) -> None:
    """The table of one number of routes."""
    with ExitStack() as exits:
        subjects = {}
        for (name, start), port in zip(STARTS.items(), free_ports(len(STARTS)), strict=True):
            configured = configuration_of(routes, backend, listener_of(port, secured))
            subjects[name] = exits.enter_context(running(start, configured, secured))
        # All routes in turn, in an order in which neighbours are far apart.
        count = arguments.handshakes if secured is None else arguments.tls_handshakes
        asked = [Handshake(host_of(number * 7_919 % routes), "/ws") for number in range(count)]
        resident = {name: subject.resident() for name, subject in subjects.items()}
        cpu: dict[str, list[float]] = {name: [] for name in subjects}
        # The first round is for caches and heaps.
        for number in range(arguments.rounds + 1):
            for name, subject in subjects.items():
                used = cpu_per_handshake(subject, asked)
                if number:
                    cpu[name].append(used)
        held = {name: memory_per_socket(subject, asked, arguments.sockets) for name, subject in subjects.items()}
    scheme = "ws" if secured is None else "wss"
    print(f"\n{scheme}, {routes} routes, {arguments.rounds} rounds of {count} handshakes")
    print(f"{'':26}{'µs/handshake':>14}{'× plain':>9}{'bytes/socket':>14}{'× plain':>9}{'RSS MiB':>9}")
    for name in subjects:
        ratio = statistics.median(own / plain for own, plain in zip(cpu[name], cpu[PLAIN], strict=True))
        print(
            f"{name:26}{statistics.median(cpu[name]):14.0f}{ratio:9.2f}"
            f"{held[name]:14.0f}{held[name] / max(1.0, held[PLAIN]):9.2f}{resident[name] / 2**20:9.1f}",
            flush=True,
        )


def cpu_per_handshake(subject: Subject, asked: Sequence[Handshake]) -> float:
    """Microseconds of the worker's processor for a handshake and the end of its socket."""
    before = subject.cpu()
    handshakes(subject.port, asked, tls=subject.tls)
    subject.until_idle()
    return (subject.cpu() - before) / len(asked) / 1_000


def memory_per_socket(subject: Subject, asked: Sequence[Handshake], sockets: int) -> float:
    """Bytes that the worker's resident memory grows by with each socket, once it holds some. It says nothing where the
    configuration has left much free memory behind, which is used first: at many routes outside the table."""
    requests = [asked[number % len(asked)] for number in range(sockets)]
    few = sockets // 4
    with ExitStack() as exits:
        open_sockets(subject.port, requests[:few], exits, tls=subject.tls)
        before = subject.resident()
        open_sockets(subject.port, requests[few:], exits, tls=subject.tls)
        grown = subject.resident() - before
    subject.until_idle()
    return grown / (sockets - few)


def host_of(number: int) -> str:
    """The host of a route."""
    return f"chat-{number}.team-{number % TEAMS:02}.example.com"


def listener_of(port: int, secured: Secured | None) -> Listener:
    """Where clients come."""
    if secured is None:
        return Listener(name="ws", port=port, public_scheme="ws", public_port=80)
    tls = ListenerTls(default=(), certificates=tuple(map(served, secured.certificates)))
    return Listener(name="wss", port=port, public_scheme="wss", public_port=443, tls=tls)


def configuration_of(routes: int, backend: int, listener: Listener) -> Configuration:
    """The routes, as the Static data plane has them."""
    refs = [RouteRef(f"team-{number % TEAMS:02}", f"chat-{number}") for number in range(routes)]
    groups = [f"{ref.namespace}_{ref.name}_0" for ref in refs]
    return configuration(
        listeners=(listener,),
        worker_connections=CONNECTIONS,
        upstreams=[
            upstream(
                *(Endpoint(ADDRESSES[(3 * number + other) % len(ADDRESSES)], backend, 1) for other in range(3)),
                name=group,
            )
            for number, group in enumerate(groups)
        ],
        servers=[
            server(
                location(action=proxy(group, origins=OFF), route=ref), host=host_of(number), listeners=(listener.name,)
            )
            for number, (ref, group) in enumerate(zip(refs, groups, strict=True))
        ],
    )


@contextmanager
def running(
    start: Callable[[Nginx, Configuration], None], routes: Configuration, secured: Secured | None
) -> Iterator[Subject]:
    """An nginx with the routes, stopped at the end."""
    with short_folder() as folder:
        nginx = Nginx(folder)
        if secured is not None:
            put(nginx.paths.certificates, *secured.certificates)
        try:
            start(nginx, routes)
            [worker] = nginx.workers()
            client = None if secured is None else secured.client
            yield Subject(nginx, routes.listeners[0].port, worker, tcp_sockets(worker), client)
        finally:
            nginx.stop()


def start_plain(nginx: Nginx, routes: Configuration) -> None:
    """What an admin writes by hand."""
    [listener] = routes.listeners
    listen = f"{listener.port}" if listener.tls is None else f"{listener.port} ssl"
    blocks = [
        _HEAD.format(
            user=f"user {nginx.options.user};" if nginx.options.user else "",
            paths=nginx.paths,
            listen=listen,
            reject="" if listener.tls is None else "ssl_reject_handshake on;",
            connections=CONNECTIONS,
        )
    ]
    for group in routes.upstreams:
        servers = " ".join(f"server {endpoint.address}:{endpoint.port};" for endpoint in group.endpoints)
        blocks.append(f"    upstream {group.name} {{ least_conn; {servers} }}\n")
    for host in routes.servers:
        [place] = host.locations
        assert not isinstance(place.action, Refuse)
        certificate = "" if listener.tls is None else certificate_lines(nginx, listener.tls, host.host)
        blocks.append(
            f"    server {{ listen {listen}; server_name {host.host}; {certificate}"
            f"location {place.path} {{ proxy_pass http://{place.action.upstream}; }} }}\n"
        )
    nginx.start("".join([*blocks, "}\n"]), "plain")


def certificate_lines(nginx: Nginx, tls: ListenerTls, host: str) -> str:
    """The certificate of a server."""
    [file] = names_of(tls)[wildcard_of(host)]
    path = f"{nginx.paths.certificates}/{file}.pem"
    return f"ssl_certificate {path}; ssl_certificate_key {path}; "


def start_static(nginx: Nginx, routes: Configuration) -> None:
    """The same by our renderer."""
    rendered = render(routes, nginx.paths, options=nginx.options)
    nginx.start(rendered.text, rendered.version)


def start_dynamic(nginx: Nginx, routes: Configuration) -> None:
    """The shell, and the routes in its table."""
    start_static(nginx, shell_of(routes))
    nginx.pusher.push(table_of(routes))


def start_with_origins(nginx: Nginx, routes: Configuration) -> None:
    """The same, and pages of a route's own hosts only may open sockets."""
    start_static(nginx, shell_of(routes))
    nginx.pusher.push(with_origins(table_of(routes)))


def with_origins(table: Table) -> Table:
    """The table with Enforce on all routes."""

    def checked(host: HostRecord, place: PathRecord) -> PathRecord:
        assert isinstance(place.action, Forward)
        return replace(place, action=replace(place.action, origins=OriginRules("Enforce", own_hosts=(host.host,))))

    return replace(
        table,
        hosts=tuple(replace(host, paths=tuple(checked(host, place) for place in host.paths)) for host in table.hosts),
    )


STARTS: Final = {PLAIN: start_plain, STATIC: start_static, BARE: start_dynamic, ORIGIN: start_with_origins}

if __name__ == "__main__":
    main()
