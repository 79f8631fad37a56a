"""Reads back what a rendered file serves, for an operator that did not render it: another replica did. Pure."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from wsroute.dataplane.ir import RouteRef
from wsroute.dataplane.reload_changes import Change, Reason, by_route, owner

_LINE: Final = re.compile(
    r"^    upstream (?P<name>\S+) \{$|^        server  \[?(?P<address>[0-9a-fA-F.:]+?)\]?:(?P<port>[0-9]{1,5})[ ;]",
    re.MULTILINE | re.ASCII,
)

_ROUTE: Final = re.compile(
    r"^            set \$wsroute_route +(?P<route>[^;\s/]+/[^;\s/]+);|^    upstream (?P<upstream>\S+)_[0-9]+ \{$",
    re.MULTILINE | re.ASCII,
)

_OF_THE_WHOLE: Final = re.compile(r"\b[0-9a-f]{12}\b|\b[0-9]+k?;", re.ASCII)
"""What the part before the routes has from all of them: the version, and sizes."""

_BLOCK: Final = "\n\n    # "
"""What every block of a route begins with, and nothing in it."""

_LOCATION: Final = "\n\n        # "
"""What each location in it begins with."""

_PLACE: Final = re.compile(r"^        location ", re.MULTILINE)
"""What a place begins with: a path may take two, with the same text in them."""

_BELOW: Final = "(/|z)"
"""How an expression ends that is for all below a path, without its backslash."""

_ENDPOINT: Final = re.compile(r"^        server  (\S+?)[ ;][^\n]*\n?", re.MULTILINE)
_PORT: Final = re.compile(r"^        listen +([0-9]+)\b", re.MULTILINE | re.ASCII)
_HOST: Final = re.compile(r"^        server_name +(\S+);", re.MULTILINE)


def read_endpoints(text: str) -> Mapping[str, frozenset[tuple[str, int]]]:
    """The addresses and ports of each upstream that has some, by its name. (What nginx sends to itself has none.)"""
    found: dict[str, set[tuple[str, int]]] = {}
    current: set[tuple[str, int]] = set()
    for match in _LINE.finditer(text):
        if match["name"] is not None:
            current = found.setdefault(match["name"], set())
        else:
            current.add((match["address"], int(match["port"])))
    return {name: frozenset(addresses) for name, addresses in found.items() if addresses}


def changed_routes(standing: str, desired: str) -> frozenset[RouteRef] | None:
    """The routes that a file does not serve in the very words of the desired one; None when all may be meant.

    A route whose endpoints alone are others counts as changed, too.
    """
    before, after = standing.split(_BLOCK), desired.split(_BLOCK)
    own = [[block for block in blocks if _ROUTE.search(block) is None] for blocks in (before, after)]
    if [_OF_THE_WHOLE.sub("", block) for block in own[0]] != [_OF_THE_WHOLE.sub("", block) for block in own[1]]:
        return None
    # The last block is followed by what ends the file.
    known = {block.rstrip("}\n") for block in before}
    changed = (match for block in after if block.rstrip("}\n") not in known for match in _ROUTE.finditer(block))
    return frozenset(_reference(match) for match in changed)


def route_changes(standing: str, desired: str) -> tuple[Change, ...]:
    """The same as ``dataplane.reload_changes.changed_routes``, of two files."""
    before, after = _upstreams(standing), _upstreams(desired)
    found = [
        (owner(name), _endpoint_change(before.get(name, ""), after.get(name, "")))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    ]
    for _, _, (*_, text) in _locations(standing) ^ _locations(desired):
        route = _ROUTE.search(text)
        if route is not None:
            found.append((_reference(route), Reason.ROUTES))
    return by_route(found)


def _upstreams(text: str) -> dict[str, str]:
    """The block of each upstream of a route."""
    found = {}
    for block in text.split(_BLOCK):
        match = _ROUTE.search(block)
        if match is not None and match["upstream"] is not None:
            found[block.partition(" upstream ")[2].partition(" {")[0]] = block.rstrip("}\n")
    return found


def _endpoint_change(was: str, now: str) -> Reason:
    if _ENDPOINT.sub("", was) != _ENDPOINT.sub("", now):
        return Reason.ROUTES
    left = set(_ENDPOINT.findall(was)) - set(_ENDPOINT.findall(now))
    return Reason.ENDPOINT_REMOVAL if left else Reason.ENDPOINTS


class _Location(NamedTuple):
    """A location, however its path is written down: that depends on how many paths a host has (``views``)."""

    path: str
    below: bool
    text: str
    """All but the path."""


def _location(text: str) -> _Location:
    summary, *places = _PLACE.split(text)
    line, _, body = places[-1].partition("\n") if places else ("", "", "")
    kind, _, place = line.removesuffix(" {").partition(" ")
    path = place.strip('"').replace("\\", "")
    if kind == "~":
        below = path.endswith(_BELOW)
        path = path.removeprefix("^").removesuffix(_BELOW if below else "z")
    else:
        below, path = kind != "=", path.removesuffix("/") if kind == "^~" else path
    return _Location(path, below, summary + body)  # of / there is nothing but the kind


def _locations(text: str) -> set[tuple[str, str, _Location]]:
    """Each location with each port and host that it is for."""
    found: set[tuple[str, str, _Location]] = set()
    for block in text.split(_BLOCK):
        head, *locations = block.rstrip("}\n").split(_LOCATION)
        host = _HOST.search(head)
        if host is not None:
            each = [_location(location.rstrip("} \n")) for location in locations]
            found.update((port, host[1], location) for port in _PORT.findall(head) for location in each)
    return found


def _reference(match: re.Match[str]) -> RouteRef:
    # Neither a namespace nor an object's name can hold an underscore or a slash.
    separator = "/" if match["route"] is not None else "_"
    namespace, _, name = (match["route"] or match["upstream"]).partition(separator)
    return RouteRef(namespace, name)
