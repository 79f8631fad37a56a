"""Requests to an API server as its authorizer sees them: who, verb, group, resource, subresource, namespace, name."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

_RESOURCE = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?"
)
_NAME = re.compile(r"(?:^|,)metadata\.name=([^,]+)")
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, order=True)
class ApiRequest:
    """Attributes as in Kubernetes' ``authorizer.Attributes``. Outside of resources (``/version``) ``resource`` is empty
    and ``name`` is the path."""

    user: str
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def full_resource(self) -> str:
        """The resource as rules name it, with its subresource."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.verb not in ("get", "list", "watch")


def parse_request(user: str, method: str, path: str, query: Mapping[str, str]) -> ApiRequest:
    """What a request asks for (Kubernetes' ``RequestInfoFactory``)."""
    found = _RESOURCE.fullmatch(path)
    if found is None:
        return ApiRequest(user, method.lower(), name=path)
    asked = ApiRequest(
        user,
        verb="",
        group=found["group"] or "",
        resource=found["resource"],
        subresource=found["subresource"] or "",
        namespace=found["namespace"] or "",
        name=found["name"] or "",
    )
    if method != "GET":
        return replace(asked, verb=_WRITES[method])
    if asked.name:
        return replace(asked, verb="get")
    verb = "watch" if query.get("watch") in ("1", "true") else "list"
    selected = _NAME.search(query.get("fieldSelector", ""))
    return replace(asked, verb=verb, name=selected[1] if selected else "")


def user_of(authorization: str, tokens: Mapping[str, str]) -> str:
    """Whose token a header holds: by a table, else by the subject of a service account's token."""
    token = authorization.removeprefix("Bearer ")
    if token in tokens:
        return tokens[token]
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    return str(claims["sub"])
