"""Which certificates a listener serves for which name, and how their files travel to the pods. Pure.

A client says at its handshake which host it wants (SNI). A certificate that names the host goes before one with a
wildcard, and of each type of key one is served; the names that none covers get the listener's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

Files = tuple[str, ...]
"""The names of certificates' files (SHA-256 of their content, in hex), at most one of each type of key."""


@dataclass(frozen=True, slots=True)
class ServedCertificate:
    """A certificate as a listener serves it: its file, its type of key, and the hosts that it is for."""

    file: str
    key_type: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """The certificates of a listener, in the order in which they are preferred. ``default`` are those for the names
    that none of them covers: empty where such a handshake is refused."""

    default: Files
    certificates: tuple[ServedCertificate, ...]

    @property
    def files(self) -> frozenset[str]:
        """All files that it names."""
        return frozenset(certificate.file for certificate in self.certificates)


NO_CERTIFICATES: Final = ListenerTls(default=(), certificates=())
"""Of a listener that has none (yet): it refuses every handshake."""


@lru_cache(maxsize=64)
def names_of(tls: ListenerTls) -> Mapping[str, Files]:
    """The files for each name that the certificates have, a wildcard standing for what no name covers."""
    found: dict[str, dict[str, str]] = {}
    for certificate in tls.certificates:
        for name in certificate.names:
            found.setdefault(name, {}).setdefault(certificate.key_type, certificate.file)
    return MappingProxyType(
        {name: _sorted({**found.get(wildcard_of(name), {}), **files}) for name, files in found.items()}
    )


def files_for(tls: ListenerTls, host: str) -> Files:
    """The files that are served for a host, which may be a wildcard itself; empty where its handshake is refused."""
    names = names_of(tls)
    return names.get(host) or names.get(wildcard_of(host)) or tls.default


def wildcard_of(host: str) -> str:
    """The wildcard that covers a name: it stands for the first label."""
    return f"*.{host.partition('.')[2]}"


def _sorted(files: Mapping[str, str]) -> Files:
    return tuple(file for _, file in sorted(files.items()))
