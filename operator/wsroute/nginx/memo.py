"""What has been rendered already, so that a pass after a small change renders only that."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast, final

Result = TypeVar("Result")


@final
class _Entry:
    __slots__ = ("last_pass", "owners", "part", "text")

    def __init__(self, part: object, owners: Hashable, text: str) -> None:
        self.part = part
        self.owners = owners
        self.text = text
        self.last_pass = 0


@final
class RenderMemo:
    """Blocks of text by the part of the model that they come from, and what follows from all parts, for one balancer.

    Parts are immutable and live on from pass to pass while nothing changes them, so they are told apart by identity: to
    hash some thousand of them anew would cost more than all the rest of a pass.

    After each pass that goes well it holds what that pass used and nothing else, so that it is as large as one
    configuration. A pass that fails takes nothing away.
    """

    __slots__ = ("_context", "_derived", "_entries", "_pass", "_used")

    def __init__(self) -> None:
        self._context: Hashable = None
        self._entries: dict[int, _Entry] = {}
        self._derived: dict[str, tuple[tuple[Any, ...], Any]] = {}
        self._pass = 0
        self._used = 0

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, context: Hashable) -> None:
        """Start a pass. ``context`` is what all blocks depend on beside their own part; a new one empties the memo."""
        if context != self._context:
            self._context = context
            self._entries = {}
        self._pass += 1
        self._used = 0

    def block(self, part: object, owners: Hashable, render: Callable[[], str]) -> str:
        """The text for a part and whose it is, rendered when the last pass did not use this one."""
        entry = self._entries.get(id(part))
        if entry is None or entry.part is not part or entry.owners != owners:
            entry = self._entries[id(part)] = _Entry(part, owners, render())
        if entry.last_pass != self._pass:
            entry.last_pass = self._pass
            self._used += 1
        return entry.text

    def derived(self, name: str, inputs: tuple[Any, ...], compute: Callable[[], Result]) -> Result:
        """What follows from all parts together: the last result while its inputs stay equal. Tuples of identical
        objects cost nothing to compare."""
        known = self._derived.get(name)
        if known is None or known[0] != inputs:
            known = self._derived[name] = (inputs, compute())
        return cast("Result", known[1])

    def end(self) -> None:
        """End a pass that went well."""
        if self._used != len(self._entries):
            for key in [key for key, entry in self._entries.items() if entry.last_pass != self._pass]:
                del self._entries[key]
