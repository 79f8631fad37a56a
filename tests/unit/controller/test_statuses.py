"""Statuses: when they are due, what is told of them, and the driver that writes them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import until
from wsroute.api.conditions import Condition, ConditionType, Reason
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key
from wsroute.cluster.state import ClusterState
from wsroute.controller.feed import Feed, read_change
from wsroute.controller.status_writer import HEAL_APART, StatusWriter
from wsroute.controller.statuses import StatusKey, Target, due_at, news, status_body
from wsroute.kube.backoff import Backoff
from wsroute.kube.elector import NotLeadingError
from wsroute.kube.events import EventRecorder
from wsroute.kube.port import EVENTS, ROUTES, RejectedError, UnavailableError
from wsroute.observability.metrics import Metrics

NOW = "2026-01-31T12:00:00Z"
CHAT = StatusKey(Kind.ROUTE, Key("team-a", "chat"))


def condition(
    kind: ConditionType = ConditionType.PROGRAMMED,
    *,
    status: bool = True,
    reason: Reason = Reason.PROGRAMMED,
    message: str = "All serve it.",
) -> Condition:
    return Condition(kind, status=status, reason=reason, message=message)


def target(*conditions: Condition, uid: str = "u", generation: int = 1, ready: int = 3, **body: Any) -> Target:
    return Target(uid, generation, conditions or (condition(),), {"endpoints": {"ready": ready}, **body})


def written(of: Target) -> dict[str, Any]:
    return status_body(of, {}, now=NOW)


# --- when ---


def test_a_status_that_says_all_is_not_due() -> None:
    assert due_at(target(), written(target()), last_write=0.0) is None


@pytest.mark.parametrize(
    "changed",
    [
        target(condition(status=False, reason=Reason.PENDING)),
        target(condition(message="Other words.")),
        target(generation=2),
        target(urls=["ws://a"]),
        target(condition(), condition(ConditionType.READY)),
    ],
)
def test_conditions_and_facts_are_due_at_once(changed: Target) -> None:
    assert due_at(changed, written(target()), last_write=100.0) == float("-inf")


def test_counts_alone_wait_for_ten_seconds_since_the_last_write() -> None:
    assert due_at(target(ready=4), written(target()), last_write=100.0) == 110.0


def test_a_field_that_is_no_more_is_taken_out() -> None:
    assert due_at(target(), written(target(urls=["ws://a"])), last_write=0.0) == float("-inf")


@pytest.mark.parametrize("odd", [{}, {"conditions": "x"}, {"conditions": [None, 3]}, {"conditions": [{"type": []}]}])
def test_whatever_a_hand_has_put_there_is_overwritten(odd: dict[str, Any]) -> None:
    assert due_at(target(), odd, last_write=0.0) == float("-inf")
    assert status_body(target(), odd, now=NOW)["conditions"][0]["lastTransitionTime"] == NOW


def test_times_stay_while_the_status_does() -> None:
    later = status_body(target(condition(message="New.")), written(target()), now="2026-02-01T00:00:00Z")
    assert later["conditions"][0]["lastTransitionTime"] == NOW


# --- news ---


@pytest.mark.parametrize("kind", [{}, [], None, 7])
def test_a_condition_that_a_hand_has_made_is_no_old_news(kind: Any) -> None:
    odd = {"conditions": [{"type": kind, "status": kind}]}
    assert [item.reason for item in news(target(), odd)] == ["Programmed"]


def test_trouble_is_told_once_for_each_reason() -> None:
    bad = [
        condition(kind, status=False, reason=Reason.INVALID, message=f"{kind} is wrong")
        for kind in (ConditionType.ACCEPTED, ConditionType.PROGRAMMED, ConditionType.READY)
    ]
    told = news(target(*bad), {})
    assert [(item.type, item.reason, item.note) for item in told] == [("Warning", "Invalid", "Accepted is wrong")]
    assert news(target(*bad), written(target(*bad))) == []


def test_waiting_is_no_news_and_being_served_is() -> None:
    pending = target(condition(status=False, reason=Reason.PENDING))
    assert news(pending, {}) == []
    assert [item.type for item in news(target(), written(pending))] == ["Normal"]


def test_what_is_abnormal_when_true_is_told_when_it_is_true() -> None:
    def backlog(status: bool) -> Target:
        return target(condition(ConditionType.DRAIN_BACKLOG, status=status, reason=Reason.MAX_DRAINING_GENERATIONS))

    assert news(backlog(False), {}) == []
    assert [item.type for item in news(backlog(True), written(backlog(False)))] == ["Warning"]
    assert news(backlog(True), written(backlog(True))) == []


# --- the driver ---


class Driver:
    """A status writer on a cluster in memory."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.state = ClusterState(kinds=[])
        self.feed = Feed(self.state, changed=lambda: None)
        self.now = 1000.0
        self.leading = True
        self.metrics = Metrics()
        self.events = EventRecorder(self.cluster, instance="test")
        self.writer = StatusWriter(
            self.cluster,
            self.feed,
            self.metrics,
            self.events,
            assert_leading=self.check,
            backoff=Backoff(first=0.001, cap=0.002),
            clock=lambda: self.now,
        )
        self.make("chat")

    def check(self) -> None:
        if not self.leading:
            raise NotLeadingError("not leading")

    def make(self, name: str) -> None:
        self.feed.wrote(Kind.ROUTE, self.cluster.put(ROUTES, name, namespace="team-a", spec={"paths": []}))

    def uid(self, name: str = "chat") -> str:
        return str(self.cluster.find(ROUTES, name, namespace="team-a")["metadata"]["uid"])

    def status(self, name: str = "chat") -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.find(ROUTES, name, namespace="team-a").get("status", {})
        return status

    def meddle(self, **status: Any) -> None:
        """Somebody writes a status, and the watch shows it."""
        found = self.cluster.find(ROUTES, "chat", namespace="team-a")
        spec, old = found["spec"], found.get("status", {})
        raw = self.cluster.put(ROUTES, "chat", namespace="team-a", spec=spec, status={**old, **status})
        change = read_change(Kind.ROUTE, raw, deleted=False)
        assert change is not None
        self.feed.observe(change)

    @property
    def count(self) -> int:
        return sum(plural == "websocketroutes" for _, plural, _ in self.cluster.writes)


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    driver = Driver()
    tasks = [asyncio.create_task(driver.writer.run()), asyncio.create_task(driver.events.run())]
    yield driver
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def at_rest() -> None:
    """Let everything that can run now run."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_status_is_written_once_with_an_event(driver: Driver) -> None:
    wanted = target(uid=driver.uid())
    driver.writer.aim({CHAT: wanted})
    await until(lambda: driver.status() and any(resource == EVENTS for resource, *_ in driver.cluster.objects))
    assert driver.status()["endpoints"] == {"ready": 3}
    for _ in range(3):
        driver.writer.aim({CHAT: replace(wanted)})
        await at_rest()
    assert driver.count == 1


async def test_counts_are_held_back_and_a_changed_condition_takes_them_along(driver: Driver) -> None:
    driver.writer.aim({CHAT: target(uid=driver.uid())})
    await until(lambda: driver.count == 1)
    driver.writer.aim({CHAT: target(uid=driver.uid(), ready=4)})
    await at_rest()
    assert driver.count == 1
    driver.writer.aim({CHAT: target(condition(message="Else."), uid=driver.uid(), ready=5)})
    await until(lambda: driver.count == 2)
    assert driver.status()["endpoints"] == {"ready": 5}
    driver.now += 10.0
    driver.writer.aim({CHAT: target(condition(message="Else."), uid=driver.uid(), ready=6)})
    await until(lambda: driver.count == 3)


async def test_a_status_that_somebody_changed_is_written_again_without_a_pass(driver: Driver) -> None:
    driver.writer.aim({CHAT: target(uid=driver.uid())})
    await until(lambda: driver.count == 1)
    right = driver.status()["conditions"]
    driver.now += HEAL_APART
    driver.meddle(conditions=[{**right[0], "reason": "Nonsense"}])
    await until(lambda: driver.count == 2)
    assert driver.status()["conditions"][0]["reason"] == right[0]["reason"]


async def test_a_change_of_somebodys_right_after_our_own_write_waits_for_a_moment(driver: Driver) -> None:
    driver.writer.aim({CHAT: target(uid=driver.uid())})
    await until(lambda: driver.count == 1)
    driver.now += HEAL_APART - 0.05
    driver.meddle(conditions=[])
    await at_rest()
    assert driver.count == 1
    driver.now += 0.05
    await until(lambda: driver.count == 2)


async def test_counts_that_are_held_back_do_not_hold_back_the_healing_of_conditions(driver: Driver) -> None:
    driver.writer.aim({CHAT: target(uid=driver.uid())})
    await until(lambda: driver.count == 1)
    driver.writer.aim({CHAT: target(uid=driver.uid(), ready=4)})
    await at_rest()
    driver.now += HEAL_APART - 0.05
    driver.meddle(conditions=[])
    driver.now += 0.05
    await until(lambda: driver.count == 2)
    assert driver.status()["endpoints"] == {"ready": 4}


async def test_the_watch_that_shows_our_own_write_causes_none(driver: Driver) -> None:
    driver.writer.aim({CHAT: target(uid=driver.uid())})
    await until(lambda: driver.count == 1)
    driver.now += HEAL_APART
    driver.meddle()
    await at_rest()
    assert driver.count == 1


async def test_a_failed_write_is_tried_again(driver: Driver) -> None:
    left = 3

    def fail(verb: str, *_: object) -> UnavailableError | None:
        nonlocal left
        left -= verb == "apply"
        return UnavailableError("no answer") if left >= 0 else None

    driver.cluster.fail = fail
    driver.writer.aim({CHAT: target(uid=driver.uid())})
    await until(lambda: driver.count == 1)
    assert b'outcome="retried"} 3.0' in driver.metrics.render()


async def test_a_refused_write_is_told_and_holds_up_no_other(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    driver.make("page")
    driver.cluster.fail = lambda verb, _, name: RejectedError("no") if (verb, name) == ("apply", "chat") else None
    page = StatusKey(Kind.ROUTE, Key("team-a", "page"))
    driver.writer.aim({CHAT: target(uid=driver.uid()), page: target(uid=driver.uid("page"))})
    await until(lambda: driver.status("page"))
    assert not driver.status()
    assert "can't be written" in caplog.text


async def test_who_does_not_lead_writes_nothing_and_the_next_aim_does(driver: Driver) -> None:
    driver.leading = False
    wanted = target(uid=driver.uid())
    driver.writer.aim({CHAT: wanted})
    await at_rest()
    assert driver.count == 0
    driver.leading = True
    driver.writer.aim({CHAT: wanted})
    await until(lambda: driver.count == 1)


async def test_a_status_is_never_written_onto_another_object_of_that_name(driver: Driver) -> None:
    wanted = target(uid=driver.uid())
    driver.cluster.remove(ROUTES, "chat", namespace="team-a")
    driver.cluster.put(ROUTES, "chat", namespace="team-a", spec={"paths": ["other"]})
    driver.writer.aim({CHAT: wanted})
    await at_rest()
    assert driver.count == 0
    assert not driver.status()


async def test_a_status_meets_no_newer_version_of_its_object_than_the_one_it_speaks_of(driver: Driver) -> None:
    """So what another leader has written is safe from what this one still has under way."""
    wanted = target(uid=driver.uid())
    spec = driver.cluster.find(ROUTES, "chat", namespace="team-a")["spec"]
    newer = driver.cluster.put(ROUTES, "chat", namespace="team-a", spec=spec, status={"summary": "of another leader"})
    driver.writer.aim({CHAT: wanted})
    await until(lambda: b'outcome="conflict"' in driver.metrics.render())
    assert driver.status() == {"summary": "of another leader"}
    change = read_change(Kind.ROUTE, newer, deleted=False)
    assert change is not None
    driver.feed.observe(change)
    await until(lambda: driver.count == 1)


async def test_a_deleted_object_is_no_trouble(driver: Driver) -> None:
    wanted = target(uid=driver.uid())
    driver.cluster.remove(ROUTES, "chat", namespace="team-a")
    driver.writer.aim({CHAT: wanted})
    await until(lambda: b'outcome="gone"' in driver.metrics.render())
    driver.writer.aim({})
    await at_rest()
    assert driver.count == 0


async def test_many_statuses_are_written_several_at_a_time(driver: Driver) -> None:
    inside = most = 0
    apply = driver.cluster.apply

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        try:
            return await apply(*arguments, **options)
        finally:
            inside -= 1

    driver.cluster.apply = counted  # type: ignore[method-assign]
    targets = {}
    for number in range(100):
        driver.make(f"r{number}")
        targets[StatusKey(Kind.ROUTE, Key("team-a", f"r{number}"))] = target(uid=driver.uid(f"r{number}"))
    driver.writer.aim(targets)
    await until(lambda: driver.count == 100)
    assert 1 < most <= 8
