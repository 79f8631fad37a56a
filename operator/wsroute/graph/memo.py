"""What a pass worked out, kept for the next pass.

Records are immutable and live on from snapshot to snapshot, so whatever was worked out from the same records is the
same. A memo holds only what the last pass asked for, and thus never more than what the cluster holds.
"""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from wsroute.graph.changes import changed_names, replaced, same_names

Result = TypeVar("Result")
Name = TypeVar("Name", bound=Hashable)
Item = TypeVar("Item")
Around = TypeVar("Around", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class _Each(Generic[Name, Item, Result]):
    """What :meth:`Memo.each` made last: of which items, amid what, and with which inputs."""

    items: Mapping[Name, Item]
    around: tuple[Any, ...]
    inputs: Mapping[Name, tuple[Any, ...]]
    results: Mapping[Name, Result]


class Memo:
    """Results of pure functions by a key, each valid while its inputs stay equal. One for each place that runs passes.

    Inputs are compared as tuples, so that identical objects cost nothing to compare.
    """

    def __init__(self) -> None:
        self._used: dict[Hashable, tuple[tuple[Any, ...], Any]] = {}
        self._before: dict[Hashable, tuple[tuple[Any, ...], Any]] = {}

    def __len__(self) -> int:
        return len(self._used) + len(self._before)

    def get(self, key: Hashable, inputs: tuple[Any, ...], compute: Callable[[], Result]) -> Result:
        """The result known for ``key`` if it was worked out from equal ``inputs``, else that of ``compute``, which must
        depend on nothing but these."""
        entry = self._used.get(key) or self._before.get(key)
        if entry is None or entry[0] != inputs:
            entry = (inputs, compute())
        self._used[key] = entry
        return cast("Result", entry[1])

    def revise(self, key: Hashable, inputs: tuple[Any, ...], compute: Callable[[Result | None], Result]) -> Result:
        """The same where ``compute`` can take over parts of the result that was known for ``key``, which it is given.
        What it comes to must not depend on that."""
        entry = self._used.get(key) or self._before.get(key)
        return self.get(key, inputs, partial(compute, None if entry is None else entry[1]))

    def each(
        self,
        key: Hashable,
        items: Mapping[Name, Item],
        around: Around,
        *,
        touched: Callable[[Around], Collection[Name] | None],
        inputs: Callable[[Name, Item], tuple[Any, ...]],
        compute: Callable[[Name, Item], Result],
    ) -> Mapping[Name, Result]:
        """The results of many items, in the time that only those take which may have changed.

        ``compute`` must depend on nothing but ``inputs``, and these on nothing but the item and what is ``around`` all
        of them. While that is the very same an item that is the same object keeps its result; else ``touched`` says for
        which items the change from what was around then may mean something, None for all. The very mapping is returned
        as the last time when no result is another one.
        """
        entry = self._used.get(key) or self._before.get(key)
        known: _Each[Name, Item, Result] = _Each({}, (), {}, {}) if entry is None else entry[1]
        suspects: Collection[Name] | None = None
        if entry is not None:
            same = all(one is other for one, other in zip(known.around, around, strict=True))
            suspects = () if same else touched(cast("Around", known.around))
        stale = changed_names(known.items, items)
        stale.update(items if suspects is None else suspects)
        given: dict[Name, tuple[Any, ...]] = {}
        fresh: dict[Name, Result] = {}
        for name in stale:
            if name in items:
                asked = inputs(name, items[name])
                if known.inputs.get(name) != asked:
                    given[name], fresh[name] = asked, compute(name, items[name])
        given_inputs, results = known.inputs, known.results
        if fresh or not same_names(known.items, items):
            results = replaced(results, fresh, items)
            given_inputs = replaced(given_inputs, given, items)
        self._used[key] = ((), _Each(items, around, given_inputs, results))
        return results

    def end_pass(self) -> None:
        """Drop what was not asked for since the last call."""
        self._before = self._used
        self._used = {}
