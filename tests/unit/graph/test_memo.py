"""The memo: right while inputs are equal, forgotten when not asked for."""

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
