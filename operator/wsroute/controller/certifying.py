"""The certificates of a balancer: what its Secrets come to, and the Secrets that bring them to its pods. Pure but for
its memo.

Each pair that can be served becomes a file that is named by its content, in ``<balancer>-tls-N``. A Secret that is
gone, or holds nothing that can be served, is a problem of the balancer that names it; what came from it last is served
on, so that a slip harms nobody. Files that a published version names stay until none does: a pod that starts needs
them.
"""

import base64
import binascii
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.certificates import (
    Certificate,
    CertificateError,
    file_name,
    read_certificate,
    read_served,
)
from wsroute.cluster.objects import ConfigMap, Key, Secret
from wsroute.controller.tls_secrets import (
    SecretWrite,
    is_file,
    is_ours,
    read_sources,
    stands,
    store_keys,
    wanted_secrets,
)
from wsroute.dataplane import names
from wsroute.dataplane.certificates import Files, ListenerTls, ServedCertificate
from wsroute.dataplane.shards import CERTIFICATE_WORD, TABLE_KEY
from wsroute.graph.model import BalancerNode

_NAMED_FILE: Final = re.compile('"([0-9a-f]{64})"', re.ASCII)

ROOM: Final = 900_000
"""Bytes of files in one Secret; the API server takes 1 MiB."""


NAMES_ROOM: Final = 3 * 1024 * 1024
"""Bytes that the names of all listeners' certificates may take of a Dynamic balancer's tables: some 10,000 names."""

NAME_BYTES: Final = 300
"""What each takes there beside itself, about: its listener, and two files."""


class Unseen(Enum):
    """What there is to see of a Secret that can't be seen."""

    ABSENT = "absent"
    FORBIDDEN = "forbidden"


Sight = Secret | Unseen
Sights = Mapping[Key, Sight]
"""The Secrets that are followed, as they are. One that is not in it was not looked at yet."""

NOTHING_SEEN: Final[Sights] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Certified:
    """What a balancer's Secrets come to.

    ``tls`` are the certificates of each listener that ends TLS, by its name. ``followed`` are the Secrets that have to
    be followed, and ``is_known`` says that all of them were seen; else nothing new is to be made. ``obstacle`` says why
    nothing can be. From ``begins`` until ``expires`` (seconds since the epoch) the same follows from the same Secrets.
    """

    tls: Mapping[str, ListenerTls] = field(default_factory=dict)
    followed: frozenset[Key] = frozenset()
    is_known: bool = True
    obstacle: str = ""
    problems: tuple[Problem, ...] = ()
    writes: tuple[SecretWrite, ...] = ()
    begins: float = -math.inf
    expires: float = math.inf


@dataclass(slots=True)
class CertificateMemo:
    """What was read of a balancer's Secrets before."""

    read: dict[Key, tuple[Secret, Certificate | CertificateError]] = field(default_factory=dict)
    served: dict[str, Certificate] = field(default_factory=dict)
    last: tuple[tuple[object, ...], Certified] | None = None
    """The last result, and what it follows from."""


def certify(
    node: BalancerNode,
    published: Iterable[ConfigMap | None],
    sights: Sights,
    memo: CertificateMemo,
    *,
    epoch: int,
    wall: float,
) -> Certified:
    """Look at a balancer's Secrets. ``published`` are the ConfigMaps with versions and with the parts of tables;
    ``wall`` is seconds since the epoch, ``epoch`` the writing leader's."""
    own = node.key
    places = frozenset(Key(own.namespace, name) for name in _names(node))
    kept = {file for known in published for file in files_of(known)}
    stores = store_keys(own)
    if not places and not kept and not any(key in sights for key in stores):
        return Certified()
    followed = frozenset((*places, *stores))
    if not followed <= sights.keys():
        return Certified(followed=followed, is_known=False)
    inputs = (own, node.spec, tuple(sights[key] for key in sorted(followed)), kept, epoch)
    if memo.last is None or memo.last[0] != inputs or not memo.last[1].begins <= wall < memo.last[1].expires:
        memo.last = inputs, _certify(node, stores, kept, followed, sights, memo, epoch=epoch, wall=wall)
    result = memo.last[1]
    # The last files are taken out before nobody looks any more.
    return result if places or kept else replace(result, followed=frozenset())


