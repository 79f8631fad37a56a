"""What a version of nginx.conf needs of the nginx that is to load it. Pure.

The file says so itself, in a comment at its head, so that an agent can check versions that a newer operator has made.
"""

import re
from dataclasses import dataclass
from typing import Final

HEAD: Final = 2048
"""Characters at the beginning of a file among which the comment stands."""

NO_NJS: Final = "0"
"""The version of njs where nginx has none that can tell it, which takes 0.8.1 with its ``js_periodic``."""

_VERSION: Final = r"\d{1,5}(?:\.\d{1,5}){0,3}"
_COMMENT: Final = re.compile(
    rf"(?:#.*\n)*?# It needs nginx ({_VERSION}) or newer(?:, with njs ({_VERSION}) or newer)?\.\n", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Requirements:
    """The oldest versions that will do; ``njs`` is empty where none is needed."""

    nginx: str
    njs: str = ""

    def __str__(self) -> str:
        return f"nginx {self.nginx} or newer" + (f", with njs {self.njs} or newer" if self.njs else "")


STATIC: Final = Requirements(nginx="1.22")

DYNAMIC: Final = Requirements(nginx="1.27.4", njs="0.9.1")
"""nginx: ``ssl_certificate_cache``, without which certificates that are chosen by name are read at each handshake. njs:
``state=`` of a shared dictionary."""


def read_requirements(text: str) -> Requirements | None:
    """What the comments that a file begins with say of its needs; None where they say nothing."""
    found = _COMMENT.match(text)
    return Requirements(found[1], found[2] or "") if found else None


def shortfall(needed: Requirements, *, nginx: str, njs: str) -> str:
    """Why an nginx will not do, and what to do, in sentences; empty when it will. What is not known (empty) will do."""
    lacking = [
        f"{name} is {'missing, or older than 0.8.1' if found == NO_NJS else found}, and {least} or newer is needed"
        for name, found, least in (("nginx", nginx, needed.nginx), ("njs", njs, needed.njs))
        if found and least and _numbers(found) < _numbers(least)
    ]
    if not lacking:
        return ""
    return f"In the balancer's image {'; '.join(lacking)}. Choose another image for the container nginx."


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
