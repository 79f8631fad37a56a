"""Which endpoint a request goes to: the model of the choice that njs makes in nginx, and its specification.

First a group is chosen by the weights, then one of its endpoints by the policy. Chance is a source of numbers that the
caller gives, and so are the counters, so that the same numbers come to the same endpoint.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from wsroute.dataplane.dictionary import ID_LENGTH
from wsroute.dataplane.router import Candidates, Forwarded

_MASK: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Choice:
    """The endpoint, as ``address:port``, and the id that the client's sticky cookie is set to; empty for none, and for
    one of the browser's session that the client brought. One with an age counts that from the last socket."""

    endpoint: str
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """What changes from socket to socket.

    ``sockets`` are those open to an endpoint, none where it is missing. ``turns`` are the endpoints that RoundRobin has
    chosen of a group so far. ``ejected`` have refused connections: they get none as long as there are others. ``tried``
    have refused this one.
    """

    draw: Callable[[], float]
    """The next number of a random source, at least 0 and below 1."""
    sockets: Mapping[str, int]
    turns: Mapping[str, int]
    ejected: Collection[str] = ()
    tried: Collection[str] = ()


Endpoints = list[tuple[str, str]]
"""Ids and addresses with ports."""


def choose(request: Forwarded, live: Live) -> Choice | None:
    """The endpoint of a request, or None when all have been tried.

    A client that brings the cookie of an endpoint which is ready, or returning, gets that one. Chance is asked for a
    group where several have endpoints, and then, by LeastConnections, for the one and the other of two endpoints.
    """
    known = _known(request, live)
    if known is not None:
        lasts = request.sticky is not None and request.sticky[1] > 0
        return Choice(known, request.returning_to if lasts else "")
    groups = _eligible(request.candidates, {*live.ejected, *live.tried}) or _eligible(request.candidates, live.tried)
    if not groups:
        return None
    number = _hash(request.hashed) if request.hashed else None
    group, endpoints = _group(request.candidates, groups, number, live)
    if request.policy == "R":
        chosen = endpoints[live.turns.get(group, 0) % len(endpoints)]
    elif number is None:
        chosen = _least_connections(endpoints, live)
    else:
        chosen = max(endpoints, key=lambda endpoint: mix(number ^ int(endpoint[0], 16)))
    return Choice(chosen[1], chosen[0] if request.sticky is not None else "")


def _known(request: Forwarded, live: Live) -> str | None:
    """The endpoint that the client's cookie names, if it takes the client: a ready one rather than a returning one."""
    if not request.returning_to:
        return None
    ready = [endpoint for part in request.candidates for endpoint in part.ready]
    returning = [endpoint for part in request.candidates for endpoint in part.returning]
    for identity, endpoint in (*ready, *returning):
        if identity == request.returning_to and endpoint not in live.ejected and endpoint not in live.tried:
            return endpoint
    return None


def _eligible(candidates: tuple[Candidates, ...], left_out: Collection[str]) -> dict[str, Endpoints]:
    """The ready endpoints of each group that has any which are not left out."""
    found = {part.group: [endpoint for endpoint in part.ready if endpoint[1] not in left_out] for part in candidates}
    return {group: endpoints for group, endpoints in found.items() if endpoints}


def _group(
    candidates: tuple[Candidates, ...], groups: Mapping[str, Endpoints], number: int | None, live: Live
) -> tuple[str, Endpoints]:
    """A group that has endpoints, by the weights. A hash goes by those of all groups first, so that the keys of a group
    stay with it when another one loses its endpoints."""
    weights = {part.group: part.weight for part in candidates}
    if number is not None:
        group = _pick(weights, mix(number) * sum(weights.values()) >> 32)
        if group in groups:
            return group, groups[group]
    shares = {group: weight for group, weight in weights.items() if group in groups}
    total = sum(shares.values())
    share = mix(number) / 2**32 if number is not None else live.draw() if len(shares) > 1 else 0.0
    group = _pick(shares, int(share * total))
    return group, groups[group]


def _pick(weights: Mapping[str, int], ticket: int) -> str:
    """The group in whose part of the sum of all weights a number below that lies."""
    for group, weight in weights.items():
        if ticket < weight:
            return group
        ticket -= weight
    raise ValueError(f"{ticket} is beyond the sum of the weights")


def _least_connections(endpoints: Endpoints, live: Live) -> tuple[str, str]:
    """Of two endpoints drawn by chance the one with fewer sockets, the first where both have the same: nearly as good
    as the least of all, at a cost that does not grow, and no herd runs to the one that is new."""
    count = len(endpoints)
    if count == 1:
        return endpoints[0]
    first = int(live.draw() * count)
    second = int(live.draw() * (count - 1))
    if second >= first:
        second += 1
    one, other = endpoints[first], endpoints[second]
    return other if live.sockets.get(other[1], 0) < live.sockets.get(one[1], 0) else one


def _hash(text: str) -> int:
    """What a request is hashed to: the first 32 bits of the text's SHA-256, as endpoints' ids are made."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH], 16)


def mix(number: int) -> int:
    """MurmurHash3's finalizer over 32 bits. Of a request's number xor an endpoint's id it makes the endpoint's rank
    (rendezvous hashing), so that an endpoint that comes or goes moves no keys but its own."""
    number ^= number >> 16
    number = number * 0x85EB_CA6B & _MASK
    number ^= number >> 13
    number = number * 0xC2B2_AE35 & _MASK
    return number ^ number >> 16