def _certify(
    node: BalancerNode,
    stores: list[Key],
    kept: Iterable[str],
    followed: frozenset[Key],
    sights: Sights,
    memo: CertificateMemo,
    *,
    epoch: int,
    wall: float,
) -> Certified:
    own = node.key
    forbidden = [str(key) for key in stores if sights[key] is Unseen.FORBIDDEN]
    if forbidden:
        return Certified(followed=followed, is_known=False, obstacle=_describe_forbidden_stores(forbidden, own.name))
    stored = _Stored({key: sight for key in stores if isinstance(sight := sights[key], Secret)}, own.name, memo)
    looked = _Looked(sights, stored, memo, kept, wall=wall)
    tls = {}
    for index, listener in enumerate(node.spec.listeners if node.spec is not None else ()):
        if listener.ends_tls:
            found = [
                looked.at(f"spec.listeners[{index}].tls.certificates[{number}].secretName", Key(own.namespace, name))
                for number, name in enumerate(listener.certificates)
            ]
            tls[listener.name] = _listener_tls(found)
    wanted = wanted_secrets(own, looked.files(), looked.sources, epoch=epoch)
    memo.read = {key: entry for key, entry in memo.read.items() if key in followed}
    memo.served = {file: served for file, served in memo.served.items() if file in looked.files()}
    return Certified(
        tls=tls,
        followed=followed,
        problems=tuple(looked.problems.values()),
        writes=tuple(
            SecretWrite(each, known) for each in wanted if not stands(each, known := stored.secrets.get(each.key))
        ),
        begins=wall,
        expires=looked.expires,
    )


def files_of(published: ConfigMap | None) -> frozenset[str]:
    """The files that a published version names, or a part of a table."""
    if published is None:
        return frozenset()
    if published.labels.get(names.ROLE_LABEL) == names.ROLE_TABLE:
        return _files_of_lines(published.data.get(TABLE_KEY, ""))
    text = published.annotations.get(names.CERTIFICATES_ANNOTATION, "")
    return frozenset(file for file in text.split() if is_file(file))


@lru_cache(maxsize=256)
def _files_of_lines(text: str) -> frozenset[str]:
    if not text.startswith(CERTIFICATE_WORD):
        return frozenset()
    return frozenset(_NAMED_FILE.findall(text))


def _names(node: BalancerNode) -> Iterator[str]:
    """The Secrets that a balancer's listeners name."""
    for listener in node.spec.listeners if node.spec is not None else ():
        yield from listener.certificates


class _Stored:
    """What the generated Secrets hold. Somebody may have edited them: what is not what its name says is no file."""

    def __init__(self, secrets: Mapping[Key, Secret], balancer: str, memo: CertificateMemo) -> None:
        self.secrets = {key: secret for key, secret in secrets.items() if is_ours(secret, balancer)}
        self.balancer = balancer
        self._memo = memo
        self._sources: dict[str, str] = {}
        for secret in self.secrets.values():
            self._sources.update(read_sources(secret))

    def data(self, file: str) -> str | None:
        """The base64 of a file."""
        for secret in self.secrets.values():
            text = secret.data.get(f"{file}{names.TLS_SUFFIX}")
            if text is not None:
                return text
        return None

    def certificate(self, file: str) -> Certificate | None:
        """The certificate of a file."""
        known = self._memo.served.get(file)
        text = self.data(file)
        if known is not None or text is None:
            return known
        try:
            pem = base64.b64decode(text, validate=True)
            if file_name(pem) != file:
                return None
            read = read_served(pem)
        except (binascii.Error, ValueError):
            return None
        self._memo.served[file] = read
        return read

    def last_good(self, secret: str) -> Certificate | None:
        """What came last from a Secret that is not good any more."""
        file = self._sources.get(secret)
        return None if file is None else self.certificate(file)


