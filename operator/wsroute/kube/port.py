"""The narrow port through which everything else reads and writes the cluster.

Objects are raw JSON mappings, as the API server sends them: models cost five times the time and memory. The adapter
over ``kubernetes.aio`` is ``wsroute.kube.client``.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Json = dict[str, Any]


# The exceptions of this package:
#
# KubeError
#  ├── NotFoundError        404
#  ├── ConflictError        409: somebody else wrote first, or the object exists
#  ├── GoneError            410: the resourceVersion is too old, list again
#  ├── ForbiddenError       401, 403
#  ├── RejectedError        400, 422: the API server refuses the object for what it holds
#  └── UnavailableError     429, 5xx, no connection, time-out: try again later
class KubeError(Exception):
    """A request to the API server failed. ``status`` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class NotFoundError(KubeError):
    """The object or the resource does not exist."""


class ConflictError(KubeError):
    """Somebody else wrote first, or the object exists already."""


class GoneError(KubeError):
    """The resourceVersion is too old: list again."""


class ForbiddenError(KubeError):
    """The API server does not let us."""


class RejectedError(KubeError):
    """The API server refuses the object for what it holds."""


class UnavailableError(KubeError):
    """No answer, too many requests, or an error of the server: try again later."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object as the API server names it in its paths."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``v1`` or ``group/version``, as it stands in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version


ROUTES = Resource("wsroute.dev", "v1alpha1", "websocketroutes", "WebSocketRoute")
BALANCERS = Resource("wsroute.dev", "v1alpha1", "websocketbalancers", "WebSocketBalancer")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of objects at one resourceVersion."""

    items: list[Json]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. BOOKMARK carries only a resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Json


class ClusterClient(Protocol):
    """What we ask of an API server. Every call raises a KubeError and has a time-out of its own."""

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        keep: Callable[[Json], Json] | None = None,
    ) -> Listing:
        """All objects, in pages where there are many. ``keep`` says what of an object is worth its memory; it sees each
        page before the next one is read."""

    def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Changes since a resourceVersion, until the server ends the stream. Raises GoneError when it is too old."""

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Json:
        """One object."""

    async def apply(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        manager: str,
        subresource: str = "",
        force: bool = True,
    ) -> Json:
        """Server-side apply of the object that ``body`` names; a resourceVersion in it makes that a precondition."""

    async def create(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        """Make a new object. Raises ConflictError when it exists."""

    async def update(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        """Replace an object whose resourceVersion stands in ``body``. Raises ConflictError when it is older."""

    async def delete(self, resource: Resource, *, namespace: str, name: str) -> None:
        """Delete an object; one that is gone already is no error."""

    async def close(self) -> None:
        """Release the connections."""
