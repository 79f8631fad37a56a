"""Listeners that end TLS, by a real nginx: which certificate a client gets, and what it can agree on."""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest
from websockets.asyncio.client import connect

from tests.support.backend import Backend, running_backend
from tests.support.certificates import Authority, put, rsa_key, served
from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from tests.support.handshake import echo
from tests.support.nginx_runner import Nginx, short_folder
from tests.support.ports import free_ports
from wsroute.cluster.certificates import Certificate
from wsroute.dataplane.certificates import NO_CERTIFICATES, ListenerTls
from wsroute.dataplane.ir import Configuration, Listener

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("data_plane")]

AUTHORITY = Authority()
ECDSA, RSA = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"


def tls_of(*certificates: Certificate) -> ListenerTls:
    """A listener's certificates; the first one is the default."""
    return ListenerTls((certificates[0].file,), tuple(served(certificate) for certificate in certificates))


def listening(backend: Backend, listeners: Mapping[int, ListenerTls | None], *hosts: str) -> Configuration:
    """Hosts with one route each to the backend, on listeners by their ports, with and without TLS."""
    made = tuple(Listener(f"l{port}", port, "wss" if tls else "ws", 443, tls) for port, tls in listeners.items())
    names = tuple(listener.name for listener in made)
    return configuration(
        listeners=made,
        upstreams=[upstream(backend.endpoint())],
        servers=[server(location(action=proxy()), host=host, listeners=names) for host in hosts or (HOST,)],
    )


@contextmanager
def running_tls(configured: Configuration, *certificates: Certificate) -> Iterator[Nginx]:
    """An nginx with a configuration, and with the files of certificates."""
    with short_folder() as folder:
        nginx = Nginx(folder)
        put(nginx.paths.certificates, *certificates)
        try:
            nginx.load(configured)
            yield nginx
        finally:
            nginx.stop()


async def shown(port: int, name: str | None, context: ssl.SSLContext) -> bytes:
    """The certificate that a client is shown, DER. Raises ssl.SSLError where the handshake is refused."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name or "")
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return found


def der(certificate: Certificate) -> bytes:
    """A certificate without its chain and its key."""
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(certificate.pem.decode().partition(end)[0] + end)


def secure(port: int, host: str, context: ssl.SSLContext) -> connect:
    """A wss client of a host."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    return connect(f"wss://{host}/ws", sock=sock, ssl=context, server_hostname=host, proxy=None, ping_interval=None)


async def test_a_socket_over_tls_echoes_and_the_backend_is_told() -> None:
    plain, port = free_ports(2)
    certificate = AUTHORITY.issue(HOST).certificate()
    async with running_backend() as backend:
        with running_tls(listening(backend, {plain: None, port: tls_of(certificate)}), certificate) as nginx:
            async with secure(port, HOST, AUTHORITY.trusting()) as client:
                await echo(client, "hello")
                await echo(client, "ü" * 100_000)
            assert backend.last.headers["X-Forwarded-Proto"] == "https"
            assert backend.last.headers["X-Forwarded-Port"] == "443"
            # The same host without TLS, from the same server.
            async with connect(f"ws://{HOST}/ws", host="127.0.0.1", port=plain, proxy=None) as client:
                await echo(client, "hello")
            assert backend.last.headers["X-Forwarded-Proto"] == "http"
            assert nginx.error_log() == ""


