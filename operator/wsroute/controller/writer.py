"""Writes generated ConfigMaps: only ours, only what differs, only on the version that we last saw. With strategy
Restart also one annotation of a Deployment's pod template.

An object is made by ``create``, which fails when one of that name exists: so nothing of somebody else's is ever
adopted. It is empty and labelled then, and its content follows by server-side apply with uid and resourceVersion as
preconditions. A part of a table, where each millisecond counts, is made with its content and replaced as a whole under
the same preconditions: for the API server that is a fifth less work.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.cluster.parse import parse_config_map
from wsroute.controller.feed import Feed
from wsroute.controller.generated import Wanted, apply_body, create_body, is_ours, stands, whole_body
from wsroute.controller.restarting import Restart, restart_body
from wsroute.dataplane.names import FIELD_MANAGER, ROLE_TABLE, WRITTEN_ANNOTATION
from wsroute.kube.port import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ClusterClient,
    ConflictError,
    Json,
    KubeError,
    NotFoundError,
    UnavailableError,
)
from wsroute.observability.metrics import Metrics

logger = logging.getLogger(__name__)


def describe_foreign(key: Key, kind: str = "ConfigMap") -> str:
    """What to tell of an object that has a generated one's name and isn't ours."""
    return f"{kind} {key} exists and does not bear our labels, so it is left alone: rename or delete it."


def describe_unpatched(key: Key) -> str:
    """What to tell of a Deployment whose pods the operator can't replace."""
    return (
        f"The operator can't patch the Deployment {key}, as strategy Restart needs: give its ServiceAccount that "
        "right, as deploy/balancer-restart/rbac.yaml does. Its log has the API server's words."
    )


class Outcome(StrEnum):
    """What became of a write."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    """Somebody else wrote first; the state has the newer object now."""
    FOREIGN = "foreign"
    """An object of that name exists and isn't ours; it stays as it is."""
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"

    @property
    def again(self) -> bool:
        """Whether the next pass, soon, should try again."""
        return self in (Outcome.CONFLICT, Outcome.UNAVAILABLE, Outcome.REFUSED)


