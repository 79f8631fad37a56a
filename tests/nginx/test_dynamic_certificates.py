"""njs and a Python model find the same certificate, for any table and any name that a client may ask for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.nginx.test_render_tls import AUTHORITY, ECDSA, RSA, der
from tests.support.certificate_model import looked_up
from tests.support.certificates import put, rsa_key
from tests.support.configurations import configuration
from tests.support.hello import raw_shown
from tests.support.nginx_runner import Nginx, local_options, short_folder
from tests.support.ports import free_ports
from wsroute.dataplane import dictionary
from wsroute.dataplane.certificates import NO_CERTIFICATES
from wsroute.dataplane.ir import Listener, Shell
from wsroute.dataplane.shell import CONNECT_TIMEOUTS, IDLE_TIMEOUTS
from wsroute.dataplane.table import CertificateRecord, Table
from wsroute.nginx.render import render

pytestmark = pytest.mark.nginx

LISTENERS: Final = ("inner", "wss")
CERTIFICATES: Final = {
    kind: [AUTHORITY.issue("any.example.net", key=key).certificate() for _ in range(3)]
    for kind, key in ((ECDSA, None), (RSA, rsa_key()))
}
FILES: Final = {kind: [each.file for each in found] for kind, found in CERTIFICATES.items()}
CLIENTS: Final = {kind: AUTHORITY.trusting(verify=False, ciphers=kind) for kind in CERTIFICATES}

LONG: Final = ".".join(["a" * 49] * 5)
NAMES: Final = (
    "*", "*.com", "example.com", "*.example.com", "k.example.com", "b.k.example.com", "*.k.example.com", "localhost",
    "xn--bcher-kva.example", "*.xn--bcher-kva.example", "10.0.0.1", "*.0.0.1", "constructor", f"abc.{LONG}",
    f"*.{LONG}",
)  # fmt: skip
HOSTILE: Final = (
    b"*", b".", b"..", b"-", b"a..b", b"*.example.com", b"__proto__", b"::1", b"[::1]", b"../../etc/passwd", b"a\tb",
    b"wss example.com", b"inner localhost|x", b"k.example.com k.example.com", b"k.example.com\n", b"k.example.com:443",
    b"%6b.example.com", b"k.example.com\0", "b\u00fccher.example".encode(), b"b\xfccher.example",
    # What Unicode calls the lower case of a sign for Kelvin is the letter k.
    "\u212a.example.com".encode(), "k\u3002example\u3002com".encode(), b"\xff" * 255, b"k" * 255,
)  # fmt: skip

files = st.builds(
    lambda ecdsa, rsa: (*ecdsa, *rsa),
    st.lists(st.sampled_from(FILES[ECDSA]), max_size=1),
    st.lists(st.sampled_from(FILES[RSA]), max_size=1),
).filter(bool)
records = st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from(LISTENERS)), files, max_size=12).map(
    lambda found: tuple(
        CertificateRecord(name, (listener,), files) for (name, listener), files in sorted(found.items())
    )
)


@st.composite
def near(draw: st.DrawFn) -> bytes:
    """A name that a table may have something for, or one that is like it."""
    name = draw(st.sampled_from(NAMES)).replace("*", draw(st.sampled_from(["x", "k", "x.y", "", "X--"])))
    letters = "".join(letter.upper() if draw(st.booleans()) else letter for letter in name[:20])
    name = draw(st.sampled_from(["", "", "", "x.", "."])) + letters + name[20:]
    return (name + draw(st.sampled_from(["", "", "", ".", "x"]))).encode()[:255] or b"x"


asked_for = st.one_of(
    near(), near(), near(), st.none(), st.sampled_from(HOSTILE), st.binary(min_size=1, max_size=255)
)  # fmt: skip
questions = st.tuples(st.sampled_from(LISTENERS), asked_for, st.sampled_from([ECDSA, RSA]))


class Served(NamedTuple):
    """nginx, and the ports of its listeners."""

    nginx: Nginx
    ports: dict[str, int]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One that ends TLS on two listeners, and has the files of all certificates."""
    ports = dict(zip(LISTENERS, free_ports(2), strict=True))
    listeners = tuple(Listener(name, port, "wss", 443, NO_CERTIFICATES) for name, port in ports.items())
    shell = Shell(CONNECT_TIMEOUTS, IDLE_TIMEOUTS, ())
    with short_folder() as folder:
        nginx = Nginx(folder, local_options())
        put(nginx.paths.certificates, *CERTIFICATES[ECDSA], *CERTIFICATES[RSA])
        try:
            configured = replace(configuration(), listeners=listeners, servers=(), upstreams=(), shell=shell)
            rendered = render(configured, nginx.paths, options=nginx.options)
            nginx.start(rendered.text, rendered.version)
            yield Served(nginx, ports)
        finally:
            nginx.stop()


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(certificates=records, several=st.lists(questions, min_size=25, max_size=25))
def test_njs_finds_the_certificate_that_the_model_finds(
    served: Served, certificates: tuple[CertificateRecord, ...], several: list[tuple[str, bytes | None, str]]
) -> None:
    table = Table((), (), certificates)
    entries = dictionary.entries(table)
    served.nginx.pusher.push(table)
    by_file = {each.file: der(each) for found in CERTIFICATES.values() for each in found}
    for listener, name, kind in several:
        # OpenSSL itself answers to a name with a NUL.
        found = () if name is not None and b"\0" in name else looked_up(entries, listener, name)
        expected = next((by_file[file] for file in found if file in FILES[kind]), None)
        assert raw_shown(served.ports[listener], name, CLIENTS[kind]) == expected, (listener, name)