class _Looked:
    """Goes through the Secrets that a balancer names, in their order."""

    def __init__(
        self, sights: Sights, stored: _Stored, memo: CertificateMemo, kept: Iterable[str], wall: float
    ) -> None:
        self._sights = sights
        self._stored = stored
        self._memo = memo
        self._wall = wall
        self._balancer = stored.balancer
        self._data = {file: text for file in sorted(kept) if (text := stored.data(file)) is not None}
        """The base64 of each file that is to stand."""
        self._named = 0
        """Bytes that the names take in tables."""
        self._used: defaultdict[int, int] = defaultdict(int)
        for file, text in self._data.items():
            self._used[names.tls_number(file)] += len(text) * 3 // 4
        self.sources: dict[str, str] = {}
        self.problems: dict[str, Problem] = {}
        self.expires = math.inf

    def files(self) -> Mapping[str, str]:
        """The base64 of each file that is to stand, by its name."""
        return self._data

    def at(self, path: str, key: Key) -> Certificate | None:
        """The certificate to serve for a reference."""
        found = self._read(key)
        if isinstance(found, Certificate) and not self._take(found):
            found = Problem(Reason.INVALID_CERTIFICATE, "", _describe_full(key.name))
        if isinstance(found, Problem):
            last = self._stored.last_good(key.name)
            if last is not None and self._take(last):
                text = f"{found.message} What came from it before is served on."
                self.problems[path] = Problem(found.reason, path, text)
                self.sources[key.name] = last.file
                return last
            self.problems[path] = Problem(found.reason, path, f"{found.message} Its hosts get no certificate of it.")
            return None
        self.sources[key.name] = found.file
        self._look_at_the_time(path, key, found)
        return found

    def _read(self, key: Key) -> Certificate | Problem:
        sight = self._sights[key]
        if sight is Unseen.ABSENT:
            text = f"There is no Secret {key.name} in the namespace {key.namespace}: make it, or name another."
            return Problem(Reason.SECRET_NOT_FOUND, "", text)
        if sight is Unseen.FORBIDDEN:
            return Problem(Reason.REF_NOT_PERMITTED, "", _describe_forbidden(key, self._balancer))
        assert isinstance(sight, Secret)
        known = self._memo.read.get(key)
        if known is None or known[0] != sight:
            try:
                read: Certificate | CertificateError = read_certificate(sight)
            except CertificateError as error:
                read = error
            known = self._memo.read[key] = (sight, read)
        if isinstance(known[1], CertificateError):
            return Problem(Reason.INVALID_CERTIFICATE, "", f"The Secret {key.name} can't be served. {known[1]}")
        return known[1]

    def _take(self, certificate: Certificate) -> bool:
        """Whether there is room for a certificate's file, and for its names once more."""
        file = certificate.file
        names_size = sum(len(name) + NAME_BYTES for name in certificate.names)
        if self._named + names_size > NAMES_ROOM:
            return False
        if file in self._data:
            self._named += names_size
            return True
        text = base64.b64encode(certificate.pem).decode()
        number = names.tls_number(file)
        if self._used[number] + len(certificate.pem) > ROOM:
            return False
        self._used[number] += len(certificate.pem)
        self._named += names_size
        self._data[file] = text
        return True

    def _look_at_the_time(self, path: str, key: Key, certificate: Certificate) -> None:
        """A certificate that clients refuse for the time is served, and told."""
        for moment, passed, text in (
            (certificate.begins, "", "is valid only from {} on"),
            (certificate.ends, "has expired on {}", ""),
        ):
            told = passed if moment <= self._wall else text
            if moment > self._wall:
                self.expires = min(self.expires, moment)
            if told:
                when = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                words = f"The certificate of the Secret {key.name} {told.format(when)}: clients refuse it."
                self.problems[path] = Problem(Reason.INVALID_CERTIFICATE, path, words)


def _listener_tls(found: list[Certificate | None]) -> ListenerTls:
    served = [_served(certificate) for certificate in found if certificate is not None]
    default: Files = ()
    if found[0] is not None:
        # Of the other type of key the first one for the same hosts.
        types = {found[0].key_type: found[0].file}
        for certificate in found[1:]:
            if certificate is not None and set(certificate.names) == set(found[0].names):
                types.setdefault(certificate.key_type, certificate.file)
        default = tuple(types[kind] for kind in sorted(types))
    return ListenerTls(default, tuple(served))


def _served(certificate: Certificate) -> ServedCertificate:
    return ServedCertificate(certificate.file, certificate.key_type, certificate.names)


def _describe_forbidden(key: Key, balancer: str) -> str:
    return (
        f"The operator may not read the Secret {key.name}: add it to resourceNames of the Role "
        f"{balancer}-certificates in the namespace {key.namespace}."
    )


def _describe_forbidden_stores(forbidden: list[str], balancer: str) -> str:
    return (
        f"The operator may not read the Secrets {', '.join(forbidden)}, which bring certificates to the pods. "
        f"Name them in resourceNames of the Role {balancer}-certificates."
    )


def _describe_full(name: str) -> str:
    return (
        f"There is no room for the certificate of the Secret {name} beside the balancer's others: have fewer, or move "
        "some to another balancer."
    )
