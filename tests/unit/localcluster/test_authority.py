"""The demo's authority: whom its certificates convince, and of what."""

import ssl
from pathlib import Path

import pytest

from localcluster.authority import DemoAuthority, Issued

HOST = "chat.localhost"


@pytest.fixture
def authority(tmp_path: Path) -> DemoAuthority:
    return DemoAuthority.open(tmp_path / "authority")


def shake_hands(issued: Issued, authority: Path, folder: Path, *, host: str) -> None:
    """A client that trusts the authority asks a server with the certificate for a host; raises what the client says."""
    (folder / "server.pem").write_bytes(issued.chain + issued.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "server.pem")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=authority).wrap_bio(back, there, server_hostname=host)
    server = serving.wrap_bio(there, back, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            done.add(side)


def test_whoever_trusts_it_reaches_the_demos_hosts_and_no_other(authority: DemoAuthority, tmp_path: Path) -> None:
    issued = authority.issue(HOST, "talk.localhost")
    for host in (HOST, "talk.localhost"):
        shake_hands(issued, authority.file, tmp_path, host=host)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(issued, authority.file, tmp_path, host="echo.localhost")


@pytest.mark.parametrize("host", ["chat.example.com", "localhost.example.com", "notlocalhost"])
def test_it_can_speak_for_nothing_but_names_below_localhost(
    authority: DemoAuthority, tmp_path: Path, host: str
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shake_hands(authority.issue(host), authority.file, tmp_path, host=host)


def test_it_is_kept_and_its_key_is_for_its_owner_alone(authority: DemoAuthority, tmp_path: Path) -> None:
    again = DemoAuthority.open(authority.file.parent)
    assert again.certificate == authority.certificate
    shake_hands(again.issue(HOST), authority.file, tmp_path, host=HOST)
    assert [file.name for file in authority.file.parent.iterdir() if file.stat().st_mode & 0o077] == ["ca.crt"]


def test_each_certificate_is_another_one(authority: DemoAuthority) -> None:
    first, second = authority.issue(HOST), authority.issue(HOST)
    assert first.chain != second.chain
    assert first.key != second.key


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", None])
def test_one_that_is_damaged_is_replaced(
    authority: DemoAuthority, tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = authority.file.parent / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    made = DemoAuthority.open(authority.file.parent)
    assert made.certificate != authority.certificate
    shake_hands(made.issue(HOST), made.file, tmp_path, host=HOST)


def test_a_key_of_another_authority_is_not_its_own(authority: DemoAuthority, tmp_path: Path) -> None:
    other = DemoAuthority.open(tmp_path / "other")
    (other.file.parent / "ca.key").rename(authority.file.parent / "ca.key")
    made = DemoAuthority.open(authority.file.parent)
    shake_hands(made.issue(HOST), made.file, tmp_path, host=HOST)
