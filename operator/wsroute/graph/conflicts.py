"""Who owns a host, who owns a path on it, and whose routes are too many.

Looks at all routes of one balancer at once. A host belongs to one namespace with all its paths on all listeners: to the
one that claimed it first, for as long as ``claims`` says. Where several would claim a free one in the same pass, the
oldest route does. Within a namespace a path belongs to the oldest route. Rejected routes keep what is theirs: if a slip
in a route gave its host away, somebody else could take it, and mending the slip would not bring it back. So this module
does not even look at whether a route is valid, and one route's problem changes nothing for any other.
"""

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.balancer_state import HOSTS_LIMIT, HostClaim, claim_size, format_time
from wsroute.cluster.objects import Key, PathClaim
from wsroute.graph.admission import Admission
from wsroute.graph.changes import span
from wsroute.graph.claims import held_until

LITTLE: Final = HOSTS_LIMIT // 64
"""Bytes of claims that are little, some 150 hosts: whoever has no more of them finds room where others find none.
Whoever has released no more keeps them for as long as they are held, and so does whoever has an equal share."""

RESERVE: Final = HOSTS_LIMIT // 16
"""Bytes of claims that are for those who have little."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What others leave to a route. ``within_quota`` false: nothing. ``paths`` are free on all of ``hosts``."""

    within_quota: bool
    problems: tuple[Problem, ...]
    hosts: tuple[str, ...]
    paths: tuple[PathClaim, ...]


class Entrants(NamedTuple):
    """The routes that compete, in the order of their age, and those that are beyond their namespace's quota.

    ``wanted`` are the hosts of the former with their namespaces, and ``counts`` the routes of each namespace.
    """

    routes: tuple[Admission, ...]
    beyond: Mapping[Key, Verdict]
    wanted: frozenset[tuple[str, str]]
    counts: Mapping[str, int]


class Settlement(NamedTuple):
    """What became of each route, and whose the hosts are now: the very mapping as before where nothing changed.
    ``peaceful``: each of the ``entrants`` got all that it wants. ``size`` is what the claims take, in bytes."""

    entrants: Entrants
    verdicts: Mapping[Key, Verdict]
    claims: Mapping[str, HostClaim]
    peaceful: bool
    size: int


def enter(admissions: Iterable[Admission], *, max_per_namespace: int | None) -> Entrants:
    """Find out which admitted routes of a balancer compete, by age: creationTimestamp, then namespace and name."""
    counts: Counter[str] = Counter()
    routes = []
    beyond = {}
    for route in sorted(admissions, key=_age):
        namespace = route.key.namespace
        counts[namespace] += 1
        if max_per_namespace is not None and counts[namespace] > max_per_namespace:
            beyond[route.key] = _too_many(namespace, max_per_namespace)
        else:
            routes.append(route)
    wanted = frozenset((host, route.key.namespace) for route in routes for host in route.hosts)
    return Entrants(tuple(routes), beyond, wanted, counts)


def _age(route: Admission) -> tuple[str, Key]:
    return route.created, route.key


def enter_changed(
    known: Entrants, changed: Collection[tuple[Admission | None, Admission | None]], *, max_per_namespace: int | None
) -> Entrants | None:
    """What :func:`enter` gives, in little time, where it is easily told: some routes are new (they were None before).
    None where it is not."""
    if known.beyond:
        return None
    counts, new = Counter(known.counts), []
    for before, after in changed:
        if before is not None:
            return None
        if after is not None:
            counts[after.key.namespace] += 1
            new.append(after)
            if max_per_namespace is not None and counts[after.key.namespace] > max_per_namespace:
                return None
    routes = list(known.routes)
    for route in new:
        insort(routes, route, key=_age)
    wanted = known.wanted.union((host, route.key.namespace) for route in new for host in route.hosts)
    return Entrants(tuple(routes), known.beyond, wanted, counts)


def settle(entrants: Entrants, claims: Mapping[str, HostClaim]) -> Settlement:
    """Settle what the routes compete for. ``claims`` are those that stand (``claims.age``).

    Settling once more with the claims that this gives comes to the very same.
    """
    owners = _claim_all(entrants, claims)
    if owners.given_up:
        # Once more, so that whoever waited longest for one of these gets it.
        left = {host: claim for host, claim in claims.items() if host not in owners.given_up}
        owners = _claim_all(entrants, left)
    takers: defaultdict[tuple[str, str], dict[PathClaim, Key]] = defaultdict(dict)
    verdicts = dict(entrants.beyond)
    for route in entrants.routes:
        problems: list[Problem] = []
        hosts = []
        for host, field in zip(route.hosts, route.host_fields, strict=True):
            if owners.has(host, route.key.namespace):
                hosts.append(host)
            else:
                problems.append(owners.problem(host, route.key.namespace, field))
        paths = []
        places = [takers[host, listener] for host in hosts for listener in route.listeners]
        for index, path in enumerate(route.paths):
            older = next((taken[path] for taken in places if path in taken), None)
            if older is None:
                for taken in places:
                    taken[path] = route.key
                paths.append(path)
            else:
                problems.append(_path_conflict(path, f"spec.paths[{index}].path", older))
        verdicts[route.key] = Verdict(True, tuple(problems), tuple(hosts), tuple(paths))
    peaceful = not any(verdict.problems for key, verdict in verdicts.items() if key not in entrants.beyond)
    settled = claims if owners.claims == claims else owners.claims
    return Settlement(entrants, verdicts, settled, peaceful, HOSTS_LIMIT - owners.room)


