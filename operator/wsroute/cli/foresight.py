"""What a plan has to say beside itself: what it takes for given, and what it does not foretell. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wsroute.api.conditions import Reason
from wsroute.cli.operators import Name, Objects, Operator, is_operator
from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key


@dataclass(frozen=True, slots=True)
class Status:
    """What the operator said of a balancer last: its open sockets, the generations of old workers of the pod that has
    most, and why routes are served that are not there any more."""

    sockets: int = 0
    generations: int = 0
    held: str = ""

    @classmethod
    def of(cls, balancer: Mapping[str, Any]) -> "Status":
        """That of a WebSocketBalancer; any hand may have written it."""
        match balancer:
            case {"status": Mapping() as status}:
                draining = status.get("draining")
                generations = draining.get("generations") if isinstance(draining, Mapping) else None
                return cls(_number(status.get("sockets")), _number(generations), _held(status.get("conditions")))
        return cls()


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _held(conditions: object) -> str:
    for condition in conditions if isinstance(conditions, list) else ():
        match condition:
            case {"reason": Reason.ROUTES_HELD, "message": str(message)}:
                return message
    return ""


@dataclass(frozen=True, slots=True)
class Given:
    """What a plan starts from: the objects as they are and as they would be, those that it names, and the operators
    before and after. Those that are ``guessed`` are seen nowhere."""

    before: Objects
    after: Objects
    asked: frozenset[Name]
    operators: tuple[Operator, ...]
    leaving: tuple[Operator, ...]
    guessed: bool


def notes(given: Given) -> Iterator[str]:
    """Sentences for whoever reads the plan."""
    yield from _of_operators(given)
    asked = sorted(given.asked)
    for kind, key in asked:
        unwatched = kind is Kind.ROUTE and (kind, key) in given.after
        if unwatched and not any(each.sees(kind, key) for each in given.operators):
            yield f"The operator does not watch the namespace {key.namespace}: it would not serve {key}."
    own = {*_deployments(given.before), *_deployments(given.after)}
    for kind, key in asked:
        raw = given.after.get((kind, key)) or given.before.get((kind, key))
        if kind is Kind.DEPLOYMENT and key not in own and not is_operator(raw or {}):
            yield (
                f"The pods of the Deployment {key} may come and go with it, and endpoints with them: "
                "which ones is not foretold."
            )
        elif kind is Kind.SERVICE and (kind, key) not in given.before:
            yield f"The Service {key} is new: it is told to have no endpoint, until pods of it are ready."


def _deployments(objects: Objects) -> Iterator[Key]:
    """Those that balancers name."""
    for (kind, key), raw in objects.items():
        match raw:
            case {"spec": {"deploymentRef": {"name": str(name)}}} if kind is Kind.BALANCER:
                yield Key(key.namespace, name)


def _of_operators(given: Given) -> Iterator[str]:
    if given.guessed:
        yield (
            "No Deployment of an operator is seen beside a balancer: it is taken for one that watches all namespaces, "
            "and the only balancer for the one of routes that name none."
        )
        return
    for operator in given.leaving:
        yield (
            f"The operator of the namespace {operator.namespace} would be gone: nothing of this comes to pass until "
            "there is one again."
        )
    for kind, key in sorted(given.asked):
        if kind is Kind.BALANCER and not any(each.sees(kind, key) for each in given.operators):
            yield f"No operator is seen in the namespace {key.namespace}: nobody drives the balancer {key}."
