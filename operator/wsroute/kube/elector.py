"""Drives an election (:mod:`wsroute.kube.leader`) with a real Lease, and tells who asks whether we lead."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from wsroute.kube import leader
from wsroute.kube.backoff import jitter
from wsroute.kube.leader import LeaderElection, LeaseRecord, Timing
from wsroute.kube.port import LEASES, ClusterClient, ConflictError, Json, KubeError, NotFoundError

logger = logging.getLogger(__name__)


class NotLeadingError(Exception):
    """We are not the leader (any more): nothing may be written."""


def boottime() -> float:
    """Seconds of the clock that runs through suspensions of the machine (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Elector:
    """One candidate for a Lease.

    ``run`` holds the election; everything else may be asked at any time and answers by the clock, so that a process
    that was frozen knows at once that its time is over. ``identity`` must belong to one run of one process, such as the
    pod's name and a random part.
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing = Timing(),  # noqa: B008 (immutable)
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._state = LeaderElection(identity, timing)
        self._lease: Json = {}
        self._stop = asyncio.Event()
        self._told = False
        self._changed = asyncio.Event()
        self._failures = 0

    @property
    def leading(self) -> bool:
        """Do we lead, this very moment?"""
        return self._state.leading(self._clock())

    @property
    def epoch(self) -> int:
        """The Lease's count of transitions: higher for each leader than for all before it; -1 before it is known."""
        return self._state.epoch

    def remaining(self) -> float:
        """Seconds for which we lead at least, never below 0."""
        return max(0.0, self._state.leading_until - self._clock())

    def assert_leading(self) -> None:
        """To be called before each write; a write must then end within ``timing.slack``. Raises NotLeadingError."""
        if not self.leading:
            raise NotLeadingError("This replica does not lead (any more); it writes nothing.")

    async def until(self, *, leading: bool) -> None:
        """Return when we lead, or when we do not."""
        while self.leading is not leading:
            await self._changed.wait()

    def stop(self) -> None:
        """End the election: we stop leading, give the Lease back, and ``run`` returns. Stop writing before."""
        self._stop.set()

    async def run(self) -> None:
        """Hold the election until ``stop``. Trouble with the API server is waited out; nothing is raised."""
        happening: leader.Happening = leader.Wake()
        while True:
            if self._stop.is_set() and not self._state.stopping:
                happening = leader.Stop()
            self._state, action = leader.step(self._state, self._clock(), happening, jitter=jitter())
            self._tell()
            match action:
                case leader.Read():
                    happening = await self._request(self._read())
                case leader.Write():
                    happening = await self._request(self._write(action))
                case leader.Wait(seconds):
                    # A read alone is no success when we then may not write.
                    if not isinstance(happening, leader.Failed):
                        self._note_success()
                    happening = await self._wait(seconds)
                case leader.Done():
                    return

    async def _read(self) -> leader.Happening:
        try:
            self._lease = await self._client.get(LEASES, namespace=self._namespace, name=self._name)
        except NotFoundError:
            return leader.Seen(None)
        return leader.Seen(parse_lease(self._lease))

    async def _write(self, write: leader.Write) -> leader.Happening:
        metadata = {"namespace": self._namespace, "name": self._name}
        try:
            if write.create:
                self._lease = await self._client.create(LEASES, {"metadata": metadata, "spec": lease_spec({}, write)})
            else:
                spec = lease_spec(self._lease.get("spec") or {}, write)
                self._lease = await self._client.update(LEASES, {**self._lease, "spec": spec})
        except ConflictError:
            return leader.Refused()
        except NotFoundError:
            if write.create:  # there is no such namespace
                raise
            return leader.Refused()
        return leader.Written(parse_lease(self._lease))

    async def _request(self, request: Coroutine[Any, Any, leader.Happening]) -> leader.Happening:
        """Make a request that ends before our belief in ourselves does, so that its end is noticed in time."""
        limit = self._state.timing.request
        if self.leading:
            limit = min(limit, self.remaining())
        try:
            async with asyncio.timeout(limit):
                return await request
        except TimeoutError:
            self._note_failure(f"The API server did not answer within {limit:.1f} s.")
            return leader.Failed()
        except KubeError as error:
            self._note_failure(str(error))
            return leader.Failed()

    def _note_failure(self, words: str) -> None:
        # One failure alone is everyday life.
        self._failures += 1
        if self._failures == 2:
            logger.warning(
                "The election for the Lease %s/%s is held up; trying again until it works. %s",
                self._namespace,
                self._name,
                words,
            )

    def _note_success(self) -> None:
        if self._failures > 1:
            logger.info("The election for the Lease %s/%s goes on.", self._namespace, self._name)
        self._failures = 0

    async def _wait(self, seconds: float) -> leader.Happening:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return leader.Wake()

    def _tell(self) -> None:
        if self.leading is not self._told:
            self._told = not self._told
            if self._told:
                logger.info("This replica leads now, epoch %d.", self.epoch)
            else:
                logger.info("This replica no longer leads.")
            self._changed.set()
            self._changed = asyncio.Event()


def parse_lease(lease: Json) -> LeaseRecord:
    """The record in a Lease. Whatever a hand has put there, it reads as something: strange values as empty or 0."""
    raw = lease.get("spec")
    spec: dict[str, Any] = raw if isinstance(raw, dict) else {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration=float(duration) if isinstance(duration, int) else 0.0,
        transitions=transitions if isinstance(transitions, int) else 0,
        acquired=spec.get("acquireTime") or "",
        renewed=spec.get("renewTime") or "",
    )


def lease_spec(before: Json, write: leader.Write) -> Json:
    """The Lease's spec with a write of the election carried out. Times are for people and other programs' eyes."""
    now = micro_time(datetime.now(UTC))
    acquired = {"acquireTime": now} if write.acquire or "acquireTime" not in before else {}
    return {
        **before,
        "holderIdentity": write.holder,
        "leaseDurationSeconds": math.ceil(write.duration),
        "leaseTransitions": write.transitions,
        "renewTime": now,
        **acquired,
    }


def micro_time(moment: datetime) -> str:
    """A moment as Kubernetes' MicroTime: RFC 3339 with exactly six digits, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
