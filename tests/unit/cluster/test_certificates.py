"""What is read of a Secret with a certificate, and what is refused of it, whatever it holds."""

import base64
import re
import subprocess
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.certificates import Authority, Pair, ecdsa_key, key_pem, rsa_key, secret_of
from wsroute.cluster.certificates import (
    CertificateError,
    KeyType,
    file_name,
    read_certificate,
    read_served,
)

AUTHORITY = Authority()
KEY = ecdsa_key()
GOOD = AUTHORITY.issue("chat.example.com", "*.Example.org", key=KEY)


def test_a_pair_becomes_one_file_named_by_its_content() -> None:
    read = GOOD.certificate()
    assert read.names == ("chat.example.com", "*.example.org")
    assert read.key_type is KeyType.ECDSA
    assert read.pem.startswith(GOOD.chain)
    assert read.pem.count(b"BEGIN CERTIFICATE") == 2
    assert read.pem.count(b"BEGIN PRIVATE KEY") == 1
    assert read.file == file_name(read.pem)
    assert read.ends - read.begins == pytest.approx(timedelta(days=3651).total_seconds())


def test_what_was_written_is_read_back_as_it_was() -> None:
    read = AUTHORITY.issue("chat.example.com", key=rsa_key()).certificate()
    assert read.key_type is KeyType.RSA
    assert read_served(read.pem) == read


def test_the_same_pair_in_other_words_is_the_same_file() -> None:
    comment = b"subject=what openssl prints\r\n"
    other = Pair(comment + GOOD.chain.replace(b"\n", b"\r\n"), KEY_IN_PKCS8 + b"\n\n")
    assert other.certificate() == GOOD.certificate()


def pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    begin = b"-----BEGIN PRIVATE KEY-----"
    return begin + AUTHORITY.issue("a.example.com", key=key).certificate().pem.partition(begin)[2]


KEY_IN_PKCS8 = pkcs8(KEY)


def test_a_key_may_have_its_curve_in_front() -> None:
    curve = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert Pair(GOOD.chain, curve + GOOD.key).certificate() == GOOD.certificate()


def test_names_that_no_host_can_have_are_left_out() -> None:
    pair = AUTHORITY.issue("f*.example.com", "a_b.example.com", "a.example.com;}", "10.0.0.1", "*", "ok.example.com")
    assert pair.certificate().names == ("ok.example.com",)


def test_a_certificate_may_name_nobody() -> None:
    assert AUTHORITY.issue().certificate().names == ()


def test_an_expired_one_is_read_all_the_same() -> None:
    pair = AUTHORITY.issue("a.example.com", begins=timedelta(days=-9), ends=timedelta(days=-1))
    assert pair.certificate().ends < pair.certificate().begins + timedelta(days=9).total_seconds()


def with_data(pair: Pair = GOOD, **data: Any) -> dict[str, Any]:
    raw = pair.secret()
    changed = {name.replace("_", "."): value for name, value in data.items()}
    return {**raw, "data": {**raw["data"], **changed}}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (GOOD.secret(type="Opaque"), "type must be kubernetes.io/tls"),
        (GOOD.secret(type="kubernetes.io/service-account-token"), "type must be kubernetes.io/tls"),
        (GOOD.secret(data=None), "has no tls.crt"),
        (with_data(tls_key=""), "has no tls.key"),
        (with_data(tls_key=7), "has no tls.key"),
        (with_data(tls_crt="not base64!"), "tls.crt is not base64"),
        (with_data(tls_crt=encoded(b"not PEM")), "tls.crt does not hold certificates"),
        (with_data(tls_crt=encoded(GOOD.chain[:-80])), "tls.crt does not hold certificates"),
        (with_data(tls_crt=encoded(GOOD.key)), "tls.crt does not hold certificates"),
        (with_data(tls_key=encoded(GOOD.chain)), "tls.key holds no key"),
        (with_data(tls_key=encoded(GOOD.key * 2)), "more than one key"),
        (with_data(tls_key=encoded(key_pem(KEY, passphrase=b"x"))), "has a passphrase"),
        (with_data(tls_key=encoded(key_pem(ecdsa_key()))), "is not the key of the first certificate"),
        (with_data(tls_crt=encoded(GOOD.chain * 6)), "12 certificates"),
        (with_data(tls_crt="QQ==" * 40_000), "more than 65,536 bytes"),
        (with_data(tls_key="QQ==" * 10_000), "more than 16,384 bytes"),
        (AUTHORITY.issue("a.example.com", key=rsa_key(1024)).secret(), "1024 bits; 2048 to 8192 are served"),
        (AUTHORITY.issue("a.example.com", key=ecdsa_key(ec.SECP521R1())).secret(), "on the curve secp521r1"),
        (AUTHORITY.issue(*(f"h{n}.example.com" for n in range(201))).secret(), "201 names"),
    ],
)
def test_what_can_not_be_served(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CertificateError) as refused:
        read_certificate(secret_of(raw))
    assert sentence in str(refused.value)
    assert str(refused.value).endswith(".")


