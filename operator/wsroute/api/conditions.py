"""Condition types, their reasons, and how a status keeps its transition times.

The shapes follow the Kubernetes API conventions (``metav1.Condition``): a type, a status of ``True`` or ``False``, a
CamelCase reason, a sentence, the generation that was observed, and the time of the last change of status.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeGuard

MAX_MESSAGE: Final = 4096
"""Characters of a condition's message; the API allows 32,768, but this is for people."""


class ConditionType(StrEnum):
    """What a condition speaks of. Those in ``ABNORMAL`` are abnormal when true, all others when false."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    READY = "Ready"
    DEPLOYMENT_READY = "DeploymentReady"
    DRAIN_BACKLOG = "DrainBacklog"
    STALLED = "Stalled"


ABNORMAL: Final = frozenset({ConditionType.DRAIN_BACKLOG, ConditionType.STALLED})
"""Conditions that tell of trouble when they are true."""


class Reason(StrEnum):
    """Why a condition has its status; part of the API, so a value is never renamed."""

    # Good news, one for each type.
    ACCEPTED = "Accepted"
    RESOLVED = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    READY = "Ready"
    PROGRESSING = "Progressing"

    # Why a route or a balancer is not accepted.
    INVALID = "Invalid"
    NO_BALANCER = "NoBalancer"
    NOT_ALLOWED = "NotAllowed"
    HOST_CONFLICT = "HostConflict"
    PATH_CONFLICT = "PathConflict"
    QUOTA = "Quota"
    UNSUPPORTED = "Unsupported"

    # Why a reference does not resolve.
    SERVICE_NOT_FOUND = "ServiceNotFound"
    PORT_NOT_FOUND = "PortNotFound"
    REF_NOT_PERMITTED = "RefNotPermitted"
    UNSUPPORTED_SERVICE = "UnsupportedService"
    ENDPOINT_NOT_ALLOWED = "EndpointNotAllowed"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - no secret, but a reason
    INVALID_CERTIFICATE = "InvalidCertificate"

    # Why the pods do not serve it (yet).
    PENDING = "Pending"
    RELOAD_HELD = "ReloadHeld"
    CONFIG_REJECTED = "ConfigRejected"
    NO_BALANCER_PODS = "NoBalancerPods"

    # Why no socket can be taken.
    NO_ENDPOINTS = "NoEndpoints"

    # Of a balancer
    DEPLOYMENT_NOT_FOUND = "DeploymentNotFound"
    DEPLOYMENT_TAKEN = "DeploymentTaken"
    TEMPLATE_NOT_FOUND = "TemplateNotFound"
    TEMPLATE_INVALID = "TemplateInvalid"
    SERVICE_PORT_MISSING = "ServicePortMissing"
    NO_BACKLOG = "NoBacklog"
    MAX_DRAINING_GENERATIONS = "MaxDrainingGenerations"
    ROUTES_HELD = "RoutesHeld"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with an object, as its author will read it.

    ``path`` names the field, as ``spec.paths[0].backends[1].port``, or is empty when no single field is to blame.
    ``message`` is one or two sentences: what is wrong, and what to do. It never holds control characters. ``passing``
    says that it ends by itself, at a time that the message names.
    """

    reason: Reason
    path: str
    message: str
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, before it is given a transition time."""

    type: ConditionType
    status: bool
    reason: Reason
    message: str


def merge_conditions(
    wanted: Sequence[Condition],
    written: Sequence[Any],
    *,
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    """Give conditions their transition times: the written one while the status stays, ``now`` when it changes.

    ``written`` is the list that the object's status holds, which may be anything a hand has put there; ``now`` is an
    RFC 3339 time in UTC with whole seconds (``metav1.Time``). What the API server would refuse never gets in: a time
    of another form is not kept, a message that is too long is cut.
    """
    known: dict[str, Mapping[str, Any]] = {}
    for entry in written:
        if isinstance(entry, Mapping) and isinstance(entry.get("type"), str):
            known[entry["type"]] = entry
    merged = []
    for condition in wanted:
        status = "True" if condition.status else "False"
        before = known.get(condition.type)
        since = now
        if before is not None and before.get("status") == status:
            kept = before.get("lastTransitionTime")
            since = kept if _is_time(kept) else now
        merged.append(
            {
                "type": str(condition.type),
                "status": status,
                "reason": str(condition.reason),
                "message": _cut(condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return merged


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 4]} ..."


def _is_time(value: Any) -> TypeGuard[str]:
    """Whether it is a time as the API server writes one, on a day that exists."""
    if not isinstance(value, str) or not re.fullmatch(
        "[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z", value, re.ASCII
    ):
        return False
    try:
        datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return False
    return True
