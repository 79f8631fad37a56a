"""Events about objects, for ``kubectl describe``: what happened and why, said once and never in the way of work."""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, TypeVar

from wsroute.kube.elector import micro_time
from wsroute.kube.port import EVENTS, ClusterClient, ForbiddenError, Json, KubeError

logger = logging.getLogger(__name__)

CONTROLLER: Final = "wsroute.dev/operator"
NOTE_LIMIT: Final = 1_024
"""Bytes of a note that the API server takes."""

REPEAT: Final = 600.0
"""Seconds for which the same is not said again of an object."""

BURST: Final = 10
EVERY: Final = 60.0
"""An object gets BURST Events at once, and then one in so many seconds."""

_QUEUE = 256
_REMEMBERED = 4_096
_SHORT = 128  # characters of reason, action and instance that the API server takes

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def reference(item: Mapping[str, Any]) -> Json:
    """The ObjectReference of an object, for ``regarding``."""
    metadata = item.get("metadata") or {}
    fields = {
        "apiVersion": item.get("apiVersion"),
        "kind": item.get("kind"),
        "namespace": metadata.get("namespace"),
        "name": metadata.get("name"),
        "uid": metadata.get("uid"),
    }
    return {key: value for key, value in fields.items() if value}


def clean_note(text: str) -> str:
    """One line without control characters, cut at NOTE_LIMIT bytes between two characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    encoded = line.encode("utf-8", errors="replace")
    if len(encoded) <= NOTE_LIMIT:
        return encoded.decode()
    return encoded[: NOTE_LIMIT - 3].decode(errors="ignore") + "…"


def build(
    regarding: Mapping[str, Any],
    *,
    reason: str,
    note: str,
    action: str,
    type_: Literal["Normal", "Warning"],
    instance: str,
    moment: datetime,
) -> Json:
    """An events.k8s.io/v1 Event. Its name holds a hash, so that posting it twice makes one Event."""
    said = clean_note(note)
    when = micro_time(moment)
    parts = (regarding.get("uid", ""), regarding.get("kind", ""), regarding["name"], reason, said, when)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return {
        "metadata": {
            # An Event about an object without a namespace lives in "default", as all clients have it.
            "namespace": regarding.get("namespace") or "default",
            "name": f"{regarding['name'][:230]}.{digest}",
        },
        "eventTime": when,
        "regarding": dict(regarding),
        "reason": reason[:_SHORT],
        "action": action[:_SHORT],
        "note": said,
        "type": type_,
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_SHORT],
    }


class _Recent(Generic[K, V]):
    """A map that forgets what was not touched for longest when it holds too much."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        return self._items.get(key)

    def put(self, key: K, value: V) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._limit:
            self._items.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Allowance:
    """How many Events an object may still have, as of a moment."""

    left: float
    at: float


class EventFilter:
    """Says which Events are worth posting: no repetition within REPEAT, and no flood about one object."""

    def __init__(self) -> None:
        self._said: _Recent[tuple[str, ...], float] = _Recent(_REMEMBERED)
        self._allowances: _Recent[tuple[str, ...], _Allowance] = _Recent(_REMEMBERED)

    def admit(
        self, regarding: Mapping[str, Any], *, reason: str, note: str, now: float, type_: str = "Warning"
    ) -> bool:
        """Whether to post; ``now`` in seconds of a monotonic clock. What is normal takes no room from warnings."""
        who = tuple(regarding.get(key, "") for key in ("kind", "namespace", "name", "uid"))
        what = (*who, reason, note)
        before = self._said.get(what)
        if before is not None and now - before < REPEAT:
            return False
        allowance = self._allowances.get((*who, type_)) or _Allowance(BURST, now)
        left = min(float(BURST), allowance.left + (now - allowance.at) / EVERY)
        if left < 1:
            return False
        self._said.put(what, now)
        self._allowances.put((*who, type_), _Allowance(left - 1, now))
        return True


class EventRecorder:
    """Posts Events in the background. ``record`` never waits and never fails; what does not get through is dropped."""

    def __init__(self, client: ClusterClient, *, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._instance = instance
        self._clock = clock
        self._filter = EventFilter()
        self._queue: asyncio.Queue[Json] = asyncio.Queue(_QUEUE)
        self._forbidden_told = False
        self.dropped = 0

    def record(
        self,
        regarding: Mapping[str, Any],
        *,
        reason: str,
        note: str,
        action: str,
        type_: Literal["Normal", "Warning"] = "Normal",
    ) -> None:
        """Say something of an object (its :func:`reference`), unless it was said lately."""
        if not self._filter.admit(regarding, reason=reason, note=note, now=self._clock(), type_=type_):
            return
        event = build(
            regarding,
            reason=reason,
            note=note,
            action=action,
            type_=type_,
            instance=self._instance,
            moment=datetime.now(UTC),
        )
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Post what is recorded, for ever."""
        while True:
            await self._post(await self._queue.get())
            self._queue.task_done()

    async def flush(self) -> None:
        """Wait until everything recorded so far was posted or dropped, while ``run`` runs."""
        await self._queue.join()

    async def _post(self, event: Json) -> None:
        try:
            await self._client.create(EVENTS, event)
        except KubeError as error:
            self.dropped += 1
            if isinstance(error, ForbiddenError) and not self._forbidden_told:
                self._forbidden_told = True
                logger.warning("Events can't be posted; allow `create` on events.k8s.io/events. %s", error)
            else:
                logger.debug("An Event was dropped. %s", error)