def test_a_signature_that_nobody_trusts_is_refused_but_for_a_root_s(tmp_path: Path) -> None:
    subject = ["-subj", "/CN=root", "-keyout", "root.key", "-out", "root.crt"]
    subprocess.run([*REQUEST, *subject], cwd=tmp_path, check=True, capture_output=True)
    issued = ["-subj", "/CN=leaf", "-CA", "root.crt", "-CAkey", "root.key", "-keyout", "leaf.key", "-out", "leaf.crt"]
    subprocess.run([*REQUEST, *issued], cwd=tmp_path, check=True, capture_output=True)
    root, leaf = (
        Pair((tmp_path / f"{name}.crt").read_bytes(), (tmp_path / f"{name}.key").read_bytes())
        for name in ("root", "leaf")
    )
    with pytest.raises(CertificateError, match="signed with SHA1"):
        leaf.certificate()
    assert root.certificate().key_type is KeyType.ECDSA


REQUEST = ["openssl", "req", "-x509", "-sha1", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]


def test_the_sentences_hold_nothing_of_the_secret() -> None:
    raw = with_data(tls_crt=encoded(b"-----BEGIN CERTIFICATE-----\nHUSHHUSH\n-----END CERTIFICATE-----\n"))
    with pytest.raises(CertificateError) as refused:
        read_certificate(secret_of(raw))
    assert "HUSH" not in f"{refused.value} {refused.value.__cause__}"


def test_nobody_who_prints_a_secret_or_a_certificate_prints_a_key() -> None:
    secret, read = secret_of(GOOD.secret()), GOOD.certificate()
    shown = f"{secret!r} {secret} {read!r}"
    for text in (secret.data["tls.key"], GOOD.key.decode(), read.pem.decode()):
        for line in filter(lambda line: len(line) > 20, text.splitlines()):
            assert line not in shown
    assert re.search("PRIVATE|BEGIN", shown) is None


@given(chain=st.binary(max_size=200) | st.just(GOOD.chain), key=st.binary(max_size=200) | st.just(GOOD.key))
def test_any_bytes_are_read_or_refused(chain: bytes, key: bytes) -> None:
    raw = with_data(tls_crt=encoded(chain), tls_key=encoded(key))
    try:
        assert read_certificate(secret_of(raw)) == GOOD.certificate()
    except CertificateError:
        assert (chain, key) != (GOOD.chain, GOOD.key)


@given(position=st.integers(0, 2_000), byte=st.integers(0, 255))
def test_one_wrong_byte_is_read_or_refused(position: int, byte: int) -> None:
    changed = bytearray(GOOD.chain)
    changed[position % len(changed)] = byte
    with suppress(CertificateError):
        assert len(read_certificate(secret_of(with_data(tls_crt=encoded(bytes(changed))))).names) <= 2