def _claim_all(entrants: Entrants, claims: Mapping[str, HostClaim]) -> "_HostOwners":
    owners = _HostOwners(claims, entrants.wanted)
    for route in entrants.routes:
        for host in route.hosts:
            owners.claim(host, route.key.namespace)
    return owners


def settle_changed(settled: Settlement, entrants: Entrants, claims: Mapping[str, HostClaim]) -> Settlement | None:
    """What :func:`settle` gives, in little time, where it is easily told: some routes are new or others than they were
    when something was settled last, and nobody else wants their hosts. None where it is not."""
    before = settled.entrants
    if claims is not settled.claims or not settled.peaceful or entrants.beyond != before.beyond:
        return None
    start, end_before, end_after = span(before.routes, entrants.routes)
    known = {route.key: route for route in before.routes[start:end_before]}
    changed = [route for route in entrants.routes[start:end_after] if known.pop(route.key, None) is not route]
    if known:
        return None  # somebody has left something to others
    rivals = _Rivals(before, entrants, changed)
    new: dict[str, HostClaim] = {}
    for route in changed:
        own = HostClaim(route.key.namespace)
        for host in route.hosts:
            first, _, parent = host.partition(".")
            above = claims.get(f"*.{parent}", own)
            if first == "*" or above.namespace != own.namespace or claims.get(host, own) != own:
                return None
            if rivals.count(host, own.namespace) > 1:
                return None
            if host not in claims:
                new[host] = own
        if len(set(route.paths)) < len(route.paths):
            return None
    size = settled.size + sum(claim_size(host, claim.namespace) for host, claim in new.items())
    if size > HOSTS_LIMIT - RESERVE:
        return None
    verdicts = {route.key: Verdict(True, (), route.hosts, route.paths) for route in changed}
    together = {**claims, **new} if new else claims
    return Settlement(entrants, {**settled.verdicts, **verdicts}, together, peaceful=True, size=size)


class _Rivals:
    """How many routes want a host."""

    def __init__(self, before: Entrants, entrants: Entrants, changed: Iterable[Admission]) -> None:
        self._before = before
        self._entrants = entrants
        self._by_changed = Counter(host for route in changed for host in route.hosts)

    def count(self, host: str, namespace: str) -> int:
        """Those that want a host that nobody has but this namespace, if anybody."""
        if (host, namespace) not in self._before.wanted:
            return self._by_changed[host]
        return self._by_all[host]

    @cached_property
    def _by_all(self) -> Counter[str]:
        return Counter(host for route in self._entrants.routes for host in route.hosts)


