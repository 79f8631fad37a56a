"""Why endpoints of a Service do not count, in words for the authors of its routes."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

MAX_EXAMPLE: Final = 64
"""Characters of an endpoint's address that a sentence shows; a real one has at most 45."""


MAX_ENDPOINTS: Final = 1_000
"""Endpoints of a Service's port that count, as many as Kubernetes' own Endpoints objects hold. A handshake may have to
look at each of them, and everybody's handshakes wait meanwhile."""


class LeftOut(StrEnum):
    """Why an endpoint of a slice does not count. The values complete "1 endpoint …"."""

    NOT_READY = "is not ready"
    NOT_AN_ADDRESS = "has an address that is not an IP address of its slice's kind"
    FORBIDDEN_ADDRESS = (
        "has an address that no pod can have (loopback, link-local, metadata, multicast, mapped or reserved)"
    )
    FOREIGN_POD = "belongs to a pod of another namespace"
    MANUAL = "was written by hand, which needs allowedRoutes.manualEndpoints of the balancer"
    NO_PORT = "is in a slice that does not have the port"
    HOST_NAME = "is a host name, which is not supported"
    API_SERVER = "has an address of the API server"
    CLUSTER_IP = "has the cluster address of a Service"
    NODE = "has the address of a node"
    BALANCER = "has the address of a balancer's pod"
    TOO_MANY = f"is beyond the {MAX_ENDPOINTS:,} that a Service may have here"


_CORRECT: Final = (
    "Take such endpoints out of the Service's EndpointSlices; a Service with a selector needs none written by hand."
)

ADVICE: Final = {
    LeftOut.NOT_AN_ADDRESS: _CORRECT,
    LeftOut.FORBIDDEN_ADDRESS: _CORRECT,
    LeftOut.FOREIGN_POD: _CORRECT,
    LeftOut.MANUAL: "Give the Service a selector, or ask the balancer's administrator for the permission.",
    LeftOut.HOST_NAME: _CORRECT,
    LeftOut.API_SERVER: _CORRECT,
    LeftOut.CLUSTER_IP: _CORRECT,
    LeftOut.NODE: (
        "Pods with hostNetwork have such addresses: run them without, or ask the balancer's administrator for "
        "allowedRoutes.hostNetworkEndpoints, which is for pods only."
    ),
    LeftOut.BALANCER: "That would be a loop: name the Service of the app itself.",
    LeftOut.TOO_MANY: "Spread the pods over several Services, and name them all as backends of the path.",
}
"""What to do about endpoints that are not allowed. The reasons without advice are everyday life."""


class Excluded(NamedTuple):
    """So many endpoints do not count for this reason. ``example`` is the address of one."""

    why: LeftOut
    number: int
    example: str

    def __str__(self) -> str:
        return f"{_endpoints(self)} {_verb(self)}"

    @property
    def allowed(self) -> bool:
        """Whether it is the endpoint's own state that keeps it from counting, and not a rule."""
        return self.why not in ADVICE


def explain(excluded: Iterable[Excluded]) -> str:
    """All reasons as a sentence, or an empty text."""
    parts = ", ".join(str(entry) for entry in excluded)
    return f"{parts}." if parts else ""


def explain_not_allowed(service: str, excluded: Iterable[Excluded]) -> str:
    """What is not allowed of a Service's endpoints, and what to do; empty where everything is."""
    told = [entry for entry in excluded if not entry.allowed]
    if not told:
        return ""
    parts = "; ".join(f"{_endpoints(entry)} ({_example(entry)}) {_verb(entry)}" for entry in told)
    advice = " ".join(dict.fromkeys(ADVICE[entry.why] for entry in told))
    return f"Not all endpoints of the Service {service} may be used, and these get no socket: {parts}. {advice}"


def _endpoints(entry: Excluded) -> str:
    return f"{entry.number} endpoint{'' if entry.number == 1 else 's'}"


def _example(entry: Excluded) -> str:
    """An address that anybody may have written, fit for a sentence."""
    text = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in entry.example)
    text = text if len(text) <= MAX_EXAMPLE else f"{text[: MAX_EXAMPLE - 3]}..."
    return text if entry.number == 1 else f"as {text}"


def _verb(entry: Excluded) -> str:
    if entry.number == 1:
        return str(entry.why)
    first, _, rest = entry.why.partition(" ")
    return f"{ {'is': 'are', 'has': 'have', 'was': 'were', 'belongs': 'belong'}[first] } {rest}"
