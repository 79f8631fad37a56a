"""What a balancer pod's agent says about itself, as one JSON value in the agents' ConfigMap."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

MAX_COUNT: Final = 2**31 - 1
"""What a pod may count: what a status can hold (``api.status.Count``)."""

_LATEST: Final = 2**40
"""Seconds since the epoch, beyond any time of the near future."""

_MAX_REVISION: Final = 2**63 - 1
_MAX_FORMATS: Final = 16
_MAX_TROUBLE: Final = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that nginx refused, when its file was tested or only when it was loaded, in nginx's own words."""

    version: str
    phase: Literal["test", "load"]
    message: str


@dataclass(frozen=True, slots=True)
class Draining:
    """What a pod keeps of earlier versions: so many generations of old workers that hold sockets, and how many sockets.

    ``oldest`` is when the oldest of them began to drain, in seconds since the epoch; 0 when there is none.
    """

    generations: int
    sockets: int
    oldest: int


NOT_DRAINING: Final = Draining(generations=0, sockets=0, oldest=0)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A pod's state. ``version`` is what all its accepting workers run, empty before the first was loaded.

    ``epoch`` is the epoch of the leader that wrote that version. ``sockets`` counts established client connections.
    ``nginx`` is the server's version as ``1.30.7``. ``ipv6`` says that the pod can listen on IPv6. ``draining`` came
    later than the rest: an agent that does not know of it drains nothing, as far as is known. ``closed`` is the number
    of sockets that the end of the pod has closed; that is an agent's last word.

    Of the Dynamic data plane: ``table`` is a resourceVersion: nginx has what every table ConfigMap says that was
    written up to then, 0 while that can be said of none. ``formats`` are those of tables that the agent can read;
    earlier agents know of none. ``trouble`` says why nginx does not have the newest table, empty when nothing hinders.
    """

    version: str
    epoch: int
    sockets: int
    nginx: str
    ipv6: bool
    failure: Failure | None = None
    draining: Draining = NOT_DRAINING
    closed: int = 0
    table: int = 0
    formats: tuple[int, ...] = ()
    trouble: str = ""

    def to_json(self) -> str:
        """Deterministic text for the ConfigMap's value."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def parse_acknowledgement(text: str) -> Acknowledgement | None:
    """Read what an agent wrote; None when a hand has put something else there."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match raw:
        case {
            "version": str(version),
            "epoch": int(epoch),
            "sockets": int(sockets),
            "nginx": str(nginx),
            "ipv6": bool(ipv6),
            "failure": failed,
        } if 0 <= sockets <= MAX_COUNT and not isinstance(epoch, bool) and not isinstance(sockets, bool):
            failure = _failure(failed)
            if failed is not None and failure is None:
                return None
            return Acknowledgement(
                version=version,
                epoch=epoch,
                sockets=sockets,
                nginx=nginx,
                ipv6=ipv6,
                failure=failure,
                draining=_draining(raw.get("draining")),
                closed=_count(raw.get("closed")),
                table=_count(raw.get("table"), most=_MAX_REVISION),
                formats=_formats(raw.get("formats")),
                trouble=_trouble(raw.get("trouble")),
            )
    return None


def _count(raw: Any, *, most: int = MAX_COUNT) -> int:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= most else 0


def _formats(raw: Any) -> tuple[int, ...]:
    if not isinstance(raw, list) or len(raw) > _MAX_FORMATS:
        return ()
    return tuple(sorted({number for number in map(_count, raw) if number}))


def _trouble(raw: Any) -> str:
    if not isinstance(raw, str):
        return ""
    return "".join(char if char.isprintable() else " " for char in raw[:_MAX_TROUBLE])


def _draining(raw: Any) -> Draining:
    match raw:
        case {"generations": int(generations), "sockets": int(sockets), "oldest": int(oldest)} if (
            not any(isinstance(number, bool) or number < 0 for number in (generations, sockets, oldest))
            and max(generations, sockets) <= MAX_COUNT
            and oldest < _LATEST
        ):
            return Draining(generations, sockets, oldest)
    return NOT_DRAINING


def _failure(raw: Any) -> Failure | None:
    match raw:
        case {"version": str(version), "phase": "test" | "load" as phase, "message": str(message)}:
            return Failure(version=version, phase=phase, message=message)
    return None
