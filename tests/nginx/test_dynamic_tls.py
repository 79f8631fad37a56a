"""Certificates that nginx looks up in its table: what one host's trouble does to others, and where keys are not."""

import asyncio
import json
import ssl
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.nginx.test_render_tls import AUTHORITY, der, listening, running_tls, secure, shown, tls_of
from tests.support.backend import running_backend
from tests.support.certificates import put
from tests.support.configurations import HOST
from tests.support.handshake import echo
from tests.support.hello import raw_shown
from tests.support.nginx_runner import Nginx
from tests.support.ports import free_ports
from tests.support.waiting import until
from wsroute.cluster.certificates import Certificate
from wsroute.dataplane.certificates import NO_CERTIFICATES

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("dynamic")]

OTHER = "other.example.com"


def file_of(nginx: Nginx, certificate: Certificate) -> Path:
    return Path(nginx.paths.certificates, f"{certificate.file}.pem")


async def test_fifty_rotations_are_served_at_once_and_lose_no_socket() -> None:
    [port] = free_ports(1)
    async with running_backend() as backend, AsyncExitStack() as exits:
        current = AUTHORITY.issue(HOST).certificate()
        nginx = exits.enter_context(running_tls(listening(backend, {port: tls_of(current)}), current))
        workers = nginx.workers()
        sockets = [await exits.enter_async_context(secure(port, HOST, AUTHORITY.trusting())) for _ in range(50)]
        for number in range(50):
            current = AUTHORITY.issue(HOST).certificate()
            put(nginx.paths.certificates, current)
            nginx.load(listening(backend, {port: tls_of(current)}))
            assert await shown(port, HOST, AUTHORITY.trusting()) == der(current)
            await echo(sockets[number], f"still here after rotation {number}")
        await asyncio.gather(*(echo(client, "still here") for client in sockets))
        assert nginx.workers() == workers
        assert nginx.error_log() == ""


@pytest.mark.parametrize("damage", ["missing", "truncated", "no key", "another key", "unreadable"])
async def test_a_bad_file_harms_only_its_own_host_and_no_key_is_told(damage: str) -> None:
    [port] = free_ports(1)
    good, bad, strange = (AUTHORITY.issue(name).certificate() for name in (HOST, OTHER, OTHER))
    key = bad.pem.index(b"-----BEGIN PRIVATE KEY-----")
    content = {
        "truncated": bad.pem[: len(bad.pem) // 2],
        "no key": bad.pem[:key],
        "another key": bad.pem[:key] + strange.pem[strange.pem.index(b"-----BEGIN PRIVATE KEY-----") :],
        "unreadable": b"\0" * 100,
    }.get(damage)
    async with running_backend() as backend:
        configured = listening(backend, {port: tls_of(good, bad)}, HOST, OTHER)
        with running_tls(configured, good) as nginx:
            if content is not None:
                file_of(nginx, bad).write_bytes(content)
            async with secure(port, HOST, AUTHORITY.trusting()) as client:
                for _ in range(3):
                    with pytest.raises(ssl.SSLError, match="ALERT_INTERNAL_ERROR"):
                        await shown(port, OTHER, AUTHORITY.trusting())
                    assert await shown(port, HOST, AUTHORITY.trusting()) == der(good)
                await echo(client, "still here")
            # It is looked for again: once it is good it is served.
            put(nginx.paths.certificates, bad)
            assert await shown(port, OTHER, AUTHORITY.trusting()) == der(bad)
            said = "".join(path.read_text() for path in Path(nginx.paths.run).parent.rglob("*") if is_told(path))
            assert f"{bad.file}.pem" in said
            lines = [*good.pem[good.pem.index(b"PRIVATE") :].split(), *bad.pem[key:].split(), *strange.pem.split()]
            assert not [line for line in lines if len(line) > 30 and line.decode() in said]


def is_told(path: Path) -> bool:
    """What nginx writes: its words, its logs, its state and its configuration."""
    return path.is_file() and path.suffix != ".pem"


async def test_names_that_are_none_get_what_everybody_else_gets() -> None:
    [port] = free_ports(1)
    fallback, own = AUTHORITY.issue("fallback.example.net").certificate(), AUTHORITY.issue(HOST).certificate()
    anybody = AUTHORITY.trusting(verify=False)
    async with running_backend() as backend:
        with running_tls(listening(backend, {port: tls_of(fallback, own)}), fallback, own) as nginx:
            for name in (
                "*", "x" * 250, "a..b", "__proto__", "constructor", "*.example.com", f"{HOST}.", f"wss {HOST}",
                f"{HOST}|l1", "../../etc/passwd", "a\tb",
            ):  # fmt: skip
                assert raw_shown(port, name.encode(), anybody) == der(fallback), name
            assert raw_shown(port, HOST.upper().encode(), anybody) == der(own)
            assert json.loads(nginx.ask_admin("/table")[1])["live"]


async def test_a_table_that_says_nothing_of_certificates_refuses_every_handshake() -> None:
    [port] = free_ports(1)
    certificate = AUTHORITY.issue(HOST).certificate()
    async with running_backend() as backend:
        configured = listening(backend, {port: tls_of(certificate)})
        with running_tls(configured, certificate) as nginx:
            [listener] = configured.listeners
            nginx.load(replace(configured, listeners=(replace(listener, tls=NO_CERTIFICATES),)))
            with pytest.raises(ssl.SSLError, match="ALERT_INTERNAL_ERROR"):
                await shown(port, HOST, AUTHORITY.trusting())
            nginx.load(configured)
            assert await shown(port, HOST, AUTHORITY.trusting()) == der(certificate)


async def test_a_state_that_names_another_file_than_a_certificate_s_shows_none() -> None:
    [port] = free_ports(1)
    certificate = AUTHORITY.issue(HOST).certificate()
    async with running_backend() as backend:
        with running_tls(listening(backend, {port: tls_of(certificate)}), certificate) as nginx:
            state = Path(nginx.paths.table_state)
            mark = json.loads(nginx.ask_admin("/table")[1])["mark"]
            await until(lambda: state.exists() and mark in state.read_text(), what="for the state")
            nginx.stop()
            rename(state, certificate.file, "other")
            file_of(nginx, certificate).rename(Path(nginx.paths.certificates, "other.pem"))
            nginx.start((Path(nginx.paths.run) / "nginx.conf").read_text(), nginx.version)
            with pytest.raises(ssl.SSLError, match="ALERT_INTERNAL_ERROR"):
                await shown(port, HOST, AUTHORITY.trusting())


def rename(state: Path, known: str, other: str) -> None:
    before = state.read_text()
    assert known in before
    state.write_text(before.replace(known, other))
