"""What nginx's side has counted, as metrics: read when somebody asks for them, never for each request.

Labels that tenants choose are bounded, here and where nginx counts (nginx/njs/report.js): what is beyond that counts as
``other``, and one namespace can't take the room of the others.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wsroute.agent.tables import Content
from wsroute.balancer.table_client import TableUnavailableError
from wsroute.balancer.table_reader import Counts, TableReader
from wsroute.dataplane.dictionary import GROUP
from wsroute.dataplane.served import read_group

logger = logging.getLogger(__name__)

REST: Final = 5.0
"""Seconds between two questions to nginx, however often somebody asks: each takes its worker a few milliseconds."""

TIMEOUT: Final = 2.0
"""Seconds for one of them."""

MOST_ENDPOINTS: Final = 1_000
"""Endpoints with labels of their own, those with most sockets."""

MOST_OF_A_NAMESPACE: Final = 100
"""How many of those are of one namespace."""

BREATH: Final = 500
"""Groups that are read without letting others work."""

OTHER: Final = "other"


class Traffic(Collector):
    """``run`` is the folder of nginx's side; ``content`` gives the table that nginx has, None while it has none.

    Without ``names`` no team's name is told, and all routes and endpoints count as ``other``: metrics may be read by
    pods of any team.
    """

    def __init__(self, run: Path, content: Callable[[], Content | None], *, names: bool) -> None:
        self._run = run
        self._names = names
        self._content = content
        self._groups: Mapping[str, str] = {}
        self._groups_of: Content | None = None
        self._counts: Counts | None = None
        self._endpoints: Mapping[tuple[str, str], int] = {}
        self._read_at = float("-inf")
        self._turn = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask nginx, unless that was done just now."""
        async with self._turn:
            if time.monotonic() - self._read_at < REST:
                return
            try:
                await self._refresh()
            except TableUnavailableError as error:
                # One of the Static data plane knows nothing of this.
                logger.debug("What nginx has counted is not known: %s", error)
                self._counts, self._endpoints = None, {}
            self._read_at = time.monotonic()

    async def _refresh(self) -> None:
        content = self._content() if self._names else None
        if content is not None and content is not self._groups_of:
            self._groups, self._groups_of = await groups_of_endpoints(content), content
        async with TableReader(self._run, timeout=TIMEOUT) as reader:
            counts = await reader.counts()
            held = await reader.endpoint_sockets(list(self._groups))
        total = sum(counts.open.values())
        self._counts = counts if self._names else nameless(counts)
        self._endpoints = labelled(held, self._groups, total=total)

    def collect(self) -> Iterable[Metric]:
        """The families, of what was read last."""
        counts = self._counts
        return () if counts is None else self._families(counts)

    def _families(self, counts: Counts) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "wsroute_agent_requests",
            "Requests by route, and by reason: forwarded (a handshake that went to an endpoint), plain (no handshake, "
            "and it went to one), backend-refused, backend-timeout (it went to one, which gave no answer), "
            "backend-answer (which answered with no 101), client-closed (before there was an answer), else the reason "
            "of a refusal. The route is empty where none takes the request.",
            labels=["route", "reason"],
        )
        events = {
            "retried": CounterMetricFamily(
                "wsroute_agent_retries", "Requests that were sent to a second endpoint, by route.", labels=["route"]
            ),
            "ejected": CounterMetricFamily(
                "wsroute_agent_ejections",
                "Times that an endpoint was set aside because it took no connection, by the route that noticed.",
                labels=["route"],
            ),
        }
        for (reason, route), number in sorted(counts.requests.items()):
            if reason in events:
                events[reason].add_metric([route], number)
            else:
                requests.add_metric([route, reason], number)
        yield requests
        yield from events.values()
        held = GaugeMetricFamily("wsroute_agent_route_sockets", "Open sockets by route.", labels=["route"])
        for route, number in sorted(counts.open.items()):
            held.add_metric([route], number)
        yield held
        endpoints = GaugeMetricFamily(
            "wsroute_agent_endpoint_sockets",
            "Open sockets by endpoint, and by the Service and port that it belongs to.",
            labels=["service", "endpoint"],
        )
        for (service, endpoint), number in sorted(self._endpoints.items()):
            endpoints.add_metric([service, endpoint], number)
        yield endpoints
        yield GaugeMetricFamily(
            "wsroute_agent_ejected_endpoints", "Endpoints that are set aside at the moment.", value=counts.ejected
        )


def nameless(counts: Counts) -> Counts:
    """The same without the names of routes."""
    requests: Counter[tuple[str, str]] = Counter()
    for (reason, route), number in counts.requests.items():
        requests[reason, route and OTHER] += number
    return Counts(requests, {OTHER: sum(counts.open.values())}, counts.ejected)


async def groups_of_endpoints(content: Content) -> dict[str, str]:
    """The group of each endpoint of a table; of an endpoint in several groups any of them."""
    found: dict[str, str] = {}
    count = 0
    for part in content.parts.values():
        for line in part.lines.values():
            for key, value in line.entries.items():
                if key.startswith(GROUP):
                    group = read_group(key.removeprefix(GROUP), value)
                    found |= dict.fromkeys(map(str, (*group.addresses, *group.returning)), group.name)
                    count += 1
                    if count % BREATH == 0:
                        await asyncio.sleep(0)
    return found


def labelled(held: Mapping[str, int], groups: Mapping[str, str], *, total: int) -> dict[tuple[str, str], int]:
    """The sockets of the endpoints that have most, by group and endpoint, and of all others together; ``total`` is what
    all have, those that are in no group any more included."""
    found: dict[tuple[str, str], int] = {}
    taken: Counter[str] = Counter()
    for endpoint, number in sorted(held.items(), key=lambda each: (-each[1], each[0])):
        namespace = groups[endpoint].partition("/")[0]
        if not number or len(found) == MOST_ENDPOINTS:
            break
        if taken[namespace] < MOST_OF_A_NAMESPACE:
            taken[namespace] += 1
            found[groups[endpoint], endpoint] = number
    rest = total - sum(found.values())
    return found | ({(OTHER, OTHER): rest} if rest > 0 else {})
