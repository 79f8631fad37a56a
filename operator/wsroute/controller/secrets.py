"""Follows the Secrets that balancers name, each by its own name, and writes those that bring certificates to the pods.

A role can allow to list and watch a Secret by its name (``resourceNames``), so that the operator needs no right to read
any other one. What the Secrets hold stays here and in the passes; it is neither logged nor told.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from wsroute.cluster.objects import Key, Secret
from wsroute.cluster.parse import parse_secret
from wsroute.controller.certifying import NOTHING_SEEN, Sight, Sights, Unseen
from wsroute.controller.tls_secrets import SecretWrite, apply_body
from wsroute.controller.writer import Outcome
from wsroute.dataplane.names import FIELD_MANAGER, ROLE_TLS
from wsroute.kube.backoff import Backoff
from wsroute.kube.port import (
    SECRETS,
    ClusterClient,
    ConflictError,
    ForbiddenError,
    Json,
    KubeError,
    NotFoundError,
    RejectedError,
    UnavailableError,
)
from wsroute.kube.reflector import Deleted, Replaced, reflect
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)

REFUSALS: Final = Backoff(first=0.25, cap=20.0)
"""A Secret whose right is missing is asked for again and again, but no longer often."""


def describe_unwritten(key: Key, balancer: str) -> str:
    """What to tell of a Secret that the API server does not let us write."""
    return (
        f"The operator can't write the Secret {key}, which brings certificates to the pods: let the Role "
        f"{balancer}-certificates create and patch it by its name. Its log has the API server's answer."
    )


class Secrets:
    """The Secrets that are followed. ``changed`` is called when one is seen anew; ``assert_leading`` right before each
    write, and what it raises goes through."""

    def __init__(
        self,
        client: ClusterClient,
        metrics: Metrics,
        *,
        changed: Callable[[], None],
        assert_leading: Callable[[], None],
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._changed = changed
        self._assert_leading = assert_leading
        self._following: dict[Key, asyncio.Task[None]] = {}
        self._wanted: frozenset[Key] = frozenset()
        self._aimed = asyncio.Event()
        self.sights: Sights = NOTHING_SEEN
        """What is seen of them: a mapping that is never changed once somebody has it."""

    def aim(self, keys: frozenset[Key]) -> None:
        """Follow these, and no others any more."""
        if keys != self._wanted:
            self._wanted = keys
            self._aimed.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._aimed.wait()
                self._aimed.clear()
                for key in self._following.keys() - self._wanted:
                    task = self._following.pop(key)
                    task.cancel()
                    await asyncio.wait([task])
                    self.sights = {other: sight for other, sight in self.sights.items() if other != key}
                for key in self._wanted - self._following.keys():
                    self._following[key] = tasks.create_task(self._follow(key), name=f"follow Secret {key}")

    async def _follow(self, key: Key) -> None:
        def refused(error: ForbiddenError) -> None:
            if error.status == 403 and key not in self.sights:  # else what was seen stays
                self._see(key, Unseen.FORBIDDEN)

        selector = f"metadata.name={key.name}"
        async for event in reflect(
            self._client, SECRETS, namespace=key.namespace, field_selector=selector, refusals=REFUSALS, refused=refused
        ):
            self._metrics.events.labels(SECRETS.kind).inc()
            if isinstance(event, Replaced):
                found = [item for item in event.items if item.get("metadata", {}).get("name") == key.name]
                self._see(key, _read(found[0]) if found else Unseen.ABSENT)
            else:
                self._see(key, Unseen.ABSENT if isinstance(event, Deleted) else _read(event.object))

    def _see(self, key: Key, sight: Sight) -> None:
        known = self.sights.get(key)
        stale = isinstance(known, Secret) and isinstance(sight, Secret) and _is_older(sight, known)
        if known != sight and not stale:
            self.sights = {**self.sights, key: sight}
            self._changed()

    async def write(self, write: SecretWrite) -> Outcome:
        """Bring a Secret about. Raises nothing of the API server's."""
        key = write.wanted.key
        try:
            outcome = await self._write(write)
        except UnavailableError as error:
            outcome = Outcome.UNAVAILABLE
            logger.warning("Secret %s can't be written now. %s", key, error)
        except KubeError as error:
            outcome = Outcome.REFUSED
            # Its words might repeat what it refuses.
            logger.warning("Secret %s can't be written: the API server answers %d.", key, error.status)
        self._metrics.writes.labels(ROLE_TLS, outcome).inc()
        return outcome

    async def _write(self, write: SecretWrite) -> Outcome:
        key = write.wanted.key
        if write.known is None and isinstance(self.sights.get(key), Secret):
            return Outcome.FOREIGN  # there is one, and it is not ours
        self._assert_leading()
        try:
            answer = await self._client.apply(SECRETS, apply_body(write.wanted, write.known), manager=FIELD_MANAGER)
        except (ConflictError, NotFoundError):
            return Outcome.CONFLICT  # its watch tells how it is now
        except RejectedError:
            if write.known is None:
                return Outcome.FOREIGN  # one of another type has been made meanwhile
            raise
        if key in self.sights:
            self._see(key, _read(answer))
        return Outcome.WRITTEN


def _read(raw: Json) -> Sight:
    return parse_secret(raw) or Unseen.ABSENT


def _is_older(one: Secret, other: Secret) -> bool:
    return one.meta.uid == other.meta.uid and -1 < one.meta.version < other.meta.version
