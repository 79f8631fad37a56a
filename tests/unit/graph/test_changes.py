"""What has changed between two passes: found in any two sequences and mappings."""

from hypothesis import given
from hypothesis import strategies as st

from wsroute.graph.changes import changed_names, replaced, same_names, sorted_names, span

ITEMS = [object() for _ in range(4)]
sequences = st.lists(st.sampled_from(ITEMS), max_size=6)
mappings = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(ITEMS))


@given(sequences, sequences)
def test_around_a_span_everything_is_the_same(before: list[object], after: list[object]) -> None:
    start, end_before, end_after = span(before, after)
    assert 0 <= start <= min(end_before, end_after)
    assert before[:start] == after[:start]
    assert before[end_before:] == after[end_after:]
    if start < min(end_before, end_after):
        assert before[start] is not after[start]
        assert before[end_before - 1] is not after[end_after - 1]


def test_one_new_item_is_a_span_of_one() -> None:
    assert span(ITEMS[1:], ITEMS) == (0, 0, 1)
    assert span(ITEMS[:2] + ITEMS[3:], ITEMS) == (2, 2, 3)
    assert span(ITEMS, ITEMS) == (4, 4, 4)


@given(mappings, mappings)
def test_a_name_has_changed_when_it_has_not_the_same_object(
    before: dict[str, object], after: dict[str, object]
) -> None:
    nothing = object()
    names = before.keys() | after.keys()
    wanted = {name for name in names if before.get(name, nothing) is not after.get(name, nothing)}
    assert changed_names(before, after) == wanted


@given(mappings, mappings)
def test_what_is_fresh_takes_the_place_of_what_is_known(known: dict[str, object], order: dict[str, object]) -> None:
    fresh = {name: item for name, item in order.items() if known.get(name) is not item}
    found = replaced(known, fresh, order)
    assert found == order
    assert list(found) == list(order)
    assert same_names(found, order)


@given(st.lists(st.sampled_from("abcdef"), unique=True), mappings)
def test_names_come_in_order(known: list[str], names: dict[str, object]) -> None:
    assert sorted_names(sorted(known), names) == sorted(names)


def test_mappings_with_the_same_names_in_another_order_are_not_the_same() -> None:
    assert not same_names({"a": 1, "b": 1}, {"b": 1, "a": 1})
    assert not same_names({"a": 1}, {"a": 1, "b": 1})
