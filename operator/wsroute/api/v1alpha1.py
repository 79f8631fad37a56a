"""``wsroute.dev/v1alpha1``: the models of both kinds, and the doors through which a ``spec`` becomes one of them.

The models are the one source of the CRDs (``schema``), of the reference (``reference``) and of what the operator reads.
Descriptions are written for users: ``kubectl explain`` shows them. What a field means when it is left out is resolved
here, never by a CRD default, so that the stored object stays as its author wrote it. All durations are ``Duration``: an
``int`` of milliseconds.

The API server has checked the same rules already, but a schema can be bypassed (an older CRD, a folder of manifests):
so the functions here take every JSON value, and none raises.
"""

from typing import Final

from wsroute.api import values
from wsroute.api.allowed import AllowedRoutes, LabelSelector
from wsroute.api.balancer import Listener, WebSocketBalancerSpec
from wsroute.api.common import idle_is_too_short
from wsroute.api.conditions import Problem
from wsroute.api.fields import Duration
from wsroute.api.parse import invalid, parse, shown
from wsroute.api.route import Backend, Headers, RoutePath, WebSocketRouteSpec

__all__ = [
    "GROUP",
    "VERSION",
    "AllowedRoutes",
    "Backend",
    "Duration",
    "Headers",
    "LabelSelector",
    "Listener",
    "RoutePath",
    "WebSocketBalancerSpec",
    "WebSocketRouteSpec",
    "balancer_name_problems",
    "idle_is_too_short",
    "parse_balancer_spec",
    "parse_route_spec",
]

GROUP: Final = "wsroute.dev"
VERSION: Final = "v1alpha1"


def parse_route_spec(raw: object) -> WebSocketRouteSpec | tuple[Problem, ...]:
    """The ``spec`` of a WebSocketRoute (decoded JSON), or what is wrong with it. Never raises."""
    return parse(WebSocketRouteSpec, raw)


def parse_balancer_spec(raw: object, *, standalone: bool = False) -> WebSocketBalancerSpec | tuple[Problem, ...]:
    """The ``spec`` of a WebSocketBalancer (decoded JSON), or what is wrong with it. Never raises.

    Without a cluster (``standalone``) there is no Deployment to refer to.
    """
    parsed = parse(WebSocketBalancerSpec, raw)
    if isinstance(parsed, WebSocketBalancerSpec) and parsed.deployment_ref is None and not standalone:
        return (invalid("spec.deploymentRef", "The field is required: it names the nginx Deployment to drive"),)
    return parsed


def balancer_name_problems(name: str) -> tuple[Problem, ...]:
    """What is wrong with the name of a WebSocketBalancer: generated objects append to it."""
    fault = values.BALANCER_NAME.fault(name)
    return () if fault is None else (invalid("metadata.name", f"{fault}; found {shown(name)}"),)
