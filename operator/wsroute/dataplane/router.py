"""What a request gets from a balancer that has a table: the model of what njs does in nginx, and its specification.

Both read the same entries (``dictionary``), and a test sends the same requests to both. ``decide`` comes to the same
whenever it is asked; which endpoint a socket then goes to may depend on live counters and on chance (``choose``).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from wsroute.dataplane.dictionary import EXACT, GROUP, HOST, ID_LENGTH, PREFIX, Entries
from wsroute.dataplane.origin import origin_allowed


@dataclass(frozen=True, slots=True)
class Request:
    """A request as nginx has it.

    ``listener`` is the name of the one that accepted it. ``host`` is in lower case, without a port and without a dot at
    its end (``$host``), ``path`` decoded and without dot segments and empty elements (``$uri``), ``query`` as it came.
    The names of ``headers`` are in lower case; of a header that came several times the values stand in one, after
    commas. ``client`` is the client's address (``$remote_addr``).
    """

    listener: str
    host: str
    path: str
    query: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    client: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Buckets:
    """The timeouts that a balancer's nginx.conf knows, in milliseconds and rising. A route gets the smallest that is
    not smaller than its own, or the largest there is."""

    idle: Sequence[int]
    connect: Sequence[int]


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer of the balancer's own. ``version`` says that it names the version of WebSockets that is spoken."""

    status: int
    reason: str
    route: str = ""
    version: bool = False


