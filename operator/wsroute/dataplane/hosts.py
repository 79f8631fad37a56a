"""Routes share hosts: what several of them have on a host, put together for its listeners."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from wsroute.dataplane.ir import PathMatch, RouteRef


class _Place(Protocol):
    """A path of a route on a host."""

    @property
    def route(self) -> RouteRef: ...
    @property
    def path(self) -> str: ...
    @property
    def match(self) -> PathMatch: ...


P = TypeVar("P", bound=_Place)


def by_listeners(parts: Iterable[tuple[Sequence[str], Sequence[P]]]) -> list[tuple[tuple[str, ...], tuple[P, ...]]]:
    """What a host serves, from what each of its routes has on which listeners: the listeners that have the same paths,
    sorted, and these paths in order. A route that has lost all its paths to others serves nothing."""
    found: defaultdict[str, list[P]] = defaultdict(list)
    for listeners, paths in parts:
        for listener in listeners if paths else ():
            found[listener] += paths
    same: defaultdict[tuple[P, ...], list[str]] = defaultdict(list)
    for listener, paths in sorted(found.items()):
        same[tuple(sorted(paths, key=lambda place: (place.path, place.match, place.route)))].append(listener)
    return [(tuple(listeners), ordered) for ordered, listeners in same.items()]
