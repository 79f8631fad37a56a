"""What a pass worked out, kept for the next pass.

Records are immutable and live on from snapshot to snapshot, so whatever was worked out from the same records is the
same. A memo holds only what the last pass asked for, and thus never more than what the cluster holds.
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar, cast

Result = TypeVar("Result")


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

    def end_pass(self) -> None:
        """Drop what was not asked for since the last call."""
        self._before = self._used
        self._used = {}
