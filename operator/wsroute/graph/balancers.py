"""A balancer itself: its Deployment, the Service in front of it, its pods."""

from collections.abc import Iterator, Mapping
from itertools import filterfalse
from operator import attrgetter
from typing import Final

from wsroute.api.conditions import Problem, Reason
from wsroute.api.v1alpha1 import WebSocketBalancerSpec
from wsroute.cluster.objects import Balancer, Deployment, Key, Pod, Service, Snapshot
from wsroute.graph.model import BalancerNode, RouteNode

_PROBLEMS: Final = attrgetter("acceptance_problems")
"""What keeps a route from being accepted. Read so it costs a tenth of the property."""


Drivers = Mapping[Key, Balancer]
"""The balancer that drives each Deployment: of those that name it the oldest one."""


def drivers(balancers: Mapping[Key, Balancer]) -> Drivers:
    """Who drives which Deployment: also one that is not valid, as a slip in it shall not replace all its pods."""
    found: dict[Key, Balancer] = {}
    for balancer in sorted(balancers.values(), key=lambda each: (each.meta.created, each.meta.key)):
        if balancer.deployment:
            found.setdefault(Key(balancer.meta.key.namespace, balancer.deployment), balancer)
    return found


def balancer_node(
    balancer: Balancer, routes: tuple[RouteNode, ...], snapshot: Snapshot, driving: Drivers
) -> BalancerNode:
    """A balancer with those of all routes that are for it."""
    spec, own = balancer.spec, balancer.meta.key
    deployment = service = None
    problems: tuple[Problem, ...] = ()
    drives = True
    if spec is not None:
        if spec.deployment_ref is not None:
            name = Key(own.namespace, spec.deployment_ref.name)
            deployment, driver = snapshot.deployments.get(name), driving.get(name, balancer)
            drives = driver.meta.key == own
            problems = () if drives else (_taken(name, driver),)
        if spec.service_ref is not None:
            service = snapshot.services.get(Key(own.namespace, spec.service_ref.name))
        problems += tuple(_problems(spec, deployment, service))
    return BalancerNode(
        key=own,
        uid=balancer.meta.uid,
        generation=balancer.meta.generation,
        spec=spec,
        acceptance_problems=balancer.problems,
        deployment_problems=problems,
        accepted=tuple(filterfalse(_PROBLEMS, routes)),
        rejected=tuple(filter(_PROBLEMS, routes)),
        deployment=deployment,
        drives=drives,
        pods=tuple(deployment_pods(deployment, snapshot.pods)),
        addresses=service.addresses if service is not None else (),
    )


def deployment_pods(deployment: Deployment | None, pods: Mapping[Key, Pod]) -> Iterator[Pod]:
    """Those of the pods that a Deployment selects, sorted by key."""
    if deployment is None or not deployment.selector:
        return
    namespace = deployment.meta.key.namespace
    for key in sorted(pods):
        pod = pods[key]
        if key.namespace == namespace and deployment.selector.items() <= pod.labels.items():
            yield pod


def _taken(deployment: Key, driver: Balancer) -> Problem:
    return Problem(
        Reason.DEPLOYMENT_TAKEN,
        "spec.deploymentRef",
        f"The Deployment {deployment.name} is that of the WebSocketBalancer {driver.meta.key.name}, which is older: "
        "its pods are not replaced for this one, and serve it only where their agents name it. Name another "
        "Deployment, or delete one of the two balancers.",
    )


def _problems(spec: WebSocketBalancerSpec, deployment: Deployment | None, service: Service | None) -> Iterator[Problem]:
    if spec.deployment_ref is not None and deployment is None:
        yield Problem(
            Reason.DEPLOYMENT_NOT_FOUND,
            "spec.deploymentRef",
            f"There is no Deployment {spec.deployment_ref.name} in the balancer's namespace: make it or name another.",
        )
    if spec.service_ref is None:
        return
    if service is None:
        yield Problem(
            Reason.SERVICE_NOT_FOUND,
            "spec.serviceRef",
            f"There is no Service {spec.service_ref.name} in the balancer's namespace: make it or name another.",
        )
        return
    targets = [port.port if port.target is None else port.target for port in service.ports if port.protocol == "TCP"]
    if any(isinstance(target, str) for target in targets):
        return  # which number a container port's name stands for is the pod template's business
    for index, listener in enumerate(spec.listeners):
        if listener.port not in targets:
            yield Problem(
                Reason.SERVICE_PORT_MISSING,
                f"spec.listeners[{index}].port",
                f"No port of the Service {service.meta.key.name} has the targetPort {listener.port}, so that the "
                f"listener {listener.name} can't be reached through it: add one.",
            )