class Writer:
    """Writes ConfigMaps one at a time, and tells the feed what came of it. What was written asks for no pass: whoever
    called knows that it was, and when a pass makes sense.

    ``assert_leading`` is called right before each request that changes something; what it raises goes through.
    """

    def __init__(
        self, client: ClusterClient, feed: Feed, metrics: Metrics, *, assert_leading: Callable[[], None]
    ) -> None:
        self._client = client
        self._assert_leading = assert_leading
        self._feed = feed
        self._metrics = metrics

    async def write(self, wanted: Wanted, known: ConfigMap | None) -> Outcome:
        """Bring a ConfigMap about. ``known`` is the one that the pass saw. Raises nothing of the API server's."""
        if known is not None and stands(wanted, known):
            return Outcome.UNCHANGED
        return await self._counted(f"ConfigMap {wanted.key}", wanted.role, self._write(wanted, known))

    async def ensure(self, wanted: Wanted, known: ConfigMap | None) -> Outcome:
        """Make a ConfigMap where there is none, and leave what is in it alone."""
        if known is not None:
            return Outcome.UNCHANGED
        return await self._counted(f"ConfigMap {wanted.key}", wanted.role, self._ensure(wanted))

    async def restart(self, restart: Restart) -> Outcome:
        """Annotate the pod template of the Deployment that the pass saw. Raises nothing of the API server's."""
        key = restart.deployment.meta.key
        return await self._counted(f"Deployment {key}", "deployment", self._restart(restart))

    async def _restart(self, restart: Restart) -> Outcome:
        key = restart.deployment.meta.key
        self._assert_leading()
        try:
            answer = await self._client.apply(DEPLOYMENTS, restart_body(restart), manager=FIELD_MANAGER)
        except (ConflictError, NotFoundError):
            return Outcome.CONFLICT  # its watch tells how it is now
        logger.info("The pods of the Deployment %s are replaced, for version %s.", key, restart.version)
        self._feed.wrote(Kind.DEPLOYMENT, answer, quietly=True)
        return Outcome.WRITTEN

    async def remove_keys(self, key: Key, dead: frozenset[str]) -> None:
        """Take keys out of a ConfigMap whose keys belong to agents that are gone."""
        try:
            raw = await self._client.get(CONFIG_MAPS, namespace=key.namespace, name=key.name)
            data = raw.get("data") or {}
            body = {**raw, "data": {name: value for name, value in data.items() if name not in dead}}
            if body["data"] != data:
                self._assert_leading()
                self._feed.wrote(Kind.CONFIG_MAP, await self._client.update(CONFIG_MAPS, body))
        except (ConflictError, NotFoundError, UnavailableError):
            logger.debug("The answers of gone pods in %s are taken out another time.", key)
        except KubeError as error:
            logger.warning("The answers of gone pods in %s can't be taken out. %s", key, error)

    async def _counted(self, what: str, role: str, write: Awaitable[Outcome]) -> Outcome:
        try:
            outcome = await write
        except UnavailableError as error:
            outcome = Outcome.UNAVAILABLE
            logger.warning("%s can't be written now. %s", what, error)
        except KubeError as error:
            outcome = Outcome.REFUSED
            logger.warning("%s can't be written. %s", what, error)
        self._metrics.writes.labels(role, outcome).inc()
        return outcome

    async def _write(self, wanted: Wanted, known: ConfigMap | None) -> Outcome:
        if wanted.role == ROLE_TABLE:
            return await self._replace(wanted, known)
        if known is None:
            created = await self._create(wanted, create_body(wanted))
            if isinstance(created, Outcome):
                return created
            known = created
        body = apply_body(wanted, uid=known.meta.uid, version=known.meta.version)
        self._assert_leading()
        try:
            answer = await self._client.apply(CONFIG_MAPS, body, manager=FIELD_MANAGER)
        except (ConflictError, NotFoundError):
            await self._look(wanted)
            return Outcome.CONFLICT
        self._feed.wrote(Kind.CONFIG_MAP, answer, quietly=True)
        return Outcome.WRITTEN

    async def _replace(self, wanted: Wanted, known: ConfigMap | None) -> Outcome:
        body = whole_body(wanted, known)
        body["metadata"]["annotations"][WRITTEN_ANNOTATION] = f"{time.time():.3f}"
        if known is None:
            created = await self._create(wanted, body)
            return created if isinstance(created, Outcome) else Outcome.WRITTEN
        self._assert_leading()
        try:
            answer = await self._client.update(CONFIG_MAPS, body)
        except (ConflictError, NotFoundError):
            await self._look(wanted)
            return Outcome.CONFLICT
        self._feed.wrote(Kind.CONFIG_MAP, answer, quietly=True)
        return Outcome.WRITTEN

    async def _ensure(self, wanted: Wanted) -> Outcome:
        created = await self._create(wanted, create_body(wanted))
        return created if isinstance(created, Outcome) else Outcome.WRITTEN

    async def _create(self, wanted: Wanted, body: Json) -> ConfigMap | Outcome:
        """A new object of ours, or why there is none."""
        self._assert_leading()
        try:
            answer = await self._client.create(CONFIG_MAPS, body)
        except ConflictError:
            existing = await self._look(wanted)
            if existing is not None and not is_ours(existing, wanted):
                logger.warning(describe_foreign(wanted.key))
                return Outcome.FOREIGN
            return Outcome.CONFLICT
        self._feed.wrote(Kind.CONFIG_MAP, answer, quietly=True)
        return parse_config_map(answer) or Outcome.CONFLICT

    async def _look(self, wanted: Wanted) -> ConfigMap | None:
        """The object as it is now, told to the state when it is ours."""
        try:
            raw: Json = await self._client.get(CONFIG_MAPS, namespace=wanted.key.namespace, name=wanted.key.name)
        except NotFoundError:
            return None
        existing = parse_config_map(raw)
        if existing is not None and is_ours(existing, wanted):
            self._feed.wrote(Kind.CONFIG_MAP, raw)
        return existing
