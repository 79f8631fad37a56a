"""Routes share hosts: what several of them have on a host, put together for its listeners."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Final, Protocol, TypeVar

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

_PLACE: Final = attrgetter("path", "match", "route")


def by_listeners(parts: Sequence[tuple[Sequence[str], Sequence[P]]]) -> list[tuple[tuple[str, ...], tuple[P, ...]]]:
    """What a host serves, from what each of its routes has on which listeners: the listeners that have the same paths,
    sorted, and these paths in order. A route that has lost all its paths to others serves nothing."""
    served = [paths for _, paths in parts]
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, (listeners, paths) in enumerate(parts):
        for listener in listeners if paths else ():
            found[listener].append(number)
    same: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for listener, numbers in sorted(found.items()):
        same[tuple(numbers)].append(listener)
    return [
        (tuple(listeners), tuple(sorted(chain.from_iterable(served[number] for number in numbers), key=_PLACE)))
        for numbers, listeners in same.items()
    ]
