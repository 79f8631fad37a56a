"""The timeouts that a Dynamic balancer's file knows. They are fixed, so that no route can make a reload necessary."""

from typing import Final

from wsroute.api.balancer import WebSocketBalancerSpec
from wsroute.dataplane.ir import Shell

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE

CONNECT_TIMEOUTS: Final = (_SECOND, 5 * _SECOND, 30 * _SECOND)
IDLE_TIMEOUTS: Final = (_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 6 * _HOUR, 24 * _HOUR)


def build_shell(spec: WebSocketBalancerSpec) -> Shell:
    """What a balancer's settings make of it. A maximum is a timeout itself, and none lies above it."""
    # A plain number: however its author wrote it, the file and what is remembered of it are the same.
    maximum = None if spec.maximum_idle is None else int(spec.maximum_idle)
    idle = IDLE_TIMEOUTS if maximum is None else (*(each for each in IDLE_TIMEOUTS if each < maximum), maximum)
    return Shell(
        connect_timeouts=CONNECT_TIMEOUTS,
        idle_timeouts=idle,
        headers=tuple(sorted({name.lower(): name for name in sorted(spec.request_headers)}.values(), key=str.lower)),
    )
