"""A table as entries of the shared dictionary that nginx's njs reads at each handshake, and how one becomes another.

| key | value |
|---|---|
| ``h<listener> <host>`` | ``<depth> <server>``: the server of that host, and the most path elements of its prefixes |
| ``=<server><path>`` | the record of an Exact path, JSON |
| ``^<server><path>`` | the record of a Prefix, JSON; ``/`` is the one of everything |
| ``c<listener> <name>`` | the files that a handshake for a name gets, one or two, with a blank between them |
| ``e<group>`` | ``<ready> <returning> <width>``, a line feed, and so many endpoints of ``width`` characters each |

A server is a host with the listeners on which it has the same paths: ``chat.example.com|ws,wss``. So a host that comes
or goes on a listener has another server, and no path record is ever seen through a listener that it is not for.

A path record is an object in canonical JSON: ``r`` the route; then either ``x``, the reason of a refusal, or what a
socket needs: ``t`` pairs of group and weight, ``w`` 1 for WebSockets only, ``p`` what replaces the prefix, ``i`` and
``c`` milliseconds of idle and connect timeout, ``s`` headers to set (names in lower case), ``d`` headers to remove,
``o`` the rules for Origins (``m`` E or R, ``q`` 1 if the header is required, ``h`` own hosts, ``a`` origins allowed),
``b`` the balancing (``p`` L, R or H, of a hash ``on`` I, H, Q or C and ``n`` the name), ``k`` the sticky cookie (``n``
name, ``a`` seconds). What is empty or zero is left out, except of ``b`` and ``k``.

An endpoint is its id, eight hex digits, and its ``address:port``, padded with blanks: one is found by its number
without looking at the others. Those that are ready come first.

The name of a certificate is a host, or a wildcard for one label of which there is no record, or ``*`` for all others.
A file is named by the SHA-256 of its content, in hex.

The keys stand here without the letter of their generation, which nginx's side puts before them.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from wsroute.dataplane.ir import PathMatch, Refuse
from wsroute.dataplane.table import (
    Address,
    CertificateRecord,
    EndpointGroup,
    Forward,
    HashSource,
    HostRecord,
    OriginRules,
    PathRecord,
    Policy,
    Table,
)

Entries = Mapping[str, str]
"""Keys, without the letter of a generation, and their values."""

Operation = tuple[Literal["s"], str, str] | tuple[Literal["d"], str]
"""Set a key to a value, or delete one: as they travel to nginx, in JSON."""

HOST: Final = "h"
EXACT: Final = "="
PREFIX: Final = "^"
GROUP: Final = "e"
CERTIFICATE: Final = "c"

ID_LENGTH: Final = 8
"""Hex digits of an endpoint's id."""

POLICY_LETTERS: Final = {Policy.LEAST_CONNECTIONS: "L", Policy.ROUND_ROBIN: "R", Policy.HASH: "H"}
SOURCE_LETTERS: Final = {
    HashSource.CLIENT_IP: "I",
    HashSource.HEADER: "H",
    HashSource.QUERY: "Q",
    HashSource.COOKIE: "C",
}
ORIGIN_LETTERS: Final = {"Enforce": "E", "Report": "R"}


def entries(table: Table) -> dict[str, str]:
    """All entries of a table."""
    found: dict[str, str] = {}
    for group in table.groups:
        found[GROUP + group.name] = group_value(group)
    for host in table.hosts:
        found.update(host_entries(host))
    for certificate in table.certificates:
        found.update(certificate_entries(certificate))
    return found


def server_name(host: HostRecord) -> str:
    """The server of a host on its listeners."""
    return f"{host.host}|{','.join(host.listeners)}"


def host_entries(host: HostRecord) -> dict[str, str]:
    """The entries of one host on some listeners."""
    server = server_name(host)
    found: dict[str, str] = {}
    depth = 0
    for record in host.paths:
        if record.match is PathMatch.PREFIX:
            depth = max(depth, path_depth(record.path))
            found[f"{PREFIX}{server}{record.path}"] = path_value(record)
        else:
            found[f"{EXACT}{server}{record.path}"] = path_value(record)
    for listener in host.listeners:
        found[f"{HOST}{listener} {host.host}"] = f"{depth} {server}"
    return found


def certificate_entries(certificate: CertificateRecord) -> dict[str, str]:
    """The entries of one name on some listeners."""
    files = " ".join(certificate.files)
    return {f"{CERTIFICATE}{listener} {certificate.name}": files for listener in certificate.listeners}


def path_depth(prefix: str) -> int:
    """How many elements a prefix has: ``/`` 0, ``/a/b`` 2."""
    return 0 if prefix == "/" else prefix.count("/")


def path_value(record: PathRecord) -> str:
    """A path record in canonical JSON."""
    action = record.action
    if isinstance(action, Refuse):
        return canonical({"r": str(record.route), "x": action.reason.value})
    return canonical({"r": str(record.route), **_forward(action)})


def _forward(action: Forward) -> dict[str, Any]:
    balancing = {"p": POLICY_LETTERS[action.policy]}
    if action.hash_key is not None:
        balancing["on"] = SOURCE_LETTERS[action.hash_key.on]
        if action.hash_key.name:
            balancing["n"] = action.hash_key.name
    fields = {
        "t": [list(target) for target in action.targets],
        "w": int(action.websocket_only),
        "p": action.rewrite_prefix,
        "i": action.idle_timeout,
        "c": action.connect_timeout,
        "s": {name.lower(): value for name, value in action.set_headers},
        "d": sorted(name.lower() for name in action.remove_headers),
        "o": _origins(action.origins),
        "b": balancing,
        "k": None if action.sticky is None else {"n": action.sticky.name, "a": action.sticky.max_age},
    }
    return {name: value for name, value in fields.items() if value}


