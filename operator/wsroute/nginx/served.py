"""Which namespace each host of a rendered file belongs to, read back from the file."""

import re
from typing import Final

_TITLE: Final = re.compile(r"^    # (\S+): ([a-z0-9-]+)/\S[^\n]*\n    server \{$", re.MULTILINE)
"""What stands above the server of a host: the host, and its routes (``views.server_view``)."""


def served_hosts(text: str) -> dict[str, str]:
    """The hosts of a file that ``render`` made, with the namespace of their routes. Neither is checked."""
    hosts: dict[str, str] = {}
    for title in _TITLE.finditer(text):
        hosts.setdefault(title[1], title[2])
    return hosts
