"""A table again, from the entries that nginx serves: what ``dictionary`` wrote, read for people. Pure.

What can't be read is told, and hides nothing else: the entries may come from a pod of another version.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from wsroute.dataplane.certificates import Files
from wsroute.dataplane.dictionary import (
    CERTIFICATE,
    EXACT,
    GROUP,
    HOST,
    ID_LENGTH,
    ORIGIN_LETTERS,
    POLICY_LETTERS,
    PREFIX,
    SOURCE_LETTERS,
    Entries,
)
from wsroute.dataplane.ir import PathMatch, RefusalReason, Refuse, RouteRef
from wsroute.dataplane.table import (
    Address,
    CertificateRecord,
    EndpointGroup,
    Forward,
    HashKey,
    HostRecord,
    OriginRules,
    PathRecord,
    StickyCookie,
    Table,
    Target,
)

_POLICIES: Final = {letter: policy for policy, letter in POLICY_LETTERS.items()}
_SOURCES: Final = {letter: source for source, letter in SOURCE_LETTERS.items()}
_MATCHES: Final = {EXACT: PathMatch.EXACT, PREFIX: PathMatch.PREFIX}
_ORIGINS: Final[Mapping[str, Literal["Enforce", "Report"]]] = {"E": "Enforce", "R": "Report"}
assert set(_ORIGINS) == set(ORIGIN_LETTERS.values())


@dataclass(frozen=True, slots=True)
class Served:
    """A table that is served, and the keys of what could not be read of it.

    Names of headers are in lower case; the own hosts of a route that takes any Origin are not known.
    """

    table: Table
    unreadable: tuple[str, ...]


def read_table(entries: Entries) -> Served:
    """The table that entries hold. What no host leads to is left out: no handshake sees it."""
    unreadable: list[str] = []
    listeners: defaultdict[str, list[str]] = defaultdict(list)
    paths: defaultdict[str, list[PathRecord]] = defaultdict(list)
    groups: list[EndpointGroup] = []
    certificates: defaultdict[tuple[str, Files], list[str]] = defaultdict(list)
    for key, value in entries.items():
        try:
            match key[:1]:
                case kind if kind == HOST:
                    listener, _, _ = key[1:].partition(" ")
                    listeners[value.partition(" ")[2]].append(listener)
                case kind if kind == GROUP:
                    groups.append(read_group(key[1:], value))
                case kind if kind == CERTIFICATE:
                    listener, _, name = key[1:].partition(" ")
                    certificates[name, tuple(value.split(" "))].append(listener)
                case kind:
                    server, slash, rest = key[1:].partition("/")
                    paths[server].append(_path(slash + rest, _MATCHES[kind], json.loads(value)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            unreadable.append(key)
    hosts = [
        HostRecord(server.partition("|")[0], tuple(sorted(names)), tuple(sorted(paths[server], key=_order)))
        for server, names in listeners.items()
    ]
    shown = [CertificateRecord(name, tuple(sorted(names)), files) for (name, files), names in certificates.items()]
    return Served(
        Table(
            tuple(sorted(hosts, key=lambda host: (host.host, host.listeners))),
            tuple(sorted(groups, key=lambda group: group.name)),
            tuple(sorted(shown, key=lambda certificate: (certificate.name, certificate.listeners))),
        ),
        tuple(sorted(unreadable)),
    )


def read_group(name: str, value: str) -> EndpointGroup:
    """A group of endpoints. Raises ValueError."""
    head, _, body = value.partition("\n")
    ready, returning, width = map(int, head.split(" "))
    found = tuple(
        _address(body[number * width : (number + 1) * width][ID_LENGTH:]) for number in range(ready + returning)
    )
    return EndpointGroup(name, found[:ready], found[ready:])


def _address(text: str) -> Address:
    host, _, port = text.rstrip(" ").rpartition(":")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _order(path: PathRecord) -> tuple[str, str, RouteRef]:
    return path.path, path.match, path.route


def _path(path: str, match: PathMatch, raw: dict[str, Any]) -> PathRecord:
    namespace, _, name = raw["r"].partition("/")
    action = Refuse(RefusalReason(raw["x"])) if "x" in raw else _forward(raw)
    return PathRecord(RouteRef(namespace, name), path, match, action)


def _forward(raw: dict[str, Any]) -> Forward:
    balancing, rules, sticky = raw["b"], raw.get("o"), raw.get("k")
    return Forward(
        targets=tuple(Target(str(group), int(weight)) for group, weight in raw["t"]),
        websocket_only="w" in raw,
        rewrite_prefix=raw.get("p"),
        connect_timeout=int(raw["c"]),
        idle_timeout=int(raw["i"]),
        set_headers=tuple(sorted(raw.get("s", {}).items())),
        remove_headers=tuple(raw.get("d", ())),
        policy=_POLICIES[balancing["p"]],
        origins=OriginRules("Off", ()) if rules is None else _origins(rules),
        hash_key=HashKey(_SOURCES[balancing["on"]], balancing.get("n", "")) if "on" in balancing else None,
        sticky=None if sticky is None else StickyCookie(sticky["n"], int(sticky["a"])),
    )


def _origins(raw: dict[str, Any]) -> OriginRules:
    return OriginRules(_ORIGINS[raw["m"]], tuple(raw.get("h", ())), tuple(raw.get("a", ())), "q" in raw)
