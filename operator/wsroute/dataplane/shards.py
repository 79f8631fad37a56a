"""How a table travels in ConfigMaps: a readable line for each host, for each group of endpoints, and for
each name that has certificates.

A line is a word and an object in canonical JSON, ``host {...}``, ``endpoints {...}`` or ``certificate {...}``. Each of
the three is a family of shards; a line belongs into one shard of its family, by the hash of its name. A table without
certificates has no shard of them.

Whoever may write ConfigMaps may write anything into them. What is read here is checked as if nobody had looked at it
before, and a line that says what it says in another way than ours is none.
"""

import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from wsroute.dataplane import table_json
from wsroute.dataplane.dictionary import canonical
from wsroute.dataplane.table import CertificateRecord, EndpointGroup, HostRecord
from wsroute.dataplane.table_json import FieldError

FORMAT: Final = 1
"""Of the lines, and of the dictionary that is made of them."""

TABLE_KEY: Final = "table"
"""Key of a ConfigMap's ``data`` under which the lines stand."""

MAX_SHARDS: Final = 128
"""Of one family."""

MAX_TEXT: Final = 1024 * 1024
"""Characters of a shard: no ConfigMap holds more."""

HOST_WORD: Final = "host"
ENDPOINTS_WORD: Final = "endpoints"
CERTIFICATE_WORD: Final = "certificate"

_SPREAD: Final = 0x9E37_79B1
"""Knuth's multiplier: a CRC is linear, and alone would bring names that differ in a digit into few of the shards."""

_PLACE: Final = re.compile(r"([rec]) (0|[1-9][0-9]{0,2})/([1-9][0-9]{0,2})", re.ASCII)

Record = TypeVar("Record")


class ShardError(ValueError):
    """What should be a shard, or a line of one, is none. The text says where and why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which shard: ``family`` is r for hosts, e for endpoints and c for certificates; ``count`` is how many shards it
    has, a power of 2."""

    family: str
    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.family} {self.index}/{self.count}"


def parse_place(text: str) -> Place:
    """Read ``r 3/8``. Raises ShardError."""
    match = _PLACE.fullmatch(text)
    if match is not None:
        place = Place(match[1], int(match[2]), int(match[3]))
        if place.index < place.count <= MAX_SHARDS and place.count.bit_count() == 1:
            return place
    raise ShardError(f"{text[:40]!r} is no place of a shard, as r 3/8 is.")


def shard_index(name: str, count: int) -> int:
    """The shard of a host or of a group, of so many. The same on any machine."""
    return (binascii.crc32(name.encode()) * _SPREAD >> 16) % count


def host_line(host: HostRecord) -> str:
    """A host's line, without its end."""
    return f"{HOST_WORD} {canonical(table_json.host_to_json(host))}"


def endpoints_line(group: EndpointGroup) -> str:
    """A group's line, without its end."""
    return f"{ENDPOINTS_WORD} {canonical(table_json.group_to_json(group))}"


def certificate_line(certificate: CertificateRecord) -> str:
    """A certificate's line, without its end."""
    return f"{CERTIFICATE_WORD} {canonical(table_json.certificate_to_json(certificate))}"


def parse_host(line: str) -> HostRecord:
    """Read a host's line. Raises ShardError, which does not name the line."""
    return _parse(line, HOST_WORD, table_json.host_from_json, host_line)


def parse_group(line: str) -> EndpointGroup:
    """Read a group's line. Raises ShardError, which does not name the line."""
    return _parse(line, ENDPOINTS_WORD, table_json.group_from_json, endpoints_line)


def parse_certificate(line: str) -> CertificateRecord:
    """Read a certificate's line. Raises ShardError, which does not name the line."""
    return _parse(line, CERTIFICATE_WORD, table_json.certificate_from_json, certificate_line)


def parse_hosts(text: str) -> tuple[HostRecord, ...]:
    """Read a shard with hosts. Raises ShardError, which names the line."""
    return _parse_all(text, parse_host, lambda host: [f"{host.host} on {name}" for name in host.listeners])


def parse_groups(text: str) -> tuple[EndpointGroup, ...]:
    """Read a shard with endpoints. Raises ShardError, which names the line."""
    return _parse_all(text, parse_group, lambda group: [group.name])


def parse_certificates(text: str) -> tuple[CertificateRecord, ...]:
    """Read a shard with certificates. Raises ShardError, which names the line."""
    return _parse_all(text, parse_certificate, lambda each: [f"{each.name} on {name}" for name in each.listeners])


def _parse(line: str, word: str, read: Callable[[Any], Record], write: Callable[[Record], str]) -> Record:
    found, _, rest = line.partition(" ")
    if found != word:
        raise ShardError(f"It must begin with the word {word}, and begins with {found[:40]!r}.")
    try:
        raw = json.loads(rest)
    except (ValueError, RecursionError):
        raise ShardError(f"What follows the word {word} is no JSON.") from None
    try:
        record = read(raw)
    except FieldError as error:
        raise ShardError(str(error)) from None
    if write(record) != line:
        raise ShardError("It is not written as it should be: fields in order, each once, without blanks.")
    return record


def _parse_all(text: str, read: Callable[[str], Record], claims: Callable[[Record], list[str]]) -> tuple[Record, ...]:
    """Read all lines. ``claims`` says what only one of them may be about."""
    if len(text) > MAX_TEXT:
        raise ShardError(f"It has {len(text):,} characters; at most {MAX_TEXT:,} are read.")
    if not text:
        return ()
    *lines, last = text.split("\n")
    if last:
        raise ShardError(f"Line {len(lines) + 1} has no end; the rest may be missing.")
    records = []
    taken: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = read(line)
        except ShardError as error:
            raise ShardError(f"Line {number}: {error}") from None
        for claim in claims(record):
            if taken.setdefault(claim, number) != number:
                raise ShardError(f"Line {number}: {claim} stands in line {taken[claim]} as well.")
        records.append(record)
    return tuple(records)
