"""What nginx said when it refused a version: the line where it stopped, or the machine's trouble. Pure.

Its words hold what app teams wrote, so nothing is read from them but what only nginx can have put there: the name of
the file with the version, which nobody can know while writing what it is made from, at the end of a line, and how a
line begins.
"""

import re
from typing import Final, NamedTuple

from wsroute.dataplane.acknowledgement import Failure

WORDS_LIMIT: Final = 20_000
"""Letters of nginx's words that are looked at."""

_COMPLAINT: Final = re.compile(
    r"(?:nginx: |\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )\[(?:emerg|alert|crit)\] (?:\d{1,10}#\d{1,10}: )?(?:\*\d{1,10} )?",
    re.ASCII,
)
_SYSTEM_CALL: Final = re.compile(r"still could not bind\(\)|[a-z_0-9]{1,40}\(")


class Reading(NamedTuple):
    """What can be told from a refusal. ``line`` is where nginx stopped reading the version's file, 0 when it did not
    say. ``is_the_machines`` is true when it failed at something that no route can be blamed for: an address in use, no
    memory, no time."""

    line: int
    is_the_machines: bool


def read(failure: Failure) -> Reading:
    """Read nginx's words. Total: whatever they are."""
    ending = re.compile(rf" in \S{{0,256}}/{re.escape(failure.version)}\.conf:(\d{{1,9}})\Z")
    complained = False
    called = False
    for line in failure.message[:WORDS_LIMIT].splitlines():
        complaint = _COMPLAINT.match(line)
        if complaint is None:
            continue
        place = ending.search(line.rstrip())
        if place is not None:
            return Reading(int(place[1]), is_the_machines=False)
        complained = True
        called = called or _SYSTEM_CALL.match(line, complaint.end()) is not None
    # A start script or an agent that waited in vain, or an nginx that was killed, says nothing about a route.
    return Reading(0, is_the_machines=called or not complained)
