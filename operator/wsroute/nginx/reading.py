"""Reads back what a rendered file proxies to, for an operator that did not render it: another replica did. Pure."""

import re
from collections.abc import Mapping
from typing import Final

_LINE: Final = re.compile(
    r"^    upstream (?P<name>\S+) \{$|^        server  \[?(?P<address>[0-9a-fA-F.:]+?)\]?:(?P<port>[0-9]{1,5})[ ;]",
    re.MULTILINE | re.ASCII,
)


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
