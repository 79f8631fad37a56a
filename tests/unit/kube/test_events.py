"""Events: their form, and that they neither flood nor hold anything up."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroute.kube import events
from wsroute.kube.events import BURST, EVERY, NOTE_LIMIT, REPEAT, EventFilter, EventRecorder, build, clean_note
from wsroute.kube.port import ClusterClient, ForbiddenError, Json, Resource, UnavailableError

ROUTE = {
    "apiVersion": "wsroute.dev/v1alpha1",
    "kind": "WebSocketRoute",
    "metadata": {"namespace": "shop", "name": "chat", "uid": "u1", "labels": {"a": "b"}},
}
REGARDING = events.reference(ROUTE)


def test_an_object_is_referred_to_by_what_identifies_it() -> None:
    assert REGARDING == {
        "apiVersion": "wsroute.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "namespace": "shop",
        "name": "chat",
        "uid": "u1",
    }


@given(st.text(max_size=3_000))
def test_a_note_is_one_printable_line_that_the_server_takes(text: str) -> None:
    note = clean_note(text)
    assert len(note.encode()) <= NOTE_LIMIT
    assert note.isprintable()


def test_a_note_is_cut_between_characters() -> None:
    assert clean_note("ü" * 2_000) == "ü" * 510 + "…"
    assert clean_note("a\n\tb\x1b[31m") == "a b [31m"


def make(**changes: Any) -> Json:
    fields: dict[str, Any] = {
        "reason": "Refused",
        "note": "Because.",
        "action": "Reconcile",
        "type_": "Warning",
        "instance": "wsroute-0",
        "moment": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        **changes,
    }
    return build(REGARDING, **fields)


def test_an_event_has_every_field_that_the_api_asks_for() -> None:
    event = make()
    assert event["metadata"]["name"].startswith("chat.")
    assert event["metadata"]["namespace"] == "shop"
    assert event["eventTime"] == "2026-01-02T03:04:05.000000Z"
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "Refused", "Reconcile")
    assert (event["reportingController"], event["reportingInstance"]) == ("wsroute.dev/operator", "wsroute-0")
    assert make() == event
    assert make(note="Another.")["metadata"]["name"] != event["metadata"]["name"]


def test_an_event_about_a_namespace_lives_in_default() -> None:
    event = build(
        {"kind": "Namespace", "name": "shop"},
        reason="R",
        note="n",
        action="A",
        type_="Normal",
        instance="i",
        moment=datetime.now(UTC),
    )
    assert event["metadata"]["namespace"] == "default"


def test_the_same_is_not_said_twice_within_the_time() -> None:
    admit = EventFilter().admit
    assert admit(REGARDING, reason="R", note="n", now=0)
    assert not admit(REGARDING, reason="R", note="n", now=REPEAT - 1)
    assert admit(REGARDING, reason="R", note="other", now=1)
    assert admit({**REGARDING, "uid": "u2"}, reason="R", note="n", now=1)
    assert admit(REGARDING, reason="R", note="n", now=REPEAT)


def test_one_object_can_not_flood() -> None:
    admit = EventFilter().admit
    said = [admit(REGARDING, reason="R", note=str(number), now=0) for number in range(100)]
    assert said.count(True) == BURST
    assert admit({**REGARDING, "name": "other"}, reason="R", note="n", now=0)
    assert not admit(REGARDING, reason="R", note="later", now=EVERY - 1)
    assert admit(REGARDING, reason="R", note="later", now=EVERY)
    assert not admit(REGARDING, reason="R", note="still later", now=EVERY)


def test_news_takes_no_room_from_warnings() -> None:
    admit = EventFilter().admit
    said = [admit(REGARDING, reason="Reload", note=str(number), now=0, type_="Normal") for number in range(100)]
    assert said.count(True) == BURST
    assert admit(REGARDING, reason="R", note="a warning", now=0)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_REMEMBERED", 10)
    only = EventFilter()
    for number in range(1_000):
        assert only.admit({**REGARDING, "name": str(number)}, reason="R", note="n", now=0)
    assert len(only._said._items) == len(only._allowances._items) == 10


class Server:
    """Takes Events, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.posted: list[Mapping[str, Any]] = []

    async def create(self, _: Resource, body: Mapping[str, Any]) -> Json:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        self.posted.append(body)
        return dict(body)


def recorder(server: Server) -> EventRecorder:
    return EventRecorder(cast("ClusterClient", server), instance="wsroute-0")


async def post_all(recorder: EventRecorder) -> None:
    task = asyncio.create_task(recorder.run())
    async with asyncio.timeout(60):
        await recorder.flush()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_is_recorded_is_posted_in_order() -> None:
    server = Server()
    events_ = recorder(server)
    for note in ("first", "second", "first"):
        events_.record(REGARDING, reason="R", note=note, action="A", type_="Warning")
    await post_all(events_)
    assert [event["note"] for event in server.posted] == ["first", "second"]
    assert events_.dropped == 0


async def test_more_than_the_queue_holds_is_dropped_not_waited_for() -> None:
    server = Server()
    events_ = recorder(server)
    for number in range(300):
        events_.record({**REGARDING, "name": f"r{number}"}, reason="R", note="n", action="A")
    assert events_.dropped == 300 - 256
    await post_all(events_)
    assert len(server.posted) == 256


async def test_failures_are_dropped_and_a_missing_right_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Server(ForbiddenError("Creating Event: forbidden"))
    events_ = recorder(server)
    for note in ("a", "b"):
        events_.record(REGARDING, reason="R", note=note, action="A")
    await post_all(events_)
    server.failure = UnavailableError("down")
    events_.record(REGARDING, reason="R", note="c", action="A")
    await post_all(events_)
    assert events_.dropped == 3
    assert [record.message for record in caplog.records] == [
        "Events can't be posted; allow `create` on events.k8s.io/events. Creating Event: forbidden"
    ]
