"""What a balancer remembers from pass to pass: ``<balancer>-state``, an input of the pass like any other object. Pure.

Whatever does not follow from the other objects stands here, so that every replica and every new leader decides alike:
which namespace a host belongs to, which routes are in quarantine, and which main template nginx refused. The text is
for people too: an administrator may read it and edit it by hand, and so every line is checked like any other input.
What is not good is left out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from wsroute.api.values import DNS_LABEL, host_fault
from wsroute.cluster.quarantine import MAX_LINE, NO_REFUSALS, Refusals, clean_words, read_refusals, write_refusals

HOSTS_KEY: Final = "hosts"
QUARANTINE_KEY: Final = "quarantine"
TEMPLATE_KEY: Final = "template"
STATE_KEYS: Final = frozenset({HOSTS_KEY, QUARANTINE_KEY, TEMPLATE_KEY})
"""All keys that are ours."""

HOSTS_LIMIT: Final = 880_000
"""Bytes of all claims (``claim_size``): 10,000 hosts where host and namespace have 65 letters together. It is plain
text rather than compressed, so that it can be read and edited; the rest of a ConfigMap's 1 MiB is for the others."""

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_TIME_LENGTH: Final = len("2026-01-01T00:00:00Z")

_HOSTS_TITLE: Final = "# host, the namespace that it belongs to, and since when it has no route there\n"


@dataclass(frozen=True, slots=True)
class HostClaim:
    """Whose a host is. ``released`` is when the last route with it was gone (RFC 3339, UTC, sorts as text), and empty
    while there is one."""

    namespace: str
    released: str = ""


@dataclass(frozen=True, slots=True)
class RefusedTemplate:
    """A custom main template with which nginx refused a version, by the digest of its text (SHA-256, in hex), with
    nginx's own words."""

    digest: str
    message: str


@dataclass(frozen=True, slots=True)
class BalancerState:
    """All that is remembered of a balancer. The mapping is never changed once it is in here."""

    hosts: Mapping[str, HostClaim] = field(default_factory=dict)
    refusals: Refusals = NO_REFUSALS
    refused_template: RefusedTemplate | None = None


class Reading(NamedTuple):
    """A state as it was read. ``whole`` is false when there was no list of hosts, or when some of it was not good."""

    state: BalancerState
    whole: bool


def format_time(wall: float) -> str:
    """Seconds since the epoch as RFC 3339, rounded down to whole seconds."""
    return datetime.fromtimestamp(int(wall), UTC).strftime(_TIME)


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of a time that ``format_time`` could have made, else None."""
    return _parse_time(text) if len(text) == _TIME_LENGTH and text.isascii() else None


@lru_cache(maxsize=1024)
def _parse_time(text: str) -> float | None:
    """There may be thousands of claims, of which most were released in the same few seconds."""
    try:
        wall = datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return wall if format_time(wall) == text else None


def claim_size(host: str, namespace: str) -> int:
    """The bytes that a claim may take, the time of its release included."""
    return len(host) + len(namespace) + _TIME_LENGTH + 3


def write_state(state: BalancerState) -> dict[str, str]:
    """The ``data`` of the ConfigMap. The same state gives the same bytes, and ``read_state`` the same state."""
    data = {HOSTS_KEY: _HOSTS_TITLE + "".join(_host_lines(state.hosts))}
    refusals = write_refusals(state.refusals)
    if refusals:
        data[QUARANTINE_KEY] = refusals
    if state.refused_template is not None:
        entry = state.refused_template
        data[TEMPLATE_KEY] = json.dumps({"digest": entry.digest, "message": clean_words(entry.message)}) + "\n"
    return data


def read_state(data: Mapping[str, str]) -> Reading:
    """The state in a ConfigMap's ``data``, which may hold anything. Never raises. Other keys are not looked at."""
    hosts: dict[str, HostClaim] = {}
    whole = HOSTS_KEY in data
    room = HOSTS_LIMIT
    for line in _lines(data.get(HOSTS_KEY, "")):
        claim = _read_host(line)
        if claim is None or claim[0] in hosts or room < claim_size(claim[0], claim[1].namespace):
            whole = False
            continue
        room -= claim_size(claim[0], claim[1].namespace)
        hosts[claim[0]] = claim[1]
    refusals = read_refusals(data.get(QUARANTINE_KEY, ""))
    return Reading(BalancerState(hosts, refusals, _read_refused(data.get(TEMPLATE_KEY, ""))), whole)


def _lines(text: str) -> Iterator[str]:
    """The lines that say something. A text has at most 1 MiB, which the API server sees to."""
    for line in text.split("\n"):
        if line.strip() and not line.startswith("#"):
            yield line


def _host_lines(hosts: Mapping[str, HostClaim]) -> Iterator[str]:
    for host in sorted(hosts):
        claim = hosts[host]
        yield f"{host} {claim.namespace} {claim.released}\n" if claim.released else f"{host} {claim.namespace}\n"


def _read_host(line: str) -> tuple[str, HostClaim] | None:
    parts = line.split() if len(line) <= MAX_LINE else []
    if len(parts) not in (2, 3):
        return None
    host, namespace, *released = parts
    if host_fault(host) is not None or DNS_LABEL.fault(namespace) is not None:
        return None
    if released and parse_time(released[0]) is None:
        return None
    return host, HostClaim(namespace, *released)


def _read_refused(line: str) -> RefusedTemplate | None:
    try:
        entry: Any = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    match entry:
        case {"digest": str(digest), "message": str(message)} if re.fullmatch("[0-9a-f]{64}", digest):
            return RefusedTemplate(digest, clean_words(message))
    return None
