"""What has been rendered already, so that a pass after a small change renders only that."""

from collections.abc import Callable, Hashable
from typing import final


@final
class _Entry:
    __slots__ = ("last_pass", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.last_pass = 0


@final
class RenderMemo:
    """Blocks of text by the part of the model that they come from, for one balancer.

    After each pass that goes well it holds what that pass used and nothing else, so that it is as large as one
    configuration. A pass that fails takes nothing away.
    """

    __slots__ = ("_context", "_entries", "_pass", "_used")

    def __init__(self) -> None:
        self._context: Hashable = None
        self._entries: dict[Hashable, _Entry] = {}
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

    def block(self, key: Hashable, render: Callable[[], str]) -> str:
        """The text for a part, rendered when the last pass did not use an equal one."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(render())
        if entry.last_pass != self._pass:
            entry.last_pass = self._pass
            self._used += 1
        return entry.text

    def end(self) -> None:
        """End a pass that went well."""
        if self._used != len(self._entries):
            current = self._pass
            self._entries = {key: entry for key, entry in self._entries.items() if entry.last_pass == current}
