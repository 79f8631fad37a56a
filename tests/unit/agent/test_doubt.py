"""ConfigMaps of a leader that another one has followed: since when they stand, and what is forgotten of them."""

from typing import Any

import pytest

from wsroute.agent.decide import DOUBT, Published, parse_publication
from wsroute.agent.doubt import Doubts
from wsroute.dataplane import names


class Clock:
    """In place of the machine's."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("wsroute.agent.doubt.time.monotonic", lambda: found.now)
    return found


def item(epoch: int) -> dict[str, Any]:
    annotations = {names.EPOCH_ANNOTATION: str(epoch)}
    return {"metadata": {"name": "shared-nginx", "uid": "u", "annotations": annotations}}


def believes(doubts: Doubts, epoch: int, known: Published) -> bool:
    return doubts.believes(item(epoch), parse_publication(item(epoch)), known)


FIVE = parse_publication(item(5))


def test_what_stands_for_long_is_believed_however_often_it_is_looked_at(clock: Clock) -> None:
    doubts = Doubts()
    for _ in range(int(DOUBT)):
        assert not believes(doubts, 4, FIVE)
        assert doubts.items == (item(4),)
        clock.now += 1.0
    assert believes(doubts, 4, FIVE)
    assert doubts.items == ()


def test_a_newer_word_of_the_same_leader_stands_since_the_first_one(clock: Clock) -> None:
    doubts = Doubts()
    assert not believes(doubts, 3, FIVE)
    clock.now += DOUBT - 1
    assert not believes(doubts, 4, FIVE)
    assert doubts.items == (item(4),)
    clock.now += 1.0
    assert believes(doubts, 4, FIVE)


@pytest.mark.parametrize("how", ["followed", "gone"])
def test_who_was_doubted_once_is_doubted_as_long_the_next_time(clock: Clock, how: str) -> None:
    doubts = Doubts()
    assert not believes(doubts, 4, FIVE)
    if how == "followed":
        assert believes(doubts, 6, FIVE)
    else:
        doubts.forget("shared-nginx")
    assert doubts.items == ()
    clock.now += DOUBT
    assert not believes(doubts, 4, FIVE)
