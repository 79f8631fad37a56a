"""The memo: right while inputs are equal, forgotten when not asked for."""

from collections.abc import Collection, Mapping

from hypothesis import given
from hypothesis import strategies as st

from wsroute.graph.memo import Memo


def test_computes_once_for_equal_inputs() -> None:
    memo = Memo()
    calls: list[int] = []

    def compute(value: int) -> str:
        calls.append(value)
        return str(value)

    assert memo.get("k", (1,), lambda: compute(1)) == "1"
    assert memo.get("k", (1,), lambda: compute(1)) == "1"
    memo.end_pass()
    assert memo.get("k", (1,), lambda: compute(1)) == "1"
    assert calls == [1]
    assert memo.get("k", (2,), lambda: compute(2)) == "2"
    assert memo.get("k", (2,), lambda: compute(2)) == "2", "the new result counts within the pass"
    assert calls == [1, 2]


def test_forgets_what_a_pass_did_not_ask_for() -> None:
    memo = Memo()
    memo.get("a", (), lambda: 1)
    memo.end_pass()
    memo.get("b", (), lambda: 2)
    memo.end_pass()
    assert len(memo) == 1
    assert memo.get("a", (), lambda: 3) == 3


def test_remembers_empty_results() -> None:
    memo = Memo()
    empty: list[int] = []
    assert memo.get("k", (), lambda: empty) is empty
    assert memo.get("k", (), lambda: [1]) is empty


class Eager:
    """Results of ``Memo.each`` over numbers, each of which also depends on what is around under its name."""

    def __init__(self) -> None:
        self.memo = Memo()
        self.computed: list[str] = []

    def make(self, items: Mapping[str, int], around: Mapping[str, int]) -> Mapping[str, int]:
        def compute(name: str, item: int) -> int:
            self.computed.append(name)
            return item + around.get(name, 0)

        def touched(before: tuple[Mapping[str, int]]) -> Collection[str] | None:
            return {name for name in around if before[0].get(name) != around[name]} | (before[0].keys() - around.keys())

        found = self.memo.each(
            "k",
            items,
            (around,),
            touched=touched,
            inputs=lambda name, item: (item, around.get(name, 0)),
            compute=compute,
        )
        self.memo.end_pass()
        return found


def test_of_many_only_those_are_computed_that_changed() -> None:
    eager = Eager()
    items, around = {"a": 1000, "b": 2000}, {"a": 1}
    first = eager.make(items, around)
    assert first == {"a": 1001, "b": 2000}
    assert eager.make(items, around) is first
    assert eager.make(dict(items), dict(around)) is first
    eager.computed.clear()
    assert eager.make({**items, "b": 3000, "c": 1}, around) == {"a": 1001, "b": 3000, "c": 1}
    assert sorted(eager.computed) == ["b", "c"]
    eager.computed.clear()
    assert eager.make({"b": 3000}, {"a": 1, "b": 5}) == {"b": 3005}
    assert eager.computed == ["b"]


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
            st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
        )
    )
)
def test_of_many_each_is_what_it_would_be_without_a_memo(steps: list[tuple[dict[str, int], dict[str, int]]]) -> None:
    eager = Eager()
    for items, around in steps:
        found = eager.make(items, around)
        assert found == {name: item + around.get(name, 0) for name, item in items.items()}


def test_a_result_is_made_of_the_one_before() -> None:
    memo = Memo()

    def compute(value: int, before: list[int] | None) -> list[int]:
        return [*(before or []), value]

    assert memo.revise("k", (1,), lambda before: compute(1, before)) == [1]
    memo.end_pass()
    assert memo.revise("k", (1,), lambda before: compute(2, before)) == [1]
    assert memo.revise("k", (2,), lambda before: compute(2, before)) == [1, 2]
    memo.end_pass()
    memo.end_pass()
    assert memo.revise("k", (3,), lambda before: compute(3, before)) == [3]