def _origins(rules: OriginRules) -> dict[str, Any]:
    if rules.policy == "Off":
        return {}
    fields = {
        "m": ORIGIN_LETTERS[rules.policy],
        "q": int(rules.require_header),
        "h": list(rules.own_hosts),
        "a": list(rules.allow),
    }
    return {name: value for name, value in fields.items() if value}


def canonical(value: Any) -> str:
    """JSON with sorted keys and without blanks: equal meaning gives equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def group_value(group: EndpointGroup) -> str:
    """The endpoints of a group, all of the same width."""
    found = [*group.addresses, *group.returning]
    texts = [endpoint_id(address) + str(address) for address in found]
    width = max(map(len, texts), default=0)
    body = "".join(text.ljust(width) for text in texts)
    return f"{len(group.addresses)} {len(group.returning)} {width}\n{body}"


@lru_cache(maxsize=65_536)
def endpoint_id(address: Address) -> str:
    """What a hash and a sticky cookie know an endpoint by: the first 32 bits of the SHA-256 of its text, in hex."""
    return hashlib.sha256(str(address).encode()).hexdigest()[:ID_LENGTH]


_MODULUS: Final = 2**256


def mark(found: Entries) -> str:
    """What names the content of a whole table: 64 hex digits, the sum of the SHA-256 of all entries modulo 2^256.

    A sum, so that the mark of a table of which one entry changed costs one entry (``mark_after``).
    """
    return f"{sum(map(_entry_number, found.items())) % _MODULUS:064x}"


def mark_after(before: str, old: Entries, operations: Iterable[Operation]) -> str:
    """The mark of what ``operations`` make of a table with the mark ``before``. ``old`` holds at least those of its
    entries that they change. No key may occur twice."""
    number = int(before, 16)
    for operation in operations:
        key = operation[1]
        value = old.get(key)
        if value is not None:
            number -= _entry_number((key, value))
        if operation[0] == "s":
            number += _entry_number((key, operation[2]))
    return f"{number % _MODULUS:064x}"


def _entry_number(entry: tuple[str, str]) -> int:
    key, value = entry
    return int.from_bytes(hashlib.sha256(f"{key}\0{value}".encode()).digest())


def diff(old: Entries, new: Entries) -> list[Operation]:
    """What makes ``new`` of ``old``, in an order in which every handshake on the way gets what it gets from the one or
    from the other, if a path's record and an endpoint group's are each taken for themselves.

    Entries that are equal in both may be missing from both.

    A request looks for its own host and then for a wildcard, there for its exact path and then for ever shorter
    prefixes, and the first record found is the answer. So what is found earlier is set before what is found later, and
    what is found later is deleted before what is found earlier: whoever falls through, or no longer does, finds
    everything in place. A depth that is too large harms nothing: it grows first and shrinks last.
    """
    operations: list[tuple[_Order, Operation]] = []
    for key, value in new.items():
        before = old.get(key)
        if before != value:
            operations.append((_set_order(key, before, value), ("s", key, value)))
    operations += [(_delete_order(key), ("d", key)) for key in old if key not in new]
    return [operation for _, operation in sorted(operations)]


class _Stage(IntEnum):
    """Whose turn it is."""

    CERTIFICATES_SET = 0
    GROUPS_SET = 1
    HOSTS_SET = 2
    WILDCARDS_SET = 3
    WILDCARDS_DELETED = 4
    HOSTS_DELETED = 5
    GROUPS_DELETED = 6
    CERTIFICATES_DELETED = 7


class _Step(IntEnum):
    """What comes after what on a host: the same to and fro."""

    DEPTH = 0
    PATHS = 1
    SERVER = 2


class _Order(NamedTuple):
    """The place of an operation."""

    stage: _Stage
    step: int
    rank: int
    key: str


def _set_order(key: str, before: str | None, value: str) -> _Order:
    kind = key[0]
    if kind == CERTIFICATE:
        return _Order(_Stage.CERTIFICATES_SET, 0, 0, key)
    if kind == GROUP:
        return _Order(_Stage.GROUPS_SET, 0, 0, key)
    if kind != HOST:
        return _Order(_set_stage(key), _Step.PATHS, _rank(key), key)
    depth, _, server = value.partition(" ")
    old_depth, _, old_server = (before or "").partition(" ")
    if server != old_server:
        return _Order(_set_stage(key), _Step.SERVER, 0, key)
    if int(depth) > int(old_depth):
        return _Order(_set_stage(key), _Step.DEPTH, 0, key)
    return _Order(_delete_stage(key), -_Step.DEPTH, 0, key)


def _delete_order(key: str) -> _Order:
    kind = key[0]
    if kind == CERTIFICATE:
        return _Order(_Stage.CERTIFICATES_DELETED, 0, 0, key)
    if kind == GROUP:
        return _Order(_Stage.GROUPS_DELETED, 0, 0, key)
    if kind == HOST:
        return _Order(_delete_stage(key), -_Step.SERVER, 0, key)
    return _Order(_delete_stage(key), -_Step.PATHS, -_rank(key), key)


def _set_stage(key: str) -> _Stage:
    return _Stage.WILDCARDS_SET if _is_wildcard(key) else _Stage.HOSTS_SET


def _delete_stage(key: str) -> _Stage:
    return _Stage.WILDCARDS_DELETED if _is_wildcard(key) else _Stage.HOSTS_DELETED


def _is_wildcard(key: str) -> bool:
    host = key.partition(" ")[2] if key[0] == HOST else key[1:]
    return host.startswith("*.")


def _rank(key: str) -> int:
    """Smaller for the path that a request finds earlier: of the prefixes of one path the longer one."""
    return -sys.maxsize if key[0] == EXACT else -len(key)
