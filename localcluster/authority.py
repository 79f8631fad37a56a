"""Certificates made on the spot: the demo's authority, what it issues to the balancer, and signing, for tests as well.

The demo's authority can speak for names below ``localhost`` only (RFC 5280, 4.2.1.10): a browser that trusts it trusts
it with this machine and with nothing else, whoever gets hold of its key.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

BEGAN: Final = timedelta(days=-1)
"""How long before now a certificate begins: clocks differ."""

YEARS: Final = timedelta(days=3650)
"""How long an authority lasts."""

ISSUED_FOR: Final = timedelta(days=365)
"""How long a certificate of the demo lasts: no browser wants it longer."""

SUBJECT: Final = "wsroute demo, names below localhost only"

_USAGES: Final = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                  "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its authority's, and its key, both PEM, as a Secret of type kubernetes.io/tls has them."""

    chain: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class DemoAuthority:
    """The authority whose certificate is in ``file``, for people to import. Its key is beside it, readable for
    its owner alone."""

    file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def open(cls, folder: Path) -> "DemoAuthority":
        """The one that is kept in this folder; a new one where there is none that is whole."""
        file, key_file = folder / "ca.crt", folder / "ca.key"
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        except (OSError, ValueError):
            return cls._make(file, key_file)
        usable = certificate.not_valid_after_utc > datetime.now(UTC) + ISSUED_FOR
        if (
            not usable
            or not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != certificate.public_key()
        ):
            return cls._make(file, key_file)
        return cls(file, certificate, key)

    @classmethod
    def _make(cls, file: Path, key_file: Path) -> "DemoAuthority":
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = sign(key.public_key(), key, SUBJECT, SUBJECT, is_ca=True, below="localhost")
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(_pem(key))
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(file, certificate, key)

    def issue(self, *names: str) -> Issued:
        """A new certificate for these hosts, with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = sign(key.public_key(), self.key, names[0], SUBJECT, names=names, ends=ISSUED_FOR)
        chain = (each.public_bytes(serialization.Encoding.PEM) for each in (certificate, self.certificate))
        return Issued(b"".join(chain), _pem(key))


def sign(
    public: PublicKey,
    signer: PrivateKey,
    subject: str,
    issuer: str,
    *,
    names: Sequence[str] = (),
    begins: timedelta = BEGAN,
    ends: timedelta = YEARS,
    is_ca: bool = False,
    below: str = "",
) -> x509.Certificate:
    """A certificate for hosts, or for an authority, which may be one for names ``below`` a domain alone."""
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if is_ca:
        usage = x509.KeyUsage(key_cert_sign=True, **dict.fromkeys(_USAGES, False))
        builder = builder.add_extension(usage, critical=True)
    else:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    if below:
        builder = builder.add_extension(x509.NameConstraints([x509.DNSName(below)], None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(signer, hashes.SHA256())


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
