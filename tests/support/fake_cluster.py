"""A cluster in memory behind the port, for unit tests of drivers.

It keeps objects, resourceVersions, uids and label selectors, and does server-side apply the way one manager sees it:
fields that were applied before and aren't any more go. Everything else is tested on the real API server.
"""

import asyncio
import copy
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from wsroute.kube.port import ConflictError, Json, KubeError, Listing, NotFoundError, Resource, WatchEvent

Written = tuple[str, str, str]
"""A write as ``(verb, plural, namespace/name)``."""


class FakeCluster:
    """Implements :class:`wsroute.kube.port.ClusterClient`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Resource, str, str], Json] = {}
        self.version = 100
        self.writes: list[Written] = []
        self.applied: list[Json] = []
        self.lists: list[str] = []
        self.fail: Callable[[str, Resource, str], KubeError | None] = lambda _verb, _resource, _name: None
        """Asked before each request; what it returns is raised. The name is the namespace of a list."""
        self._history: list[tuple[int, Resource, WatchEvent]] = []
        self._news = asyncio.Event()

    # --- what a test does ---

    def put(self, resource: Resource, name: str, *, namespace: str = "", **content: Any) -> Json:
        """Make or change an object behind everybody's back; ``labels`` and ``annotations`` go into the metadata."""
        metadata: Json = {field: content.pop(field) for field in ("labels", "annotations") if field in content}
        body = {"metadata": {**metadata, "name": name, "namespace": namespace}, **content}
        return self._store(resource, body)

    def remove(self, resource: Resource, name: str, *, namespace: str = "") -> None:
        """Delete an object behind everybody's back."""
        gone = self.objects.pop((resource, namespace, name))
        self.version += 1
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(resource, "DELETED", gone)

    def find(self, resource: Resource, name: str, *, namespace: str = "") -> Json:
        """An object as it stands."""
        return self.objects[resource, namespace, name]

    # --- the port ---

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        keep: Callable[[Json], Json] | None = None,
    ) -> Listing:
        self.lists.append(resource.plural)
        await self._begin("list", resource, namespace or "")
        items = [copy.deepcopy(o) for (r, n, _), o in self.objects.items() if r == resource and namespace in (None, n)]
        selected = [item for item in items if _selected(item, label_selector, field_selector)]
        return Listing([keep(item) for item in selected] if keep is not None else selected, str(self.version))

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        position = int(resource_version)
        yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": resource_version}})
        while True:
            await self._begin("watch", resource, "")
            for version, kind, event in list(self._history):
                place = event.object["metadata"].get("namespace", "")
                if version > position and kind == resource and namespace in (None, place):
                    position = version
                    if _selected(event.object, label_selector, field_selector):
                        yield copy.deepcopy(event)
            await self._news.wait()

    async def get(self, resource: Resource, *, namespace: str, name: str) -> Json:
        await self._begin("get", resource, name)
        try:
            return copy.deepcopy(self.objects[resource, namespace, name])
        except KeyError:
            raise NotFoundError(f"{resource.kind} {namespace}/{name} does not exist", status=404) from None

    async def apply(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        manager: str,
        subresource: str = "",
        force: bool = True,
    ) -> Json:
        assert manager
        assert force
        namespace, name = _identity(body)
        await self._begin("apply", resource, name)
        known = self.objects.get((resource, namespace, name))
        if known is None and ("uid" in body["metadata"] or subresource):
            raise NotFoundError(f"{name} does not exist", status=404)
        for field in ("uid", "resourceVersion"):
            if known is not None and body["metadata"].get(field, known["metadata"][field]) != known["metadata"][field]:
                raise ConflictError(f"{field} differs", status=409)
        self.writes.append(("apply", resource.plural, f"{namespace}/{name}"))
        self.applied.append(copy.deepcopy(dict(body)))
        if subresource:
            assert known is not None
            return self._store(resource, {**known, subresource: body[subresource]})
        return self._store(resource, body)

    async def create(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        namespace, name = _identity(body)
        await self._begin("create", resource, name)
        if (resource, namespace, name) in self.objects:
            raise ConflictError(f"{name} exists", status=409)
        self.writes.append(("create", resource.plural, f"{namespace}/{name}"))
        return self._store(resource, body)

    async def update(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        namespace, name = _identity(body)
        await self._begin("update", resource, name)
        known = self.objects.get((resource, namespace, name))
        if known is None:
            raise NotFoundError(f"{name} does not exist", status=404)
        if known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise ConflictError("resourceVersion differs", status=409)
        self.writes.append(("update", resource.plural, f"{namespace}/{name}"))
        return self._store(resource, body)

    async def delete(self, resource: Resource, *, namespace: str, name: str) -> None:
        await self._begin("delete", resource, name)
        if (resource, namespace, name) in self.objects:
            self.writes.append(("delete", resource.plural, f"{namespace}/{name}"))
            self.remove(resource, name, namespace=namespace)

    async def close(self) -> None:
        """Nothing to release."""

    # --- the inside ---

    async def _begin(self, verb: str, resource: Resource, name: str) -> None:
        await asyncio.sleep(0)
        if (error := self.fail(verb, resource, name)) is not None:
            raise error

    def _store(self, resource: Resource, body: Mapping[str, Any]) -> Json:
        namespace, name = _identity(body)
        known = self.objects.get((resource, namespace, name))
        stored = copy.deepcopy(dict(body))
        before = known["metadata"] if known is not None else {}
        self.version += 1
        stored["metadata"] = {
            **stored["metadata"],
            "uid": before.get("uid", f"uid-{self.version}"),
            "generation": before.get("generation", 0) + (known is None or known.get("spec") != stored.get("spec")),
            "creationTimestamp": before.get("creationTimestamp", "2026-01-01T00:00:00Z"),
            "resourceVersion": str(self.version),
        }
        if known is not None and "status" in known:
            stored.setdefault("status", known["status"])
        self.objects[resource, namespace, name] = stored
        self._tell(resource, "MODIFIED" if known is not None else "ADDED", stored)
        return copy.deepcopy(stored)

    def _tell(self, resource: Resource, kind: Any, stored: Json) -> None:
        self._history.append((self.version, resource, WatchEvent(kind, copy.deepcopy(stored))))
        self._news.set()
        self._news = asyncio.Event()


def _identity(body: Mapping[str, Any]) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


_REQUIREMENT: Final = re.compile(r"([^,=\s]+)(?:=([^,]*)| in \(([^)]*)\))?(?:,|$)")


def _selected(item: Json, labels: str, fields: str) -> bool:
    """Only selectors that ask for the existence of labels or for values, or for a name."""
    named = item["metadata"]["name"] == fields.removeprefix("metadata.name=") if fields else True
    found = item["metadata"].get("labels", {})
    return named and all(
        name in found and (one is None or found[name] == one) and (several is None or found[name] in several.split(","))
        for name, one, several in (match.groups() for match in _REQUIREMENT.finditer(labels))
    )
