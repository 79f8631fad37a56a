"""What a rendered file says of itself, read back: its routes, and which namespace each of its hosts belongs to."""

import re
from typing import Final

from wsroute.dataplane.ir import RouteRef

_TITLE: Final = re.compile(r"^    # (\S+): ([a-z0-9-]+)/\S[^\n]*\n    server \{$", re.MULTILINE)
"""What stands above the server of a host: the host, and its routes (``views.server_view``)."""


def served_hosts(text: str) -> dict[str, str]:
    """The hosts of a file that ``render`` made, with the namespace of their routes. Neither is checked."""
    hosts: dict[str, str] = {}
    for title in _TITLE.finditer(text):
        hosts.setdefault(title[1], title[2])
    return hosts


_ROUTE: Final = re.compile(
    r"^ {12}set \$wsroute_route +([a-z0-9-]+)/([a-z0-9.-]+);\n(?! {12}set \$wsroute_refusal )", re.MULTILINE
)
"""What each location says of its route, unless it refuses everything."""


def served_routes(text: str) -> frozenset[RouteRef]:
    """The routes of a file that ``render`` made, but those that are refused everywhere. Their names are not checked."""
    return frozenset(RouteRef(found[1], found[2]) for found in _ROUTE.finditer(text))