class _HostOwners:
    """Hosts and the namespaces that own them. A wildcard overlaps with the names of exactly one more label.

    Claims of two namespaces never overlap, unless a hand wrote them so: then those with routes come first.
    """

    def __init__(self, claims: Mapping[str, HostClaim], wanted: frozenset[tuple[str, str]]) -> None:
        self.claims: dict[str, HostClaim] = {}
        self._below: defaultdict[str, dict[str, str]] = defaultdict(dict)
        """By parent domain: each namespace that owns a name right below it, with the first such name in order."""
        self.room = HOSTS_LIMIT
        """Bytes that are left for more claims."""
        self._sizes: Counter[str] = Counter()
        """Bytes of each namespace's claims."""
        self.given_up: frozenset[str] | None = None
        """The hosts that were given up early, None while there was room."""
        self._wanted = wanted
        for idle, host in sorted(((host, claim.namespace) not in wanted, host) for host, claim in claims.items()):
            claim = claims[host]
            if self._rival(host, claim.namespace) is None:
                self._put(host, claim if idle else HostClaim(claim.namespace))

    def claim(self, host: str, namespace: str) -> None:
        """Give ``host`` to a namespace if nobody is in the way and there is room."""
        free = host not in self.claims and self._rival(host, namespace) is None
        size = claim_size(host, namespace)
        if free and (self._is_room(size, namespace) or (self._make_room() and self._is_room(size, namespace))):
            self._put(host, HostClaim(namespace))

    def _is_room(self, size: int, namespace: str) -> bool:
        """Whether there is room for one more claim; the last of it is for those who have little."""
        reserve = RESERVE if self._sizes[namespace] + size > LITTLE else 0
        return size <= self.room - reserve

    def _make_room(self) -> bool:
        """Give up those hosts that were released long since by whoever has many. True when there were any: or else one
        team could take the room of all others with names that it does not even use any more."""
        if self.given_up is not None:
            return False
        released: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for host, claim in self.claims.items():
            if claim.released:
                released[claim.namespace].append((claim.released, host))
        # What all want, got or not, so that it comes to the same once they have it.
        used: Counter[str] = Counter()
        for host, namespace in self._wanted:
            used[namespace] += claim_size(host, namespace)
        share = (HOSTS_LIMIT - RESERVE) // len({*self._sizes, *used})
        self.given_up = frozenset(
            host
            for namespace, hosts in released.items()
            for host in _beyond(max(LITTLE, share - used[namespace]), namespace, hosts)
        )
        for host in self.given_up:
            self.room += claim_size(host, self.claims[host].namespace)
            self._sizes[self.claims[host].namespace] -= claim_size(host, self.claims[host].namespace)
            del self.claims[host]
        if self.given_up:
            self._below.clear()
            for host, claim in self.claims.items():
                self._note(host, claim.namespace)
        return bool(self.given_up)

    def has(self, host: str, namespace: str) -> bool:
        """Whether a namespace has ``host``."""
        claim = self.claims.get(host)
        return claim is not None and claim.namespace == namespace

    def problem(self, host: str, namespace: str, field: str) -> Problem:
        """Why a namespace does not have ``host``, once all have claimed theirs."""
        rival = self._rival(host, namespace)
        return _no_room(host, field) if rival is None else _host_conflict(host, field, rival, self.claims[rival])

    def _put(self, host: str, claim: HostClaim) -> None:
        self.claims[host] = claim
        self.room -= claim_size(host, claim.namespace)
        self._sizes[claim.namespace] += claim_size(host, claim.namespace)
        self._note(host, claim.namespace)

    def _note(self, host: str, namespace: str) -> None:
        first, _, parent = host.partition(".")
        if first != "*":
            below = self._below[parent]
            below[namespace] = min(host, below.get(namespace, host))

    def _rival(self, host: str, namespace: str) -> str | None:
        """The host of another namespace that is, or overlaps with, this one."""
        if self._is_others(host, namespace):
            return host
        first, _, parent = host.partition(".")
        if first == "*":
            below = self._below.get(parent, {})
            return min((name for owner, name in below.items() if owner != namespace), default=None)
        wildcard = f"*.{parent}"
        return wildcard if self._is_others(wildcard, namespace) else None

    def _is_others(self, host: str, namespace: str) -> bool:
        claim = self.claims.get(host)
        return claim is not None and claim.namespace != namespace


def _beyond(left: int, namespace: str, released: list[tuple[str, str]]) -> Iterator[str]:
    """The hosts of a namespace that were released first, beyond the bytes that it keeps in any case."""
    for _, host in sorted(released, reverse=True):
        left -= claim_size(host, namespace)
        if left < 0:
            yield host


def _too_many(namespace: str, maximum: int) -> Verdict:
    problem = Problem(
        Reason.QUOTA,
        "",
        f"The balancer serves at most {maximum} routes of one namespace, and {namespace} has older ones: delete one of "
        "them, or ask the balancer's administrator to raise allowedRoutes.maxPerNamespace.",
    )
    return Verdict(within_quota=False, problems=(problem,), hosts=(), paths=())


def _host_conflict(host: str, field: str, rival: str, claim: HostClaim) -> Problem:
    # Which namespace it is stays untold: tenants need not know one another.
    overlap = "" if rival == host else f", which overlaps with {rival},"
    if claim.released:
        until = format_time(held_until(claim.released))
        return Problem(
            Reason.HOST_CONFLICT,
            field,
            f"The host {host}{overlap} belonged to a route of another namespace that is gone, and is held for that "
            f"namespace until {until}: wait until then, or choose another host.",
            passing=True,
        )
    return Problem(
        Reason.HOST_CONFLICT,
        field,
        f"The host {host}{overlap} belongs to another namespace, which claimed it first: choose another host, or have "
        "the routes of that namespace give it up.",
    )


def _no_room(host: str, field: str) -> Problem:
    return Problem(
        Reason.QUOTA,
        field,
        f"The balancer remembers whose a host is, and its list, of at most {HOSTS_LIMIT:,} bytes, has no room for "
        f"{host}: choose another balancer, or have its administrator see which hosts can go.",
    )


def _path_conflict(path: PathClaim, field: str, older: Key) -> Problem:
    return Problem(
        Reason.PATH_CONFLICT,
        field,
        f"The {path.match} path {path.path} is taken on a host and listener of this route by the older route {older}: "
        "choose another path, or delete one of the two routes.",
    )
