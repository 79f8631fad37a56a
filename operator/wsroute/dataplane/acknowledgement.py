"""What a balancer pod's agent says about itself, as one JSON value in the agents' ConfigMap."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that nginx refused, when its file was tested or only when it was loaded, in nginx's own words."""

    version: str
    phase: Literal["test", "load"]
    message: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A pod's state. ``version`` is what all its accepting workers run, empty before the first was loaded.

    ``epoch`` is the epoch of the leader that wrote that version. ``sockets`` counts established client connections.
    ``nginx`` is the server's version as ``1.30.7``. ``ipv6`` says that the pod can listen on IPv6.
    """

    version: str
    epoch: int
    sockets: int
    nginx: str
    ipv6: bool
    failure: Failure | None = None

    def to_json(self) -> str:
        """Deterministic text for the ConfigMap's value."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def parse_acknowledgement(text: str) -> Acknowledgement | None:
    """Read what an agent wrote; None when a hand has put something else there."""
    try:
        raw: Any = json.loads(text)
        failure = raw["failure"]
        acknowledgement = Acknowledgement(
            version=raw["version"],
            epoch=raw["epoch"],
            sockets=raw["sockets"],
            nginx=raw["nginx"],
            ipv6=raw["ipv6"],
            failure=None
            if failure is None
            else Failure(version=failure["version"], phase=failure["phase"], message=failure["message"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return acknowledgement if _well_typed(acknowledgement) else None


def _well_typed(value: Acknowledgement) -> bool:
    failure = value.failure
    return (
        isinstance(value.version, str)
        and type(value.epoch) is int
        and type(value.sockets) is int
        and value.sockets >= 0
        and isinstance(value.nginx, str)
        and isinstance(value.ipv6, bool)
        and (
            failure is None
            or (
                isinstance(failure.version, str)
                and failure.phase in ("test", "load")
                and isinstance(failure.message, str)
            )
        )
    )
