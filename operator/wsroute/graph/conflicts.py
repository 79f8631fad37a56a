"""Who owns a host, who owns a path on it, and whose routes are too many. The oldest wins.

Looks at all routes of one balancer at once. A host belongs to one namespace with all its paths; within a namespace a
path belongs to one route. Rejected routes keep what is theirs: if a slip in a route gave its host away, somebody else
could take it, and mending the slip would not bring it back. So this module does not even look at whether a route is
valid, and one route's problem changes nothing for any other.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.objects import Key, PathClaim
from wsroute.graph.admission import Admission


@dataclass(frozen=True, slots=True)
class Verdict:
    """What others leave to a route. ``within_quota`` false: nothing. ``paths`` are free on all of ``hosts``."""

    within_quota: bool
    problems: tuple[Problem, ...]
    hosts: tuple[str, ...]
    paths: tuple[PathClaim, ...]


def settle(admissions: Iterable[Admission], *, max_per_namespace: int | None) -> Mapping[Key, Verdict]:
    """Settle what the admitted routes of a balancer compete for, by age: creationTimestamp, then namespace and name."""
    owners = _HostOwners()
    takers: dict[tuple[str, str, PathClaim], Key] = {}
    counts: Counter[str] = Counter()
    verdicts = {}
    for route in sorted(admissions, key=lambda admission: (admission.created, admission.key)):
        namespace = route.key.namespace
        counts[namespace] += 1
        if max_per_namespace is not None and counts[namespace] > max_per_namespace:
            verdicts[route.key] = _too_many(namespace, max_per_namespace)
            continue
        problems: list[Problem] = []
        hosts = []
        for host, field in zip(route.hosts, route.host_fields, strict=True):
            rival = owners.claim(host, namespace)
            if rival is None:
                hosts.append(host)
            else:
                problems.append(_host_conflict(host, field, rival))
        paths = []
        for index, path in enumerate(route.paths):
            places = [(host, listener, path) for host in hosts for listener in route.listeners]
            older = next((takers[place] for place in places if place in takers), None)
            if older is None:
                takers.update(dict.fromkeys(places, route.key))
                paths.append(path)
            else:
                problems.append(_path_conflict(path, f"spec.paths[{index}].path", older))
        verdicts[route.key] = Verdict(True, tuple(problems), tuple(hosts), tuple(paths))
    return verdicts


class _HostOwners:
    """Hosts and the namespaces that own them. A wildcard overlaps with the names of exactly one more label."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._below: defaultdict[str, dict[str, str]] = defaultdict(dict)
        """By parent domain: each namespace that owns a name right below it, with the first such name."""

    def claim(self, host: str, namespace: str) -> str | None:
        """Give ``host`` to a namespace, or return the host of another namespace that is in the way."""
        rival = self._rival(host, namespace)
        if rival is None and host not in self._owners:
            self._owners[host] = namespace
            first, _, parent = host.partition(".")
            if first != "*":
                self._below[parent].setdefault(namespace, host)
        return rival

    def _rival(self, host: str, namespace: str) -> str | None:
        if self._owners.get(host, namespace) != namespace:
            return host
        first, _, parent = host.partition(".")
        if first == "*":
            below = self._below.get(parent, {})
            return next((name for owner, name in below.items() if owner != namespace), None)
        wildcard = f"*.{parent}"
        return wildcard if self._owners.get(wildcard, namespace) != namespace else None


def _too_many(namespace: str, maximum: int) -> Verdict:
    problem = Problem(
        Reason.QUOTA,
        "",
        f"The balancer serves at most {maximum} routes of one namespace, and {namespace} has older ones: delete one of "
        "them, or ask the balancer's administrator to raise allowedRoutes.maxPerNamespace.",
    )
    return Verdict(within_quota=False, problems=(problem,), hosts=(), paths=())


def _host_conflict(host: str, field: str, rival: str) -> Problem:
    # Which namespace it is stays untold: tenants need not know one another.
    overlap = "" if rival == host else f", which overlaps with {rival},"
    return Problem(
        Reason.HOST_CONFLICT,
        field,
        f"The host {host}{overlap} belongs to an older route of another namespace: choose another host, or have that "
        "route deleted.",
    )


def _path_conflict(path: PathClaim, field: str, older: Key) -> Problem:
    return Problem(
        Reason.PATH_CONFLICT,
        field,
        f"The {path.match} path {path.path} is taken on a host and listener of this route by the older route {older}: "
        "choose another path, or delete one of the two routes.",
    )
