"""Follows the ConfigMaps with a balancer's table and pushes what they say into nginx, at once.

It waits for nothing else that the agent does. Without the API server nginx keeps what it has.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import replace
from typing import Final, Literal

from wsroute.agent.decide import DOUBT
from wsroute.agent.doubt import Doubts
from wsroute.agent.metrics import AgentMetrics
from wsroute.agent.parts import PartError, parse_part, parse_stamp, parse_version
from wsroute.agent.tables import Ask, Change, Clear, Content, Known, Push, Tables, Wait, decide, files_of
from wsroute.balancer.applier import Applier
from wsroute.balancer.table_client import (
    Generation,
    TableClient,
    TableError,
    TableFullError,
    TableMovedError,
    TableRefusedError,
    TableUnavailableError,
)
from wsroute.dataplane.dictionary import Operation, mark_after
from wsroute.dataplane.names import BALANCER_LABEL, ROLE_LABEL, ROLE_TABLE
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import CONFIG_MAPS, ClusterClient, Json
from wsroute.kube.reflector import Deleted, Replaced, Upserted, reflect

logger = logging.getLogger(__name__)

CHUNK: Final = 200
"""Entries of one request: nginx does nothing else meanwhile, for some milliseconds."""

CHUNK_SIZE: Final = 512 * 1024
"""Characters of one request, unless one entry alone has more."""

RECONSIDER: Final = 1.0
"""Seconds between two looks at what is not believed yet."""

Kind = Literal["change", "whole"]
Outcome = Literal["pushed", "full", "refused", "moved", "unavailable"]

_BACKOFF: Final = Backoff(first=0.05, cap=2.0)


class TablePusher:
    """``changed`` is called when ``version`` or ``trouble`` may be another. ``present`` is told all files of
    certificates that are named, and gives those that are there."""

    def __init__(
        self,
        client: ClusterClient,
        applier: Applier,
        nginx: TableClient,
        metrics: AgentMetrics,
        *,
        namespace: str,
        balancer: str,
        changed: Callable[[], None],
        present: Callable[[frozenset[str]], Collection[str]],
    ) -> None:
        self._client = client
        self._applier = applier
        self._nginx = nginx
        self._metrics = metrics
        self._namespace = namespace
        self._balancer = balancer
        self._changed = changed
        self._present = present
        self._tables = Tables()
        self._known: dict[str, Known] = {}
        """By the names of the ConfigMaps; ``Tables`` gets it once all that is to be read was read."""
        self._doubts = Doubts()
        self._news_since: float | None = None
        """When the first of what nginx was not told yet was heard of."""
        self._delays = iter(_BACKOFF)
        self._said = (0, "")
        self._wake = asyncio.Event()

    @property
    def version(self) -> int:
        """The resourceVersion up to which nginx has all that is published."""
        return self._said[0]

    @property
    def trouble(self) -> str:
        """Why nginx has not what is published, empty when nothing hinders."""
        return self._said[1]

    def look(self) -> None:
        """nginx has loaded a version: look at once which table it has."""
        self._tables = replace(self._tables, ask_at=time.monotonic())
        self._wake.set()

    def look_for_files(self) -> None:
        """There are other files of certificates."""
        if self._tables.missing:
            self._publish()

    async def run(self) -> None:
        """Everything, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name="follow tables")
                tasks.create_task(self._reconsider(), name="reconsider tables")
                tasks.create_task(self._act(), name="push tables")
        finally:
            await self._nginx.close()

    # ── What is published ────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        selector = f"{BALANCER_LABEL}={self._balancer},{ROLE_LABEL}={ROLE_TABLE}"
        async for event in reflect(self._client, CONFIG_MAPS, namespace=self._namespace, label_selector=selector):
            match event:
                case Replaced(items):
                    for name in self._known.keys() - {item["metadata"]["name"] for item in items}:
                        self._lose(name)
                    for item in items:
                        self._read(item)
                        await asyncio.sleep(0)  # a first list may take a second
                case Deleted(item):
                    self._lose(item["metadata"]["name"])
                case Upserted(item):
                    self._read(item)
            self._publish()

    async def _reconsider(self) -> None:
        while True:
            await asyncio.sleep(RECONSIDER)
            if doubted := self._doubts.items:
                for item in doubted:
                    self._read(item)
                self._publish()
            else:
                self.look_for_files()

    def _read(self, item: Json) -> None:
        name = item["metadata"]["name"]
        before = self._known.get(name)
        part = before.part if before is not None else None
        try:
            if self._doubts.believes(item, parse_stamp(item), part):
                part, trouble = parse_part(item, self._balancer, before=part), ""
            else:
                trouble = f"It has a lower epoch than the one before; it is followed once it has stood {DOUBT:.0f} s."
        except PartError as error:
            trouble = str(error)
            logger.error("The ConfigMap %s is not followed: %s", name, error)
        self._known[name] = Known(part, parse_version(item), trouble)

    def _lose(self, name: str) -> None:
        self._doubts.forget(name)
        if (known := self._known.get(name)) is not None:
            self._known[name] = Known(known.part, None)

    def _publish(self) -> None:
        before = self._tables.wanted
        known = dict(self._known)
        files = self._present(self._tables.files | files_of(known))
        tables = self._tables.publish(known, files=files, now=time.monotonic())
        if tables.wanted is not None and (before is None or before.mark != tables.wanted.mark):
            self._news_since = self._news_since or time.monotonic()
        self._tables = tables
        self._wake.set()

    # ── What nginx has ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _act(self) -> None:
        while True:
            self._wake.clear()
            action = decide(self._tables, now=time.monotonic())
            match action:
                case Wait(seconds):
                    self._say()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await self._wake.wait()
                case Ask():
                    await self._ask()
                case Change(generation, old, new):
                    await self._tell("change", new, generation, self._change(generation, old, new))
                case Push(generation, content):
                    await self._tell("whole", content, generation, self._push(generation, content))
                case Clear(generation):
                    await self._clear(generation)

    async def _ask(self) -> None:
        instance = self._applier.instance()
        try:
            stand = await self._nginx.stand()
        except TableUnavailableError as error:
            logger.debug("The table can't be looked at: %s", error)
            self._tables = self._tables.silence(now=time.monotonic())
        else:
            self._metrics.table(entries=stand.entries, free=stand.free)
            self._tables = self._tables.hear(stand, instance, now=time.monotonic())

    async def _tell(self, kind: Kind, content: Content, generation: Generation, telling: Awaitable[None]) -> None:
        """Await what tells nginx a table, and note what became of it."""
        started, since = time.monotonic(), self._news_since
        self._news_since = None
        outcome: Outcome = "pushed"
        try:
            await telling
        except TableError as error:
            outcome = _outcome(error)
            self._news_since = since
            now = time.monotonic()
            if outcome in ("full", "refused"):
                logger.error("nginx does not take the table and goes on with the one that it has: %s", error)
                self._tables = self._tables.refuse(content, str(error), now=now)
            else:
                delay = next(self._delays)
                logger.warning("The table has to wait %.2f s: %s", delay, error)
                self._tables = self._tables.doubt(now=now)
                await asyncio.sleep(delay)
        else:
            self._delays = iter(_BACKOFF)
            self._tables = self._tables.take(content, generation)
            self._present(self._tables.files)  # the ones before are not needed any more
            now = time.monotonic()
            if kind == "whole":
                logger.info("The whole table is live, in %.0f ms.", (now - started) * 1000)
            if since is not None:
                self._metrics.table_live(seconds=now - since)
        self._metrics.table_pushed(kind, outcome)

    async def _change(self, generation: Generation, old: Content, new: Content) -> None:
        operations = new.changes_from(old)
        requests = chunks(operations) or [[]]
        # After each chunk the table is one that every handshake may see (``dictionary.diff``), and has a mark.
        before = old.entries() if len(requests) > 1 else {}
        mark = old.mark
        for request in requests[:-1]:
            following = mark_after(mark, before, request)
            await self._nginx.change(generation, request, old=mark, new=following)
            mark = following
        await self._nginx.change(generation, requests[-1], old=mark, new=new.mark)

    async def _push(self, generation: Generation, content: Content) -> None:
        await self._nginx.clear(generation)
        for request in chunks(("s", key, value) for key, value in content.entries().items()):
            await self._nginx.add(generation, request)
        await self._nginx.flip(generation, content.mark)

    async def _clear(self, generation: Generation) -> None:
        try:
            await self._nginx.clear(generation)
        except TableError as error:
            logger.debug("The generation %s can't be emptied: %s", generation, error)
            self._tables = self._tables.silence(now=time.monotonic())
        else:
            self._tables = self._tables.tidy(now=time.monotonic())

    def _say(self) -> None:
        said = self._tables.version, self._tables.trouble
        if said != self._said:
            self._said = said
            self._changed()


def chunks(operations: Iterable[Operation]) -> list[list[Operation]]:
    """The operations in the same order, by the requests in which they go out."""
    found: list[list[Operation]] = []
    size = 0
    for operation in operations:
        own = sum(map(len, operation))
        if not found or len(found[-1]) == CHUNK or size + own > CHUNK_SIZE:
            found.append([])
            size = 0
        found[-1].append(operation)
        size += own
    return found


def _outcome(error: TableError) -> Outcome:
    match error:
        case TableFullError():
            return "full"
        case TableMovedError():
            return "moved"
        case TableRefusedError():
            return "refused"
    return "unavailable"
