"""What is remembered of versions that nginx refused, as it stands in ``<balancer>-state``. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wsroute.api.values import DNS_LABEL, DNS_SUBDOMAIN
from wsroute.cluster.objects import Key

MAX_QUARANTINED: Final = 100
"""Routes that can be in quarantine at once. When there are more, the balancer itself says that its version is refused,
and what is in force stays."""

MAX_WORDS: Final = 400
"""Letters of nginx's words about a route that are remembered."""

UNWRITTEN: Final = "unwritten"
"""In place of a version: the route can't even be written down for nginx."""

NO_ROOM: Final = "no-room"
"""In place of a version: the file would be too large with the route."""

MAX_LINE: Final = 4_096
"""Letters of a line that is looked at."""

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
class Refusals:
    """All that is remembered of refusals. The mapping is never changed once it is in here."""

    quarantined: Mapping[Key, Quarantined] = field(default_factory=dict)
    search: Search | None = None


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
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def read_refusals(text: str) -> Refusals:
    """What stands in the ConfigMap, whatever a hand has put there. Never raises; what is not good is left out."""
    quarantined: dict[Key, Quarantined] = {}
    search: Search | None = None
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
                    and len(quarantined) < MAX_QUARANTINED
                    and DNS_LABEL.fault(namespace) is None
                    and DNS_SUBDOMAIN.fault(name) is None
                ):
                    quarantined.setdefault(Key(namespace, name), found_entry)
            case _:
                pass
    return Refusals(quarantined, search)


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
