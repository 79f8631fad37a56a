"""The lines of the catalogue that are values of a field: in the core."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.hostile.attacks import attack, base, has_kept_its_shape, judge, object_with
from tests.hostile.catalogue import DUE, ROWS, Row, Verdict
from tests.hostile.fields import SPECS, leaves
from tests.hostile.table import Column, parameters
from tests.hostile.world import INNOCENTS, Outcome, place_of
from tests.support.written import is_written

Tell = Callable[[str, object], None]

WITH_VALUES = [row for row in ROWS if row.inputs]


def of(verdict: Verdict) -> list[Any]:
    """The lines with values of a verdict."""
    return parameters([row for row in WITH_VALUES if row.verdict is verdict], Column.CORE)


def tried(row: Row, value: Any) -> Outcome:
    """What comes of an input; judged by what must hold of anything."""
    outcome = attack(row.kind, place_of(row.field), value)
    judge(row.kind, outcome)
    return outcome


def field_of(row: Row) -> str:
    """The field as a problem names it."""
    return row.field.replace("[]", "[0]")


@pytest.mark.parametrize("row", of(Verdict.REJECT))
def test_rejected(row: Row, record_property: Tell) -> None:
    for value in row.inputs:
        outcome = tried(row, value)
        named = [sentence for path, sentence in outcome.complaints if path.startswith(field_of(row))]
        assert named, f"no problem names the field of {value!r}: {outcome.complaints}"
        assert all(len(sentence) > 20 and sentence.endswith(".") for sentence in named), "a reason, in words"
        if row.kind == "WebSocketRoute":
            assert outcome.node is not None
            assert not outcome.node.accepted
        else:
            assert outcome.text == "", "what the pods serve stays"
    record_property("rejected", len(row.inputs))


@pytest.mark.parametrize("row", of(Verdict.ESCAPE))
def test_served_as_it_is(row: Row, record_property: Tell) -> None:
    for value in row.inputs:
        outcome = tried(row, value)
        assert outcome.complaints == (), value
        assert has_kept_its_shape(row.kind, place_of(row.field), outcome)
        arguments = [word for directive in outcome.tree.walk() for word in directive.words[1:]]
        assert any(is_written(value, word) for word in arguments), "one argument that says the input"
    record_property("served", len(row.inputs))


@pytest.mark.parametrize("row", of(Verdict.DROP))
def test_dropped(row: Row, record_property: Tell) -> None:
    for value in row.inputs:
        outcome = tried(row, value)
        assert outcome.node is not None
        assert outcome.node.accepted, "an endpoint is no fault of the route"
        assert any(path == "endpoints" for path, _ in outcome.complaints), value
        groups = [found for found in outcome.tree.walk() if found.words[0] == "upstream"]
        servers = {server.words[1] for group in groups for server in group.children if server.words[0] == "server"}
        assert len(servers) == 1 + len(INNOCENTS), "the neighbours' and the one that says 426"
    record_property("dropped", len(row.inputs))


def test_every_text_of_the_models_has_a_line() -> None:
    """A field that is added later fails here until the catalogue says what is tried in it."""
    held = {(row.kind, row.field) for row in ROWS if row.inputs}
    missing = [
        f"{kind} {leaf.path}"
        for kind in SPECS
        for leaf in leaves(kind)
        if leaf.is_text and (kind, leaf.path) not in held
    ]
    assert missing == [], "add lines to tests/hostile/catalogue.py"


@pytest.mark.parametrize("due", DUE, ids=lambda due: due.id)
def test_lines_that_come_due(due: Any) -> None:
    """A field appears with its lines, not before them."""
    found = [f"{leaf.path}: {word}" for kind in SPECS for leaf in leaves(kind) for word in (leaf.words or ("",))]
    assert [path for path in found if due.appears(path)] == [], (
        f"give {due.id} its inputs in tests/hostile/catalogue.py"
    )


def test_the_lines_have_names_of_their_own() -> None:
    assert len({(row.id, row.field) for row in ROWS}) == len(ROWS)
    for row in WITH_VALUES:
        place = place_of(row.field)
        value: Any = object_with(row.kind, place)
        for step in place:
            value = value[step]
        assert value not in row.inputs, "the input is another one than the good value"
    assert base().complaints == ()
