"""Certificates from Secrets: read, judged, and brought into the one form in which nginx gets them. Pure.

Whatever stands in a Secret is hostile. A pair is parsed, compared and written anew from what was parsed, so that no
byte of its author's reaches nginx, and no sentence here repeats any of it: it may be a key.
"""

import base64
import binascii
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning

from wsroute.api.values import host_fault
from wsroute.cluster.objects import Secret

TLS_TYPE: Final = "kubernetes.io/tls"
CHAIN_KEY: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"

CHAIN_LIMIT: Final = 64 * 1024
"""Bytes of a certificate with its chain; a long one has 10 KiB."""

KEY_LIMIT: Final = 16 * 1024
"""Bytes of a private key; RSA of 4,096 bits has 3 KiB."""

CHAIN_LENGTH: Final = 10
"""Certificates of one chain."""

NAMES_LIMIT: Final = 200
"""Names of one certificate; the authorities that browsers know give 100."""

RSA_BITS: Final = (2048, 8192)
"""What nginx's library takes at its usual level of security, and what a handshake can bear."""

CURVES: Final = frozenset({"secp256r1", "secp384r1"})
"""Those that browsers take."""

_UNREADABLE: Final = (
    CryptographyDeprecationWarning,
    ValueError,
    TypeError,  # a key with a passphrase
    UnsupportedAlgorithm,
    InternalError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class KeyType(StrEnum):
    """Of these nginx serves one certificate each for a host: a client takes the one that it can check."""

    ECDSA = "ECDSA"
    RSA = "RSA"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and its key, fit to be served.

    ``names`` are the hosts that it is for, in lower case; ``*.example.com`` covers exactly one label. It is valid from
    ``begins`` until ``ends``, seconds since the epoch. ``pem`` is the file for nginx, chain and key in one, and
    ``file`` its SHA-256, in hex: the same pair always gives the same bytes.
    """

    file: str
    key_type: KeyType
    names: tuple[str, ...]
    begins: float
    ends: float
    pem: bytes = field(repr=False)


class CertificateError(ValueError):
    """A Secret holds no certificate that can be served. The text is a sentence for its author, and holds nothing of the
    Secret's content."""


def read_certificate(secret: Secret) -> Certificate:
    """The certificate of a Secret. Raises CertificateError."""
    if secret.type != TLS_TYPE:
        raise CertificateError(f"Its type must be {TLS_TYPE}; make it with kubectl create secret tls.")
    return _read(_content(secret.data, CHAIN_KEY, CHAIN_LIMIT), _content(secret.data, PRIVATE_KEY, KEY_LIMIT))


def read_served(pem: bytes) -> Certificate:
    """A certificate in the form that :func:`read_certificate` gave it, read back. Raises CertificateError."""
    chain, begin, key = pem.partition(b"-----BEGIN PRIVATE KEY-----")
    return _read(chain, begin + key)


def _read(chain_pem: bytes, key_pem: bytes) -> Certificate:
    with warnings.catch_warnings():
        # What the library reads with a warning only, its next release will refuse; and a warning may repeat content.
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        return _read_strictly(chain_pem, key_pem)


def _read_strictly(chain_pem: bytes, key_pem: bytes) -> Certificate:
    chain, key = _chain(chain_pem), _private_key(key_pem)
    leaf = chain[0]
    for number, certificate in enumerate(chain, start=1):
        fault = _fault(certificate)
        if fault:
            raise CertificateError(f"Certificate {number} of {CHAIN_KEY} can't be served: {fault}.")
    if _public_bytes(leaf.public_key()) != _public_bytes(key.public_key()):
        raise CertificateError(f"{PRIVATE_KEY} is not the key of the first certificate in {CHAIN_KEY}.")
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(
        file=file_name(pem),
        key_type=KeyType.RSA if isinstance(key, rsa.RSAPrivateKey) else KeyType.ECDSA,
        names=_names(leaf),
        begins=leaf.not_valid_before_utc.timestamp(),
        ends=leaf.not_valid_after_utc.timestamp(),
        pem=pem,
    )


def file_name(pem: bytes) -> str:
    """The name of a file for nginx, by its content."""
    return hashlib.sha256(pem).hexdigest()


def _content(data: Mapping[str, str], name: str, limit: int) -> bytes:
    text = data.get(name)
    if not text:
        raise CertificateError(f"It has no {name}.")
    if len(text) > limit * 4 // 3 + 4:
        raise CertificateError(f"Its {name} has more than {limit:,} bytes.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CertificateError(f"Its {name} is not base64.") from None


def _chain(pem: bytes) -> list[x509.Certificate]:
    unreadable = CertificateError(f"Its {CHAIN_KEY} does not hold certificates in PEM form, or not whole ones.")
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except _UNREADABLE:
        raise unreadable from None
    if pem.count(b"-----BEGIN CERTIFICATE-----") != len(chain):
        raise unreadable
    if len(chain) > CHAIN_LENGTH:
        raise CertificateError(f"Its {CHAIN_KEY} has {len(chain)} certificates; at most {CHAIN_LENGTH} are served.")
    return chain


def _private_key(pem: bytes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if pem.count(b"PRIVATE KEY-----") > 2:
        raise CertificateError(f"Its {PRIVATE_KEY} holds more than one key.")
    if b"ENCRYPTED" in pem:
        raise CertificateError(f"Its {PRIVATE_KEY} has a passphrase, which nobody is there to type: take it away.")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _UNREADABLE:
        raise CertificateError(f"Its {PRIVATE_KEY} holds no key in PEM form that can be read.") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateError(f"Its {PRIVATE_KEY} must be an RSA key, or an ECDSA key on P-256 or P-384.")
    return key


def _public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _fault(certificate: x509.Certificate) -> str:
    """Why nginx, or every client, would refuse a certificate; empty when nobody would."""
    try:
        key = certificate.public_key()
        signed_with = certificate.signature_hash_algorithm
        by_itself = certificate.issuer == certificate.subject
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except _UNREADABLE:
        return "it can't be read"
    if isinstance(key, rsa.RSAPublicKey):
        least, most = RSA_BITS
        if not least <= key.key_size <= most:
            return f"its RSA key has {key.key_size} bits; {least} to {most} are served"
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        return "its key must be one for RSA or ECDSA"
    elif key.curve.name not in CURVES:
        return f"its key is on the curve {key.curve.name}; P-256 and P-384 are served"
    # Nobody looks at the signature that a root gives itself.
    if isinstance(signed_with, hashes.MD5 | hashes.SHA1) and not by_itself:
        return f"it is signed with {signed_with.name.upper()}, which nobody trusts any more"
    return ""


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate that a route's host can be, each once; what else it holds is left out."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        return ()
    except _UNREADABLE:
        raise CertificateError(f"The extensions of the first certificate in {CHAIN_KEY} can't be read.") from None
    if len(found) > NAMES_LIMIT:
        raise CertificateError(f"The first certificate has {len(found)} names; at most {NAMES_LIMIT} are served.")
    return tuple(dict.fromkeys(_hosts(found)))


def _hosts(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        host = name.lower() if name.isascii() else name
        if host_fault(host) is None:
            yield host
