"""Reads the ConfigMaps of a Dynamic balancer's table, each of which is one part of it.

A part is read line by line, and a line that stood there before is not read again: a change costs what has changed.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from wsroute.agent.decide import PublicationError, parse_number
from wsroute.balancer.table_client import MAX_KEY, MAX_VALUE
from wsroute.dataplane import names, shards
from wsroute.dataplane.dictionary import GROUP, Entries, group_value, host_entries, mark

MODULUS: Final = 2**256
"""Marks of tables are numbers below this."""

HOSTS: Final = "r"
GROUPS: Final = "e"


class Line(NamedTuple):
    """What a line gives: entries of the dictionary, and the number that is their share of the table's mark."""

    entries: Entries
    number: int


Place = tuple[str, int]
"""Which part of a table: a family, HOSTS or GROUPS, and the number of the part in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a ConfigMap says. ``count`` is of how many parts its family is, ``version`` is its resourceVersion."""

    uid: str
    epoch: int
    version: int
    place: Place
    count: int
    lines: Mapping[str, Line]
    number: int


class PartError(ValueError):
    """A ConfigMap is no part of a table. The text says what is wrong with it."""


class Stamp(NamedTuple):
    """Where a ConfigMap comes from."""

    uid: str
    epoch: int


def parse_stamp(config_map: Mapping[str, Any]) -> Stamp:
    """Read a ConfigMap's origin. Raises PartError."""
    meta = config_map["metadata"]
    try:
        epoch = parse_number((meta.get("annotations") or {}).get(names.EPOCH_ANNOTATION, "0"))
    except PublicationError as error:
        raise PartError(str(error)) from None
    return Stamp(meta.get("uid", ""), epoch)


def parse_version(config_map: Mapping[str, Any]) -> int:
    """A ConfigMap's resourceVersion; 0 for what is no number."""
    try:
        return parse_number(config_map["metadata"].get("resourceVersion", ""))
    except PublicationError:
        return 0


def parse_part(config_map: Mapping[str, Any], balancer: str, *, before: Part | None) -> Part:
    """Read a ConfigMap, of which ``before`` was read last. Raises PartError."""
    meta = config_map["metadata"]
    annotations = meta.get("annotations") or {}
    stamp = parse_stamp(config_map)
    form = annotations.get(names.TABLE_FORMAT_ANNOTATION, "")
    if form != str(shards.FORMAT):
        raise PartError(f"It is written in format {form!r} of tables; this agent can read {shards.FORMAT}.")
    try:
        place = shards.parse_place(annotations.get(names.SHARD_ANNOTATION, ""))
        if meta["name"] != names.table_name(balancer, place.family, place.index):
            raise PartError(f"{names.SHARD_ANNOTATION} is that of another ConfigMap.")
        text = (config_map.get("data") or {}).get(shards.TABLE_KEY, "")
        if hashlib.sha256(text.encode(errors="replace")).hexdigest() != annotations.get(names.DIGEST_ANNOTATION):
            raise PartError("It does not match its digest; somebody changed one of them.")
        lines = _lines(text, place, before.lines if before is not None else {})
    except shards.ShardError as error:
        raise PartError(str(error)) from error
    return Part(
        uid=stamp.uid,
        epoch=stamp.epoch,
        version=parse_version(config_map),
        place=(place.family, place.index),
        count=place.count,
        lines=lines,
        number=sum(line.number for line in lines.values()) % MODULUS,
    )


def merged(lines: Iterable[Line]) -> dict[str, str]:
    """The entries of several lines."""
    found: dict[str, str] = {}
    for line in lines:
        found.update(line.entries)
    return found


def _lines(text: str, place: shards.Place, known: Mapping[str, Line]) -> dict[str, Line]:
    if len(text) > shards.MAX_TEXT:
        raise PartError(f"It has {len(text):,} characters; at most {shards.MAX_TEXT:,} are read.")
    *lines, last = text.split("\n")
    if last:
        raise PartError(f"Line {len(lines) + 1} has no end; the rest may be missing.")
    found: dict[str, Line] = {}
    fresh = False
    for number, line in enumerate(lines, 1):
        before = known.get(line)
        if before is None:
            fresh = True
            try:
                before = _line(line, place)
            except (PartError, shards.ShardError) as error:
                raise PartError(f"Line {number}: {error}") from error
        if line in found:
            raise PartError(f"Line {number} stands there twice.")
        found[line] = before
    if fresh and len(merged(found.values())) != sum(len(line.entries) for line in found.values()):
        raise PartError("Two lines say something about the same host on a listener, or about the same endpoints.")
    return found


def _line(text: str, place: shards.Place) -> Line:
    if place.family == HOSTS:
        host = shards.parse_host(text)
        name, entries = host.host, host_entries(host)
    else:
        group = shards.parse_group(text)
        name, entries = group.name, {GROUP + group.name: group_value(group)}
    if shards.shard_index(name, place.count) != place.index:
        raise PartError(f"{name} belongs into another part.")
    if any(len(key) > MAX_KEY or len(value) > MAX_VALUE for key, value in entries.items()):
        raise PartError(f"{name} is too much for nginx: a path of it is too long, or it has too many endpoints.")
    return Line(entries, int(mark(entries), 16))
