"""What has changed between two passes, found by the identity of objects and not by looking into them.

Records and nodes that did not change stay the same objects from pass to pass. To look at each of a thousand of them in
Python takes as long as all the rest of a pass; these functions leave the loops to the interpreter's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, count
from operator import is_not
from typing import NamedTuple, TypeVar

Name = TypeVar("Name")
Item = TypeVar("Item")


class Span(NamedTuple):
    """Where two sequences differ: in what stands from ``start`` on, until ``before`` in the one and ``after`` in the
    other. What stands around that is the same in both."""

    start: int
    before: int
    after: int


def span(before: Sequence[object], after: Sequence[object]) -> Span:
    """Find where two sequences differ."""
    shorter = min(len(before), len(after))
    start = _first_difference(before, after, shorter)
    end = _first_difference(reversed(before), reversed(after), shorter - start)
    return Span(start, len(before) - end, len(after) - end)


def _first_difference(one: Iterable[object], other: Iterable[object], limit: int) -> int:
    return min(limit, next(compress(count(), map(is_not, one, other)), limit))


def same_names(before: Mapping[Name, object], after: Mapping[Name, object]) -> bool:
    """Whether two mappings have the same keys in the same order."""
    return before is after or (len(before) == len(after) and list(before) == list(after))


def changed_names(before: Mapping[Name, object], after: Mapping[Name, object]) -> set[Name]:
    """The keys that do not have the very same value in both."""
    if before is after:
        return set()
    old, new = list(before), list(after)
    old_items, new_items = list(before.values()), list(after.values())
    start, end_before, end_after = span(old, new)
    changed = {
        *compress(new, map(is_not, old_items[:start], new_items[:start])),
        *compress(new[end_after:], map(is_not, old_items[end_before:], new_items[end_after:])),
    }
    # Between these the keys themselves differ, or stand in another order.
    for name in {*old[start:end_before], *new[start:end_after]}:
        if name not in before or name not in after or before[name] is not after[name]:
            changed.add(name)
    return changed


def replaced(known: Mapping[Name, Item], fresh: Mapping[Name, Item], order: Mapping[Name, object]) -> dict[Name, Item]:
    """What is known with what is fresh in its place: the keys of ``order``, in their order."""
    merged = {**known, **fresh}
    if same_names(merged, order):
        return merged
    return dict(zip(order, map(merged.__getitem__, order), strict=True))


def sorted_names(known: Iterable[Name], names: Mapping[Name, object]) -> list[Name]:
    """The keys of a mapping in order, quickly where most of them are among those known in order."""
    before = [name for name in known if name in names]
    return sorted([*before, *names.keys() - before])  # type: ignore[type-var]
