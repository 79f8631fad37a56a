"""The only kopf handlers: each tells what it saw and returns.

kopf is our trigger and nothing else. Such handlers write nothing to the objects: no annotation, no finalizer, so GitOps
never sees drift and an object can be deleted while no operator runs. They are total: whatever an object holds, the
record says what is wrong with it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import kopf

from wsroute.cluster.kinds import Kind
from wsroute.controller.feed import RESOURCES, Change, read_change

Sink = Callable[[Kind, Change | None, bool], None]
"""Takes a kind, what happened to which object (None when that can't be told) and whether kopf has listed anew."""


def register(registry: kopf.OperatorRegistry, sink: Sink, kinds: Iterable[Kind]) -> None:
    """Register one handler for each of these kinds."""
    for kind in kinds:
        _register_kind(registry, sink, kind)


def _register_kind(registry: kopf.OperatorRegistry, sink: Sink, kind: Kind) -> None:
    resource = RESOURCES[kind]

    async def saw(event: Any, **_: Any) -> None:
        change = read_change(kind, event["object"], deleted=event["type"] == "DELETED")
        sink(kind, change, event["type"] is None)

    # The id is explicit: kopf would make one from the function's name, the same for all kinds.
    kopf.on.event(
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        id=f"saw-{resource.plural}",
        registry=registry,
    )(saw)
