"""How much of nginx's dictionary a table takes. Pure.

nginx's allocator gives blocks of powers of two up to half a page, and whole pages beyond. An entry takes two: one with
the node and the key, one with the value. What is said here is never less than what nginx takes, and seldom twice as
much: it must cost next to nothing to say.
"""

from typing import Final

from wsroute.dataplane.dictionary import server_name
from wsroute.dataplane.table import CertificateRecord, EndpointGroup, HostRecord, PathRecord

ROOM: Final = 30 * 1024 * 1024
"""Bytes that a table may take, of the 64 MiB in dynamic.conf.j2: two stand beside one another while one takes the
other's place, and what a request of the agent writes must find room before it gives any back."""

_PAGE: Final = 4096
_KEY: Final = 128 + 2
"""A node, the letter of the generation and the one of the kind."""
_ID_AND_PORT: Final = 8 + len("[]:65535")
_HEAD: Final = len("1000 1000 99\n")


def host_room(host: HostRecord, line: str) -> int:
    """Bytes that a host takes. ``line`` is what it is in a shard: no record in the dictionary is longer than there."""
    return room_of_line(host, len(line))


def room_of_line(host: HostRecord, length: int) -> int:
    """The same where only the length of the line is known."""
    server = len(server_name(host))
    found = 2 * length
    for path in host.paths:
        found += room_of_key(server, path)
    for listener in host.listeners:
        found += _block(_KEY + len(listener) + 1 + len(host.host)) + _block(server + len("1000 "))
    return found


def room_of_key(server: int, path: PathRecord) -> int:
    """Bytes that the key of a path takes; ``server`` is the length of its server's name."""
    return _block(_KEY + server + len(path.path))


def group_room(group: EndpointGroup, _line: str) -> int:
    """Bytes that a group of endpoints takes."""
    texts = [len(address.address) for address in (*group.addresses, *group.returning)]
    value = _HEAD + len(texts) * (max(texts, default=0) + _ID_AND_PORT)
    return _block(_KEY + len(group.name)) + _block(value)


def certificate_room(certificate: CertificateRecord, _line: str) -> int:
    """Bytes that the certificate of a name takes."""
    value = _block(len(" ".join(certificate.files)))
    return sum(_block(_KEY + len(listener) + 1 + len(certificate.name)) + value for listener in certificate.listeners)


def _block(size: int) -> int:
    return 1 << (size - 1).bit_length() if size <= _PAGE // 2 else -(-size // _PAGE) * _PAGE
