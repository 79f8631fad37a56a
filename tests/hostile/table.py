"""What a run has shown of the catalogue, as a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

import pytest

from tests.hostile.catalogue import DUE, ELSEWHERE, ROWS, Row

_WIDE: Final = 34


class Column(StrEnum):
    """Where an input is tried."""

    CORE = "in the core"
    NGINX = "in nginx"
    SERVER = "at the API server"


Key = tuple[str, str]


def key(row: Row) -> Key:
    """A line's id and field; generated lines share their id."""
    return row.id, row.field


def tried(row_id: str, column: Column = Column.CORE) -> pytest.MarkDecorator:
    """Marks a test as the one that tries the only line with this id."""
    [row] = [row for row in ROWS if row.id == row_id]
    return pytest.mark.catalogue(row, column)


def parameters(rows: Iterable[Row], column: Column) -> list[Any]:
    """The lines as parameters of a test, each with its mark."""
    return [pytest.param(row, marks=pytest.mark.catalogue(row, column), id=f"{row.id}-{row.field}") for row in rows]


class Results:
    """What became of each line in each column."""

    def __init__(self) -> None:
        self._words: defaultdict[tuple[Key, str], Counter[str]] = defaultdict(Counter)
        self._failed: set[tuple[Key, str]] = set()
        self.expected: set[tuple[Key, str]] = set()
        """The cells for which there are tests, run or not."""

    def record(self, row: Row, column: str, *, passed: bool, words: Iterable[tuple[str, int]]) -> None:
        """A test has ended. ``words`` count what became of the inputs."""
        cell = key(row), column
        if passed:
            self._words[cell].update(dict(words) or {"held": 1})
        else:
            self._failed.add(cell)

    def cell(self, row: Row, column: str) -> str:
        """What the table says."""
        cell = key(row), column
        if cell in self._failed:
            return "FAILED"
        if cell in self._words:
            words = self._words[cell]
            return ", ".join(word if word == "held" else f"{count} {word}" for word, count in words.items())
        return "not run" if cell in self.expected else "-"

    def lines(self) -> Iterable[str]:
        """The table."""
        head = ("id", "field", "input", "verdict", *Column)
        body = [
            (
                row.id,
                _cut(row.field, end=False),
                _cut(row.what),
                row.verdict,
                *(self.cell(row, column) for column in Column),
            )
            for row in ROWS
        ]
        widths = [max(len(line[number]) for line in (head, *body)) for number in range(len(head))]
        for line in (head, *body):
            yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        yield ""
        yield "R reject, E serve as it is, I ignore, C conflict, D drop the endpoint; -: such an input can't be there."
        yield from (f"no such field yet: {due.id} ({due.field}): {due.what}" for due in DUE)
        yield from (f"elsewhere: {name}: {where}" for name, where in ELSEWHERE.items())


def _cut(text: str, *, end: bool = True) -> str:
    if len(text) <= _WIDE:
        return text
    return f"{text[: _WIDE - 1]}…" if end else f"…{text[1 - _WIDE :]}"
