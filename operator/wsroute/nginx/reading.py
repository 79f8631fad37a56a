"""Reads back what a rendered file serves, for an operator that did not render it: another replica did. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from wsroute.dataplane.ir import RouteRef

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


def _reference(match: re.Match[str]) -> RouteRef:
    # Neither a namespace nor an object's name can hold an underscore or a slash.
    separator = "/" if match["route"] is not None else "_"
    namespace, _, name = (match["route"] or match["upstream"]).partition(separator)
    return RouteRef(namespace, name)
