"""What routes and balancers have in common: times, and when two headers are the same."""

from collections.abc import Iterator
from typing import Any, Final

from pydantic import Field

from wsroute.api.fields import Duration, Model, Rule
from wsroute.api.values import DURATION

DEFAULT_CONNECT_TIMEOUT: Final = 5_000
"""Milliseconds that a handshake waits for an endpoint's TCP connection, where neither route nor balancer says."""

DEFAULT_IDLE_TIMEOUT: Final = 3_600_000
"""Milliseconds that a silent socket is kept, where neither route nor balancer says."""


class Timeouts(Model):
    """How long to wait."""

    connect: Duration | None = Field(
        default=None,
        description="For the TCP connection to an endpoint; 5s where neither route nor balancer says.",
    )
    idle: Duration | None = Field(
        default=None,
        description="Until a socket on which no side sends is closed; 1h where neither route nor balancer says.",
    )


IDLE_SENTENCE: Final = "timeouts.idle must be at least twice pingInterval, so that one late ping ends no socket"


def idle_is_too_short(idle: int | None, ping: int | None) -> bool:
    """Whether one late ping would end an idle socket: the idle timeout must be at least twice the ping interval."""
    return idle is not None and ping is not None and idle < 2 * ping


def cel_duration(field: str) -> str:
    """A CEL duration; where the text is none (its own rule says so) the rule around it must not fail a second time."""
    return f"({DURATION.cel_test(field)} ? duration({field}) : duration('0s'))"


def _short_idle(model: Any) -> Iterator[str]:
    idle = model.timeouts.idle if model.timeouts else None
    if idle_is_too_short(idle, model.ping_interval):
        yield ".timeouts.idle"


IDLE_RULE: Final = Rule(
    cel=(
        "!has(self.pingInterval) || !has(self.timeouts) || !has(self.timeouts.idle) || "
        "{idle} >= {ping} + {ping}".format(
            idle=cel_duration("self.timeouts.idle"), ping=cel_duration("self.pingInterval")
        )
    ),
    sentence=IDLE_SENTENCE,
    broken=_short_idle,
    field=".timeouts.idle",
)


def header_key(name: str) -> str:
    """What two names have in common that a backend can't tell apart (CGI makes both ``HTTP_X_TEAM``)."""
    return name.lower().replace("-", "_")
