"""Writes statuses: only those that differ, several at a time, and only while we lead.

A status is applied under our own field manager and on the very version of the object that it speaks of, so that neither
an edit of the spec, nor an object made anew under the same name, nor what the next leader has written meets a stale
one. A write that fails is tried again for as long as it is due.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from wsroute.cluster.kinds import KIND_OF, Kind, Record
from wsroute.cluster.objects import Balancer, Route, Snapshot
from wsroute.controller.feed import RESOURCES, Feed
from wsroute.controller.statuses import StatusKey, Target, due_at, news, status_body
from wsroute.dataplane.names import FIELD_MANAGER
from wsroute.kube.backoff import Backoff
from wsroute.kube.elector import NotLeadingError
from wsroute.kube.events import EventRecorder, reference
from wsroute.kube.port import ClusterClient, ConflictError, ForbiddenError, KubeError, NotFoundError, RejectedError
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

PARALLEL: Final = 8
"""Statuses that are written at a time: half of what the client does, so that ConfigMaps don't queue behind them."""

HEAL_APART: Final = 1.0
"""Seconds between our last write of a status and the next one that only undoes what somebody else has put there: two
who disagree about a status don't keep the API server busy."""

REFUSED_PAUSE: Final = 60.0
"""Seconds until a write that the API server refuses is tried again: somebody has to mend something first."""


class StatusWriter:
    """Keeps statuses at their targets."""

    def __init__(
        self,
        client: ClusterClient,
        feed: Feed,
        metrics: Metrics,
        events: EventRecorder,
        *,
        assert_leading: Callable[[], None],
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._feed = feed
        self._metrics = metrics
        self._events = events
        self._assert_leading = assert_leading
        self._backoff = backoff or Backoff(first=0.25, cap=15.0)
        self._clock = clock
        self._targets: Mapping[StatusKey, Target] = {}
        self._settled: dict[StatusKey, tuple[Target, Mapping[str, Any]]] = {}
        """Targets that were found written, with the status in which they were found."""
        self._last_write: dict[StatusKey, float] = {}
        self._queue: asyncio.Queue[StatusKey] = asyncio.Queue()
        self._queued: set[StatusKey] = set()
        self._timers: dict[StatusKey, asyncio.TimerHandle] = {}
        self._delays: dict[StatusKey, Any] = {}
        feed.listen(self.look)

    def aim(self, targets: Mapping[StatusKey, Target]) -> None:
        """Say what all statuses ought to be; those that aren't are written soon. The same mapping again is no news."""
        if targets is self._targets:
            return
        self._targets = targets
        for memory in (self._settled, self._last_write, self._delays):
            for key in [key for key in memory if key not in targets]:
                del memory[key]
        snapshot = self._feed.state.snapshot()
        for key, target in targets.items():
            settled = self._settled.get(key)
            record = _find(snapshot, key)
            if record is None or (settled is not None and settled[0] is target and settled[1] is record.status):
                continue
            self._consider(key, target, record)

    def look(self, record: Record) -> None:
        """Look at what a watch shows: a status that somebody else has changed gives no cause for a pass."""
        if not isinstance(record, Route | Balancer):
            return
        key = StatusKey(KIND_OF[type(record)], record.meta.key)
        target = self._targets.get(key)
        if target is None or record.meta.uid != target.uid:
            return
        last_write = self._last_write.get(key, float("-inf"))
        due = due_at(target, record.status, last_write=last_write)
        if due is not None:
            self._enqueue_later(key, max(due, last_write + HEAL_APART) - self._clock())

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(PARALLEL):
                    tasks.create_task(self._work(), name=f"status writer {number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()

    def _consider(self, key: StatusKey, target: Target, record: Route | Balancer) -> None:
        due = due_at(target, record.status, last_write=self._last_write.get(key, float("-inf")))
        if due is None:
            self._settled[key] = (target, record.status)
        elif due <= self._clock():
            self._enqueue(key)
        else:
            self._enqueue_later(key, due - self._clock())

    def _enqueue(self, key: StatusKey) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    def _enqueue_later(self, key: StatusKey, seconds: float) -> None:
        """Enqueue it in so many seconds, at once when they aren't positive; of two moments the earlier one counts."""
        if seconds <= 0:
            self._enqueue(key)
            return
        if key in self._queued:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._enqueue, key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            pause = await self._write(key)
            if pause is not None:
                self._enqueue_later(key, pause)

    async def _write(self, key: StatusKey) -> float | None:
        """Write one status if it is still due; gives the seconds after which to look at it again."""
        # The object as it is known now, which may be newer than what the pass saw.
        target, record = self._targets.get(key), _find(self._feed.state.snapshot(), key)
        if target is None or record is None or record.meta.uid != target.uid:
            return None
        now = self._clock()
        due = due_at(target, record.status, last_write=self._last_write.get(key, float("-inf")))
        if due is None or due > now:
            return None if due is None else due - now
        status = status_body(target, record.status, now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        resource = RESOURCES[key.kind]
        metadata = {"namespace": key.key.namespace, "name": key.key.name, "uid": target.uid}
        if record.meta.version >= 0:
            metadata["resourceVersion"] = str(record.meta.version)
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": metadata,
            "status": status,
        }
        try:
            self._assert_leading()
            answer = await self._client.apply(resource, body, manager=FIELD_MANAGER, subresource="status")
        except NotLeadingError:
            # The next leader does it. Should that be us again, its first pass aims at what it finds.
            self._targets = {}
            return None
        except KubeError as error:
            return self._failed(key, error)
        self._metrics.status_writes.labels(key.kind, "written").inc()
        self._delays.pop(key, None)
        self._last_write[key] = now
        self._feed.wrote(key.kind, answer)
        for item in news(target, record.status):
            self._events.record(
                reference(body), reason=item.reason, note=item.note, action="Reconcile", type_=item.type
            )
        return 0.0 if self._targets.get(key) is not target else None

    def _failed(self, key: StatusKey, error: KubeError) -> float | None:
        if isinstance(error, NotFoundError):
            # Its deletion is still to be told, or it is a route that is held: there may be thousands of these.
            self._metrics.status_writes.labels(key.kind, "gone").inc()
            return REFUSED_PAUSE
        if isinstance(error, ConflictError):
            # It has changed since, or another one of that name stands there: the watch will tell.
            self._metrics.status_writes.labels(key.kind, "conflict").inc()
            return self._delay(key)
        if isinstance(error, ForbiddenError | RejectedError):
            self._metrics.status_writes.labels(key.kind, "refused").inc()
            logger.warning("The status of %s %s can't be written. %s", key.kind, key.key, error)
            return REFUSED_PAUSE
        self._metrics.status_writes.labels(key.kind, "retried").inc()
        logger.debug("The status of %s %s is written later. %s", key.kind, key.key, error)
        return max(self._delay(key), min(error.retry_after or 0.0, REFUSED_PAUSE))

    def _delay(self, key: StatusKey) -> float:
        delays = self._delays.setdefault(key, iter(self._backoff))
        return float(next(delays))


def _find(snapshot: Snapshot, key: StatusKey) -> Route | Balancer | None:
    return snapshot.routes.get(key.key) if key.kind is Kind.ROUTE else snapshot.balancers.get(key.key)
