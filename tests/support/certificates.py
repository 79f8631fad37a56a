"""Certificates for tests, made on the spot: an authority, what it issues, and clients that trust it."""

import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from localcluster.authority import PrivateKey, sign
from wsroute.cluster.certificates import Certificate, read_certificate
from wsroute.cluster.objects import Secret
from wsroute.cluster.parse import parse_secret
from wsroute.dataplane.certificates import ServedCertificate


def ecdsa_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A fresh key, on P-256 unless told otherwise."""
    return ec.generate_private_key(curve or ec.SECP256R1())


@cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """A key that is made once for each size and number: that takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key, both PEM."""

    chain: bytes
    key: bytes

    def secret(self, name: str = "chat", namespace: str = "wsroute-system", **changes: Any) -> dict[str, Any]:
        """The kubernetes.io/tls Secret of the pair."""
        data = {"tls.crt": base64.b64encode(self.chain).decode(), "tls.key": base64.b64encode(self.key).decode()}
        return {
            "metadata": {"name": name, "namespace": namespace},
            "type": "kubernetes.io/tls",
            "data": data,
            **changes,
        }

    def certificate(self) -> Certificate:
        """What is read of it."""
        return read_certificate(secret_of(self.secret()))


def secret_of(raw: Any) -> Secret:
    """A Secret's record."""
    secret = parse_secret(raw)
    assert secret is not None
    return secret


class Authority:
    """Issues certificates."""

    def __init__(self) -> None:
        self._key = ecdsa_key()
        self.certificate = sign(self._key.public_key(), self._key, "an authority", "an authority", is_ca=True)

    def issue(
        self,
        *names: str,
        key: PrivateKey | None = None,
        begins: timedelta = timedelta(days=-1),
        ends: timedelta = timedelta(days=3650),
    ) -> Pair:
        """A pair for these hosts, from now on and for ten years unless told otherwise."""
        own = key or ecdsa_key()
        certificate = sign(
            own.public_key(),
            self._key,
            "a server",
            "an authority",
            names=names,
            begins=begins,
            ends=ends,
        )
        return Pair(pem_of(certificate) + pem_of(self.certificate), key_pem(own))

    def trusting(self, *, verify: bool = True, ciphers: str = "", alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """A client's context; with ``ciphers`` for TLS 1.2 alone. Without ``verify`` any certificate will do."""
        context = ssl.create_default_context(cadata=pem_of(self.certificate).decode())
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if ciphers:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def pem_of(certificate: x509.Certificate) -> bytes:
    """PEM of a certificate."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey, *, passphrase: bytes = b"") -> bytes:
    """PEM of a key, in the form that OpenSSL's old commands give, or with a passphrase."""
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8 if passphrase else serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, hidden)


def served(certificate: Certificate) -> ServedCertificate:
    """A certificate as a listener serves it."""
    return ServedCertificate(certificate.file, certificate.key_type, certificate.names)


def put(folder: str, *certificates: Certificate) -> None:
    """Write their files where nginx reads them."""
    Path(folder).mkdir(exist_ok=True)
    for certificate in certificates:
        Path(folder, f"{certificate.file}.pem").write_bytes(certificate.pem)
