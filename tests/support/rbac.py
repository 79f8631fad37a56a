"""What manifests allow to whom, compared with what was asked for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.api_requests import ApiRequest

DISCOVERY = ("/api", "/apis", "/version")
"""Paths outside of resources that every user may read (the role ``system:discovery``)."""


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One verb on one resource; an empty ``namespace`` is all of them, empty ``names`` are all names."""

    verb: str
    group: str
    resource: str
    namespace: str
    names: tuple[str, ...] = ()

    def covers(self, request: ApiRequest) -> bool:
        """Whether it allows a request."""
        return (
            (self.verb, self.group, self.resource) == (request.verb, request.group, request.full_resource)
            and self.namespace in ("", request.namespace)
            and (not self.names or request.name in self.names)
        )


def grants_of(manifests: Sequence[Mapping[str, Any]]) -> dict[str, set[Grant]]:
    """All grants by user, ``system:serviceaccount:NAMESPACE:NAME``. Wildcards are kept: no request has such a verb."""
    roles = {
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]): item["rules"]
        for item in manifests
        if item["kind"] in ("Role", "ClusterRole")
    }
    grants: dict[str, set[Grant]] = {}
    for item in manifests:
        if item["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        reference, place = item["roleRef"], item["metadata"].get("namespace", "")
        rules = roles[reference["kind"], place if reference["kind"] == "Role" else "", reference["name"]]
        for subject in item["subjects"]:
            user = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
            grants.setdefault(user, set()).update(_grants(rules, place))
    return grants


def _grants(rules: Iterable[Mapping[str, Any]], namespace: str) -> Iterable[Grant]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Grant(verb, group, resource, namespace, tuple(rule.get("resourceNames", ())))


def not_granted(requests: Iterable[ApiRequest], grants: Mapping[str, Iterable[Grant]]) -> set[ApiRequest]:
    """Requests that no grant covers, discovery aside."""
    return {
        request
        for request in requests
        if not (
            any(grant.covers(request) for grant in grants.get(request.user, ()))
            or (request.verb == "get" and not request.resource and request.name.startswith(DISCOVERY))
        )
    }


def not_used(requests: Iterable[ApiRequest], grants: Mapping[str, Iterable[Grant]]) -> set[tuple[str, Grant]]:
    """Grants that cover no request, with whom they are for."""
    asked = list(requests)
    return {
        (user, grant)
        for user, those in grants.items()
        for grant in those
        if not any(request.user == user and grant.covers(request) for request in asked)
    }
