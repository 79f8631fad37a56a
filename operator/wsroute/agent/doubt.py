"""Which ConfigMaps are believed, and which wait because they come from a leader that another one has followed."""

import logging
import time

from wsroute.agent import decide
from wsroute.agent.decide import Stamped, supersedes
from wsroute.kube.port import Json

logger = logging.getLogger(__name__)


class Doubts:
    """ConfigMaps that are not believed yet."""

    def __init__(self) -> None:
        self._doubted: dict[str, tuple[Json, float]] = {}
        """And since when, by name."""

    @property
    def items(self) -> tuple[Json, ...]:
        """They themselves. Ask again from time to time: what stands for long is believed."""
        return tuple(item for item, _ in self._doubted.values())

    def believes(self, item: Json, new: Stamped, known: Stamped | None) -> bool:
        """Whether to follow a ConfigMap, of which ``known`` was followed last."""
        name = item["metadata"]["name"]
        now = time.monotonic()
        _, since = self._doubted.get(name, (item, now))
        if supersedes(new, known, stood=now - since):
            self._doubted.pop(name, None)
            return True
        if name not in self._doubted:
            logger.warning(
                "%s comes from a leader that has been followed by another; not followed, unless it stands for %.0f s.",
                name,
                decide.DOUBT,
            )
        self._doubted[name] = item, since
        return False

    def forget(self, name: str) -> None:
        """A ConfigMap is gone."""
        self._doubted.pop(name, None)