async def test_the_certificate_is_chosen_by_the_name_that_is_asked_for() -> None:
    [port] = free_ports(1)
    fallback = AUTHORITY.issue("fallback.example.net").certificate()
    wildcard = AUTHORITY.issue("*.example.com").certificate()
    exact = AUTHORITY.issue("a.example.com").certificate()
    hosts = ("a.example.com", "b.example.com", "*.example.com", "x.y.example.com", "other.example.org")
    async with running_backend() as backend:
        tls = tls_of(fallback, wildcard, exact)
        with running_tls(listening(backend, {port: tls}, *hosts), fallback, wildcard, exact):
            anybody = AUTHORITY.trusting(verify=False)
            for name, certificate in {
                "a.example.com": exact,
                "A.Example.com": exact,
                "b.example.com": wildcard,
                "c.example.com": wildcard,  # no route but the wildcard's names it
                "x.y.example.com": fallback,
                "other.example.org": fallback,
                "unknown.example.org": fallback,
                None: fallback,
            }.items():
                assert await shown(port, name, anybody) == der(certificate), name
            assert await shown(port, "b.example.com", AUTHORITY.trusting()) == der(wildcard)


async def test_a_client_gets_the_type_of_key_that_it_can_check() -> None:
    [port] = free_ports(1)
    ecdsa = AUTHORITY.issue(HOST).certificate()
    rsa = AUTHORITY.issue("*.example.com", key=rsa_key()).certificate()
    async with running_backend() as backend:
        with running_tls(listening(backend, {port: tls_of(rsa, ecdsa)}), ecdsa, rsa):
            assert await shown(port, HOST, AUTHORITY.trusting(ciphers=ECDSA)) == der(ecdsa)
            assert await shown(port, HOST, AUTHORITY.trusting(ciphers=RSA)) == der(rsa)
            assert await shown(port, HOST, AUTHORITY.trusting()) == der(ecdsa)


async def test_a_handshake_for_which_there_is_no_certificate_is_refused(data_plane: str) -> None:
    alert = "UNRECOGNIZED_NAME" if data_plane == "Static" else "ALERT_INTERNAL_ERROR"
    none, some = free_ports(2)
    certificate = AUTHORITY.issue(HOST).certificate()
    without_default = ListenerTls((), (served(certificate),))
    async with running_backend() as backend:
        listeners = {none: NO_CERTIFICATES, some: without_default}
        with running_tls(listening(backend, listeners, HOST, "b.example.com"), certificate):
            anybody = AUTHORITY.trusting(verify=False)
            for port, name in ((none, HOST), (none, None), (some, "b.example.com"), (some, "x.example.com")):
                with pytest.raises(ssl.SSLError, match=alert):
                    await shown(port, name, anybody)
            assert await shown(some, HOST, AUTHORITY.trusting()) == der(certificate)


async def test_what_a_client_can_agree_on() -> None:
    [port] = free_ports(1)
    certificate = AUTHORITY.issue(HOST).certificate()
    async with running_backend() as backend:
        with running_tls(listening(backend, {port: tls_of(certificate)}), certificate):
            agreed = {}
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = AUTHORITY.trusting(alpn=("h2", "http/1.1"))
                context.minimum_version = context.maximum_version = version
                with context.wrap_socket(
                    socket.create_connection(("127.0.0.1", port), timeout=5), server_hostname=HOST
                ) as client:
                    assert client.session is not None
                    agreed[version] = client.selected_alpn_protocol(), client.session.has_ticket
            assert [alpn for alpn, _ in agreed.values()] == ["http/1.1"] * 2
            assert not agreed[ssl.TLSVersion.TLSv1_2][1]
            weak = AUTHORITY.trusting(ciphers="ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
            with pytest.raises(ssl.SSLError):
                await shown(port, HOST, weak)


async def test_a_certificate_that_is_rotated_leaves_open_sockets_alone(data_plane: str) -> None:
    [port] = free_ports(1)
    old, new = (AUTHORITY.issue(HOST).certificate() for _ in range(2))
    async with running_backend() as backend:
        with running_tls(listening(backend, {port: tls_of(old)}), old, new) as nginx:
            async with secure(port, HOST, AUTHORITY.trusting()) as client:
                before = nginx.workers()
                nginx.load(listening(backend, {port: tls_of(new)}))
                assert (nginx.workers() == before) == (data_plane == "Dynamic"), "only Static needs a reload"
                assert await shown(port, HOST, AUTHORITY.trusting()) == der(new)
                await echo(client, "still here")
