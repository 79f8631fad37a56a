"""The driver of the election, with a Lease in memory and a clock in hand."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tests.support.clock import jumping
from wsroute.kube.elector import Elector, NotLeadingError, lease_spec, micro_time, parse_lease
from wsroute.kube.leader import Timing, Write
from wsroute.kube.port import (
    LEASES,
    ClusterClient,
    ConflictError,
    ForbiddenError,
    Json,
    KubeError,
    NotFoundError,
    Resource,
)

# Leadership must not lapse because the machine is busy.
PATIENT = Timing(lease=90.0, renew_deadline=60.0, retry=0.05)
QUICK = Timing(lease=1.0, renew_deadline=0.7, retry=0.05)


class Leases:
    """One Lease with optimistic locking. ``failure`` is raised instead of an answer; ``stuck`` never answers."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.failure: KubeError | None = None
        self.stuck = False
        self.version = 0

    async def get(self, _: Resource, *, namespace: str, name: str) -> Json:
        await self._trouble()
        if self.lease is None:
            raise NotFoundError(f"no {namespace}/{name}")
        return self.lease

    async def create(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        await self._trouble()
        assert resource == LEASES
        if self.lease is not None:
            raise ConflictError("exists")
        return self._store(body)

    async def update(self, _: Resource, body: Mapping[str, Any]) -> Json:
        await self._trouble()
        if self.lease is None:
            raise NotFoundError("gone")
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError("changed")
        return self._store(body)

    async def _trouble(self) -> None:
        await asyncio.sleep(0)
        if self.stuck:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure

    def _store(self, body: Mapping[str, Any]) -> Json:
        self.version += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return self.lease


class Clock:
    """The loop's clock, which can jump as the real one does when a machine wakes up."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.jumped


def candidate(leases: Leases, identity: str, clock: Clock | None = None, timing: Timing = PATIENT) -> Elector:
    return Elector(
        cast("ClusterClient", leases),
        namespace="wsroute",
        name="operator",
        identity=identity,
        timing=timing,
        clock=clock or Clock(),
    )


@contextlib.asynccontextmanager
async def running(*electors: Elector) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(elector.run()) for elector in electors]
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_candidate_alone_leads_until_it_stops() -> None:
    leases = Leases()
    me = candidate(leases, "me")
    with pytest.raises(NotLeadingError, match="writes nothing"):
        me.assert_leading()
    task = asyncio.create_task(me.run())
    async with asyncio.timeout(60):
        await me.until(leading=True)
        me.assert_leading()
        assert 0 < me.remaining() <= PATIENT.renew_deadline
        assert me.epoch == 0
        me.stop()
        await me.until(leading=False)
        await task
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == ""


async def test_the_next_one_takes_over_what_was_given_back() -> None:
    leases = Leases()
    first, second = candidate(leases, "first"), candidate(leases, "second")
    async with running(first):
        await first.until(leading=True)
        async with running(second):
            first.stop()
            await second.until(leading=True)
            assert not first.leading
            assert second.epoch == 1


async def test_a_jump_of_the_clock_ends_leadership_at_once() -> None:
    leases, clock = Leases(), Clock()
    # So slow that the driver itself does not wake up meanwhile.
    me = candidate(leases, "me", clock, Timing(lease=3_000, renew_deadline=2_000, retry=900))
    async with running(me):
        await me.until(leading=True)
        clock.jumped = 2_000
        assert not me.leading
        assert me.remaining() == 0
        with pytest.raises(NotLeadingError):
            me.assert_leading()


@jumping
async def test_a_server_that_does_not_answer_ends_leadership_in_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    leases = Leases()
    me = candidate(leases, "me", timing=QUICK)
    async with running(me):
        await me.until(leading=True)
        leases.stuck = True
        await me.until(leading=False)
        leases.stuck = False
        await me.until(leading=True)
    told = [record.message for record in caplog.records]
    assert told[0] == "This replica leads now, epoch 0."
    assert any("is held up; trying again until it works" in line for line in told)
    assert "This replica no longer leads." in told
    assert told.count("This replica leads now, epoch 0.") >= 2, "nobody else had it in between"


async def test_missing_rights_are_told_and_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    leases = Leases()
    leases.failure = ForbiddenError("Reading Lease wsroute/operator: forbidden")
    me = candidate(leases, "me")
    async with running(me):
        while "forbidden" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        leases.failure = None
        await me.until(leading=True)


async def test_a_lease_that_somebody_edits_is_kept_with_the_edit() -> None:
    leases = Leases()
    me = candidate(leases, "me")
    async with running(me):
        await me.until(leading=True)
        assert leases.lease is not None
        leases._store({**leases.lease, "metadata": {**leases.lease["metadata"], "labels": {"a": "b"}}})
        seen = leases.version
        while leases.version < seen + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert me.leading
        assert leases.lease["metadata"]["labels"] == {"a": "b"}


async def test_a_lease_that_is_deleted_is_made_again_with_a_later_epoch() -> None:
    leases = Leases()
    me = candidate(leases, "me")
    async with running(me):
        await me.until(leading=True)
        leases.lease = None
        while me.epoch == 0 or not me.leading:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert me.epoch == 1


@pytest.mark.parametrize(
    "lease",
    [
        {},
        {"spec": None},
        {"spec": []},
        {"spec": {"holderIdentity": None, "leaseDurationSeconds": "x", "leaseTransitions": None, "renewTime": None}},
    ],
)
def test_any_lease_can_be_read(lease: Json) -> None:
    record = parse_lease(lease)
    assert (record.holder, record.duration, record.transitions, record.renewed) == ("", 0.0, 0, "")


def test_a_lease_is_written_as_other_clients_write_it() -> None:
    spec = lease_spec({"strategy": "kept"}, Write("me", 4, 14.5, acquire=True))
    assert spec["holderIdentity"] == "me"
    assert spec["leaseDurationSeconds"] == 15
    assert spec["leaseTransitions"] == 4
    assert spec["strategy"] == "kept"
    assert spec["acquireTime"] == spec["renewTime"]
    renewed = lease_spec({**spec, "acquireTime": "then"}, Write("me", 4, 15.0))
    assert renewed["acquireTime"] == "then"


def test_micro_time_has_six_digits() -> None:
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
