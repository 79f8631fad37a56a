"""The operators of a cluster, and what each was told, as their Deployments have it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from wsroute.cluster.kinds import Kind
from wsroute.cluster.objects import Key

Name = tuple[Kind, Key]
"""Names an object."""

Objects = Mapping[Name, Mapping[str, Any]]
"""Objects as the API server gives them."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator drives the balancers of one ``namespace``; None stands for all of them. ``default`` is the balancer
    of routes that name none. Of ``watched`` namespaces, unless there are none, routes are served and of no others."""

    namespace: str | None = None
    default: Key | None = None
    watched: frozenset[str] = field(default_factory=frozenset)

    def sees(self, kind: Kind, key: Key) -> bool:
        """Whether an object counts for it."""
        if kind is Kind.BALANCER:
            return self.namespace in (None, key.namespace)
        return not (kind is Kind.ROUTE and self.watched and key.namespace not in self.watched)


def find_operators(objects: Objects) -> tuple[Operator, ...]:
    """The operators among Deployments, the first one of each namespace."""
    found: dict[str | None, Operator] = {}
    for (kind, key), deployment in sorted(objects.items(), key=lambda item: item[0]):
        if kind is Kind.DEPLOYMENT:
            for container in _containers(deployment):
                words = _words(container)
                if "operator" in words:
                    operator = _operator(key, container, words)
                    found.setdefault(operator.namespace, operator)
    return tuple(found.values())


def is_operator(deployment: Mapping[str, Any]) -> bool:
    """Whether it is one's Deployment."""
    return any("operator" in _words(container) for container in _containers(deployment))


def _words(container: Mapping[str, Any]) -> list[str]:
    return [*_texts(container.get("command")), *_texts(container.get("args"))]


def _operator(deployment: Key, container: Mapping[str, Any], words: Sequence[str]) -> Operator:
    told = [each.get("value") for each in _mappings(container.get("env")) if each.get("name") == "POD_NAMESPACE"]
    named = (_values(words, "--namespace") or told or [None])[-1]
    # Else it is that of its pods, which their manifest says with a reference.
    namespace = named if isinstance(named, str) and named and "$" not in named else deployment.namespace
    watched = _values(words, "--watch-namespace")
    owner, slash, name = (_values(words, "--default-balancer") or [""])[-1].partition("/")
    return Operator(
        namespace=namespace,
        default=Key(owner, name) if slash else None,
        watched=frozenset((*watched, namespace) if watched else ()),
    )


def guessed(objects: Objects) -> Operator:
    """What to take for the operator where no Deployment of one is seen: that the only balancer is the default one."""
    balancers = [key for kind, key in objects if kind is Kind.BALANCER]
    return Operator(default=balancers[0] if len(balancers) == 1 else None)


_WAY: Final = ("spec", "template", "spec")


def _containers(deployment: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    inner: Any = deployment
    for step in _WAY:
        inner = inner.get(step) if isinstance(inner, Mapping) else None
    return _mappings(inner.get("containers") if isinstance(inner, Mapping) else None)


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    return (each for each in (value if isinstance(value, list) else ()) if isinstance(each, Mapping))


def _texts(value: object) -> Iterator[str]:
    return (each for each in (value if isinstance(value, list) else ()) if isinstance(each, str))


def _values(words: Sequence[str], option: str) -> list[str]:
    apart = [value for word, value in pairwise(words) if word == option]
    return apart + [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