@dataclass(frozen=True, slots=True)
class Candidates:
    """The endpoints of one group, as ``address:port`` by their ids; ``weight`` is the group's share."""

    group: str
    weight: int
    ready: tuple[tuple[str, str], ...]
    returning: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request that goes to an endpoint.

    ``path`` is the new path, decoded and without the query, or None where the client's own goes through as it came.
    ``origin_refused`` is only reported. ``policy`` is L, R or H; ``hashed`` is what a hash goes by, empty where the
    request has nothing of it. ``sticky`` is the name of the cookie that the client gets, with its age in seconds, and
    ``returning_to`` the id that it brought.
    """

    route: str
    websocket: bool
    path: str | None
    idle_timeout: int
    connect_timeout: int
    set_headers: Mapping[str, str]
    remove_headers: tuple[str, ...]
    candidates: tuple[Candidates, ...]
    policy: str
    hashed: str = ""
    sticky: tuple[str, int] | None = None
    returning_to: str = ""
    origin_refused: bool = False


Decision = Refused | Forwarded


class Found(NamedTuple):
    """The record that takes a request. ``host`` is its own host or the wildcard that covers it, ``listeners`` those
    that have the same paths for that, ``prefix`` what matched, None for an exact path."""

    host: str
    listeners: tuple[str, ...]
    prefix: str | None
    record: dict[str, Any]


NO_ROUTE: Final = Refused(404, "no-route")
WEBSOCKET_VERSION: Final = "13"

_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
"""Sixteen bytes in base64."""
_COOKIE_END: Final = re.compile("[;,] *")
_ID: Final = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")


def decide(entries: Entries, request: Request, buckets: Buckets) -> Decision:
    """What a request gets."""
    found = find(entries, request)
    if found is None:
        return NO_ROUTE
    prefix, record = found.prefix, found.record
    route: str = record["r"]
    if "x" in record:
        return Refused(503, record["x"], route)
    websocket = request.headers.get("upgrade", "").lower() == "websocket"
    if not websocket and "w" in record:
        return Refused(426, "upgrade-required", route)
    rules = record.get("o")
    origin_refused = False
    if websocket:
        if request.method != "GET":
            return Refused(400, "bad-handshake", route)
        if request.headers.get("sec-websocket-version") != WEBSOCKET_VERSION:
            return Refused(426, "upgrade-required", route, version=True)
        if not _KEY.fullmatch(request.headers.get("sec-websocket-key", "")):
            return Refused(400, "bad-handshake", route)
        origin_refused = rules is not None and not origin_allowed(
            request.headers.get("origin", ""),
            own_hosts=rules["h"],
            allow=rules.get("a", ()),
            require_header="q" in rules,
        )
        if rules is not None and origin_refused and rules["m"] == "E":
            return Refused(403, "origin", route)
    candidates = tuple(_candidates(entries, group, weight) for group, weight in record["t"])
    if not any(part.ready for part in candidates):
        return Refused(503, "no-endpoints", route)
    balancing, sticky = record["b"], record.get("k")
    returning_to = "" if sticky is None else cookie(request, sticky["n"])
    return Forwarded(
        route=route,
        websocket=websocket,
        path=None if "p" not in record else _rewritten(request.path, prefix, record["p"]),
        idle_timeout=_bucket(buckets.idle, record["i"]),
        connect_timeout=_bucket(buckets.connect, record["c"]),
        set_headers=record.get("s", {}),
        remove_headers=tuple(record.get("d", ())),
        candidates=candidates,
        policy=balancing["p"],
        hashed=_hashed(request, balancing) if balancing["p"] == "H" else "",
        sticky=None if sticky is None else (sticky["n"], sticky["a"]),
        returning_to=returning_to if _ID.fullmatch(returning_to) else "",
        origin_refused=origin_refused,
    )


def find(entries: Entries, request: Request) -> Found | None:
    """The record of a request."""
    server = find_server(entries, request.listener, request.host)
    if server is None:
        return None
    depth, name = server
    host, _, listeners = name.partition("|")
    path = request.path
    exact = entries.get(f"{EXACT}{name}{path}")
    if exact is not None:
        return Found(host, tuple(listeners.split(",")), None, json.loads(exact))
    for prefix in prefixes(path, depth):
        found = entries.get(f"{PREFIX}{name}{prefix}")
        if found is not None:
            return Found(host, tuple(listeners.split(",")), prefix, json.loads(found))
    return None


def find_server(entries: Entries, listener: str, host: str) -> tuple[int, str] | None:
    """The server of a host, or else of the wildcard that covers it, with the depth of its prefixes."""
    found = entries.get(f"{HOST}{listener} {host}")
    first, dot, rest = host.partition(".")
    if found is None and first and dot:
        found = entries.get(f"{HOST}{listener} *.{rest}")
    if found is None:
        return None
    depth, _, name = found.partition(" ")
    return int(depth), name


def prefixes(path: str, depth: int) -> list[str]:
    """The prefixes of whole elements that a path has, the longest first, none with more than ``depth`` elements, and
    at last ``/``: of ``/a/b/`` they are ``/a/b``, ``/a`` and ``/``."""
    elements = path.removesuffix("/").split("/")[1:]
    return ["/" + "/".join(elements[:count]) for count in range(min(depth, len(elements)), 0, -1)] + ["/"]


def _rewritten(path: str, prefix: str | None, replacement: str) -> str:
    """What replaces the matched prefix, or an exact path; what follows a prefix keeps its slash."""
    if prefix is None:
        return replacement
    rest = path.removeprefix(prefix.rstrip("/"))
    return replacement.rstrip("/") + rest or "/"


def _bucket(buckets: Sequence[int], wanted: int) -> int:
    return next((bucket for bucket in buckets if bucket >= wanted), buckets[-1])


def _candidates(entries: Entries, group: str, weight: int) -> Candidates:
    """The endpoints of a group. One that the table does not have has none."""
    head, _, body = entries.get(GROUP + group, "0 0 0\n").partition("\n")
    ready, returning, width = map(int, head.split(" "))
    texts = [body[number * width : (number + 1) * width] for number in range(ready + returning)]
    found = tuple((text[:ID_LENGTH], text[ID_LENGTH:].rstrip(" ")) for text in texts)
    return Candidates(group, weight, found[:ready], found[ready:])


def _hashed(request: Request, balancing: Mapping[str, str]) -> str:
    """What of a request a hash goes by."""
    name = balancing.get("n", "")
    match balancing["on"]:
        case "I":
            return request.client
        case "H":
            return request.headers.get(name.lower(), "")
        case "Q":
            return argument(request.query, name)
        case _:
            return cookie(request, name)


def argument(query: str, name: str) -> str:
    """The first value of a query's parameter, as it came, or an empty text; as nginx's ``$arg_`` does, without regard
    to the case of its name."""
    for part in query.split("&"):
        found, equals, value = part.partition("=")
        if equals and found.lower() == name.lower():
            return value
    return ""


def cookie(request: Request, name: str) -> str:
    """The first value of a cookie, or an empty text; as nginx's ``$cookie_`` does, without regard to the case of its
    name, and where a comma ends only what is not it."""
    text = request.headers.get("cookie", "")
    start = 0
    while start < len(text):
        if text[start : start + len(name)].lower() == name.lower():
            rest = text[start + len(name) :].lstrip(" ")
            if rest.startswith("="):
                return rest[1:].lstrip(" ").partition(";")[0]
            start = len(text) - len(rest) + 1
        separator = _COOKIE_END.search(text, start)
        start = len(text) if separator is None else separator.end()
    return ""
