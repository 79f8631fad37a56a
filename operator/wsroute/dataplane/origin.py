"""Which pages may open a socket: the header Origin of a handshake against a route's rules (RFC 6454, RFC 6455 10.2).

Browsers send it and pages can't change it, so that it keeps other sites' pages from using a visitor's cookies. It
proves nothing of other clients, which send what they like.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_ORIGIN: Final = re.compile(r"([a-z][-+.a-z0-9]*)://(\[[0-9a-f:.]+\]|[^\x00-\x20\x7f/:?#@,\[\]\\]+)(?::([0-9]{1,5}))?")

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class Origin(NamedTuple):
    """An origin in lower case. ``port`` is empty where it is the scheme's default one."""

    scheme: str
    host: str
    port: str


def parse_origin(text: str) -> Origin | None:
    """The origin that a header or an entry of a list names; None for everything else, ``null`` and several of them
    included."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups(default="")
    return Origin(scheme, host, "" if _DEFAULT_PORTS.get(scheme) == port else port)


def origin_allowed(header: str, *, own_hosts: Iterable[str], allow: Iterable[str], require_header: bool) -> bool:
    """Whether a handshake with this header may go on; an empty one is a missing one.

    A page of one of the ``own_hosts`` may, over http or https and from any port. So may what ``allow`` lists: with the
    same scheme, host and port, where a host ``*.`` and a name covers exactly one label, and ``null`` as the word.
    """
    if not header:
        return not require_header
    origin = parse_origin(header)
    if origin is None:
        return header.lower() == "null" and "null" in allow
    if origin.scheme in _DEFAULT_PORTS and any(_covers(host, origin.host) for host in own_hosts):
        return True
    return any(
        (entry.scheme, entry.port) == (origin.scheme, origin.port) and _covers(entry.host, origin.host)
        for entry in map(parse_origin, allow)
        if entry is not None
    )


def _covers(pattern: str, host: str) -> bool:
    if pattern == host:
        return True
    first, _, rest = host.partition(".")
    return bool(first) and pattern == f"*.{rest}"
