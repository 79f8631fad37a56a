"""What is remembered of versions that nginx refused, as it stands in ``<balancer>-state``. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wsroute.api.values import DNS_LABEL, DNS_SUBDOMAIN
from wsroute.cluster.objects import Key

MAX_QUARANTINED: Final = 80
"""Routes that can be in quarantine at once, each with nginx's words."""

MAX_OF_NAMESPACE: Final = 40
"""Routes of one namespace among them. Where there are more it is all of its routes."""

MAX_NAMESPACES: Final = 100
"""Namespaces all of whose routes can be in quarantine, and namespaces with routes that have no room."""

MAX_WORDS: Final = 400
"""Letters of nginx's words about a route that are remembered."""

UNWRITTEN: Final = "unwritten"
"""In place of a version: the route can't even be written down for nginx."""

NO_ROOM: Final = "no-room"
"""In place of a version: the file would be too large with the route."""

WHOLE: Final = "whole"
"""In place of a version: the route is of a namespace all of whose routes are in quarantine."""

MAX_LINE: Final = 4_096
"""Letters of a line that is looked at."""

MAX_COUNT: Final = 1_000_000
"""Routes of a namespace that can have no room; far more than a balancer can have."""

_TOKEN: Final = re.compile("[!-~]{1,128}", re.ASCII)
_BOUND: Final = re.compile("[0-9a-f]{0,64}~?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A route that nginx refused, in this version of the configuration and with nginx's own words; with ours where
    ``version`` is UNWRITTEN.

    ``uid`` and ``generation`` are the route's; ``identity`` is a digest of both and of all that nginx would be told of
    it: with another one it is tried again. It is withdrawn (503 ``route-invalid``), or ``left_out`` of the
    configuration where that would be refused as well.
    """

    uid: str
    generation: int
    identity: str
    version: str
    message: str
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the routes that are at fault, where nginx did not say it.

    The suspects are the routes that differ from the version ``base``, in the order of their identities. Those below
    ``low`` are cleared. The ones from ``low`` to ``high`` are at fault together; of the others nothing is known yet.
    While some are let in to see whether nginx takes them, ``probe`` is the structure of the file with them.
    """

    base: str
    low: str
    high: str
    probe: str = ""


@dataclass(frozen=True, slots=True)
class Crowded:
    """How many routes of each namespace have no room, the largest first (``controller.crowding``). ``identity`` is a
    digest of all routes: when they are others, it is found out anew."""

    identity: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Refusals:
    """All that is remembered of refusals. The mappings are never changed once they are in here.

    ``whole`` are the namespaces all of whose routes are left out, each with a digest of these. What has no room is
    apart from what nginx refused, so that neither takes the other's place.
    """

    quarantined: Mapping[Key, Quarantined] = field(default_factory=dict)
    search: Search | None = None
    whole: Mapping[str, str] = field(default_factory=dict)
    crowded: Crowded | None = None


NO_REFUSALS: Final = Refusals()


def clean_words(message: str) -> str:
    """nginx's words as they are remembered: printable ASCII of bounded length."""
    plain = "".join(letter if " " <= letter <= "~" else " " for letter in message)
    return plain if len(plain) <= MAX_WORDS else f"{plain[: MAX_WORDS - 4]} ..."


def write_refusals(refusals: Refusals) -> str:
    """A line of JSON for each entry, the same bytes for the same meaning; empty for nothing."""
    entries: list[dict[str, Any]] = []
    search = refusals.search
    if search is not None:
        entries.append({"search": {"base": search.base, "low": search.low, "high": search.high, "probe": search.probe}})
    entries += [
        {
            "route": str(key),
            "uid": entry.uid,
            "generation": entry.generation,
            "identity": entry.identity,
            "version": entry.version,
            "message": entry.message,
            "leftOut": entry.left_out,
        }
        for key, entry in sorted(refusals.quarantined.items(), key=lambda item: item[0])
    ]
    entries += [
        {"namespace": namespace, "identity": identity} for namespace, identity in sorted(refusals.whole.items())
    ]
    if refusals.crowded is not None:
        identity = refusals.crowded.identity
        entries += [
            {"crowd": namespace, "routes": count, "identity": identity}
            for namespace, count in sorted(refusals.crowded.counts.items())
        ]
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def read_refusals(text: str) -> Refusals:
    """What stands in the ConfigMap, whatever a hand has put there. Never raises; what is not good is left out."""
    quarantined: dict[Key, Quarantined] = {}
    search: Search | None = None
    whole: dict[str, str] = {}
    crowded: Crowded | None = None
    for line in text.split("\n"):
        match _json(line):
            case {"search": {"base": str(base), "low": str(low), "high": str(high), "probe": str(probe)}} if all(
                _BOUND.fullmatch(bound) for bound in (base, low, high, probe)
            ):
                search = Search(base, low, high, probe)
            case {"route": str(route)} as entry:
                namespace, _, name = route.partition("/")
                found_entry = _quarantined(entry)
                if (
                    found_entry is not None
                    and found_entry.version not in (NO_ROOM, WHOLE)
                    and len(quarantined) < MAX_QUARANTINED
                    and DNS_LABEL.fault(namespace) is None
                    and DNS_SUBDOMAIN.fault(name) is None
                ):
                    quarantined.setdefault(Key(namespace, name), found_entry)
            case {"namespace": str(namespace), "identity": str(identity)} if (
                _names_crowd(namespace, identity) and len(whole) < MAX_NAMESPACES
            ):
                whole.setdefault(namespace, identity)
            case {"crowd": str(namespace), "routes": int(count), "identity": str(identity)} if (
                _names_crowd(namespace, identity) and not isinstance(count, bool) and 0 < count <= MAX_COUNT
            ):
                known = crowded.counts if crowded is not None and crowded.identity == identity else {}
                if len(known) < MAX_NAMESPACES:
                    crowded = Crowded(identity, {**known, namespace: count})
            case _:
                pass
    return Refusals(quarantined, search, whole, crowded)


def _names_crowd(namespace: str, identity: str) -> bool:
    return DNS_LABEL.fault(namespace) is None and _TOKEN.fullmatch(identity) is not None


def _json(line: str) -> Any:
    try:
        return json.loads(line) if line and len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None


def _quarantined(entry: Any) -> Quarantined | None:
    match entry:
        case {
            "uid": str(uid),
            "generation": int(generation),
            "identity": str(identity),
            "version": str(version),
            "message": str(message),
            "leftOut": bool(left_out),
        } if not isinstance(generation, bool) and all(_TOKEN.fullmatch(text) for text in (uid, identity, version)):
            return Quarantined(uid, generation, identity, version, clean_words(message), left_out)
    return None
